//! Rules and keys that read as what they mean.

mod key;
mod load;

pub use key::{KeyBuilder, key};
pub use load::Load;

use std::net::{IpAddr, SocketAddrV4};

use super::numbered::numbered;
use super::{
    Checksum, Comparison, Count, CtDirection, CtKey, Expression, Family, LookupResult, MetaKey, NatFlags,
    NatKind, PayloadBase, Register, Reject, Rule, Verdict,
};
use fairway_model::Protocol;

numbered! {
    /// The state of a flow, as a bit (`NF_CT_STATE_BIT`).
    pub enum CtState: u32 {
        /// It makes no sense.
        Invalid = 1, "invalid";
        /// Packets were seen both ways.
        Established = 2, "established";
        /// It belongs to a flow that is known: an ICMP error, or a helper's expectation.
        Related = 4, "related";
        /// Its first packet.
        New = 8, "new";
        /// Kept from conntrack.
        Untracked = 64, "untracked";
    }
}

/// The bit of `ct status` that says the destination was translated (`IPS_DST_NAT`).
const STATUS_DNAT: u32 = 32;
/// `RTN_LOCAL`.
const TYPE_LOCAL: u32 = 2;
const INTERFACE_NAME_LENGTH: usize = 16;

/// A rule in the making. Each step uses the registers anew.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RuleBuilder(Rule);

/// Begins a rule.
pub fn rule() -> RuleBuilder {
    RuleBuilder::default()
}

impl From<RuleBuilder> for Rule {
    fn from(builder: RuleBuilder) -> Self {
        builder.0
    }
}

impl RuleBuilder {
    /// Any expression.
    pub fn expression(mut self, expression: Expression) -> Self {
        self.0.expressions.push(expression);
        self
    }

    /// What the rule is for.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.0.comment = Some(comment.into());
        self
    }

    /// Loads values one after the other, each at the start of a register. What would not fit into
    /// the kernel's sixteen is left out; no key is that long (64 bytes).
    fn load(mut self, loads: &[Load]) -> Self {
        let mut next = Some(Register::FIRST);
        for load in loads {
            let Some(register) = next else { break };
            self = self.expression(load.into_register(register));
            next = register.after(load.length());
        }
        self
    }

    /// Matches if a value compares so with bytes.
    pub fn compare(self, load: Load, operator: Comparison, value: impl Into<Vec<u8>>) -> Self {
        let from = Register::FIRST;
        self.load(&[load]).expression(Expression::Compare { from, operator, value: value.into() })
    }

    /// Matches if a value is these bytes.
    pub fn is(self, load: Load, value: impl Into<Vec<u8>>) -> Self {
        self.compare(load, Comparison::Equal, value)
    }

    /// Matches if a value is not these bytes.
    pub fn is_not(self, load: Load, value: impl Into<Vec<u8>>) -> Self {
        self.compare(load, Comparison::NotEqual, value)
    }

    /// Matches if, of the bits in `mask`, exactly those in `value` are set.
    pub fn is_masked(self, load: Load, mask: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.masked(load, mask.into(), Comparison::Equal, value.into())
    }

    /// Matches if any of the bits in `mask` is set.
    pub fn has_any_bit(self, load: Load, mask: impl Into<Vec<u8>>) -> Self {
        let mask = mask.into();
        let zero = vec![0; mask.len()];
        self.masked(load, mask, Comparison::NotEqual, zero)
    }

    fn masked(self, load: Load, mask: Vec<u8>, operator: Comparison, value: Vec<u8>) -> Self {
        let (from, to, xor) = (Register::FIRST, Register::FIRST, vec![0; mask.len()]);
        self.load(&[load])
            .expression(Expression::Bitwise { from, to, mask, xor })
            .expression(Expression::Compare { from, operator, value })
    }

    fn look_up(self, key: &[Load], set: &str, result: LookupResult) -> Self {
        self.load(key).expression(Expression::Lookup { set: set.to_owned(), from: Register::FIRST, result })
    }

    /// Matches if the key of these values is in a set.
    pub fn is_in(self, key: &[Load], set: &str) -> Self {
        self.look_up(key, set, LookupResult::Match)
    }

    /// Matches if the key of these values is not in a set.
    pub fn is_not_in(self, key: &[Load], set: &str) -> Self {
        self.look_up(key, set, LookupResult::NoMatch)
    }

    /// Matches if the key of these values is in a map, whatever it leads to. (Only since Linux 6.13 a map is looked up
    /// like a set.)
    pub fn is_key_of(self, key: &[Load], map: &str) -> Self {
        self.look_up(key, map, LookupResult::Value(Register::FIRST))
    }

    /// Counts the packet in the element that a dynamic set has, or gets, for the key of these values.
    pub fn count_in(self, key: &[Load], set: &str) -> Self {
        self.load(key).expression(Expression::Update { set: set.to_owned(), from: Register::FIRST })
    }

    /// Follows the verdict that a map has for the key of these values.
    pub fn verdict_of(self, key: &[Load], map: &str) -> Self {
        self.look_up(key, map, LookupResult::Verdict)
    }

    /// Translates the destination to the address and port that a map has for the key of these
    /// values; the map's data are `ipv4_addr . inet_service` or `ipv6_addr . inet_service`.
    pub fn dnat_by(self, family: Family, key: &[Load], map: &str) -> Self {
        let address = Register::FIRST;
        let length = if family == Family::Ip6 { 16 } else { 4 };
        self.look_up(key, map, LookupResult::Value(address)).expression(Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Some(address.into()),
            port: address.after(length).map(Into::into),
            flags: NatFlags::default(),
        })
    }

    /// Translates the destination to one address and port.
    pub fn dnat_to(self, to: SocketAddrV4) -> Self {
        let address = Register::FIRST;
        let port = address.after(4);
        let rule = self.expression(Expression::Immediate { to: address, value: to.ip().octets().to_vec() });
        let rule = match port {
            Some(port) => {
                rule.expression(Expression::Immediate { to: port, value: to.port().to_be_bytes().to_vec() })
            }
            None => rule,
        };
        rule.expression(Expression::Nat {
            kind: NatKind::Destination,
            family: Family::Ip,
            address: Some(address.into()),
            port: port.map(Into::into),
            flags: NatFlags::default(),
        })
    }

    /// Translates the source to the address that a map has for the key of these values.
    pub fn snat_by(self, family: Family, key: &[Load], map: &str) -> Self {
        let address = Register::FIRST;
        self.look_up(key, map, LookupResult::Value(address)).expression(Expression::Nat {
            kind: NatKind::Source,
            family,
            address: Some(address.into()),
            port: None,
            flags: NatFlags::default(),
        })
    }

    /// Matches packets of a layer 3 protocol, in an `inet` table.
    pub fn family(self, family: Family) -> Self {
        self.is(Load::Meta(MetaKey::NetworkFamily), [family.number()])
    }

    /// Matches frames that carry this EtherType, by the frame's own header.
    pub fn ether_type(self, number: u16) -> Self {
        self.is(Load::ETHER_TYPE, number.to_be_bytes())
    }

    /// Matches packets of a transport protocol.
    pub fn transport(self, protocol: Protocol) -> Self {
        self.is(Load::TRANSPORT, [protocol.number()])
    }

    /// Matches ICMPv6.
    pub fn icmpv6(self) -> Self {
        self.is(Load::TRANSPORT, [58])
    }

    /// Matches packets to a port of a protocol.
    pub fn to_port(self, protocol: Protocol, port: u16) -> Self {
        self.transport(protocol).is(Load::DESTINATION_PORT, port.to_be_bytes())
    }

    /// Matches packets from a port of a protocol.
    pub fn from_port(self, protocol: Protocol, port: u16) -> Self {
        self.transport(protocol).is(Load::SOURCE_PORT, port.to_be_bytes())
    }

    /// Matches packets from an address. In an `inet` or `bridge` table say the family first.
    pub fn from_address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.is(Load::IP_SOURCE, address.octets()),
            IpAddr::V6(address) => self.is(Load::IP6_SOURCE, address.octets()),
        }
    }

    /// Matches packets to an address. In an `inet` or `bridge` table say the family first.
    pub fn to_address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.is(Load::IP_DESTINATION, address.octets()),
            IpAddr::V6(address) => self.is(Load::IP6_DESTINATION, address.octets()),
        }
    }

    /// Matches packets that arrived at the interface of that name.
    pub fn iifname(self, name: &str) -> Self {
        self.is(Load::INPUT_NAME, interface_name(name))
    }

    /// Matches packets that leave by the interface of that name.
    pub fn oifname(self, name: &str) -> Self {
        self.is(Load::OUTPUT_NAME, interface_name(name))
    }

    /// Matches flows in any of these states. Switches conntrack on.
    pub fn ct_state_any(self, states: &[CtState]) -> Self {
        let bits = states.iter().fold(0, |bits, state| bits | state.number());
        self.has_any_bit(Load::Ct(CtKey::State, None), bits.to_ne_bytes())
    }

    /// Matches flows whose destination was translated.
    pub fn ct_status_dnat(self) -> Self {
        self.has_any_bit(Load::Ct(CtKey::Status, None), STATUS_DNAT.to_ne_bytes())
    }

    /// Matches packets with or against their flow's first.
    pub fn ct_direction(self, direction: CtDirection) -> Self {
        self.is(Load::Ct(CtKey::Direction, None), [direction.number()])
    }

    /// Matches packets to an address of this host.
    pub fn to_local(self) -> Self {
        self.is(Load::DESTINATION_TYPE, TYPE_LOCAL.to_ne_bytes())
    }

    /// Matches packets from an address of this host.
    pub fn from_local(self) -> Self {
        self.is(Load::SOURCE_TYPE, TYPE_LOCAL.to_ne_bytes())
    }

    /// Matches packets of sockets of a user; only where packets leave (output, postrouting).
    pub fn socket_user(self, user: u32) -> Self {
        self.is(Load::Meta(MetaKey::SocketUser), user.to_ne_bytes())
    }

    /// Matches TCP segments of a connection that a socket of this host has, and none that begins one; only
    /// where packets arrive (prerouting, input).
    pub fn connected_here(self) -> Self {
        const SYN: u8 = 2;
        self.transport(Protocol::Tcp).is_masked(Load::TCP_FLAGS, [SYN], [0]).is(Load::SOCKET_WILDCARD, [0])
    }

    /// Replaces the destination port, for this packet alone and without conntrack.
    pub fn rewrite_destination_port(self, protocol: Protocol, port: u16) -> Self {
        self.rewrite_port(protocol, 2, port)
    }

    /// Replaces the source port, for this packet alone and without conntrack.
    pub fn rewrite_source_port(self, protocol: Protocol, port: u16) -> Self {
        self.rewrite_port(protocol, 0, port)
    }

    fn rewrite_port(self, protocol: Protocol, offset: u32, port: u16) -> Self {
        // Where the checksum is: RFC 9293 section 3.1 and RFC 768.
        let internet = |offset| Checksum::Internet { offset, pseudo_header: false };
        let checksum = match protocol {
            Protocol::Tcp => internet(16),
            Protocol::Udp => internet(6),
            Protocol::Sctp => Checksum::Sctp,
        };
        let from = Register::FIRST;
        self.expression(Expression::Immediate { to: from, value: port.to_be_bytes().to_vec() }).expression(
            Expression::PayloadSet { from, base: PayloadBase::Transport, offset, length: 2, checksum },
        )
    }

    /// Sets the packet's mark.
    pub fn set_mark(self, mark: u32) -> Self {
        let register = Register::FIRST;
        self.expression(Expression::Immediate { to: register, value: mark.to_ne_bytes().to_vec() })
            .expression(Expression::MetaSet { key: MetaKey::Mark, from: register })
    }

    /// Counts.
    pub fn counter(self) -> Self {
        self.expression(Expression::Counter(Count::default()))
    }

    /// Translates the source to the address of the interface the packet leaves by.
    pub fn masquerade(self) -> Self {
        self.expression(Expression::Masquerade { port: None, flags: NatFlags::default() })
    }

    /// Keeps conntrack from this packet.
    pub fn notrack(self) -> Self {
        self.expression(Expression::Notrack)
    }

    /// Drops, and answers that it is forbidden.
    pub fn reject(self) -> Self {
        const ADMINISTRATIVELY_PROHIBITED: u8 = 3;
        self.expression(Expression::Reject(Reject::AnyUnreachable(ADMINISTRATIVELY_PROHIBITED)))
    }

    /// Any verdict.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.expression(Expression::Verdict(verdict))
    }

    /// Accepts.
    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    /// Drops.
    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// Goes back to the chain that jumped here, or to the policy.
    pub fn go_back(self) -> Self {
        self.verdict(Verdict::Return)
    }

    /// Goes to a chain, and comes back.
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(Verdict::Jump(chain.to_owned()))
    }

    /// Goes to a chain for good.
    pub fn goto(self, chain: &str) -> Self {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }
}

/// A name as the kernel compares it: padded with zeros to 16 bytes.
fn interface_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(INTERFACE_NAME_LENGTH, 0);
    bytes
}
