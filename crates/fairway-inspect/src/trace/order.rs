//! In which order a packet was at the places where it was seen.
//!
//! Captures have times. Of rules the kernel tells no time, but their order on one namespace, and at which interface the
//! packet arrived: so they belong behind the capture there.

use super::event::{Captured, Event, Ruled, TracedNamespace, What};
use fairway_ruleset::{Family, Hook};

/// Puts what was heard of a packet in order. `bridges_seen` is whether bridged packets meet the IP hooks
/// (`bridge-nf-call-iptables`, `-ip6tables`): before their bridge hands them on, then.
pub fn in_order(events: Vec<Event>, bridges_seen: bool) -> Vec<Event> {
    let (mut list, others): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|event| matches!(event.what, What::Captured(_)));
    list.sort_by_key(time);
    let mut namespaces: Vec<TracedNamespace> = others.iter().map(|event| event.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    for namespace in namespaces {
        let mut next = 0;
        for event in others.iter().filter(|event| event.namespace == namespace) {
            next = place(&list, event, next, bridges_seen);
            list.insert(next, event.clone());
            next += 1;
        }
    }
    list
}

fn time(event: &Event) -> u64 {
    match &event.what {
        What::Captured(captured) => captured.at,
        _ => 0,
    }
}

/// Where a rule belongs, if not before `next`: behind the arrival at its interface, if that comes later.
fn place(list: &[Event], event: &Event, next: usize, bridges_seen: bool) -> usize {
    let What::Ruled(Ruled { head: Some(head), family, base, .. }) = &event.what else { return next };
    let Some(input) = &head.input else { return next };
    let arrives = |other: &Event, there: &dyn Fn(&str) -> bool| match &other.what {
        What::Captured(Captured { interface, outgoing: false, .. }) => {
            other.namespace == event.namespace && there(interface)
        }
        _ => false,
    };
    let find = |there: &dyn Fn(&str) -> bool| {
        let later = list.iter().enumerate().skip(next).find(|(_, other)| arrives(other, there));
        later.map(|(at, _)| at + 1)
    };
    let there = find(&|name| name == input);
    let arriving = matches!(base, Some((Hook::Prerouting, _)));
    if bridges_seen && arriving && *family != Family::Bridge {
        // If it came by a port of that bridge, it meets them there.
        let before =
            list.iter().take(there.unwrap_or(list.len())).any(|it| arrives(it, &|name| name != input));
        if before {
            let port = find(&|name| name != input).filter(|at| there.is_none_or(|there| *at < there));
            return port.unwrap_or(next);
        }
    }
    there.unwrap_or(next)
}

/// Where it belongs that conntrack has the flow: it is told behind all that may still drop or translate the packet.
pub fn confirmation(list: &[Event], namespace: &TracedNamespace) -> usize {
    let own = |event: &&Event| event.namespace == *namespace;
    let routed = |event: &&Event| match &event.what {
        What::Ruled(ruled) => ruled.family != Family::Bridge,
        What::Captured(captured) => !captured.outgoing,
        What::Tracked(_) => false,
    };
    list.iter().rposition(|event| own(&event) && routed(&event)).map_or(list.len(), |at| at + 1)
}
