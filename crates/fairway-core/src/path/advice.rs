//! What would let a packet through that does not get through.

use std::net::IpAddr;

use super::conversation::{Conversation, Outcome};
use super::question::{Party, Question};
use super::step::End;
use crate::model::{Network, Sandbox};
use crate::world::World;

/// What to do so that what was asked is answered; none when it is answered, or nothing is known that would help.
pub fn advice(world: &World, question: &Question, conversation: &Conversation) -> Option<String> {
    if matches!(conversation.outcome(), Outcome::Answered(_) | Outcome::Left) {
        return None;
    }
    match conversation.last_end() {
        End::Dropped { by, .. } => dropped(world, question, by),
        End::NobodyListens { machine, tuple } if machine == "host" => held(world, tuple.destination_port),
        End::NobodyListens { machine, tuple } => Some(format!(
            "have the program in {machine} listen at {} or at all addresses, port {}",
            tuple.destination, tuple.destination_port
        )),
        End::Discarded { reason, .. } => discarded(reason),
        End::NoRoute { machine, .. } if machine != "host" => Some(format!(
            "{machine} has no way out: its networks are internal, or it has none: fairway network connect NETWORK {machine}"
        )),
        End::NoNeighbour { next, .. } => stale(world, *next),
        _ => None,
    }
}

fn sandbox_of<'a>(world: &'a World, party: &Party) -> Option<&'a Sandbox> {
    match party {
        Party::Sandbox(id) => world.sandbox(*id),
        Party::Address(address) => {
            let holds = |endpoint: &&crate::model::Endpoint| {
                endpoint.allocation.as_ref().is_some_and(|own| own.addresses().any(|it| it == *address))
            };
            world.endpoints().find(holds).and_then(|endpoint| world.sandbox(endpoint.sandbox))
        }
        Party::Host | Party::Lan(_) => None,
    }
}

/// A network of the user's that `of` is on.
fn network_of<'a>(world: &'a World, of: &Sandbox) -> Option<&'a Network> {
    let endpoints = world.endpoints_of_sandbox(of.id);
    let networks = endpoints.into_iter().filter_map(|endpoint| world.network(endpoint.network));
    networks.into_iter().min_by_key(|network| !network.user_defined())
}

fn dropped(world: &World, question: &Question, by: &str) -> Option<String> {
    let to = sandbox_of(world, &question.to);
    let from = sandbox_of(world, &question.from);
    let port = question.port;
    if by.contains("\"icc is off\"") {
        let (from, to) = (from?, to?);
        return Some(format!(
            "put both on a network without enable_icc=false (fairway network connect NETWORK {}), start {} with --link {}, or publish the port and use the host's address",
            from.name, from.name, to.name
        ));
    }
    if by.contains("\"internal\"") {
        return Some(
            "the network is internal: connect the container to one that is not: fairway network connect NETWORK CONTAINER"
                .to_owned(),
        );
    }
    if by.contains("\"not published\"") {
        let to = to?;
        let publish = format!("fairway publish {} {port}:{port}, and use the host's address", to.name);
        return Some(match (from, network_of(world, to)) {
            (Some(from), Some(network)) => {
                format!("fairway network connect {} {}; or {publish}", network.name, from.name)
            }
            _ => publish,
        });
    }
    if by.contains("another's") {
        return Some("it uses an address that belongs to another endpoint: use its own".to_owned());
    }
    (!by.contains(" fairway ")).then(|| format!("that is another firewall's: have it let this through: {by}"))
}

/// A port that is ours and that nothing carries.
fn held(world: &World, port: u16) -> Option<String> {
    let publishes = |sandbox: &&Sandbox| {
        sandbox.publications.iter().any(|publication| publication.host_ports.contains(port))
    };
    let sandbox = world.sandboxes().find(publishes);
    Some(match sandbox {
        Some(sandbox) => format!(
            "port {port} is published for {} and nothing carries it there: run the daemon with --iptables=true or --userland-proxy=true",
            sandbox.name
        ),
        None => format!(
            "start something that listens there, or publish a container's port: fairway publish CONTAINER {port}:PORT"
        ),
    })
}

fn discarded(reason: &str) -> Option<String> {
    if reason.contains("route_localnet is 0") {
        return Some(
            "use another address of the host, run the daemon with --userland-proxy=true, or let the network have route_localnet"
                .to_owned(),
        );
    }
    if reason.contains("does not forward") {
        return Some("sysctl -w net.ipv4.ip_forward=1 (for IPv6 net.ipv6.conf.all.forwarding=1), or run the daemon with --ip-forward=true".to_owned());
    }
    if reason.contains("hairpin is off") {
        return Some(
            "run the daemon with --userland-proxy=true, or ask by the container's own address".to_owned(),
        );
    }
    reason.contains("rp_filter").then(|| {
        "the kernel expects that source elsewhere: set the route back, or net.ipv4.conf.INTERFACE.rp_filter to 2 or 0"
            .to_owned()
    })
}

/// Nobody has the address now; the World may know somebody who stopped.
fn stale(world: &World, next: IpAddr) -> Option<String> {
    let network = world
        .networks()
        .find(|network| network.subnets.iter().any(|subnet| subnet.subnet.contains(&next)))?;
    Some(format!(
        "nobody on {} has {next} now: see who does: fairway network inspect {}",
        network.name, network.name
    ))
}
