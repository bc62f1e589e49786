//! Places a jump in foreign chains that would drop forwarded packets of networks, and removes it.

use fairway_inspect::conflict::jump::{
    CHAIN, FORMER_CHAIN, MARK, is_jump, jump, legacy_script, places, rules, without_ours,
};
use fairway_inspect::conflict::{ForeignTable, Samples, read_saved};
use fairway_kernel::iptables::{Flavour, Programs};
use fairway_kernel::nftables::Transaction;
use fairway_ruleset::{Chain, Family, Rule, Table};

use crate::ApplyError;
use crate::failpoint::failpoint;
use crate::reconcile::Reconciler;

/// Fairway's jumps and chain in a foreign table.
struct Ours<'a> {
    /// Each jump: its chain, its position there, its handle.
    jumps: Vec<(&'a str, usize, Option<u64>)>,
    chain: Option<&'a Chain>,
    /// The chain under the name that it had in a former version.
    former: Option<&'a Chain>,
}

impl<'a> Ours<'a> {
    fn of(foreign: &'a ForeignTable) -> Self {
        let mut jumps = Vec::new();
        for chain in &foreign.table.chains {
            for (at, rule) in chain.rules.iter().enumerate().filter(|(_, rule)| is_jump(rule)) {
                jumps.push((chain.name.as_str(), at, rule.handle));
            }
        }
        Self { jumps, chain: foreign.table.chain(CHAIN), former: foreign.table.chain(FORMER_CHAIN) }
    }

    /// Whether exactly the wanted jumps exist, each at the top of its chain.
    fn is(&self, wanted: &[String], rules: &[Rule]) -> bool {
        let placed = |place: &String| self.jumps.iter().any(|(chain, at, _)| chain == place && *at == 0);
        let same = match self.chain {
            Some(chain) => !wanted.is_empty() && same_rules(&chain.rules, rules),
            None => wanted.is_empty(),
        };
        same && self.former.is_none() && self.jumps.len() == wanted.len() && wanted.iter().all(placed)
    }
}

/// Whether rules are equal but for their counters.
fn same_rules(one: &[Rule], other: &[Rule]) -> bool {
    let at_rest = |rules: &[Rule]| {
        let mut table = Table::new(Family::Inet, "");
        table.chains = vec![Chain::regular("").with(rules.iter().cloned())];
        table.at_rest()
    };
    at_rest(one) == at_rest(other)
}

impl Reconciler {
    /// Places the wanted jumps and removes all others. Returns whether anything changed.
    pub(super) fn integrate(&self) -> bool {
        let tables = self.foreign.lock().tables.clone();
        let (wanted, networks) = self.committer.read(|world| {
            let host = world.host();
            let samples = |network| Samples::of(world, network, host, host.default_interface.clone());
            let settings = world.settings();
            // A family without a firewall of Fairway's has no rules to jump to.
            let on = settings.firewall_integration && settings.iptables && settings.ip6tables;
            (on, world.networks().filter_map(samples).collect::<Vec<_>>())
        });
        let mut changed = false;
        for foreign in tables.iter() {
            let wanted = if wanted { places(&without_ours(foreign), &networks) } else { Vec::new() };
            match self.place(foreign, &wanted, &networks) {
                Ok(placed) => changed |= placed,
                Err(error) => tracing::warn!(
                    %error,
                    table = format!("{} {}", foreign.table.family, foreign.table.name),
                    "failed to place a jump in a table of another firewall: {error}"
                ),
            }
        }
        changed
    }

    fn place(
        &self,
        foreign: &ForeignTable,
        wanted: &[String],
        networks: &[Samples],
    ) -> Result<bool, ApplyError> {
        let bridges: Vec<String> = networks.iter().map(|samples| samples.bridge.clone()).collect();
        let (ours, table) = (Ours::of(foreign), &foreign.table);
        // The parsed text of `iptables` differs a little from the rules that the kernel lists.
        let own_rules = match foreign.legacy {
            true => {
                let script = legacy_script(&without_ours(foreign), &["FORWARD".to_owned()], &bridges);
                let read = read_saved(table.family, &script);
                read.and_then(|it| it.table.chain(CHAIN).map(|chain| chain.rules.clone())).unwrap_or_default()
            }
            false => rules(&bridges),
        };
        if ours.is(wanted, &own_rules) {
            return Ok(false);
        }
        if foreign.legacy {
            let programs = Programs::open(Some(Flavour::Legacy))?;
            programs.restore(
                table.family == Family::Ip,
                &legacy_script(foreign, wanted, &bridges),
                |_| {},
            )?;
        } else {
            self.applier.firewall.commit(transaction(foreign, &ours, wanted, &own_rules))?;
        }
        failpoint("foreign firewall");
        let (family, name, chains) = (table.family, &table.name, wanted.join(", "));
        match wanted.is_empty() {
            true => {
                tracing::info!(%family, table = name, "deleted the jump from table {family} {name} of another firewall")
            }
            false => tracing::info!(
                %family,
                table = name,
                chains,
                "placed a jump (comment {MARK}) at the top of chain {chains} in table {family} {name} of another firewall"
            ),
        }
        Ok(true)
    }
}

fn transaction(foreign: &ForeignTable, ours: &Ours<'_>, wanted: &[String], rules: &[Rule]) -> Transaction {
    let table = &foreign.table;
    let mut transaction = Transaction::new();
    for (chain, _, handle) in &ours.jumps {
        if let Some(handle) = handle {
            transaction.delete_rule(table, chain, *handle);
        }
    }
    for chain in [ours.chain, ours.former].into_iter().flatten() {
        for handle in chain.rules.iter().filter_map(|rule| rule.handle) {
            transaction.delete_rule(table, &chain.name, handle);
        }
        if wanted.is_empty() || chain.name == FORMER_CHAIN {
            transaction.delete_chain(table, &chain.name);
        }
    }
    if wanted.is_empty() {
        return transaction;
    }
    if ours.chain.is_none() {
        transaction.add_chain(table, &Chain::regular(CHAIN));
    }
    for rule in rules {
        transaction.append_rule(table, CHAIN, rule);
    }
    for place in wanted {
        transaction.insert_rule(table, place, &jump());
    }
    transaction
}
