//! Rules of iptables that nf_tables does not show: xtables matches and targets as bytes, and the tables of
//! iptables-legacy. `iptables-save` prints both.

use fairway_core::policy::is_trace_table;
use fairway_ruleset::{Expression, Family, Table, iptables_save};

use super::Error;
use crate::ipset;
use crate::iptables::{self, Flavour, Programs};
use crate::nftables::{self, Reader, TableHeader};
use crate::parallel::both;

/// How often the tables are read again when they change while `iptables-save` runs.
const ATTEMPTS: usize = 3;

/// The families of iptables, and whether they are IPv4.
const FAMILIES: [(Family, bool); 2] = [(Family::Ip, true), (Family::Ip6, false)];

/// The tables that iptables has.
const NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// All tables of all owners in the namespace of the calling thread, without trace tables; `on_demand` without the elements
/// of sets of exact keys. Rules of iptables are as `iptables-save` prints them, since their matches and targets are bytes
/// in nf_tables. Tables that it cannot print (no `iptables-nft-save`, or a foreign table) stay as they are.
///
/// # Errors
/// The kernel refuses or its answer cannot be read.
pub fn tables(on_demand: bool) -> Result<Vec<Table>, Error> {
    let reader = Reader::open()?;
    for _ in 0..ATTEMPTS {
        let before = reader.generation()?;
        let tables = read(&reader, on_demand, true)?;
        if reader.generation()? == before {
            return Ok(tables);
        }
    }
    read(&reader, on_demand, false)
}

/// Reads all tables once, rules of iptables by its programs if `by_programs`.
fn read(reader: &Reader, on_demand: bool, by_programs: bool) -> Result<Vec<Table>, Error> {
    let listed: Vec<TableHeader> =
        reader.tables()?.into_iter().filter(|it| !is_trace_table(&it.name)).collect();
    let has = |family| listed.iter().any(|it| it.family == family && is_of_iptables(it));
    let families: Vec<(Family, bool)> = FAMILIES.into_iter().filter(|(family, _)| has(*family)).collect();
    let programs =
        (by_programs && !families.is_empty()).then(|| Programs::open(Some(Flavour::Nft)).ok()).flatten();
    let whole = |it: &TableHeader| match on_demand {
        true => reader.outline(it.family, &it.name),
        false => reader.table(it.family, &it.name),
    };
    let Some(programs) = programs else { return all(&listed, whole) };
    // The program asks the kernel for all rules too, at the same time.
    let print = || {
        let texts = families.iter().filter_map(|(family, ipv4)| Some((*family, programs.save(*ipv4).ok()?)));
        texts.flat_map(|(family, text)| iptables_save::read(family, &text)).collect::<Vec<Table>>()
    };
    let skim =
        |it: &TableHeader| if is_of_iptables(it) { reader.skim(it.family, &it.name) } else { whole(it) };
    let (mut printed, tables) = both(print, || all(&listed, skim));
    let mut tables = tables?;
    let carrying: Vec<Family> = tables.iter().filter(|it| is_carried(it)).map(|it| it.family).collect();
    for table in &mut tables {
        let Some(header) = listed.iter().find(|it| (it.family, &it.name) == (table.family, &table.name))
        else {
            continue;
        };
        if !is_of_iptables(header) {
            continue;
        }
        let text = printed.iter().position(|it| (it.family, &it.name) == (table.family, &table.name));
        let text = text.filter(|_| carrying.contains(&table.family)).map(|at| printed.swap_remove(at));
        if !text.is_some_and(|text| iptables_save::adopt(table, text)) {
            // One that was deleted meanwhile meets no packet.
            *table = whole(header)?.unwrap_or_else(|| Table::new(table.family, table.name.clone()));
        }
    }
    look_into_ipsets(&mut tables);
    Ok(tables)
}

/// Whether it may be a table of iptables.
fn is_of_iptables(it: &TableHeader) -> bool {
    NAMES.contains(&it.name.as_str()) && FAMILIES.iter().any(|(family, _)| *family == it.family)
}

fn all(
    listed: &[TableHeader],
    read: impl Fn(&TableHeader) -> Result<Option<Table>, nftables::Error>,
) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::new();
    for it in listed {
        // A table that was deleted meanwhile meets no packet.
        tables.extend(read(it)?);
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use fairway_ruleset::{Chain, ChainKind, Hook, rule};

    use super::*;
    use crate::nftables::{Transaction, Writer};
    use crate::testing::in_new_namespace;

    fn restore(rules: &'static str) {
        let mut command = Command::new("iptables-nft-restore");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), rules.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn make(table: &Table) {
        let mut transaction = Transaction::new();
        transaction.create(table);
        Writer::open().unwrap().commit(transaction).unwrap();
    }

    /// A table that no program but `nft` makes, under a name of iptables.
    fn foreign(name: &str) -> Table {
        let drop = rule().to_port(fairway_model::Protocol::Tcp, 81).drop().comment("not 81");
        let mut table = Table::new(Family::Ip, name);
        table.chains = vec![Chain::base("guard", ChainKind::Filter, Hook::Forward, -5).with([drop])];
        table
    }

    fn table<'t>(tables: &'t [Table], name: &str) -> &'t Table {
        tables.iter().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn rules_of_iptables_are_in_its_words_and_have_their_handles() {
        in_new_namespace(|| {
            restore(
                "*filter\n-A FORWARD -p tcp -m tcp --dport 80 -m comment --comment \"the web\" -j DROP\n\
                 -A FORWARD -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n",
            );
            let read = tables(true).unwrap();
            let known = Reader::open().unwrap().outline(Family::Ip, "filter").unwrap().unwrap();
            let (spoken, bytes) =
                (table(&read, "filter").chain("FORWARD").unwrap(), known.chain("FORWARD").unwrap());
            let texts: Vec<&str> = spoken.rules.iter().filter_map(|it| it.text.as_deref()).collect();
            assert_eq!(
                texts,
                [
                    "-p tcp -m tcp --dport 80 -m comment --comment \"the web\" -j DROP",
                    "-s 10.0.0.1/32 -j ACCEPT"
                ]
            );
            let handles = |chain: &Chain| chain.rules.iter().map(|it| it.handle).collect::<Vec<_>>();
            assert_eq!(handles(spoken), handles(bytes));
            assert!(handles(spoken).iter().all(Option::is_some));
            let counts = |it: &Expression| matches!(it, Expression::Counter(_));
            assert!(spoken.rules.iter().all(|it| it.expressions.iter().any(counts)));
        });
    }

    #[test]
    fn tables_of_others_under_a_name_of_iptables_are_read_whole() {
        in_new_namespace(|| {
            make(&foreign("filter"));
            let whole = |name| Reader::open().unwrap().outline(Family::Ip, name).unwrap().unwrap();
            assert_eq!(tables(true).unwrap(), [whole("filter")]);
            // Also where iptables prints another table of the family.
            restore(
                "*nat\n-A PREROUTING -p tcp -m tcp --dport 80 -m comment --comment x -j REDIRECT\nCOMMIT\n",
            );
            let read = tables(true).unwrap();
            assert_eq!(table(&read, "filter"), &whole("filter"));
            assert_eq!(table(&read, "filter").chains[0].rules[0].comment.as_deref(), Some("not 81"));
            assert!(table(&read, "nat").chain("PREROUTING").unwrap().rules[0].text.is_some());
        });
    }
}
