//! Refusals: TCP resets and ICMP errors to the sender of a packet.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{InFlight, Next, Walker};
use crate::discard::DiscardReason;
use crate::packet::{FlowPosition, Packet};
use crate::route::{RouteQuery, is_link_local};
use crate::sender::Sender;
use crate::topology::{Interface, NamespaceId};
use fairway_ruleset::{CtDirection, Family, Reject};

/// Codes of ICMP's "unreachable": RFC 792 and RFC 1812, 5.2.7.1; RFC 4443, 3.1.
pub(super) mod unreachable {
    /// No route, in both families.
    pub const NETWORK: u8 = 0;
    /// IPv4: the host is unreachable.
    pub const HOST: u8 = 1;
    /// IPv4: no socket listens at the port.
    pub const PORT: u8 = 3;
    /// IPv4: the packet is prohibited.
    pub const FILTERED: u8 = 13;
    /// IPv6: the packet is prohibited.
    pub const PROHIBITED_IPV6: u8 = 1;
    /// IPv6: the destination is beyond the scope of the source.
    pub const SCOPE_IPV6: u8 = 2;
    /// IPv6: the address is unreachable.
    pub const ADDRESS_IPV6: u8 = 3;
    /// IPv6: no socket listens at the port.
    pub const PORT_IPV6: u8 = 4;
}

/// The kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A TCP reset because no socket listens: a reply of the flow.
    Reset,
    /// A TCP reset by a rule.
    ResetByRule,
    /// An ICMP "unreachable" with this code of the packet's family.
    Unreachable(u8),
    /// An ICMP "time exceeded": the hop limit has run out.
    Expired,
}

/// A refused packet, as it was at that point.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    namespace: NamespaceId,
    packet: Packet,
    flow: Option<(usize, CtDirection)>,
    how: How,
    /// The interface where the packet arrived.
    input: Option<u32>,
    /// The bridge port where br_netfilter passed the packet to IP.
    bridge_port: Option<u32>,
    /// Whether the packet was refused in that IP hook.
    on_bridge: bool,
}

/// The ICMP code for a family-independent code of a rule (`NFT_REJECT_ICMPX_*`).
fn code_of(any: u8, ipv4: bool) -> u8 {
    match (any, ipv4) {
        (0, _) => unreachable::NETWORK,
        (1, true) => unreachable::PORT,
        (1, false) => unreachable::PORT_IPV6,
        (2, true) => unreachable::HOST,
        (2, false) => unreachable::ADDRESS_IPV6,
        (_, true) => unreachable::FILTERED,
        (_, false) => unreachable::PROHIBITED_IPV6,
    }
}

/// The IPv6 source address of an interface towards `to`: one of the same prefix, else the first.
fn global(interface: &Interface, to: IpAddr) -> Option<IpAddr> {
    let is_global = |own: &&IpNet| matches!(own.addr(), IpAddr::V6(own) if !own.is_unicast_link_local());
    let own = || interface.addresses.iter().filter(is_global);
    own().find(|own| own.contains(&to)).or_else(|| own().next()).map(|own| own.addr())
}

/// The interface for replies to a link-local address.
fn scoped(address: IpAddr, input: Option<u32>) -> Option<u32> {
    input.filter(|_| is_link_local(address))
}

impl Walker<'_> {
    /// Records a refused packet for [`Walker::refusal`].
    pub(super) fn refuse(
        &mut self,
        namespace: NamespaceId,
        in_flight: &InFlight,
        input: Option<u32>,
        how: How,
    ) {
        // No error is sent about an error (RFC 1122, 3.2.2), and no reset about a reset.
        let resets = matches!(how, How::Reset | How::ResetByRule);
        let silent = in_flight.packet.about().is_some() || (resets && in_flight.packet.is_reset());
        self.refused = (!silent).then(|| Refused {
            namespace,
            packet: in_flight.packet.clone(),
            flow: in_flight.flow,
            how,
            input,
            bridge_port: in_flight.bridge_port,
            on_bridge: in_flight.on_bridge,
        });
    }

    /// Records a packet that a rule rejected.
    pub(super) fn refuse_by_rule(
        &mut self,
        namespace: NamespaceId,
        in_flight: &InFlight,
        input: Option<u32>,
        how: Reject,
    ) {
        let ipv4 = in_flight.packet.family() == Family::Ip;
        let how = match how {
            Reject::TcpReset => How::ResetByRule,
            Reject::Unreachable(code) => How::Unreachable(code),
            Reject::AnyUnreachable(any) => How::Unreachable(code_of(any, ipv4)),
        };
        self.refuse(namespace, in_flight, input, how);
    }

    /// Sends the refusal.
    pub(super) fn send_refusal(&mut self, refused: Refused) -> Next {
        let Refused { namespace, packet, flow, how, input, bridge_port, on_bridge } = refused;
        let tuple = packet.tuple();
        if how == How::Reset {
            let sender = Sender { interface: scoped(tuple.source, input), ..Sender::of(namespace) };
            return self.send_new(sender, tuple.reversed(), FlowPosition::Reset);
        }
        let place = self.namespace(namespace);
        let port = bridge_port.and_then(|port| place.interface(port));
        if let Some(port) = port.filter(|_| how == How::ResetByRule) {
            // nf_send_reset sends it back to the port itself, past all hooks.
            let mut answer = self.packet(None, tuple.reversed(), FlowPosition::Reset);
            answer.frame_back(&packet);
            self.leaves(namespace, port, answer.tuple());
            return match port.peer {
                Some((peer, index)) => Next::Arrives(peer, index, InFlight::new(answer)),
                None => Next::End(self.discarded(namespace, DiscardReason::NoPeer)),
            };
        }
        let own = place.holder(tuple.destination).is_some() || tuple.destination.is_loopback();
        // For IPv4 the route decides, which a bridged frame does not have (RTCF_LOCAL).
        let own = own && !(on_bridge && tuple.source.is_ipv4());
        let output = scoped(tuple.source, input).and_then(|index| place.interface(index));
        let output = output.map(|interface| interface.name.as_str());
        // icmp_send in net/ipv4/icmp.c, icmp6_send in net/ipv6/icmp.c: IPv6 uses an address of the interface where the
        // packet arrived, if the interface has one.
        let is_global = tuple.source.is_ipv6() && !is_link_local(tuple.source);
        let near = input.filter(|_| is_global).and_then(|input| place.interface(input));
        let near = near.and_then(|near| global(near, tuple.source));
        let source = match how {
            How::Unreachable(_) | How::Expired if own => Some(tuple.destination),
            How::Unreachable(_) | How::Expired => near,
            // nf_send_reset in net/ipv4/netfilter/nf_reject_ipv4.c, nf_send_reset6 in its like for IPv6.
            How::Reset | How::ResetByRule => Some(tuple.destination),
        };
        let back = RouteQuery { output, source, ..RouteQuery::to(tuple.source) };
        let route = match self.route(namespace, &back) {
            Ok(route) => route,
            Err(end) => return Next::End(end),
        };
        let answer = match how {
            How::Unreachable(_) | How::Expired => {
                let Some(source) = source.or_else(|| place.source_for(route, tuple.source)) else {
                    return Next::End(self.discarded(namespace, DiscardReason::NoSourceAddress));
                };
                match how {
                    How::Unreachable(code) => Packet::unreachable(source, code, &packet),
                    _ => Packet::expired(source, &packet),
                }
            }
            How::Reset | How::ResetByRule => self.packet(None, tuple.reversed(), FlowPosition::Reset),
        };
        // A refusal belongs to the flow of the refused packet (nf_ct_attach).
        let flow = flow.map(|(number, direction)| {
            let back = match direction {
                CtDirection::Original => CtDirection::Reply,
                CtDirection::Reply => CtDirection::Original,
            };
            (number, back)
        });
        let in_flight = InFlight { flow, related: flow.is_some(), ..InFlight::new(answer) };
        self.output(namespace, route, in_flight)
    }
}
