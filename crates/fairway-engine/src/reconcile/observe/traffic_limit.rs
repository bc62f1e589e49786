//! Observes limits of traffic.

use std::collections::BTreeMap;

use fairway_core::object::{Key, Object, TokenBucket, TrafficLimit, interface_of_buffer};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::route::{Discipline, Link, Mark};
use fairway_model::EndpointId;

use super::Observation;

/// A limit of which nothing but the `ifb` link with this name and mark is known.
pub(super) fn stray(name: &str, endpoint: EndpointId) -> (Key, Object) {
    let host_interface = interface_of_buffer(name);
    let limit = TrafficLimit {
        endpoint,
        host_interface: host_interface.clone(),
        mtu: 0,
        ingress: None,
        egress: None,
    };
    (Key::TrafficLimit(host_interface), Object::TrafficLimit(limit))
}

/// Compares the planned limits with the disciplines of links, which are given by index.
pub(super) fn observe(
    observation: &mut Observation<'_>,
    links: &[Link],
    disciplines: &BTreeMap<u32, Discipline>,
) {
    let by_name: BTreeMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
    for (key, object) in observation.wanted {
        if let Object::TrafficLimit(limit) = object
            && let Some(host) = by_name.get(limit.host_interface.as_str())
        {
            let of = |link: &Link| disciplines.get(&link.index).copied().unwrap_or_default();
            let buffer = by_name.get(limit.buffer_interface().as_str()).map(|link| (*link, of(link)));
            observation.compared(key, deviations(limit, &of(host), buffer));
        }
    }
}

fn deviations(
    limit: &TrafficLimit,
    host: &Discipline,
    buffer: Option<(&Link, Discipline)>,
) -> Vec<Deviation> {
    let mut found = Vec::new();
    let mut expect = |name: &str, wanted: &TokenBucket, discipline: &Discipline| {
        if !discipline.is(wanted) {
            let other = discipline.bucket.map_or("none".to_owned(), |(rate, limit)| {
                format!("{} bit/s, limit {limit} bytes", rate.saturating_mul(8))
            });
            found.push(Deviation::new(name, other, wanted.to_string()));
        }
    };
    if let Some(wanted) = &limit.ingress {
        expect("ingress", wanted, host);
    }
    let Some(wanted) = &limit.egress else { return found };
    let name = limit.buffer_interface();
    match buffer {
        None => found.push(Deviation::missing(format!("interface {name}"))),
        Some((link, discipline)) => {
            expect("egress", wanted, &discipline);
            if link.mark() != Some(Mark::Endpoint(limit.endpoint)) {
                let alias = link.alias.clone().unwrap_or_else(|| "none".to_owned());
                found.push(Deviation::new("alias", alias, "Fairway's mark of this object"));
            }
            if !link.up {
                found.push(Deviation::new(format!("state of {name}"), "down", "up"));
            }
        }
    }
    if !host.redirects {
        found.push(Deviation::missing(format!("redirection to {name}")));
    }
    found
}
