//! Firewall conflicts: rules and policies of foreign firewalls that drop packets of Fairway's networks.
//!
//! Each base chain of a hook has to accept a packet: an accept in one table does not skip the others. So foreign tables
//! are read, and the walker takes sample packets through their chains. Where a sample has no value (a port, the other
//! side's address) or an extension is not known, a rule *may* match, and the packet *may* be dropped.
//!
//! On request, Fairway inserts a jump that accepts its packets into a chain that drops them ([`jump`]).

pub mod jump;
mod packet;
#[cfg(test)]
mod tests;

use std::fmt;

pub use packet::{Path, Samples};

use fairway_core::policy::iptables;
use fairway_ruleset::{Family, Table, iptables_save};

/// A table of another program, as read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTable {
    /// The table with its chains and rules.
    pub table: Table,
    /// Whether it is a table of iptables-legacy, which nf_tables does not list.
    pub legacy: bool,
    /// Whether it has the flag `owner`: only the socket that created it can change it.
    pub owned: bool,
}

/// The part of a chain that drops a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The policy of the chain.
    Policy,
    /// The rule with this handle; in a table of iptables-legacy its number.
    Rule(u64),
}

/// A foreign chain that drops packets of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirewallConflict {
    /// The kind of packets that are dropped.
    pub path: Path,
    /// Whether IPv4 packets are dropped.
    pub ipv4: bool,
    /// Whether IPv6 packets are dropped.
    pub ipv6: bool,
    /// Whether all such packets are dropped; otherwise some may be, depending on values that samples do not have.
    pub certain: bool,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The policy or the rule.
    pub cause: Cause,
    /// The program that owns the table, as far as its name and chains show.
    pub owner: Owner,
    /// Whether the table is one of iptables-legacy.
    pub legacy: bool,
}

/// Reads the table `filter` from the output of `iptables-legacy-save` or `ip6tables-legacy-save`; none if the output
/// has no such table. A match that is not known becomes one that may match.
pub fn read_saved(family: Family, text: &str) -> Option<ForeignTable> {
    let table = iptables_save::read(family, text).into_iter().find(|table| table.name == "filter")?;
    (!table.chains.is_empty()).then_some(ForeignTable { table, legacy: true, owned: false })
}

/// The program that owns a table, as far as its name and its chains show.
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
    /// `iptables` or `ip6tables`, run by a user or an unknown program.
    Iptables,
    /// An unknown program.
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

/// The names of the tables that iptables-nft creates in nf_tables.
const IPTABLES_NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

impl ForeignTable {
    /// Whether it is a table of iptables: of iptables-legacy, or of nf_tables with the chains of iptables-nft.
    pub fn is_iptables(&self) -> bool {
        let family = matches!(self.table.family, Family::Ip | Family::Ip6);
        let builtin = ["FORWARD", "INPUT", "OUTPUT", "PREROUTING", "POSTROUTING"];
        self.legacy
            || family
                && IPTABLES_NAMES.contains(&self.table.name.as_str())
                && self.table.chains.iter().any(|it| it.base.is_some() && builtin.contains(&it.name.as_str()))
    }

    /// The table with Fairway's own rules in it, if any, as rules that accept Fairway's packets.
    pub fn with_own_rules_allowed(mut self) -> Self {
        if self.is_iptables() {
            iptables::accept_in_our_chains(&mut self.table);
        }
        self
    }

    /// The program that owns `chain`; where its name does not show that, a program with another chain in the table.
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

/// Finds the samples that the tables drop, in the order of paths.
pub fn firewall_conflicts(tables: &[ForeignTable], samples: &Samples) -> Vec<FirewallConflict> {
    let mut found: Vec<FirewallConflict> = Vec::new();
    for (path, packet) in samples.packets() {
        for foreign in tables {
            for drop in packet.possible_drops(&foreign.table) {
                let ipv4 = packet.family == Family::Ip;
                let conflict = FirewallConflict {
                    path,
                    ipv4,
                    ipv6: !ipv4,
                    certain: drop.certain,
                    family: foreign.table.family,
                    table: foreign.table.name.clone(),
                    owner: foreign.owner(&drop.chain),
                    chain: drop.chain,
                    cause: drop.rule.map_or(Cause::Policy, Cause::Rule),
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
    // What drops TCP too is said once.
    let published: Vec<FirewallConflict> =
        found.iter().filter(|it| it.path == Path::Published).cloned().collect();
    found.retain(|it| {
        let of_tcp = FirewallConflict { path: Path::Published, ..it.clone() };
        it.path != Path::PublishedUdp || !published.contains(&of_tcp)
    });
    // A certain conflict says more than a possible one before it.
    found.sort_by_key(|it| (it.path, !it.certain));
    found
}
