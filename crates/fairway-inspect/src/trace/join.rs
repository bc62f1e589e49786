//! Joins the events of a trace: those of one packet at many places, and the packets of one flow.

use std::collections::{BTreeMap, HashMap};

use super::event::{Change, Event, EventKind, TracedNamespace};
use super::filter::Filter;
use super::fingerprint::{Fingerprint, ObservedPacket};
use super::flow::Flows;
use super::order::{confirmation, in_order};
use super::output::{PacketTimeline, TraceMessage};
use super::timeline::{forgotten, observed, way};
use fairway_core::policy::is_trace_table;
use fairway_ruleset::CtDirection;
use fairway_walk::Tuple;

/// How long after its last event a packet is reported, in nanoseconds: readers of captures and of rules are not equally
/// fast.
const PATIENCE: u64 = 120_000_000;
/// How many packets wait to be reported.
const WAITING: usize = 20_000;

/// A packet that waits for further events.
#[derive(Debug)]
struct Packet {
    /// The events in the order of their arrival.
    events: Vec<(u64, Event)>,
    last: u64,
    fingerprint: Fingerprint,
}

/// Joins the events of a trace to timelines of packets.
#[derive(Debug)]
pub struct Joiner {
    filter: Filter,
    flows: Flows,
    /// Packets in the order of their arrival.
    waiting: BTreeMap<u64, Packet>,
    prints: HashMap<Fingerprint, Vec<u64>>,
    /// The packets by namespace and the kernel's number.
    ids: HashMap<(TracedNamespace, u32), u64>,
    next: u64,
    heard: u64,
    forgotten: Vec<(u64, Event)>,
    unreported: u64,
}

impl Joiner {
    /// A joiner for the packets that match a filter.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            flows: Flows::default(),
            waiting: BTreeMap::new(),
            prints: HashMap::new(),
            ids: HashMap::new(),
            next: 0,
            heard: 0,
            forgotten: Vec::new(),
            unreported: 0,
        }
    }

    /// Replaces the filter: the addresses behind its names may have changed.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
    }

    /// How many packets were observed and dropped without a report, because too many waited.
    pub fn unreported(&self) -> u64 {
        self.unreported
    }

    /// Receives an event. All times are in nanoseconds since 1970.
    pub fn receive(&mut self, event: Event, now: u64) {
        match &event.kind {
            EventKind::Conntrack(tracked) if event.namespace != TracedNamespace::Host => {
                self.flows.relate(tracked, now);
            }
            EventKind::Conntrack(tracked) => {
                if let Some(key) = self.flows.track(tracked, now) {
                    self.forgotten.push((key, event));
                }
            }
            EventKind::Rule(ruled) if ruled.head.is_none() => {
                let known = self.ids.get(&(event.namespace.clone(), ruled.id)).copied();
                if let Some(place) = known {
                    self.add(place, event, now);
                }
            }
            _ => {
                let Some(seen) = observed(&event).cloned() else { return };
                if event.namespace != TracedNamespace::Host && seen.tuple.source.is_loopback() {
                    // Loopback packets have the same addresses in each sandbox.
                    return;
                }
                let known = self.places(&seen, |_| true);
                let place = self.join(&known).unwrap_or_else(|| self.begin(seen.fingerprint, now));
                if let EventKind::Rule(ruled) = &event.kind {
                    self.ids.insert((event.namespace.clone(), ruled.id), place);
                }
                self.add(place, event, now);
            }
        }
    }

    fn add(&mut self, place: u64, event: Event, now: u64) {
        if let Some(packet) = self.waiting.get_mut(&place) {
            packet.last = now;
            packet.events.push((self.heard, event));
            self.heard += 1;
        }
    }

    fn begin(&mut self, fingerprint: Fingerprint, now: u64) -> u64 {
        if self.waiting.len() >= WAITING
            && let Some((place, packet)) = self.waiting.pop_first()
        {
            self.unreported += 1;
            self.unprint(place, &packet.fingerprint);
        }
        let place = self.next;
        self.next += 1;
        self.prints.entry(fingerprint.clone()).or_default().push(place);
        self.waiting.insert(place, Packet { events: Vec::new(), last: now, fingerprint });
        place
    }

    /// Finds the waiting packets that are the observed one at another place.
    fn places(&self, seen: &ObservedPacket, is_meant: impl Fn(u64) -> bool) -> Vec<u64> {
        let places = self.prints.get(&seen.fingerprint).into_iter().flatten().copied();
        let is_same = |place: &u64| {
            let events = self.waiting.get(place).into_iter().flat_map(|packet| &packet.events);
            events.filter_map(|(_, event)| observed(event)).any(|other| self.are_related(other, seen))
        };
        places.filter(|place| is_meant(*place)).filter(is_same).collect()
    }

    /// Joins several packets to the first of them, and returns that one.
    fn join(&mut self, places: &[u64]) -> Option<u64> {
        let (first, others) = places.split_first()?;
        for other in others {
            let Some(packet) = self.waiting.remove(other) else { continue };
            self.unprint(*other, &packet.fingerprint);
            self.ids.values_mut().filter(|place| *place == other).for_each(|place| *place = *first);
            if let Some(joined) = self.waiting.get_mut(first) {
                joined.last = joined.last.max(packet.last);
                joined.events.extend(packet.events);
                joined.events.sort_by_key(|(heard, _)| *heard);
            }
        }
        Some(*first)
    }

    /// Joins packets that later events show to be one packet.
    fn join_again(&mut self, place: u64) {
        let Some(packet) = self.waiting.get(&place) else { return };
        if self.prints.get(&packet.fingerprint).is_none_or(|places| places.len() < 2) {
            return;
        }
        let seen: Vec<ObservedPacket> =
            packet.events.iter().filter_map(|(_, event)| observed(event)).cloned().collect();
        for observed in seen {
            let others = self.places(&observed, |other| other != place);
            let all: Vec<u64> = std::iter::once(place).chain(others).collect();
            self.join(&all);
        }
    }

    /// Whether two packets with the same fingerprint are one packet: they share an end, or conntrack's flow.
    fn are_related(&self, one: &ObservedPacket, other: &ObservedPacket) -> bool {
        let source = |tuple: Tuple| (tuple.source, tuple.source_port);
        let destination = |tuple: Tuple| (tuple.destination, tuple.destination_port);
        let flow = |observed: &ObservedPacket| self.flows.find(observed.belongs_to());
        source(one.tuple) == source(other.tuple)
            || destination(one.tuple) == destination(other.tuple)
            || flow(one).is_some_and(|found| flow(other) == Some(found))
    }

    fn unprint(&mut self, place: u64, fingerprint: &Fingerprint) {
        if let Some(places) = self.prints.get_mut(fingerprint) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.prints.remove(fingerprint);
            }
        }
    }

    /// Removes and returns the packets for which no more events are expected; with `all` every packet.
    pub fn take_messages(&mut self, now: u64, all: bool) -> Vec<TraceMessage> {
        // A packet is reported after those that arrived before it, unless one of these goes on and on.
        let mut in_turn = true;
        let mut is_due = |packet: &Packet| {
            let silent = now.saturating_sub(packet.last);
            in_turn &= silent >= PATIENCE;
            all || in_turn || silent >= 2 * PATIENCE
        };
        let due: Vec<u64> =
            self.waiting.iter().filter(|(_, packet)| is_due(packet)).map(|it| *it.0).collect();
        let mut packets = Vec::new();
        for place in due {
            self.join_again(place);
            if let Some(packet) = self.waiting.remove(&place) {
                self.unprint(place, &packet.fingerprint);
                let events: Vec<Event> = packet.events.into_iter().map(|(_, event)| event).collect();
                let ipv4 = events.iter().find_map(observed).is_none_or(|it| it.tuple.source.is_ipv4());
                packets.push(in_order(events, self.filter.sees_bridged(ipv4)));
            }
        }
        let Self { ids, waiting, .. } = self;
        ids.retain(|_, place| waiting.contains_key(place));
        packets.sort_by_key(|events| began(events, now));
        let mut messages: Vec<TraceMessage> = packets
            .into_iter()
            .filter_map(|events| self.timeline(events, now))
            .map(|timeline| TraceMessage::Packet(Box::new(timeline)))
            .collect();
        messages.extend(self.forgotten_flows(now));
        messages
    }

    fn timeline(&mut self, mut events: Vec<Event>, now: u64) -> Option<PacketTimeline> {
        let observed: Vec<&ObservedPacket> = events.iter().filter_map(observed).collect();
        let at = began(&events, now);
        let first = (*observed.first()?).clone();
        let (key, direction) = self.flows.of(&observed, at)?;
        let maker = events.first()?.namespace.clone();
        let flow = self.flows.get(key)?;
        let is_known = flow.knows_its_beginning(&first);
        let with_first =
            |tuple: Tuple| if direction == CtDirection::Reply { tuple.reversed() } else { tuple };
        let mut tuples = observed.iter().map(|observed| observed.belongs_to());
        flow.is_meant |= tuples.any(|tuple| match is_known {
            true => self.filter.begins(with_first(tuple)),
            false => self.filter.means(tuple),
        });
        flow.is_meant |= events.iter().any(|event| self.filter.takes(event));
        flow.is_meant |= flow.original().is_some_and(|tuple| is_known && self.filter.begins(tuple));
        if !flow.is_meant {
            return None;
        }
        if let (false, Some(original), Some(reply)) = (flow.announced, flow.original(), flow.expects())
            && direction == CtDirection::Original
            && events.iter().any(|event| event.namespace == TracedNamespace::Host)
        {
            flow.announced = true;
            let tracked = super::event::ConntrackEvent { change: Change::New, id: 0, original, reply };
            let place = confirmation(&events, &TracedNamespace::Host);
            let event = Event { namespace: TracedNamespace::Host, kind: EventKind::Conntrack(tracked) };
            events.insert(place, event);
        }
        let remembered = flow.number.is_some() || direction == CtDirection::Reply;
        let way = way(&events, remembered, is_trace_table);
        let from = match maker {
            TracedNamespace::Host if comes_in(&events) => first.tuple.source.to_string(),
            maker => maker.to_string(),
        };
        flow.see(&first, direction, &from, way.dropped.as_deref());
        let filter = &self.filter;
        let target = flow.original();
        self.flows.number(key, |asked| target.is_some_and(|target| filter.is_carried(asked, &target)));
        let flow = self.flows.get(key)?.summary();
        let back = direction == CtDirection::Reply;
        Some(PacketTimeline { at, title: first.to_string(), back, entries: way.entries, end: way.end, flow })
    }

    fn forgotten_flows(&mut self, now: u64) -> Vec<TraceMessage> {
        let messages = std::mem::take(&mut self.forgotten).into_iter().filter_map(|(key, event)| {
            let flow = self.flows.get(key)?.summary();
            let entry = forgotten(now, &event.namespace, flow.original);
            Some(TraceMessage::Packet(Box::new(PacketTimeline {
                at: now,
                entries: vec![entry],
                flow,
                ..PacketTimeline::default()
            })))
        });
        messages.collect()
    }
}

/// The time of a packet's first capture.
fn began(events: &[Event], now: u64) -> u64 {
    let times = events.iter().filter_map(|event| match &event.kind {
        EventKind::Captured(captured) => Some(captured.at),
        _ => None,
    });
    times.min().unwrap_or(now)
}

/// Whether the first event of a packet is its arrival.
fn comes_in(events: &[Event]) -> bool {
    match events.first().map(|event| &event.kind) {
        Some(EventKind::Captured(captured)) => !captured.outgoing,
        Some(EventKind::Rule(ruled)) => ruled.head.as_ref().is_some_and(|head| head.input.is_some()),
        _ => false,
    }
}
