//! One hook: its chains in the order of their priorities, with conntrack and translation where the kernel has them.

use super::own::redirected_to;
use super::{Between, Carried, Walker};
use crate::evaluate::{Effect, End as ChainEnd, Evaluation, Met};
use crate::flow::Flow;
use crate::packet::{Packet, Tuple};
use crate::step::{Counted, End, Step};
use fairway_ruleset::{Chain, ChainKind, CtDirection, Family, Hook, NatKind, Table, priority};

/// What is done at a priority.
enum Work<'a> {
    Track,
    TranslateDestination,
    TranslateSource,
    Rules(&'a Table, &'a Chain),
    /// The same hook of IP, for what is bridged: br_netfilter.
    Ip,
}

/// Where br_netfilter shows bridged packets to IP among the rules of the bridge's hooks: `br_nf_ops` in
/// net/bridge/br_netfilter_hooks.c.
fn shown_at(hook: Hook) -> i32 {
    match hook {
        Hook::Forward => -1,
        Hook::Postrouting => i32::MAX,
        _ => 0,
    }
}

/// A hook that a packet meets on a machine.
#[derive(Debug, Clone, Copy)]
struct At<'b> {
    machine: usize,
    hook: Hook,
    /// Whether it is a hook of the bridge.
    bridged: bool,
    between: Between<'b>,
    /// For a hook of the bridge that shows packets to IP: between what they are then.
    shown: Option<Between<'b>>,
}

/// A base chain with its priority and its table.
type Hooked<'a> = (i32, &'a Table, &'a Chain);

impl<'a> Walker<'a> {
    /// All of a hook of IP. Ends the walk when the packet is dropped.
    pub(super) fn hook(
        &mut self,
        machine: usize,
        hook: Hook,
        carried: &mut Carried,
        between: Between<'_>,
    ) -> Result<(), End> {
        if let Some(reason) = self.machine(machine).unread.clone() {
            return Err(End::Unknown { machine: self.name(machine), reason });
        }
        self.pass(At { machine, hook, bridged: false, between, shown: None }, carried)
    }

    /// All of a hook of the bridge, and of the same hook of IP if bridged packets meet it, between `shown`.
    pub(super) fn bridge_hook(
        &mut self,
        machine: usize,
        hook: Hook,
        carried: &mut Carried,
        between: Between<'_>,
        shown: Between<'_>,
    ) -> Result<(), End> {
        let seen = self.machine(machine).sees_bridged(carried.packet.family());
        let shown = Some(shown)
            .filter(|_| seen && matches!(hook, Hook::Prerouting | Hook::Forward | Hook::Postrouting));
        self.pass(At { machine, hook, bridged: true, between, shown }, carried)
    }

    /// All of a hook of the bridge for what IP has seen, since the host itself sends it.
    pub(super) fn unshown(
        &mut self,
        machine: usize,
        hook: Hook,
        carried: &mut Carried,
        between: Between<'_>,
    ) -> Result<(), End> {
        self.pass(At { machine, hook, bridged: true, between, shown: None }, carried)
    }

    fn pass(&mut self, at: At<'_>, carried: &mut Carried) -> Result<(), End> {
        let At { machine, hook, bridged, .. } = at;
        for (priority, work) in self.works(at, carried) {
            match work {
                Work::Track => self.track(machine, carried),
                Work::TranslateDestination => {
                    let before = carried.tuple().destination;
                    self.translate(at, NatKind::Destination, carried)?;
                    if hook == Hook::Output && before != carried.tuple().destination {
                        carried.rerouted = Some(carried.packet.mark);
                        self.finds_way(machine, carried)?;
                    }
                }
                Work::TranslateSource => self.translate(at, NatKind::Source, carried)?,
                Work::Rules(table, chain) => {
                    let before = (carried.packet.mark, carried.tuple().destination);
                    let effects = self.walk_chain(at, (priority, table, chain), carried)?;
                    self.heed(machine, &effects, carried);
                    // `nf_route_table_hook4` in net/netfilter/nft_chain_route.c: other chains change no route.
                    let routes = chain.base.as_ref().is_some_and(|base| base.kind == ChainKind::Route);
                    if routes && before != (carried.packet.mark, carried.tuple().destination) {
                        carried.rerouted = Some(carried.packet.mark);
                    }
                }
                Work::Ip => {
                    carried.on_bridge = true;
                    self.hook(machine, hook, carried, at.shown.unwrap_or_default())?;
                    carried.on_bridge = false;
                    if hook == Hook::Prerouting {
                        self.turn_to(machine, at.shown.unwrap_or_default(), carried)?;
                    }
                }
            }
        }
        let last = matches!(hook, Hook::Input | Hook::Postrouting) && !bridged;
        let begins = carried.flow.is_some_and(|(_, direction)| direction == CtDirection::Original);
        if let Some(flow) = self.flow(machine, carried).filter(|_| last && begins) {
            flow.confirmed = true;
        }
        Ok(())
    }

    /// The base chains of a hook, those for translation or the others.
    fn chains(&self, at: At<'_>, family: Family, translate: bool) -> impl Iterator<Item = Hooked<'a>> {
        let sees = move |table: &&Table| match at.bridged {
            true => table.family == Family::Bridge,
            false => table.family == family || table.family == Family::Inet,
        };
        let machine = self.machine(at.machine);
        let tables =
            machine.tables.iter().chain(&machine.older).filter(sees).filter(|table| !table.flags.dormant);
        let chains = tables.flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
        chains.filter_map(move |(table, chain)| {
            let base = chain.base.as_ref()?;
            let is_meant = base.hook == at.hook && (base.kind == ChainKind::Nat) == translate;
            is_meant.then_some((base.priority, table, chain))
        })
    }

    /// The chains of a hook and the kernel's own work there, in order.
    fn works(&self, at: At<'_>, carried: &Carried) -> Vec<(i32, Work<'a>)> {
        let rules = self.chains(at, carried.packet.family(), false);
        let mut works: Vec<_> =
            rules.map(|(priority, table, chain)| (priority, Work::Rules(table, chain))).collect();
        // Of two at one priority, the one that came later is first: `nf_hook_entries_grow` in net/netfilter/core.c.
        works.reverse();
        if at.shown.is_some() {
            works.push((shown_at(at.hook), Work::Ip));
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

    /// Walks one base chain, says what was met, and returns what its rules did beside deciding.
    fn walk_chain(
        &mut self,
        at: At<'_>,
        (priority, table, chain): Hooked<'a>,
        carried: &mut Carried,
    ) -> Result<Vec<Effect>, End> {
        let At { machine, hook, bridged, between, .. } = at;
        let mut evaluation = Evaluation::new(self.facts(machine, carried, between), table);
        let end = evaluation.run(chain, &mut carried.packet);
        let Evaluation { met, counted, .. } = evaluation;
        let name = self.name(machine);
        self.counted.extend(counted.into_iter().map(|(set, key)| Counted {
            machine: name.clone(),
            family: table.family,
            table: table.name.clone(),
            set,
            key,
        }));
        let by = met.last().map(in_words).unwrap_or_default();
        let effects = met.iter().flat_map(|met| met.effects.clone()).collect();
        let older = if self.machine(machine).is_older(table) { "legacy " } else { "" };
        let (table, chain) = (format!("{older}{} {}", table.family, table.name), chain.name.clone());
        self.steps.push(Step::Chain { machine: name.clone(), hook, bridged, priority, table, chain, met });
        match end {
            ChainEnd::Accepted => Ok(effects),
            ChainEnd::Dropped => Err(End::Dropped { machine: name, by }),
            ChainEnd::Refused(how) => {
                let input = between.input.map(|input| input.index);
                // The kernel does not tell itself of its own echo replies: `icmp_xmit_lock` is held.
                if hook != Hook::Output || carried.packet.echoes() != Some(true) {
                    self.refuse_by_rule(machine, carried, input, how);
                }
                let how = how.of_any(carried.packet.family());
                Err(End::Rejected { machine: name, by, how })
            }
            ChainEnd::Unknown(reason) => Err(End::Unknown { machine: name, reason }),
        }
    }

    fn flow(&mut self, machine: usize, carried: &Carried) -> Option<&mut Flow> {
        let (number, _) = carried.flow?;
        self.flows.get_mut(machine)?.get_mut(number)
    }

    /// Conntrack finds the packet's flow, or begins one.
    fn track(&mut self, machine: usize, carried: &mut Carried) {
        if carried.untracked || carried.flow.is_some() || !self.machine(machine).tracks() {
            return;
        }
        if let Some(about) = carried.packet.about() {
            return self.relate(machine, about, carried);
        }
        let tuple = carried.tuple();
        let known = self.flows[machine]
            .iter()
            .enumerate()
            .find_map(|(number, flow)| Some((number, flow.direction(tuple).filter(|_| flow.confirmed)?)));
        // Who asks itself for an echo has one tuple for both ways.
        let known = match known {
            Some((number, _)) if carried.packet.echoes() == Some(true) => Some((number, CtDirection::Reply)),
            known => known,
        };
        let (found, state) = match known {
            Some((number, CtDirection::Reply)) => {
                self.flows[machine][number].answered = true;
                ((number, CtDirection::Reply), "established (an answer)")
            }
            Some(found) => (found, "established"),
            None if !carried.packet.begins() => {
                self.steps.push(Step::Tracked { machine: self.name(machine), state: "invalid" });
                return;
            }
            None => {
                self.flows[machine].push(Flow::new(tuple));
                ((self.flows[machine].len() - 1, CtDirection::Original), "new")
            }
        };
        carried.flow = Some(found);
        self.steps.push(Step::Tracked { machine: self.name(machine), state });
    }

    /// An ICMP error belongs to the flow that it is about: `nf_conntrack_inet_error`.
    fn relate(&mut self, machine: usize, about: Tuple, carried: &mut Carried) {
        let known = self.flows[machine].iter().enumerate().find_map(|(number, flow)| {
            Some((number, flow.direction(about.reversed()).filter(|_| flow.confirmed)?))
        });
        carried.flow = known;
        carried.related = known.is_some();
        let state = if known.is_some() { "related" } else { "invalid" };
        self.steps.push(Step::Tracked { machine: self.name(machine), state });
    }

    /// An ICMP error is translated as an answer to what it is about, and so is what is in it:
    /// `nf_nat_icmp_reply_translation`.
    fn translate_error(&mut self, machine: usize, kind: NatKind, carried: &mut Carried) {
        const SOURCE_TRANSLATED: u32 = 16;
        const DESTINATION_TRANSLATED: u32 = 32;
        let Some((_, direction)) = carried.flow else { return };
        let Some(about) = carried.packet.about() else { return };
        let Some(flow) = self.flow(machine, carried) else { return };
        let answers = direction == CtDirection::Reply;
        let needed =
            if (kind == NatKind::Source) != answers { SOURCE_TRANSLATED } else { DESTINATION_TRANSLATED };
        if flow.status() & needed == 0 {
            return;
        }
        let first = if answers { flow.original } else { flow.translated.reversed() };
        let (from, mut to) = (carried.tuple(), carried.tuple());
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
        carried.packet.translate_about(about);
        if from != to {
            carried.packet.translate(to);
            self.steps.push(Step::Translated { machine: self.name(machine), from, to, now: false });
        }
    }

    /// The nat chains, for the first packet of a flow; and what was decided, for all of them.
    fn translate(&mut self, at: At<'_>, kind: NatKind, carried: &mut Carried) -> Result<(), End> {
        let machine = at.machine;
        let Some((_, direction)) = carried.flow else { return Ok(()) };
        if carried.packet.about().is_some() {
            self.translate_error(machine, kind, carried);
            return Ok(());
        }
        let open = self.flow(machine, carried).is_some_and(|flow| {
            let decided =
                if kind == NatKind::Source { flow.source_decided } else { flow.destination_decided };
            !flow.confirmed && !decided
        });
        if open {
            self.decide(at, kind, carried)?;
        }
        let before = carried.tuple();
        if let Some(flow) = self.flow(machine, carried) {
            let after = match kind {
                NatKind::Destination => flow.destination_of(before, direction),
                NatKind::Source => flow.source_of(before, direction),
            };
            self.rewrite(machine, carried, after, open);
        }
        Ok(())
    }

    /// Which of two tables was hooked first is not told: where another one at the same priority would translate
    /// otherwise, the end is not known.
    fn without_rival(
        &self,
        at: At<'_>,
        ((priority, table, chain), effect): (Hooked<'a>, &Effect),
        others: &[Hooked<'a>],
        carried: &Carried,
        packet: Packet,
    ) -> Result<(), End> {
        let rivals = others.iter().filter(|(other, of, _)| *other == priority && !std::ptr::eq(*of, table));
        for (_, other_table, other_chain) in rivals {
            let facts = self.facts(at.machine, carried, at.between);
            let mut evaluation = Evaluation::new(facts, other_table);
            let end = evaluation.run(other_chain, &mut packet.clone());
            if let ChainEnd::Unknown(reason) = end {
                return Err(End::Unknown { machine: self.name(at.machine), reason });
            }
            let effects = evaluation.met.into_iter().flat_map(|met| met.effects);
            if let Some(other) = effects.into_iter().find(translates)
                && other != *effect
            {
                let name =
                    |table: &Table, chain: &Chain| format!("{} {} {}", table.family, table.name, chain.name);
                let (one, other) = (name(table, chain), name(other_table, other_chain));
                let reason = format!(
                    "{one} and {other} translate it otherwise at one priority, and which of them does is not told"
                );
                return Err(End::Unknown { machine: self.name(at.machine), reason });
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, machine: usize, carried: &mut Carried, to: Tuple, now: bool) {
        let from = carried.tuple();
        if from != to {
            carried.packet.translate(to);
            self.steps.push(Step::Translated { machine: self.name(machine), from, to, now });
        }
    }

    /// The first nat chain that translates decides; when none does, nothing is translated.
    fn decide(&mut self, at: At<'_>, kind: NatKind, carried: &mut Carried) -> Result<(), End> {
        let machine = at.machine;
        let mut chains: Vec<_> = self.chains(at, carried.packet.family(), true).collect();
        chains.reverse();
        chains.sort_by_key(|(priority, ..)| *priority);
        for (place, hooked) in chains.iter().enumerate() {
            let as_before = carried.packet.clone();
            let effects = self.walk_chain(at, *hooked, carried)?;
            let effect = effects.into_iter().find(translates);
            let Some(effect) = effect else { continue };
            self.without_rival(at, (*hooked, &effect), &chains[place + 1..], carried, as_before)?;
            let own = match effect {
                Effect::Redirect(_) => redirected_to(at.hook, at.between, carried.packet.family()),
                _ => self.masqueraded_as(machine, carried, at.between),
            };
            if let Some(flow) = self.flow(machine, carried) {
                match effect {
                    Effect::Translate { kind: NatKind::Destination, address, port } => {
                        flow.translate_destination(address, port);
                    }
                    Effect::Translate { kind: NatKind::Source, address, port } => {
                        flow.translate_source(address, port);
                    }
                    Effect::Masquerade => flow.translate_source(own, None),
                    Effect::Redirect(port) => flow.translate_destination(own, port),
                    _ => {}
                }
            }
            return Ok(());
        }
        if let Some(flow) = self.flow(machine, carried) {
            match kind {
                NatKind::Source => flow.source_decided = true,
                NatKind::Destination => flow.destination_decided = true,
            }
        }
        Ok(())
    }

    /// What rules say that bears on what comes after them.
    fn heed(&mut self, machine: usize, effects: &[Effect], carried: &mut Carried) {
        for effect in effects {
            match effect {
                Effect::Untrack => carried.untracked = true,
                Effect::FlowMark(mark) => {
                    if let Some(flow) = self.flow(machine, carried) {
                        flow.mark = *mark;
                    }
                }
                _ => {}
            }
        }
    }
}

fn translates(effect: &Effect) -> bool {
    matches!(effect, Effect::Translate { .. } | Effect::Masquerade | Effect::Redirect(_))
}

fn in_words(met: &Met) -> String {
    let (table, chain) = (met.table_text(), &met.chain);
    let what = if met.older { "number" } else { "handle" };
    let handle = met.handle.map(|handle| format!(" ({what} {handle})")).unwrap_or_default();
    match (&met.comment, &met.rule) {
        (Some(comment), _) => format!("{table} {chain}: \"{comment}\"{handle}"),
        (None, Some(rule)) => format!("{table} {chain}: {rule}{handle}"),
        (None, None) => format!("the policy of {table} {chain}"),
    }
}
