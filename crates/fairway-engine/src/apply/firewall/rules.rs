//! The iptables backend: rules that its programs restore and save.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_core::object::iptables::USER;
use fairway_core::object::iptables::{RuleChain, RuleTable};
use fairway_core::object::{Difference, Fragment, Key};
use fairway_core::policy::iptables::{GUARD, Saved, script};
use fairway_kernel::iptables::{self, Error, Flavour, Programs};
use fairway_kernel::nftables::{Change, Reader};
use fairway_ruleset::Family;

/// How many own program runs are kept: their notifications arrive a little later.
const REMEMBERED: usize = 64;

/// The state of the rules.
#[derive(Debug, Default)]
struct Known {
    programs: Option<Programs>,
    /// The process ids of the last program runs.
    ran: VecDeque<u32>,
    /// The sizes of the iptables-legacy tables after the last own change, for both families.
    sizes: Vec<(u32, u32)>,
    /// The sizes had changed before the next own change.
    disturbed: bool,
}

/// Programs iptables rules.
#[derive(Debug)]
pub(super) struct Rules {
    asked: Option<Flavour>,
    known: Mutex<Known>,
    /// Held during a change: a decision about a rule must not be outdated by another one.
    alone: Mutex<()>,
}

fn sizes() -> Vec<(u32, u32)> {
    [true, false].into_iter().flat_map(iptables::legacy_table_sizes).collect()
}

fn has_rules(wanted: &Fragment, ipv4: bool) -> bool {
    wanted.keys().any(|key| matches!(key, Key::Chain(chain) if chain.ipv4 == ipv4))
}

fn users_chain(ipv4: bool) -> Key {
    Key::Chain(RuleChain::new(ipv4, RuleTable::Filter, USER))
}

impl Rules {
    pub fn of(asked: Option<Flavour>) -> Self {
        Self { asked, known: Mutex::default(), alone: Mutex::default() }
    }

    /// The requested flavor.
    pub fn asked(&self) -> Option<Flavour> {
        self.asked
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn programs(&self) -> Result<Programs, Error> {
        if let Some(programs) = &self.known().programs {
            return Ok(programs.clone());
        }
        let programs = Programs::open(self.asked)?;
        self.known().programs = Some(programs.clone());
        Ok(programs)
    }

    fn restore(&self, programs: &Programs, ipv4: bool, script: &str) -> Result<(), Error> {
        tracing::trace!(ipv4, script, "iptables");
        programs.restore(ipv4, script, |process| {
            let mut known = self.known();
            known.ran.push_back(process);
            while known.ran.len() > REMEMBERED {
                known.ran.pop_front();
            }
        })
    }

    /// Notes the sizes of the iptables-legacy tables after an own change.
    fn leave(&self, programs: &Programs) {
        if programs.flavour() == Flavour::Legacy {
            self.known().sizes = sizes();
        }
    }

    /// Applies a difference with one run of `iptables-restore` and one of `ip6tables-restore`.
    pub fn apply(&self, difference: &Difference) -> Result<(), Error> {
        let _exclusive = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let programs = self.programs()?;
        if programs.flavour() == Flavour::Legacy {
            let mut known = self.known();
            known.disturbed |= known.sizes != sizes();
        }
        let applied = [true, false].map(|ipv4| self.apply_family(&programs, ipv4, difference));
        self.leave(&programs);
        applied.into_iter().collect()
    }

    fn apply_family(&self, programs: &Programs, ipv4: bool, difference: &Difference) -> Result<(), Error> {
        let users = users_chain(ipv4);
        if difference.added.contains_key(&users) {
            self.try_users_chain(programs, ipv4, "-N");
        }
        if let Some(text) = script(ipv4, difference, None) {
            match self.restore(programs, ipv4, &text) {
                Err(error @ Error::Refused { .. }) => {
                    tracing::warn!(%error, ipv4, "another program changed Fairway's iptables rules: {error}; reading them again");
                    let found = Saved::parse(ipv4, &programs.save(ipv4)?);
                    if let Some(text) = script(ipv4, difference, Some(&found)) {
                        self.restore(programs, ipv4, &text)?;
                    }
                }
                outcome => outcome?,
            }
        }
        if difference.removed.contains_key(&users) {
            self.try_users_chain(programs, ipv4, "-X");
        }
        Ok(())
    }

    /// Creates the chain of the user's rules, unless it exists, or deletes it, unless it holds rules: the program
    /// refuses otherwise, which is intended.
    fn try_users_chain(&self, programs: &Programs, ipv4: bool, what: &str) {
        let text = format!("*{}\n{what} {USER}\nCOMMIT\n", RuleTable::Filter.text());
        if let Err(reason) = self.restore(programs, ipv4, &text) {
            tracing::debug!(%reason, ipv4, "iptables {what} {USER} refused: {reason}; keeping the chain as it is");
        }
    }

    /// Observes the rules of a Plan, in the families that have rules.
    pub fn observe(&self, wanted: &Fragment) -> Result<Fragment, Error> {
        let mut found = Fragment::new();
        let _exclusive = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        for ipv4 in [true, false].into_iter().filter(|ipv4| has_rules(wanted, *ipv4)) {
            let programs = self.programs()?;
            // A change during the read is seen the next time.
            self.leave(&programs);
            self.known().disturbed = false;
            found.extend(Saved::parse(ipv4, &programs.save(ipv4)?).objects(wanted));
        }
        Ok(found)
    }

    pub fn sweep(&self, wanted: &Fragment) {
        for ipv4 in [true, false] {
            for flavour in [Flavour::Nft, Flavour::Legacy] {
                let used = has_rules(wanted, ipv4)
                    && self.programs().is_ok_and(|programs| programs.flavour() == flavour);
                if !used
                    && may_hold_ours(ipv4, flavour)
                    && let Err(error) = self.sweep_family(ipv4, flavour)
                {
                    tracing::warn!(%error, %flavour, ipv4, "failed to delete iptables rules of another daemon: {error}");
                }
            }
        }
    }

    fn sweep_family(&self, ipv4: bool, flavour: Flavour) -> Result<(), Error> {
        // The host's own programs need no name for their flavor.
        let hosts = Programs::open(None).ok().filter(|programs| programs.flavour() == flavour);
        let programs = match hosts {
            Some(programs) => programs,
            None => Programs::open(Some(flavour))?,
        };
        let saved = Saved::parse(ipv4, &programs.save(ipv4)?);
        if !saved.is_empty() {
            let gone = saved.objects(&Fragment::new());
            self.apply_family(&programs, ipv4, &Difference { removed: gone, ..Difference::default() })?;
            tracing::info!(%flavour, ipv4, "deleted iptables rules of another daemon ({flavour})");
        }
        Ok(())
    }

    /// Whether another program changed a table that holds Fairway's rules.
    pub fn is_disturbed_by(&self, change: &Change) -> bool {
        let known = self.known();
        known.programs.as_ref().is_some_and(|programs| programs.flavour() == Flavour::Nft)
            && matches!(change.family, Family::Ip | Family::Ip6)
            && RuleTable::ALL.iter().any(|table| table.text() == change.table)
            && !known.ran.contains(&change.port)
    }

    /// Whether iptables-legacy tables changed since the last own change. The kernel does not notify of that.
    pub fn differ(&self) -> bool {
        // A change in progress notes the sizes afterwards.
        let Ok(_exclusive) = self.alone.try_lock() else { return false };
        let known = self.known();
        known.programs.as_ref().is_some_and(|programs| programs.flavour() == Flavour::Legacy)
            && (known.disturbed || known.sizes != sizes())
    }
}

/// Whether rules of either flavor show that forwarding was enabled for Fairway's networks only.
pub(super) fn drops_unrelated_forwarding(ipv4: bool) -> Result<bool, Error> {
    let guard = RuleChain::new(ipv4, RuleTable::Filter, GUARD);
    for flavour in [Flavour::Nft, Flavour::Legacy] {
        if may_hold_ours(ipv4, flavour)
            && Saved::parse(ipv4, &Programs::open(Some(flavour))?.save(ipv4)?).has_chain(&guard)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether rules of Fairway's may exist, as far as can be seen without running a program.
fn may_hold_ours(ipv4: bool, flavour: Flavour) -> bool {
    match flavour {
        Flavour::Legacy => iptables::has_legacy_tables(ipv4),
        Flavour::Nft => {
            let family = if ipv4 { Family::Ip } else { Family::Ip6 };
            let chains = Reader::open().and_then(|reader| reader.chain_names(family)).unwrap_or_default();
            let tables = RuleTable::ALL;
            chains.into_iter().any(|(table, name)| {
                let table = tables.into_iter().find(|known| known.text() == table);
                table.is_some_and(|table| RuleChain::new(ipv4, table, &name).is_ours())
            })
        }
    }
}
