//! Chains, their rules, and where a rule sends a packet.

use super::numbered::numbered;
use super::{Expression, Family};

numbered! {
    /// What a base chain may do.
    pub enum ChainKind: u8 {
        /// Decide.
        Filter = 0, "filter";
        /// Translate the first packet of a flow.
        Nat = 1, "nat";
        /// Decide, and route anew what was changed (output only).
        Route = 2, "route";
    }
}

impl ChainKind {
    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.to_string() == name)
    }
}

numbered! {
    /// Where in the kernel a base chain is entered.
    pub enum Hook: u8 {
        /// Arrived, not yet routed.
        Prerouting = 0, "prerouting";
        /// For this host.
        Input = 1, "input";
        /// For another host.
        Forward = 2, "forward";
        /// Made by this host.
        Output = 3, "output";
        /// About to leave.
        Postrouting = 4, "postrouting";
        /// Arrived at an interface, before everything else.
        Ingress = 5, "ingress";
        /// Leaving an interface, after everything else.
        Egress = 6, "egress";
    }
}

impl Hook {
    /// The kernel's number for the hook in tables of a family.
    pub const fn number_in(self, family: Family) -> u32 {
        match (family, self) {
            (Family::Netdev, Self::Egress) | (Family::Arp, Self::Output) => 1,
            (Family::Netdev, _) | (Family::Arp, Self::Input) => 0,
            (Family::Arp, Self::Forward) => 2,
            _ => self.number() as u32,
        }
    }

    /// The hook that a number means in tables of a family.
    pub const fn from_number_in(number: u32, family: Family) -> Option<Self> {
        match (family, number) {
            (Family::Netdev, 0) => Some(Self::Ingress),
            (Family::Netdev, 1) => Some(Self::Egress),
            (Family::Arp, 0) => Some(Self::Input),
            (Family::Arp, 1) => Some(Self::Output),
            (Family::Arp, 2) => Some(Self::Forward),
            (Family::Netdev | Family::Arp, _) | (_, 6..) => None,
            (_, number) => Self::from_number(number as u8),
        }
    }
}

numbered! {
    /// What becomes of a packet that no rule decided about.
    pub enum Policy: u32 {
        /// It is dropped.
        Drop = 0, "drop";
        /// It goes on to the next chain of the hook.
        Accept = 1, "accept";
    }
}

/// Priorities at which the kernel's own work is done (`linux/netfilter_ipv4.h`); smaller is earlier.
pub mod priority {
    /// Before conntrack.
    pub const RAW: i32 = -300;
    /// Conntrack itself.
    pub const CONNTRACK: i32 = -200;
    /// After conntrack, before translation.
    pub const MANGLE: i32 = -150;
    /// Translation of destinations.
    pub const DESTINATION_NAT: i32 = -100;
    /// Decisions.
    pub const FILTER: i32 = 0;
    /// Translation of sources.
    pub const SOURCE_NAT: i32 = 100;
    /// Decisions of security modules.
    pub const SECURITY: i32 = 50;
    /// Decisions on a bridge.
    pub const BRIDGE_FILTER: i32 = -200;
}

/// How a base chain hangs on the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What it may do.
    pub kind: ChainKind,
    /// Where.
    pub hook: Hook,
    /// In which order.
    pub priority: i32,
    /// What is done in the end.
    pub policy: Policy,
    /// The interfaces of an ingress or egress chain.
    pub devices: Vec<String>,
}

/// Rules, tried one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Unique within the table.
    pub name: String,
    /// None if the chain is only entered by jumps.
    pub base: Option<Base>,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A chain that is entered by jumps.
    pub fn regular(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None, rules: Vec::new() }
    }

    /// A chain that is entered at a hook, and accepts in the end.
    pub fn base(name: impl Into<String>, kind: ChainKind, hook: Hook, priority: i32) -> Self {
        let base = Base { kind, hook, priority, policy: Policy::Accept, devices: Vec::new() };
        Self { name: name.into(), base: Some(base), rules: Vec::new() }
    }

    /// The same chain with these rules after those it has.
    pub fn with(mut self, rules: impl IntoIterator<Item = impl Into<Rule>>) -> Self {
        self.rules.extend(rules.into_iter().map(Into::into));
        self
    }
}

/// Expressions that are done in order until one does not match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The expressions.
    pub expressions: Vec<Expression>,
    /// What it is for; 127 bytes at most, as `nft` has it.
    pub comment: Option<String>,
    /// The kernel's number of the rule in its table, as `nft -a` prints it; of a rule of iptables-legacy its number in
    /// the chain, from 1. None of a rule that is not in the kernel.
    pub handle: Option<u64>,
    /// The rule as `iptables-save` prints it, without its chain; none of a rule that iptables did not make.
    pub text: Option<String>,
}
