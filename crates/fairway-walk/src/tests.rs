//! The walker in small topologies, and the values that it works on.

mod branch_records;
mod branches;
mod bridge_nat;
mod bridged;
mod bridges;
mod changing_sets;
mod connections;
mod conntrack;
mod facts;
mod flows;
mod foreign_rules;
mod inputs;
mod loads;
mod macvlans;
mod matches;
mod nat;
mod observed;
mod outputs;
mod packets;
mod records;
mod refusals;
mod routed;
mod routes;
mod rules;
mod samples;
mod source_ports;
mod topologies;
mod visits;

use std::net::IpAddr;

use crate::Tuple;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The tuple of a first packet: from port 40000 to port 80, or an echo request with identifier 7.
fn tuple(protocol: u8, source: &str, destination: &str) -> Tuple {
    let (source_port, destination_port) = match protocol {
        TCP | UDP | SCTP => (40_000, 80),
        ICMP | ICMPV6 => (7, 0),
        _ => (0, 0),
    };
    Tuple {
        protocol,
        source: address(source),
        destination: address(destination),
        source_port,
        destination_port,
    }
}
