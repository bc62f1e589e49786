//! Rules of iptables, as `iptables-save` prints them.
//!
//! iptables keeps its rules in nf_tables, where the kernel shows most of their matches and targets as bytes that only
//! iptables' own extensions understand, or in tables of iptables-legacy, which nf_tables does not show at all. The text
//! is the same for both. It is read as expressions, as far as nf_tables has them; the rest stays a match or target with
//! a name ([`compat`]), so that an interpreter of the rule knows which part is unknown.

mod ipset;
mod line;
mod matches;
mod options;
mod targets;
mod undecided;

pub use ipset::{IpSet, IpSetMember, adopt_ipsets, asks_ipsets};
pub use line::{Line, Word, leads_to, lines, words};
use options::Given;

use super::{
    Base, Chain, ChainKind, Comparison, Count, Expression, Family, Hook, Load, Policy, Register, Rule, Table,
    Verdict, compat, priority,
};

/// The tables that `iptables-save` or, for IPv6, `ip6tables-save` printed, with or without `--counters`. Handles are
/// the numbers of rules in their chains, from 1.
pub fn read(family: Family, text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in lines(text) {
        match (line, tables.last_mut()) {
            (Line::Table(name), _) => tables.push(Table::new(family, name)),
            (Line::Chain { name, policy }, Some(table)) => {
                let base = base(&table.name, name, policy);
                table.chains.push(Chain { base, ..Chain::regular(name) });
            }
            (Line::Rule { count, chain, text }, Some(table)) => {
                let rule = rule(table, chain, count, text);
                let chain = table.chains.iter_mut().find(|known| known.name == chain);
                if let Some(chain) = chain {
                    let handle = Some(chain.rules.len() as u64 + 1);
                    chain.rules.push(Rule { handle, ..rule });
                }
            }
            (_, None) => {}
        }
    }
    tables
}

/// Puts what was printed of a table in the place of its expressions, rule by rule; handles and counts stay. False, and
/// nothing is changed, when the printed table is another one: chains or numbers of rules differ.
pub fn adopt(table: &mut Table, printed: Table) -> bool {
    let same = |chain: &Chain| {
        let printed = printed.chain(&chain.name).map(|it| it.rules.len());
        // A chain that iptables does not know of it does not print either.
        printed.unwrap_or_default() == chain.rules.len()
    };
    if (table.family, &table.name) != (printed.family, &printed.name) || !table.chains.iter().all(same) {
        return false;
    }
    for from in printed.chains {
        let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == from.name) else { continue };
        for (rule, from) in chain.rules.iter_mut().zip(from.rules) {
            let count = rule.expressions.iter().find(|it| matches!(it, Expression::Counter(_))).cloned();
            let expressions = count.into_iter().chain(from.expressions).collect();
            *rule = Rule { expressions, handle: rule.handle, ..from };
        }
    }
    true
}

/// Where iptables hangs a chain of that name; none for a user's own.
fn base(table: &str, name: &str, policy: &str) -> Option<Base> {
    let hook = match name {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (kind, priority) = match (table, hook) {
        ("raw", _) => (ChainKind::Filter, priority::RAW),
        ("mangle", Hook::Output) => (ChainKind::Route, priority::MANGLE),
        ("mangle", _) => (ChainKind::Filter, priority::MANGLE),
        ("nat", Hook::Prerouting | Hook::Output) => (ChainKind::Nat, priority::DESTINATION_NAT),
        ("nat", _) => (ChainKind::Nat, priority::SOURCE_NAT),
        ("security", _) => (ChainKind::Filter, priority::SECURITY),
        _ => (ChainKind::Filter, priority::FILTER),
    };
    let policy = if policy == "DROP" { Policy::Drop } else { Policy::Accept };
    Some(Base { kind, hook, priority, policy, devices: Vec::new() })
}

/// Reads a rule of a chain of a table.
fn rule(table: &Table, chain: &str, count: Option<Count>, text: &str) -> Rule {
    let mut reader = Reader { table, chain, expressions: Vec::new(), comment: None };
    reader.expressions.extend(count.map(Expression::Counter));
    reader.read(&words(text));
    let Reader { expressions, comment, .. } = reader;
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    Rule { expressions, comment, handle: None, text }
}

/// A rule in the making.
struct Reader<'a> {
    table: &'a Table,
    /// The name of its chain.
    chain: &'a str,
    expressions: Vec<Expression>,
    comment: Option<String>,
}

impl Reader<'_> {
    fn read(&mut self, words: &[Word]) {
        let mut rest = words;
        let mut inverted = false;
        while let Some((word, behind)) = rest.split_first() {
            rest = behind;
            let not = std::mem::take(&mut inverted);
            match word.text.as_str() {
                "!" => inverted = true,
                // The second and later pieces of a packet, of which there are none here.
                "-f" => self.extend(Some(matches::fragment(not)), "-f"),
                "-j" | "-g" | "-m" | "-i" | "-o" | "-s" | "-d" | "-p" => {
                    let Some((argument, behind)) = rest.split_first() else { return };
                    rest = behind;
                    let (argument, own) = (argument.text.as_str(), options::take(&mut rest));
                    match word.text.as_str() {
                        "-m" => self.module(argument, &own),
                        "-j" => self.target(argument, &own),
                        "-g" => self.push(Expression::Verdict(Verdict::Goto(argument.to_owned()))),
                        "-i" => self.extend(matches::interface(Load::INPUT_NAME, argument, not), "-i"),
                        "-o" => self.extend(matches::interface(Load::OUTPUT_NAME, argument, not), "-o"),
                        "-p" => self.extend(matches::protocol(argument, not), "-p"),
                        source => {
                            let load = matches::address_load(self.table.family, source == "-s");
                            self.extend(matches::address(load, argument, not), source);
                        }
                    }
                }
                other => self.push(compat::matching(other)),
            }
        }
    }

    fn push(&mut self, expression: Expression) {
        self.expressions.push(expression);
    }

    /// What was understood, or else a match of that name that is not.
    fn extend(&mut self, read: Option<Vec<Expression>>, name: &str) {
        self.expressions.extend(read.unwrap_or_else(|| vec![compat::matching(name)]));
    }

    fn module(&mut self, name: &str, options: &[Given]) {
        if name == "comment" {
            self.comment = options.iter().find_map(|it| it.one("--comment")).map(str::to_owned);
            return;
        }
        self.extend(matches::module(self.table.family, name, options), name);
    }

    fn target(&mut self, name: &str, options: &[Given]) {
        let is_chain = self.table.chain(name).is_some();
        let expressions = match name {
            _ if is_chain => Some(vec![Expression::Verdict(Verdict::Jump(name.to_owned()))]),
            "ACCEPT" => Some(vec![Expression::Verdict(Verdict::Accept)]),
            "DROP" => Some(vec![Expression::Verdict(Verdict::Drop)]),
            "RETURN" => Some(vec![Expression::Verdict(Verdict::Return)]),
            "QUEUE" => Some(vec![Expression::Unknown { name: "queue".to_owned(), attributes: Vec::new() }]),
            _ => targets::read(self.table.family, self.chain, name, options),
        };
        self.expressions.extend(expressions.unwrap_or_else(|| vec![compat::target(name)]));
    }
}

/// The bytes of an address.
fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A number, in decimal or, with `0x`, in hexadecimal digits.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A value and its mask, which is all bits if there is none.
fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// The first and the last of a range, which may be one alone.
fn range<T: std::str::FromStr + Clone>(text: &str, separator: char) -> Option<(T, T)> {
    match text.split_once(separator) {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => text.parse().ok().map(|only: T| (only.clone(), only)),
    }
}

/// Loads something and compares it.
fn compare(load: Load, value: impl Into<Vec<u8>>, inverted: bool) -> Vec<Expression> {
    let operator = if inverted { Comparison::NotEqual } else { Comparison::Equal };
    let from = Register::FIRST;
    vec![load.into_register(from), Expression::Compare { from, operator, value: value.into() }]
}

#[cfg(test)]
mod tests;
