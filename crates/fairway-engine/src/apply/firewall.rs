//! The firewall of a Plan: nf_tables tables and, with that backend, iptables rules.

mod rules;
mod tables;

use fairway_core::object::RulesetSwitches;
use fairway_core::object::{Difference, Fragment, Key, Object};
use fairway_core::policy::counting::Counted;
use fairway_inspect::doctor::Deviation;
use fairway_kernel::iptables::Flavour;
use fairway_kernel::nftables::{Change, Transaction};
use fairway_ruleset::Count;

use crate::ApplyError;
use crate::failpoint::failpoint;
use rules::Rules;
use tables::Tables;

/// Programs the firewall.
#[derive(Debug)]
pub struct Firewall {
    tables: Tables,
    rules: Rules,
}

/// For which families, IPv4 and IPv6, rules in the kernel drop forwarded packets between foreign interfaces: the daemon
/// that made them had enabled forwarding, though its state may be lost.
///
/// # Errors
/// The kernel or the programs refuse to list rules.
pub fn drops_unrelated_forwarding() -> Result<(bool, bool), ApplyError> {
    let (ipv4, ipv6) = tables::drops_unrelated_forwarding()?;
    Ok((ipv4 || rules::drops_unrelated_forwarding(true)?, ipv6 || rules::drops_unrelated_forwarding(false)?))
}

impl Firewall {
    /// Opens the firewall in the namespace of the calling thread. `flavour` is the requested kind of iptables.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refuses the socket.
    pub fn open(flavour: Option<Flavour>) -> Result<Self, ApplyError> {
        Ok(Self { tables: Tables::open()?, rules: Rules::of(flavour) })
    }

    /// The requested flavor of iptables.
    pub fn flavour(&self) -> Option<Flavour> {
        self.rules.asked()
    }

    /// The netlink port of the writer of the tables, whose notifications are of own changes.
    pub fn port(&self) -> u32 {
        self.tables.port()
    }

    /// Applies a difference, each backend in one transaction. Where one replaces the other, the new one exists before
    /// the old one is deleted, so that no packet passes unfiltered and no connection is cut.
    ///
    /// # Errors
    /// The error of the kernel or the program, with the refused object.
    pub fn apply(&self, difference: &Difference) -> Result<(), ApplyError> {
        let is_rule = |key: &Key| matches!(key, Key::Chain(_) | Key::Rules(..));
        if !difference.keys().any(is_rule) {
            return Ok(self.tables.apply(difference)?);
        }
        let rules_first = difference.wanted().any(|(key, _)| is_rule(key));
        if !rules_first {
            self.tables.apply(difference)?;
            failpoint("tables");
        }
        self.rules.apply(difference)?;
        failpoint("rules");
        if rules_first {
            self.tables.apply(difference)?;
        }
        Ok(())
    }

    /// Observes the firewall objects of a Plan, and other ones of Fairway's.
    ///
    /// # Errors
    /// The kernel or the programs cannot be asked.
    pub fn observe(&self, wanted: &Fragment) -> Result<Fragment, ApplyError> {
        let switches = wanted.get(&Key::Ruleset).and_then(|object| match object {
            Object::Ruleset(switches) => Some(switches),
            _ => None,
        });
        let mut found = self.tables.observe(switches)?;
        found.extend(self.rules.observe(wanted)?);
        Ok(found)
    }

    /// How the tables differ from the fixed part of a ruleset.
    pub fn deviations(&self, switches: &RulesetSwitches) -> Vec<Deviation> {
        self.tables.deviations(switches)
    }

    /// Commits a change of a foreign table, which is not notified as one of another program.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn commit(&self, transaction: Transaction) -> Result<(), ApplyError> {
        Ok(self.tables.commit(transaction)?)
    }

    /// The counters of published ports, as far as the tables translate.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn counts(&self) -> Result<Vec<(Counted, Count)>, ApplyError> {
        Ok(self.tables.counts()?)
    }

    /// Deletes the counters of unpublished ports.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_counts(&self, is_gone: impl Fn(&Counted) -> bool) -> Result<(), ApplyError> {
        Ok(self.tables.forget_counts(is_gone)?)
    }

    /// Deletes rules that another daemon left in a place which this one does not use: iptables rules for a family that
    /// has none now, or of the other flavor.
    pub fn sweep(&self, wanted: &Fragment) {
        self.rules.sweep(wanted);
    }

    /// Whether another program changed a table that holds rules of Fairway's.
    pub fn is_disturbed_by(&self, change: &Change) -> bool {
        change.table == fairway_core::policy::TABLE || self.rules.is_disturbed_by(change)
    }

    /// Whether iptables-legacy tables changed, as far as their sizes show.
    pub fn differs(&self) -> bool {
        self.rules.differ()
    }
}
