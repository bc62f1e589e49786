//! Rules of iptables that nf_tables does not show: xtables matches and targets as bytes, and the tables of
//! iptables-legacy. `iptables-save` prints both.

use fairway_ruleset::{Expression, Family, Table, iptables_save};

use super::Error;
use crate::ipset;
use crate::iptables::{self, Flavour, Programs};
use crate::nftables::Reader;

/// How often the tables are read again when they change while `iptables-save` runs.
const ATTEMPTS: usize = 3;

/// The families of iptables, and whether they are IPv4.
const FAMILIES: [(Family, bool); 2] = [(Family::Ip, true), (Family::Ip6, false)];

/// Reads tables by `read`, and replaces xtables expressions by what `iptables-save` prints. Tables that it cannot
/// print (no `iptables-nft-save`, or a foreign table) stay as they are.
pub fn in_words(reader: &Reader, read: impl Fn() -> Result<Vec<Table>, Error>) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::new();
    for _ in 0..ATTEMPTS {
        let before = reader.generation()?;
        tables = read()?;
        if !tables.iter().any(is_carried) {
            break;
        }
        let Ok(programs) = Programs::open(Some(Flavour::Nft)) else { break };
        let mut spoken = tables.clone();
        for (family, ipv4) in FAMILIES {
            if !spoken.iter().any(|table| table.family == family && is_carried(table)) {
                continue;
            }
            let Ok(text) = programs.save(ipv4) else { continue };
            for printed in iptables_save::read(family, &text) {
                let mut same = spoken.iter_mut().filter(|it| it.family == family && it.name == printed.name);
                if let Some(table) = same.next() {
                    iptables_save::adopt(table, printed);
                }
            }
        }
        look_into_ipsets(&mut spoken);
        if reader.generation()? == before {
            return Ok(spoken);
        }
    }
    Ok(tables)
}

/// Puts lookups in the place of matches that ask sets of `ipset`. Where these cannot be read, the matches stay undecided.
fn look_into_ipsets(tables: &mut [Table]) {
    if tables.iter().any(iptables_save::asks_ipsets)
        && let Ok(sets) = ipset::sets()
    {
        tables.iter_mut().for_each(|table| iptables_save::adopt_ipsets(table, &sets));
    }
}

/// Whether rules of a table have xtables matches or targets.
fn is_carried(table: &Table) -> bool {
    let carried = |it: &Expression| matches!(it, Expression::Unknown { name, .. } if ["match", "target"].contains(&name.as_str()));
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    matches!(table.family, Family::Ip | Family::Ip6) && rules.flat_map(|rule| &rule.expressions).any(carried)
}

/// The tables of iptables-legacy, or why they cannot be read.
pub fn legacy_tables() -> (Vec<Table>, Option<String>) {
    let mut tables = Vec::new();
    for (family, ipv4) in FAMILIES.into_iter().filter(|(_, ipv4)| iptables::has_legacy_tables(*ipv4)) {
        match Programs::open(Some(Flavour::Legacy)).and_then(|programs| programs.save(ipv4)) {
            Ok(text) => {
                let mut read = iptables_save::read(family, &text);
                look_into_ipsets(&mut read);
                tables.extend(read);
            }
            Err(error) => {
                let reason = format!("there are tables of legacy iptables, which cannot be read: {error}");
                return (tables, Some(reason));
            }
        }
    }
    (tables, None)
}
