//! The table in a sandbox's own namespace that leads questions for 127.0.0.11 to the resolver.
//!
//! A sandbox may run a name server of its own on 0.0.0.0:53, so the resolver cannot have port 53 of
//! 127.0.0.11. It listens on other ports of that address, and this table rewrites what goes there
//! and what comes back. The rewriting is per packet, without conntrack, so that a sandbox pays for no
//! flow table that it did not ask for. Should the sandbox switch conntrack on, questions are rewritten
//! before it looks and answers after, so that it sees one consistent flow.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::{Chain, ChainKind, Family, Hook, Load, RuleBuilder, Table, priority, rule};
use fairway_model::{Protocol, ResolverAddresses};

/// The name of the table.
pub const TABLE: &str = "fairway-resolver";
/// The address at which sandboxes find their resolver, as in Docker.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port of DNS (RFC 1035).
const DNS: u16 = 53;

/// The table for a resolver that listens on these ports of [`ADDRESS`].
pub fn resolver_table(udp_port: u16, tcp_port: u16) -> Table {
    let ports = [(Protocol::Udp, udp_port), (Protocol::Tcp, tcp_port)];
    let address = IpAddr::V4(ADDRESS);
    let question = |(protocol, port)| -> RuleBuilder {
        rule().to_address(address).to_port(protocol, DNS).rewrite_destination_port(protocol, port)
    };
    let answer = |(protocol, port)| -> RuleBuilder {
        rule().from_address(address).from_port(protocol, port).rewrite_source_port(protocol, DNS)
    };
    let mut table = Table::new(Family::Ip, TABLE);
    table.chains = vec![
        Chain::base("questions", ChainKind::Filter, Hook::Output, priority::RAW).with(ports.map(question)),
        Chain::base("answers", ChainKind::Filter, Hook::Output, priority::SOURCE_NAT).with(ports.map(answer)),
    ];
    table
}

/// The table for a resolver that listens on these ports of the first address of [`ResolverAddresses::RANGE`], and answers
/// at each address of it. An answer has to come from the address that was asked, which only conntrack knows.
pub fn resolver_range_table(udp_port: u16, tcp_port: u16) -> Table {
    let range = ResolverAddresses::RANGE;
    let question = |(protocol, port)| -> RuleBuilder {
        rule()
            .is_masked(Load::IP_DESTINATION, range.netmask().octets(), range.network().octets())
            .to_port(protocol, DNS)
            .dnat_to(SocketAddrV4::new(range.addr(), port))
    };
    let questions = Chain::base("questions", ChainKind::Nat, Hook::Output, priority::DESTINATION_NAT);
    let mut table = Table::new(Family::Ip, TABLE);
    table.chains = vec![questions.with([(Protocol::Udp, udp_port), (Protocol::Tcp, tcp_port)].map(question))];
    table
}
