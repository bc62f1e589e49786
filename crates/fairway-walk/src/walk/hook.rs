//! Runs the chains of one hook in the order of their priorities, with conntrack and NAT where the kernel has them.

use super::nat_address::redirected_to;
use super::{HookInterfaces, InFlight, Walker};
use crate::evaluate::{Action, End as ChainEnd, Evaluation, RuleHit};
use crate::flow::Flow;
use crate::packet::{Packet, Tuple};
use crate::step::{Counted, End, Step};
use crate::topology::NamespaceId;
use fairway_ruleset::{Chain, ChainKind, CtDirection, Family, Hook, NatKind, Table, Verdict, priority};

/// The work at one priority of a hook.
enum Work<'a> {
    Track,
    TranslateDestination,
    TranslateSource,
    Rules(&'a Table, &'a Chain),
    /// The same hook of IP, for bridged packets: br_netfilter.
    Ip,
}

/// The priority in the bridge's hooks at which br_netfilter passes bridged packets to IP: `br_nf_ops` in
/// net/bridge/br_netfilter_hooks.c.
fn br_netfilter_priority(hook: Hook) -> i32 {
    match hook {
        Hook::Forward => -1,
        Hook::Postrouting => i32::MAX,
        _ => 0,
    }
}

/// A hook that a packet meets in a namespace.
#[derive(Debug, Clone, Copy)]
struct At<'b> {
    namespace: NamespaceId,
    hook: Hook,
    /// Whether it is a hook of the bridge.
    bridged: bool,
    interfaces: HookInterfaces<'b>,
    /// The input and output interface in the IP hook, if the hook of the bridge passes packets to IP.
    ip_interfaces: Option<HookInterfaces<'b>>,
}

/// A base chain with its priority and its table.
type Hooked<'a> = (i32, &'a Table, &'a Chain);

impl<'a> Walker<'a> {
    /// Runs a hook of IP. An error is the end of a dropped packet.
    pub(super) fn hook(
        &mut self,
        namespace: NamespaceId,
        hook: Hook,
        in_flight: &mut InFlight,
        interfaces: HookInterfaces<'_>,
    ) -> Result<(), End> {
        if let Some(reason) = self.namespace(namespace).unreadable_rules.clone() {
            return Err(End::Unknown { namespace, reason });
        }
        self.pass(At { namespace, hook, bridged: false, interfaces, ip_interfaces: None }, in_flight)
    }

    /// Runs a hook of the bridge, and the same hook of IP, between `ip_interfaces`, if bridged packets meet it.
    pub(super) fn bridge_hook(
        &mut self,
        namespace: NamespaceId,
        hook: Hook,
        in_flight: &mut InFlight,
        interfaces: HookInterfaces<'_>,
        ip_interfaces: HookInterfaces<'_>,
    ) -> Result<(), End> {
        let seen = self.namespace(namespace).sees_bridged(in_flight.packet.family());
        let ip_interfaces = Some(ip_interfaces)
            .filter(|_| seen && matches!(hook, Hook::Prerouting | Hook::Forward | Hook::Postrouting));
        self.pass(At { namespace, hook, bridged: true, interfaces, ip_interfaces }, in_flight)
    }

    /// Runs a hook of the bridge for a packet that the host itself sends: IP has seen it.
    pub(super) fn bridge_hook_without_ip(
        &mut self,
        namespace: NamespaceId,
        hook: Hook,
        in_flight: &mut InFlight,
        interfaces: HookInterfaces<'_>,
    ) -> Result<(), End> {
        self.pass(At { namespace, hook, bridged: true, interfaces, ip_interfaces: None }, in_flight)
    }

    fn pass(&mut self, at: At<'_>, in_flight: &mut InFlight) -> Result<(), End> {
        let At { namespace, hook, bridged, .. } = at;
        for (priority, work) in self.works(at, in_flight) {
            match work {
                Work::Track => self.track(namespace, in_flight),
                Work::TranslateDestination => {
                    let before = in_flight.tuple().destination;
                    self.translate(at, NatKind::Destination, in_flight)?;
                    if hook == Hook::Output && before != in_flight.tuple().destination {
                        in_flight.rerouted = Some(in_flight.packet.mark);
                        self.reroute_after_dnat(namespace, in_flight)?;
                    }
                }
                Work::TranslateSource => self.translate(at, NatKind::Source, in_flight)?,
                Work::Rules(table, chain) => {
                    let before = (in_flight.packet.mark, in_flight.tuple().destination);
                    let actions = self.walk_chain(at, (priority, table, chain), in_flight)?;
                    self.apply_actions(namespace, &actions, in_flight);
                    // `nf_route_table_hook4` in net/netfilter/nft_chain_route.c: other chains change no route.
                    let routes = chain.base.as_ref().is_some_and(|base| base.kind == ChainKind::Route);
                    if routes && before != (in_flight.packet.mark, in_flight.tuple().destination) {
                        in_flight.rerouted = Some(in_flight.packet.mark);
                    }
                }
                Work::Ip => {
                    in_flight.on_bridge = true;
                    self.hook(namespace, hook, in_flight, at.ip_interfaces.unwrap_or_default())?;
                    in_flight.on_bridge = false;
                    if hook == Hook::Prerouting {
                        self.redirect_bridged(namespace, at.ip_interfaces.unwrap_or_default(), in_flight)?;
                    }
                }
            }
        }
        let last = matches!(hook, Hook::Input | Hook::Postrouting) && !bridged;
        let begins = in_flight.flow.is_some_and(|(_, direction)| direction == CtDirection::Original);
        if let Some(flow) = self.flow(namespace, in_flight).filter(|_| last && begins) {
            flow.confirmed = true;
        }
        Ok(())
    }

    /// The base chains of a hook: the nat chains or the others.
    fn chains(&self, at: At<'_>, family: Family, translate: bool) -> impl Iterator<Item = Hooked<'a>> {
        let sees = move |table: &&Table| match at.bridged {
            true => table.family == Family::Bridge,
            false => table.family == family || table.family == Family::Inet,
        };
        let namespace = self.namespace(at.namespace);
        let tables = namespace
            .tables
            .iter()
            .chain(&namespace.iptables_legacy)
            .filter(sees)
            .filter(|table| !table.flags.dormant);
        let chains = tables.flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
        chains.filter_map(move |(table, chain)| {
            let base = chain.base.as_ref()?;
            let is_meant = base.hook == at.hook && (base.kind == ChainKind::Nat) == translate;
            is_meant.then_some((base.priority, table, chain))
        })
    }

    /// The chains of a hook and the kernel's own work there, in order.
    fn works(&self, at: At<'_>, in_flight: &InFlight) -> Vec<(i32, Work<'a>)> {
        let rules = self.chains(at, in_flight.packet.family(), false);
        let mut works: Vec<_> =
            rules.map(|(priority, table, chain)| (priority, Work::Rules(table, chain))).collect();
        // Of two chains at one priority, the later one is first: `nf_hook_entries_grow` in net/netfilter/core.c.
        works.reverse();
        if at.ip_interfaces.is_some() {
            works.push((br_netfilter_priority(at.hook), Work::Ip));
        }
        match at.hook {
            _ if at.bridged => {}
            Hook::Prerouting | Hook::Output => {
                works.push((priority::CONNTRACK, Work::Track));
                works.push((priority::DESTINATION_NAT, Work::TranslateDestination));
            }
            Hook::Input | Hook::Postrouting => works.push((priority::SOURCE_NAT, Work::TranslateSource)),
            _ => {}
        }
        works.sort_by_key(|(priority, _)| *priority);
        works
    }

    /// Evaluates one base chain, records the step, and returns the actions of its rules.
    fn walk_chain(
        &mut self,
        at: At<'_>,
        (priority, table, chain): Hooked<'a>,
        in_flight: &mut InFlight,
    ) -> Result<Vec<Action>, End> {
        let At { namespace, hook, bridged, interfaces, .. } = at;
        let mut evaluation = Evaluation::new(self.facts(namespace, in_flight, interfaces), table);
        let end = evaluation.run(chain, &mut in_flight.packet);
        let Evaluation { hits, counted, tried, .. } = evaluation;
        if let Some(choices) = &self.choices {
            choices.spend(tried);
        }
        self.counted.extend(counted.into_iter().map(|(set, key)| Counted {
            namespace,
            family: table.family,
            table: table.name.clone(),
            set,
            key,
        }));
        let legacy = self.namespace(namespace).is_legacy(table);
        let last = hits.last().cloned();
        let by = last.unwrap_or_else(|| RuleHit::policy(table, legacy, chain, Verdict::Drop));
        let actions = hits.iter().flat_map(|hit| hit.actions.clone()).collect();
        self.steps.push(Step::Chain {
            namespace,
            hook,
            bridged,
            priority,
            family: table.family,
            table: table.name.clone(),
            legacy,
            chain: chain.name.clone(),
            hits,
        });
        match end {
            ChainEnd::Accepted => Ok(actions),
            ChainEnd::Dropped => Err(End::Dropped { namespace, by: Box::new(by) }),
            ChainEnd::Refused(how) => {
                let input = interfaces.input.map(|input| input.index);
                // The kernel sends itself no error about its own echo replies: `icmp_xmit_lock` is held.
                if hook != Hook::Output || in_flight.packet.echoes() != Some(true) {
                    self.refuse_by_rule(namespace, in_flight, input, how);
                }
                let how = how.of_any(in_flight.packet.family());
                Err(End::Rejected { namespace, by: Box::new(by), how })
            }
            ChainEnd::Unknown(reason) => Err(End::Unknown { namespace, reason }),
            // Only trials end so.
            ChainEnd::Undecided(_) => {
                Err(End::Unknown { namespace, reason: format!("{}: undecided", chain.name) })
            }
        }
    }

    fn flow(&mut self, namespace: NamespaceId, in_flight: &InFlight) -> Option<&mut Flow> {
        let (number, _) = in_flight.flow?;
        self.flows.get_mut(namespace.0)?.get_mut(number)
    }

    /// Conntrack finds the packet's flow, or begins one.
    fn track(&mut self, namespace: NamespaceId, in_flight: &mut InFlight) {
        if in_flight.untracked || in_flight.flow.is_some() || !self.namespace(namespace).tracks() {
            return;
        }
        if let Some(about) = in_flight.packet.about() {
            return self.relate(namespace, about, in_flight);
        }
        let tuple = in_flight.tuple();
        let known = self.flows[namespace.0]
            .iter()
            .enumerate()
            .find_map(|(number, flow)| Some((number, flow.direction(tuple).filter(|_| flow.confirmed)?)));
        // An echo request to the own address has one tuple for both directions.
        let known = match known {
            Some((number, _)) if in_flight.packet.echoes() == Some(true) => {
                Some((number, CtDirection::Reply))
            }
            known => known,
        };
        let (found, state) = match known {
            Some((number, CtDirection::Reply)) => {
                self.flows[namespace.0][number].answered = true;
                ((number, CtDirection::Reply), "established (an answer)")
            }
            Some(found) => (found, "established"),
            None if !in_flight.packet.begins() => {
                self.steps.push(Step::Tracked { namespace, state: "invalid" });
                return;
            }
            None => {
                self.flows[namespace.0].push(Flow::new(tuple));
                ((self.flows[namespace.0].len() - 1, CtDirection::Original), "new")
            }
        };
        in_flight.flow = Some(found);
        self.steps.push(Step::Tracked { namespace, state });
    }

    /// Relates an ICMP error to the flow of the packet that it reports: `nf_conntrack_inet_error`.
    fn relate(&mut self, namespace: NamespaceId, about: Tuple, in_flight: &mut InFlight) {
        let known = self.flows[namespace.0].iter().enumerate().find_map(|(number, flow)| {
            Some((number, flow.direction(about.reversed()).filter(|_| flow.confirmed)?))
        });
        in_flight.flow = known;
        in_flight.related = known.is_some();
        let state = if known.is_some() { "related" } else { "invalid" };
        self.steps.push(Step::Tracked { namespace, state });
    }

    /// Translates an ICMP error, and the packet in it, as a reply to the packet that it reports:
    /// `nf_nat_icmp_reply_translation`.
    fn translate_error(&mut self, namespace: NamespaceId, kind: NatKind, in_flight: &mut InFlight) {
        const SOURCE_TRANSLATED: u32 = 16;
        const DESTINATION_TRANSLATED: u32 = 32;
        let Some((_, direction)) = in_flight.flow else { return };
        let Some(about) = in_flight.packet.about() else { return };
        let Some(flow) = self.flow(namespace, in_flight) else { return };
        let answers = direction == CtDirection::Reply;
        let needed =
            if (kind == NatKind::Source) != answers { SOURCE_TRANSLATED } else { DESTINATION_TRANSLATED };
        if flow.status() & needed == 0 {
            return;
        }
        let first = if answers { flow.original } else { flow.translated.reversed() };
        let (from, mut to) = (in_flight.tuple(), in_flight.tuple());
        let about = match kind {
            NatKind::Source => {
                to.source = first.destination;
                Tuple { destination: first.destination, destination_port: first.destination_port, ..about }
            }
            NatKind::Destination => {
                to.destination = first.source;
                Tuple { source: first.source, source_port: first.source_port, ..about }
            }
        };
        in_flight.packet.translate_about(about);
        if from != to {
            in_flight.packet.translate(to);
            self.steps.push(Step::Translated { namespace, from, to, now: false });
        }
    }

    /// Evaluates the nat chains for the first packet of a flow, and applies their result to every packet.
    fn translate(&mut self, at: At<'_>, kind: NatKind, in_flight: &mut InFlight) -> Result<(), End> {
        let namespace = at.namespace;
        let Some((_, direction)) = in_flight.flow else { return Ok(()) };
        if in_flight.packet.about().is_some() {
            self.translate_error(namespace, kind, in_flight);
            return Ok(());
        }
        let open = self.flow(namespace, in_flight).is_some_and(|flow| {
            let decided =
                if kind == NatKind::Source { flow.source_decided } else { flow.destination_decided };
            !flow.confirmed && !decided
        });
        if open {
            self.decide(at, kind, in_flight)?;
        }
        let before = in_flight.tuple();
        if let Some(flow) = self.flow(namespace, in_flight) {
            let after = match kind {
                NatKind::Destination => flow.destination_of(before, direction),
                NatKind::Source => flow.source_of(before, direction),
            };
            self.rewrite(namespace, in_flight, after, open);
        }
        Ok(())
    }

    /// The kernel does not report which of two tables was hooked first: where two nat chains at one priority translate
    /// differently, the end is not known.
    fn check_nat_conflict(
        &self,
        at: At<'_>,
        ((priority, table, chain), action): (Hooked<'a>, &Action),
        others: &[Hooked<'a>],
        in_flight: &InFlight,
        packet: Packet,
    ) -> Result<(), End> {
        let rivals = others.iter().filter(|(other, of, _)| *other == priority && !std::ptr::eq(*of, table));
        for (_, other_table, other_chain) in rivals {
            let facts = self.facts(at.namespace, in_flight, at.interfaces);
            let mut evaluation = Evaluation::new(facts, other_table);
            let end = evaluation.run(other_chain, &mut packet.clone());
            if let ChainEnd::Unknown(reason) = end {
                return Err(End::Unknown { namespace: at.namespace, reason });
            }
            let actions = evaluation.hits.into_iter().flat_map(|hit| hit.actions);
            if let Some(other) = actions.into_iter().find(translates)
                && other != *action
            {
                let name =
                    |table: &Table, chain: &Chain| format!("{} {} {}", table.family, table.name, chain.name);
                let (one, other) = (name(table, chain), name(other_table, other_chain));
                let reason = format!(
                    "{one} and {other} translate the packet differently at one priority, and their order is not known"
                );
                return Err(End::Unknown { namespace: at.namespace, reason });
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, namespace: NamespaceId, in_flight: &mut InFlight, to: Tuple, now: bool) {
        let from = in_flight.tuple();
        if from != to {
            in_flight.packet.translate(to);
            self.steps.push(Step::Translated { namespace, from, to, now });
        }
    }

    /// Applies the first nat chain that translates; without one, nothing is translated.
    fn decide(&mut self, at: At<'_>, kind: NatKind, in_flight: &mut InFlight) -> Result<(), End> {
        let namespace = at.namespace;
        let mut chains: Vec<_> = self.chains(at, in_flight.packet.family(), true).collect();
        chains.reverse();
        chains.sort_by_key(|(priority, ..)| *priority);
        for (place, hooked) in chains.iter().enumerate() {
            let as_before = in_flight.packet.clone();
            let actions = self.walk_chain(at, *hooked, in_flight)?;
            let action = actions.into_iter().find(translates);
            let Some(action) = action else { continue };
            self.check_nat_conflict(at, (*hooked, &action), &chains[place + 1..], in_flight, as_before)?;
            let own = match action {
                Action::Redirect(_) => redirected_to(at.hook, at.interfaces, in_flight.packet.family()),
                _ => self.masqueraded_as(namespace, in_flight, at.interfaces),
            };
            if let Some(flow) = self.flow(namespace, in_flight) {
                match action {
                    Action::Translate { kind: NatKind::Destination, address, port } => {
                        flow.translate_destination(address, port);
                    }
                    Action::Translate { kind: NatKind::Source, address, port } => {
                        flow.translate_source(address, port);
                    }
                    Action::Masquerade(port) => flow.translate_source(own, port),
                    Action::Redirect(port) => flow.translate_destination(own, port),
                    _ => {}
                }
            }
            return Ok(());
        }
        if let Some(flow) = self.flow(namespace, in_flight) {
            match kind {
                NatKind::Source => flow.source_decided = true,
                NatKind::Destination => flow.destination_decided = true,
            }
        }
        Ok(())
    }

    /// Applies the actions of rules that later hooks depend on.
    fn apply_actions(&mut self, namespace: NamespaceId, actions: &[Action], in_flight: &mut InFlight) {
        for action in actions {
            match action {
                Action::Untrack => in_flight.untracked = true,
                Action::FlowMark(mark) => {
                    if let Some(flow) = self.flow(namespace, in_flight) {
                        flow.mark = *mark;
                    }
                }
                _ => {}
            }
        }
    }
}

fn translates(action: &Action) -> bool {
    matches!(action, Action::Translate { .. } | Action::Masquerade(_) | Action::Redirect(_))
}
