//! The firewall's part of a Plan: tables of nf_tables, and where that is the backend rules of iptables.

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

/// What programs it.
#[derive(Debug)]
pub struct Firewall {
    tables: Tables,
    rules: Rules,
}

/// For which families, IPv4 and IPv6, rules of ours drop what is forwarded between interfaces of others: the daemon
/// that made them had switched forwarding on, though its state may be lost.
///
/// # Errors
/// The kernel or the programs cannot be asked.
pub fn drops_unrelated_forwarding() -> Result<(bool, bool), ApplyError> {
    let (ipv4, ipv6) = tables::drops_unrelated_forwarding()?;
    Ok((ipv4 || rules::drops_unrelated_forwarding(true)?, ipv6 || rules::drops_unrelated_forwarding(false)?))
}

impl Firewall {
    /// Opens it in the namespace of the calling thread. `flavour` is the kind of iptables that is asked for.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refuses the socket.
    pub fn open(flavour: Option<Flavour>) -> Result<Self, ApplyError> {
        Ok(Self { tables: Tables::open()?, rules: Rules::of(flavour) })
    }

    /// The flavour of iptables that was asked for.
    pub fn flavour(&self) -> Option<Flavour> {
        self.rules.asked()
    }

    /// The netlink port of the writer of our tables, whose changes are ours.
    pub fn port(&self) -> u32 {
        self.tables.port()
    }

    /// Makes the firewall follow: each backend in one go. Where one takes the place of the other, the new one is
    /// there before the old one goes, so that nothing is open meanwhile and nothing is cut.
    ///
    /// # Errors
    /// What the kernel or the programs refuse, by name.
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

    /// What of a Plan is there, and what of ours is there beside it.
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

    /// In what our tables of nf_tables are other than the fixed part of a ruleset.
    pub fn deviations(&self, switches: &RulesetSwitches) -> Vec<Deviation> {
        self.tables.deviations(switches)
    }

    /// Makes a change of a table of somebody else, which is not told to us as one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn commit(&self, transaction: Transaction) -> Result<(), ApplyError> {
        Ok(self.tables.commit(transaction)?)
    }

    /// What passed published ports, as far as our tables translate.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn counts(&self) -> Result<Vec<(Counted, Count)>, ApplyError> {
        Ok(self.tables.counts()?)
    }

    /// Forgets what passed ports that are published no more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_counts(&self, is_gone: impl Fn(&Counted) -> bool) -> Result<(), ApplyError> {
        Ok(self.tables.forget_counts(is_gone)?)
    }

    /// Takes away what another daemon left in a place that this one does not use: rules of iptables for a family
    /// that has none now, or of the other flavour.
    pub fn sweep(&self, wanted: &Fragment) {
        self.rules.sweep(wanted);
    }

    /// Whether a change of a table was of rules among which ours are, and was not made by us.
    pub fn is_disturbed_by(&self, change: &Change) -> bool {
        change.table == fairway_core::policy::TABLE || self.rules.is_disturbed_by(change)
    }

    /// Whether rules of ours are other than they were, as far as can be told without reading them.
    pub fn differs(&self) -> bool {
        self.rules.differ()
    }
}
