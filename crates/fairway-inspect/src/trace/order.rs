//! Orders the events of one packet.
//!
//! Captures have times. Trace messages of rules have none, but arrive in order within one namespace, and name the
//! interface that the packet arrived on: they are placed after the capture there.

use super::event::{Captured, Event, EventKind, RuleTrace, TracedNamespace};
use fairway_ruleset::{Family, Hook};

/// Orders the events of a packet. `bridges_seen` is whether bridged packets pass the IP hooks
/// (`bridge-nf-call-iptables`, `-ip6tables`): then they do so before the bridge forwards them.
pub fn in_order(events: Vec<Event>, bridges_seen: bool) -> Vec<Event> {
    let (mut list, others): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|event| matches!(event.kind, EventKind::Captured(_)));
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
    match &event.kind {
        EventKind::Captured(captured) => captured.at,
        _ => 0,
    }
}

/// The position of a rule's event, `next` or later: after the capture at the rule's input interface, if that is later.
fn place(list: &[Event], event: &Event, next: usize, bridges_seen: bool) -> usize {
    let EventKind::Rule(RuleTrace { head: Some(head), family, base, .. }) = &event.kind else { return next };
    let Some(input) = &head.input else { return next };
    let arrives = |other: &Event, there: &dyn Fn(&str) -> bool| match &other.kind {
        EventKind::Captured(Captured { interface, outgoing: false, .. }) => {
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
        // A packet that arrived on a port of the bridge passes the IP hooks there.
        let before =
            list.iter().take(there.unwrap_or(list.len())).any(|it| arrives(it, &|name| name != input));
        if before {
            let port = find(&|name| name != input).filter(|at| there.is_none_or(|there| *at < there));
            return port.unwrap_or(next);
        }
    }
    there.unwrap_or(next)
}

/// The position of conntrack's event: after the last rule that may drop or translate the packet.
pub fn confirmation(list: &[Event], namespace: &TracedNamespace) -> usize {
    let own = |event: &&Event| event.namespace == *namespace;
    let routed = |event: &&Event| match &event.kind {
        EventKind::Rule(ruled) => ruled.family != Family::Bridge,
        EventKind::Captured(captured) => !captured.outgoing,
        EventKind::Conntrack(_) => false,
    };
    list.iter().rposition(|event| own(&event) && routed(&event)).map_or(list.len(), |at| at + 1)
}
