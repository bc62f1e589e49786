//! nf_tables as a value, at the level of the kernel's own expressions.
//!
//! # What it is for
//! One vocabulary serves three readers: the encoder that programs the kernel and the decoder that reads anyone's tables
//! (both in `fairway-kernel`), and the packet walker that interprets them (`fairway-walk`). What a number means is in
//! `include/uapi/linux/netfilter/nf_tables.h`. The crate does no I/O.
//!
//! # The parts
//! - [`Table`], [`Chain`], [`Rule`], [`Expression`], [`Set`] and [`Element`] are what the kernel has; `Table` prints itself
//!   in the syntax of `nft`.
//! - [`rule`](fn@rule) builds rules, [`key`](fn@key) the keys of elements.
//! - [`iptables_save`] reads what `iptables-save` prints as the same values. What has no expression in nf_tables is read as
//!   [`Expression::Chance`] or [`Expression::Undecided`], and the rest keeps its name ([`compat`]).
//!
//! # Example
//! ```
//! use fairway_model::Protocol;
//! use fairway_ruleset::{Chain, ChainKind, Expression, Family, Hook, Table, iptables_save, rule};
//!
//! let mut table = Table::new(Family::Inet, "mine");
//! let rules = [rule().to_port(Protocol::Tcp, 22).accept(), rule().drop()];
//! table.chains.push(Chain::base("in", ChainKind::Filter, Hook::Input, 0).with(rules));
//! assert!(table.to_string().contains("tcp dport 22 accept"));
//!
//! let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m statistic --mode random --probability 0.5 -j ACCEPT\nCOMMIT\n";
//! let tables = iptables_save::read(Family::Ip, saved);
//! let expressions = &tables[0].chains[0].rules[0].expressions;
//! assert_eq!(expressions[0], Expression::Chance { numerator: 1, denominator: 2 });
//! ```

mod build;
mod chain;
pub mod compat;
mod datatype;
mod display;
mod element;
mod expression;
pub mod iptables_save;
mod keys;
mod numbered;
mod register;
pub mod resolver;
mod set;

pub use build::{CtState, KeyBuilder, Load, RuleBuilder, key, rule};
pub use chain::{Base, Chain, ChainKind, Hook, Policy, Rule, priority};
pub use datatype::Datatype;
pub use element::{Element, ElementData};
pub use expression::{
    Checksum, Count, Expression, LimitRate, LookupResult, NatKind, NumberSource, Reject, UndecidedState,
    Verdict,
};
pub use keys::{
    ByteOrder, Comparison, CtDirection, CtKey, ExtensionKind, FibFlags, FibResult, MetaKey, NatFlags,
    PayloadBase, SocketKey,
};
pub use register::{Register, RegisterRange};
pub use set::{Set, SetData, SetFlags};

use numbered::numbered;

numbered! {
    /// The kind of packets that a table sees (`NFPROTO_*` in `linux/netfilter.h`).
    pub enum Family: u8 {
        /// IPv4 and IPv6.
        Inet = 1, "inet";
        /// IPv4.
        Ip = 2, "ip";
        /// ARP.
        Arp = 3, "arp";
        /// One network interface.
        Netdev = 5, "netdev";
        /// Frames that pass a bridge.
        Bridge = 7, "bridge";
        /// IPv6.
        Ip6 = 10, "ip6";
    }
}

/// The flags of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableFlags {
    /// Its chains are not registered.
    pub dormant: bool,
    /// Only the socket that made it can change it (Linux 5.12).
    pub owner: bool,
    /// It stays when its owner goes, and the next socket that asks for both flags adopts it
    /// (Linux 6.9).
    pub persist: bool,
}

impl TableFlags {
    /// Changed by one socket only, and there when that socket is gone.
    pub const OWNED: Self = Self { dormant: false, owner: true, persist: true };
}

/// A table: sets and chains that live and die together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The packets it sees.
    pub family: Family,
    /// Unique within its family.
    pub name: String,
    /// Ownership.
    pub flags: TableFlags,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

impl Table {
    /// An empty table without an owner.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into(), flags: TableFlags::default(), sets: Vec::new(), chains: Vec::new() }
    }

    /// The set of that name.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The same table as it was before any packet: counters at zero, nothing that rules put into sets; without
    /// handles and words of others; elements in the order of their keys, sets and chains in that of their names, which means nothing to
    /// the kernel. Two tables that do the same compare equal after this.
    pub fn at_rest(mut self) -> Self {
        self.sets.sort_by(|one, other| one.name.cmp(&other.name));
        self.chains.sort_by(|one, other| one.name.cmp(&other.name));
        for set in &mut self.sets {
            if set.flags.dynamic {
                set.elements.clear();
            }
            for element in &mut set.elements {
                if let Some(count) = &mut element.count {
                    *count = Count::default();
                }
                element.expires = None;
            }
            set.elements.sort();
        }
        for rule in self.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            (rule.handle, rule.text) = (None, None);
            for expression in &mut rule.expressions {
                if let Expression::Counter(count) = expression {
                    *count = Count::default();
                }
            }
        }
        self
    }

    /// The rule as `nft` would print it, its comment included.
    pub fn rule_text(&self, rule: &Rule) -> String {
        display::rule_text(self, rule)
    }
}

#[cfg(test)]
mod tests;
