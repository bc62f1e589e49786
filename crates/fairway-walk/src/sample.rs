//! Sample packets, of which some values are not known, in one table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::build::{add_interface, empty_namespace};
pub use crate::evaluate::chain::possible::PossibleDrop;
use crate::evaluate::{Evaluation, Facts};
use crate::flow::Flow;
use crate::lookup::Lookup;
use crate::packet::{FlowPosition, Packet, Tuple};
use crate::topology::{Interface, NamespaceId};
use fairway_ruleset::{Chain, ChainKind, CtDirection, Family, Hook, PayloadBase, Table};
use ipnet::IpNet;

/// The index of an interface that is known by its name: no rule has it.
const NO_INDEX: u32 = u32::MAX;
const LOOPBACK: &str = "lo";
/// Stand for addresses that are not known (RFC 5737, RFC 3849).
const ANY_IPV4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ANY_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The first packet of a flow at one hook, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The hook.
    pub hook: Hook,
    /// Its layer 3 family.
    pub family: Family,
    /// The number of the transport protocol.
    pub protocol: u8,
    /// The input interface: empty for packets of the namespace itself, none if it is not known.
    pub input: Option<String>,
    /// The output interface: empty for packets to the namespace itself, none if it is not known.
    pub output: Option<String>,
    /// The source address, if it is known.
    pub source: Option<IpAddr>,
    /// The destination address, if it is known.
    pub destination: Option<IpAddr>,
    /// The destination port, if it is known.
    pub destination_port: Option<u16>,
    /// Whether NAT changed its destination.
    pub translated: bool,
    /// The addresses of the namespace.
    pub local: Vec<IpAddr>,
}

impl Sample {
    /// The rules and policies of a table that drop the packet, or may drop it.
    pub fn possible_drops(&self, table: &Table) -> Vec<PossibleDrop> {
        if table.flags.dormant {
            return Vec::new();
        }
        table.chains.iter().flat_map(|chain| self.possible_drops_in(table, chain)).collect()
    }

    /// The rules and policies that drop the packet, or may drop it, in one base chain of a table and the chains that it
    /// leads to.
    pub fn possible_drops_in(&self, table: &Table, chain: &Chain) -> Vec<PossibleDrop> {
        let is_met = [Family::Inet, self.family].contains(&table.family);
        let is_met =
            is_met && chain.base.as_ref().is_some_and(|it| it.hook == self.hook && it.kind != ChainKind::Nat);
        if !is_met {
            return Vec::new();
        }
        let mut namespace = empty_namespace("");
        let addresses = self.local.iter().map(|address| IpNet::from(*address)).collect();
        add_interface(
            &mut namespace,
            Interface { index: NO_INDEX, up: true, addresses, ..Interface::default() },
        );
        let interface = |name: &String| match name.as_str() {
            "" => Interface::default(),
            LOOPBACK => Interface { index: 1, name: name.clone(), ..Interface::default() },
            _ => Interface { index: NO_INDEX, name: name.clone(), ..Interface::default() },
        };
        let [input, output] = [&self.input, &self.output].map(|it| it.as_ref().map(interface));
        let mut packet = self.packet();
        let mut flow = Flow::new(packet.tuple());
        if self.translated {
            // Of the flow, rules on samples see state, direction and status.
            flow.translate_destination(Some(Ipv4Addr::UNSPECIFIED.into()), None);
        }
        let lookup = Lookup::default();
        let facts = Facts {
            namespace: &namespace,
            input: input.as_ref(),
            output: output.as_ref(),
            flow: Some((&flow, CtDirection::Original)),
            related: false,
            untracked: false,
            user: None,
            ports: None,
            is_sample: true,
            lookup: (&lookup, NamespaceId::HOST),
            choices: None,
        };
        Evaluation::new(facts, table).possible_drops(chain, &mut packet)
    }

    /// The address that stands for one that is not known.
    fn any(&self) -> IpAddr {
        match self.family {
            _ if self.output.as_deref() == Some(LOOPBACK) => Ipv4Addr::LOCALHOST.into(),
            Family::Ip => ANY_IPV4,
            _ => ANY_IPV6,
        }
    }

    /// The packet. Known are also the flags of TCP, and that it is no fragment: it is the first of a flow.
    fn packet(&self) -> Packet {
        use PayloadBase::{Network, Transport};
        let address = |known: Option<IpAddr>| known.unwrap_or(self.any());
        let tuple = Tuple {
            protocol: self.protocol,
            source: address(self.source),
            destination: address(self.destination),
            source_port: 0,
            destination_port: self.destination_port.unwrap_or_default(),
        };
        let mut packet = Packet::new(tuple, FlowPosition::First);
        let unpredictable = match self.family {
            Family::Ip => vec![(Network, 1..6), (Network, 8..9), (Network, 10..12)],
            _ => vec![(Network, 0..6), (Network, 7..8)],
        };
        let transport = [(Transport, 0..2), (Transport, 4..13), (Transport, 14..u32::MAX)];
        let port = (Transport, if self.destination_port.is_some() { 0..0 } else { 2..4 });
        for (base, bytes) in unpredictable.into_iter().chain(transport).chain([port]) {
            packet.forget(base, bytes);
        }
        for (known, is_source) in [(self.source, true), (self.destination, false)] {
            if known.is_none() {
                packet.forget(Network, packet.address_bytes(is_source));
            }
        }
        packet
    }
}

#[cfg(test)]
mod tests;
