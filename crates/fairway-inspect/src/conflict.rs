//! What other owners of the host's firewall would do with our packets.
//!
//! To accept a packet in one table says nothing to the next: each base chain of a hook has to let it pass. So
//! their tables are read, and sample packets of ours walk through them (`conflict::walk`). What cannot be known of a sample
//! (a port, the other side's address, an extension that is not understood) makes a rule one that *may* match, and
//! what comes of it something that *may* happen.
//!
//! On request a jump is placed where they would drop ([`jump`]).

mod extension;
pub mod jump;
mod packet;
mod registers;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

pub use packet::{Path, Samples};

use fairway_core::policy::iptables;
use fairway_ruleset::{Family, Table, iptables_save};

/// A table of somebody else, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTable {
    /// What it holds.
    pub table: Table,
    /// Whether it is one of the older kernel interface, which nf_tables does not show.
    pub legacy: bool,
    /// Whether only the socket that made it can change it.
    pub owned: bool,
}

/// What in a chain drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its policy.
    Policy,
    /// The rule with this handle (of a legacy table: number).
    Rule(u64),
}

/// Something of ours that a chain of somebody else drops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirewallConflict {
    /// What is dropped.
    pub path: Path,
    /// Whether IPv4 packets are.
    pub ipv4: bool,
    /// Whether IPv6 packets are.
    pub ipv6: bool,
    /// Whether it is dropped whatever else it is; else it depends on what is not known of it.
    pub certain: bool,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What in the chain.
    pub cause: Cause,
    /// Whose table it is, as far as its chains tell.
    pub owner: Owner,
    /// Whether the table is one of the older kernel interface.
    pub legacy: bool,
}

/// The table `filter` of what `iptables-legacy-save` (or `ip6tables-legacy-save`) prints; none if it is not among it.
/// What is not understood of a rule becomes something that may match.
pub fn read_saved(family: Family, text: &str) -> Option<ForeignTable> {
    let table = iptables_save::read(family, text).into_iter().find(|table| table.name == "filter")?;
    (!table.chains.is_empty()).then_some(ForeignTable { table, legacy: true, owned: false })
}

/// Who keeps a table, as far as its name and its chains tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// firewalld.
    Firewalld,
    /// ufw.
    Ufw,
    /// Docker.
    Docker,
    /// podman, by netavark.
    Podman,
    /// `iptables` or `ip6tables`, by whomever they are called.
    Iptables,
    /// Nobody whom we know.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Docker => "Docker",
            Self::Podman => "podman",
            Self::Iptables => "iptables",
            Self::Unknown => "nftables",
        })
    }
}

/// The tables that iptables keeps in nf_tables, by name.
const IPTABLES_NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

impl ForeignTable {
    /// Whether it is one of iptables: of the older kernel interface, or laid out so that `iptables` reads it.
    pub fn is_iptables(&self) -> bool {
        let family = matches!(self.table.family, Family::Ip | Family::Ip6);
        let builtin = ["FORWARD", "INPUT", "OUTPUT", "PREROUTING", "POSTROUTING"];
        self.legacy
            || family
                && IPTABLES_NAMES.contains(&self.table.name.as_str())
                && self.table.chains.iter().any(|it| it.base.is_some() && builtin.contains(&it.name.as_str()))
    }

    /// The same, where rules of ours are among those of others: they let pass what is ours.
    pub fn with_own_rules_allowed(mut self) -> Self {
        if self.is_iptables() {
            iptables::accept_in_our_chains(&mut self.table);
        }
        self
    }

    /// Who keeps it. Several may in a table of iptables: then who is behind `chain`, or who is there at all.
    fn owner(&self, chain: &str) -> Owner {
        if self.table.name == "firewalld" {
            return Owner::Firewalld;
        }
        let known = [
            ("ufw", Owner::Ufw),
            ("DOCKER", Owner::Docker),
            ("NETAVARK", Owner::Podman),
            ("FORWARD_direct", Owner::Firewalld),
        ];
        let of = |name: &str| known.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|it| it.1);
        let there = || known.iter().find(|it| self.table.chains.iter().any(|c| c.name.starts_with(it.0)));
        let fallback = if self.is_iptables() { Owner::Iptables } else { Owner::Unknown };
        of(chain).or_else(|| there().map(|it| it.1)).unwrap_or(fallback)
    }
}

impl fmt::Display for FirewallConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legacy = if self.legacy { "legacy " } else { "" };
        let Self { family, table, chain, owner, .. } = self;
        write!(f, "{owner}: {legacy}table {family} {table}, chain {chain}, ")?;
        match self.cause {
            Cause::Policy => write!(f, "policy")?,
            Cause::Rule(number) if self.legacy => write!(f, "rule {number}")?,
            Cause::Rule(handle) => write!(f, "rule with handle {handle}")?,
        }
        let what = if self.certain { "drops" } else { "may drop" };
        let family = match (self.ipv4, self.ipv6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, _) => "IPv6",
        };
        write!(f, ": {what} {} ({family})", self.path)
    }
}

/// What of these samples the tables drop, in the order of paths.
pub fn firewall_conflicts(tables: &[ForeignTable], samples: &Samples) -> Vec<FirewallConflict> {
    let mut found: Vec<FirewallConflict> = Vec::new();
    for packet in samples.packets() {
        for foreign in tables {
            for (chain, cause, certain) in walk::drops(foreign, &packet) {
                let ipv4 = packet.family == Family::Ip;
                let conflict = FirewallConflict {
                    path: packet.path,
                    ipv4,
                    ipv6: !ipv4,
                    certain,
                    family: foreign.table.family,
                    table: foreign.table.name.clone(),
                    owner: foreign.owner(&chain),
                    chain,
                    cause,
                    legacy: foreign.legacy,
                };
                let same = |it: &&mut FirewallConflict| {
                    FirewallConflict { ipv4: false, ipv6: false, ..(**it).clone() }
                        == FirewallConflict { ipv4: false, ipv6: false, ..conflict.clone() }
                };
                match found.iter_mut().find(same) {
                    Some(known) => {
                        known.ipv4 |= conflict.ipv4;
                        known.ipv6 |= conflict.ipv6;
                    }
                    None => found.push(conflict),
                }
            }
        }
    }
    // What drops for sure says more than what may drop before it.
    found.sort_by_key(|it| (it.path, !it.certain));
    found
}
