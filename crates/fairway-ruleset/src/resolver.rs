//! The table in a sandbox's own namespace that leads questions for 127.0.0.11 to the resolver.
//!
//! A sandbox may run a name server of its own on 0.0.0.0:53, so the resolver cannot have port 53 of
//! 127.0.0.11. It listens on other ports of that address, and this table rewrites what goes there
//! and what comes back. The rewriting is per packet, without conntrack, so that a sandbox pays for no
//! flow table that it did not ask for. Should the sandbox switch conntrack on, questions are rewritten
//! before it looks and answers after, so that it sees one consistent flow.

use std::net::{IpAddr, Ipv4Addr};

use super::{Chain, ChainKind, Family, Hook, RuleBuilder, Table, priority, rule};
use fairway_model::Protocol;

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
