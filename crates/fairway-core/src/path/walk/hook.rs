//! One hook: its chains in the order of their priorities, with conntrack and translation where the kernel has them.

use super::{Carried, Walker};
use crate::path::evaluate::{Effect, End as ChainEnd, Evaluation, Met};
use crate::path::flow::Flow;
use crate::path::machine::Interface;
use crate::path::packet::Tuple;
use crate::path::step::{End, Step};
use crate::ruleset::{Chain, ChainKind, CtDirection, Family, Hook, NatKind, Table, priority};

/// What is done at a priority.
enum Work<'a> {
    Track,
    TranslateDestination,
    TranslateSource,
    Rules(&'a Table, &'a Chain),
}

impl<'a> Walker<'a> {
    /// All of a hook. Ends the walk when the packet is dropped.
    pub(super) fn hook(
        &mut self,
        machine: usize,
        hook: Hook,
        bridged: bool,
        carried: &mut Carried,
        input: Option<&Interface>,
        output: Option<&Interface>,
    ) -> Result<(), End> {
        if let Some(reason) = self.machine(machine).unread.clone().filter(|_| !bridged) {
            return Err(End::Unknown { machine: self.name(machine), reason });
        }
        for (priority, work) in self.works(machine, hook, bridged, carried) {
            match work {
                Work::Track => self.track(machine, carried),
                Work::TranslateDestination => {
                    self.translate(machine, hook, NatKind::Destination, carried, input, output)?;
                }
                Work::TranslateSource => {
                    self.translate(machine, hook, NatKind::Source, carried, input, output)?;
                }
                Work::Rules(table, chain) => {
                    let facts = self.facts(machine, carried, input, output);
                    let mut evaluation = Evaluation::new(facts, table);
                    let end = evaluation.run(chain, &mut carried.packet);
                    let met = evaluation.met;
                    self.heed(machine, &met, carried);
                    self.judge(machine, hook, bridged, priority, met, end)?;
                }
            }
        }
        let last = matches!(hook, Hook::Input | Hook::Postrouting) && !bridged;
        if let Some(flow) = self.flow(machine, carried).filter(|_| last) {
            flow.confirmed = true;
        }
        Ok(())
    }

    /// The chains of a hook and the kernel's own work there, in order.
    fn works(&self, machine: usize, hook: Hook, bridged: bool, carried: &Carried) -> Vec<(i32, Work<'a>)> {
        let family = carried.packet.family();
        let sees = |table: &Table| match bridged {
            true => table.family == Family::Bridge,
            false => table.family == family || table.family == Family::Inet,
        };
        let mut works = Vec::new();
        for table in self.machine(machine).tables.iter().filter(|table| sees(table) && !table.flags.dormant) {
            for chain in &table.chains {
                let base =
                    chain.base.as_ref().filter(|base| base.hook == hook && base.kind != ChainKind::Nat);
                if let Some(base) = base {
                    works.push((base.priority, Work::Rules(table, chain)));
                }
            }
        }
        if !bridged {
            match hook {
                Hook::Prerouting | Hook::Output => {
                    works.push((priority::CONNTRACK, Work::Track));
                    works.push((priority::DESTINATION_NAT, Work::TranslateDestination));
                }
                Hook::Input | Hook::Postrouting => {
                    works.push((priority::SOURCE_NAT, Work::TranslateSource));
                }
                _ => {}
            }
        }
        works.sort_by_key(|(priority, _)| *priority);
        works
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
        let tuple = carried.tuple();
        let known = self.flows[machine]
            .iter()
            .enumerate()
            .find_map(|(number, flow)| Some((number, flow.direction(tuple).filter(|_| flow.confirmed)?)));
        let (found, state) = match known {
            Some((number, CtDirection::Reply)) => {
                self.flows[machine][number].answered = true;
                ((number, CtDirection::Reply), "established (an answer)")
            }
            Some(found) => (found, "established"),
            None => {
                self.flows[machine].push(Flow::new(tuple));
                ((self.flows[machine].len() - 1, CtDirection::Original), "new")
            }
        };
        carried.flow = Some(found);
        self.steps.push(Step::Tracked { machine: self.name(machine), state });
    }

    /// The nat chains, for the first packet of a flow; and what was decided, for all of them.
    fn translate(
        &mut self,
        machine: usize,
        hook: Hook,
        kind: NatKind,
        carried: &mut Carried,
        input: Option<&Interface>,
        output: Option<&Interface>,
    ) -> Result<(), End> {
        let Some((_, direction)) = carried.flow else { return Ok(()) };
        let open = self.flow(machine, carried).is_some_and(|flow| {
            let decided =
                if kind == NatKind::Source { flow.source_decided } else { flow.destination_decided };
            !flow.confirmed && !decided
        });
        if open {
            self.decide(machine, hook, kind, carried, input, output)?;
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

    fn rewrite(&mut self, machine: usize, carried: &mut Carried, to: Tuple, now: bool) {
        let from = carried.tuple();
        if from != to {
            carried.packet.translate(to);
            self.steps.push(Step::Translated { machine: self.name(machine), from, to, now });
        }
    }

    /// The first nat chain that translates decides; when none does, nothing is translated.
    fn decide(
        &mut self,
        machine: usize,
        hook: Hook,
        kind: NatKind,
        carried: &mut Carried,
        input: Option<&Interface>,
        output: Option<&Interface>,
    ) -> Result<(), End> {
        let family = carried.packet.family();
        let tables = self.machine(machine).tables.iter();
        let tables = tables.filter(|table| table.family == family || table.family == Family::Inet);
        let mut chains: Vec<_> = tables
            .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
            .filter_map(|(table, chain)| {
                let base = chain.base.as_ref()?;
                (base.hook == hook && base.kind == ChainKind::Nat).then_some((base.priority, table, chain))
            })
            .collect();
        chains.sort_by_key(|(priority, ..)| *priority);
        for (priority, table, chain) in chains {
            let facts = self.facts(machine, carried, input, output);
            let mut evaluation = Evaluation::new(facts, table);
            let end = evaluation.run(chain, &mut carried.packet);
            let met = evaluation.met;
            let effect = met.iter().flat_map(|met| &met.effects).find(|effect| translates(effect)).cloned();
            self.judge(machine, hook, false, priority, met, end)?;
            let Some(effect) = effect else { continue };
            let own = self.own_address(machine, carried, input, output);
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

    /// The address of the interface that a packet leaves by or, for a redirection, arrived at.
    fn own_address(
        &self,
        machine: usize,
        carried: &Carried,
        input: Option<&Interface>,
        output: Option<&Interface>,
    ) -> Option<std::net::IpAddr> {
        let tuple = carried.tuple();
        let place = self.machine(machine);
        let interface = output.or(input)?;
        let question = crate::path::route::RouteQuestion {
            destination: tuple.destination,
            source: None,
            input: None,
            mark: carried.packet.mark,
        };
        let next = match place.route(&question) {
            crate::path::route::Routed::By(route) => route.gateway.unwrap_or(tuple.destination),
            _ => tuple.destination,
        };
        let same = |net: &&ipnet::IpNet| net.addr().is_ipv4() == tuple.source.is_ipv4();
        let near = interface.addresses.iter().filter(same).find(|net| net.contains(&next));
        near.or_else(|| interface.addresses.iter().find(same)).map(|net| net.addr())
    }

    /// What rules say that bears on what comes after them.
    fn heed(&mut self, machine: usize, met: &[Met], carried: &mut Carried) {
        for effect in met.iter().flat_map(|met| &met.effects) {
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

    fn judge(
        &mut self,
        machine: usize,
        hook: Hook,
        bridged: bool,
        priority: i32,
        met: Vec<Met>,
        end: ChainEnd,
    ) -> Result<(), End> {
        let name = self.name(machine);
        let by = met.last().map(in_words).unwrap_or_default();
        if !met.is_empty() {
            self.steps.push(Step::Chain { machine: name.clone(), hook, bridged, priority, met });
        }
        match end {
            ChainEnd::Accepted => Ok(()),
            ChainEnd::Dropped => Err(End::Dropped { machine: name, by }),
            ChainEnd::Refused(how) => Err(End::Rejected { machine: name, by, how }),
            ChainEnd::Unknown(reason) => Err(End::Unknown { machine: name, reason }),
        }
    }
}

fn translates(effect: &Effect) -> bool {
    matches!(effect, Effect::Translate { .. } | Effect::Masquerade | Effect::Redirect(_))
}

fn in_words(met: &Met) -> String {
    let Met { family, table, chain, .. } = met;
    match (&met.comment, &met.rule) {
        (Some(comment), _) => format!("{family} {table} {chain}: \"{comment}\""),
        (None, Some(rule)) => format!("{family} {table} {chain}: {rule}"),
        (None, None) => format!("the policy of {family} {table} {chain}"),
    }
}
