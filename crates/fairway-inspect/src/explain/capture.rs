//! Captures of a connection: the interfaces, the addresses there, and the `tcpdump` commands. A capture sees packets
//! before PREROUTING and after POSTROUTING only: the effect of rules shows in the difference of two captures.

use serde::{Deserialize, Serialize};

use fairway_core::world::World;
use fairway_model::Endpoint;
use fairway_model::shell::quote;
use fairway_walk::{ConnectionWalk, NamespaceId, Topology, Tuple};
use fairway_walk::{PacketWalk, Step};

/// An interface where a capture sees the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Capture {
    /// The namespace.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// The purpose of the interface.
    pub what: String,
    /// The requests as seen there, in the order in which they pass; replies are their reverse. Source ports
    /// are made up.
    pub shows: Vec<Tuple>,
    /// The `tcpdump` command to run on the host, if the host can enter the namespace. It needs nothing in the sandbox
    /// but the network namespace.
    pub command: String,
}

/// An interface with the flows that a capture sees there.
struct Seen<'a> {
    namespace: NamespaceId,
    interface: &'a str,
    flows: Vec<Tuple>,
}

/// Knows the places where captures can run.
pub trait CapturePlaces {
    /// The path of a namespace other than the host's, by which a command can enter it.
    fn path(&self, topology: &Topology, namespace: NamespaceId) -> Option<String>;
    /// The purpose of an interface of the host.
    fn purpose(&self, interface: &str) -> String;
}

impl CapturePlaces for World {
    fn path(&self, topology: &Topology, namespace: NamespaceId) -> Option<String> {
        let sandbox = self.sandbox(topology[namespace].sandbox?).filter(|it| it.running())?;
        Some(sandbox.namespace()?.path.clone())
    }

    fn purpose(&self, interface: &str) -> String {
        what(self, interface)
    }
}

/// The captures of a connection, in the order in which its packets reach the interfaces.
pub fn captures(
    connection: &ConnectionWalk,
    topology: &Topology,
    places: &impl CapturePlaces,
) -> Vec<Capture> {
    let mut seen = Vec::new();
    look_at(connection, &mut seen);
    let command = |seen: &Seen<'_>| {
        let prefix = match seen.namespace {
            NamespaceId::HOST => String::new(),
            inside => format!("nsenter --net={} ", quote(&places.path(topology, inside)?)),
        };
        let interface = quote(seen.interface);
        Some(format!("{prefix}tcpdump -ni {interface} '{}'", expression(&seen.flows)))
    };
    let captures = seen.iter().filter_map(|place| {
        let name = topology.name(place.namespace);
        Some(Capture {
            namespace: name.to_owned(),
            interface: place.interface.to_owned(),
            what: match place.namespace {
                NamespaceId::HOST => places.purpose(place.interface),
                _ => format!("in {name}"),
            },
            shows: place.flows.clone(),
            command: command(place)?,
        })
    });
    captures.collect()
}

fn look_at<'a>(connection: &'a ConnectionWalk, seen: &mut Vec<Seen<'a>>) {
    look(&connection.first, false, seen);
    if let Some(second) = &connection.proxied {
        look_at(second, seen);
    }
    if let Some(answer) = &connection.reply {
        look(answer, true, seen);
    }
}

/// The purpose of an interface of the host.
fn what(world: &World, interface: &str) -> String {
    if let Some(network) = world.networks().find(|network| network.bridge == interface) {
        return format!("the bridge of network {}", network.name);
    }
    let mut endpoints = world.endpoints();
    let is = |endpoint: &&Endpoint| {
        endpoint.allocation.as_ref().is_some_and(|allocation| allocation.host_interface == interface)
    };
    let owner = endpoints.find(is).and_then(|endpoint| world.sandbox(endpoint.sandbox));
    match owner {
        Some(sandbox) => format!("the host's end, towards {}", sandbox.name),
        None => "the host's own".to_owned(),
    }
}

/// Records the flows on a walk; those of a reply are reversed, but not those of an ICMP error, which is none.
fn look<'a>(path: &'a PacketWalk, answers: bool, seen: &mut Vec<Seen<'a>>) {
    for step in &path.steps {
        let (Step::Arrives { namespace, interface, tuple } | Step::Leaves { namespace, interface, tuple }) =
            step
        else {
            continue;
        };
        let is_error = matches!(tuple.protocol, 1 | 58) && tuple.source_port == 0;
        let tuple = if answers && !is_error { tuple.reversed() } else { *tuple };
        let known = seen.iter_mut().find(|it| it.namespace == *namespace && it.interface == interface);
        match known {
            Some(known) if known.flows.contains(&tuple) => {}
            Some(known) => known.flows.push(tuple),
            None => seen.push(Seen { namespace: *namespace, interface, flows: vec![tuple] }),
        }
    }
}

/// The `tcpdump` filter expression for both directions (pcap-filter(7)).
fn expression(flows: &[Tuple]) -> String {
    let one = |flow: &Tuple| {
        let host = format!("host {}", flow.destination);
        match (flow.protocol, flow.has_ports()) {
            (1, _) => format!("icmp and {host}"),
            (58, _) => format!("icmp6 and {host}"),
            (protocol, true) => {
                let name = match protocol {
                    6 => "tcp ",
                    17 => "udp ",
                    132 => "sctp ",
                    _ => "",
                };
                format!("{host} and {name}port {}", flow.destination_port)
            }
            (protocol, false) => format!("{host} and proto {protocol}"),
        }
    };
    let mut each: Vec<String> = flows.iter().map(one).collect();
    each.sort();
    each.dedup();
    match &each[..] {
        [one] => one.clone(),
        several => format!("({})", several.join(") or (")),
    }
}

#[cfg(test)]
mod tests {
    use fairway_walk::{DiscardReason, End};

    use super::*;

    #[test]
    fn replies_are_shown_as_their_questions_and_errors_as_they_are() {
        let tuple = |protocol, source: &str, destination: &str, ports: (u16, u16)| Tuple {
            protocol,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: ports.0,
            destination_port: ports.1,
        };
        for (seen_there, shown) in [
            (tuple(6, "10.0.0.2", "10.0.0.1", (80, 40_000)), "tcp 10.0.0.1:40000 > 10.0.0.2:80"),
            (tuple(1, "10.0.0.2", "10.0.0.1", (40_000, 0)), "icmp 10.0.0.1 > 10.0.0.2"),
            (tuple(1, "10.0.0.254", "10.0.0.1", (0, 0)), "icmp 10.0.0.254 > 10.0.0.1"),
        ] {
            let namespace = NamespaceId::HOST;
            let walk = PacketWalk {
                steps: vec![Step::Arrives { namespace, interface: "eth0".to_owned(), tuple: seen_there }],
                end: End::Discarded { namespace, reason: DiscardReason::Unsolicited },
                counted: Vec::new(),
            };
            let mut seen = Vec::new();
            look(&walk, true, &mut seen);
            assert_eq!(seen[0].flows[0].to_string(), shown);
        }
    }
}
