//! The nf_tables backend: two tables that Fairway owns.

mod compare;
mod counts;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_core::object::{Difference, ElementValue, Fragment, Key, Object, SetElement};
use fairway_core::object::{RulesetSwitches, SETS, SetName};
use fairway_core::policy::unknown_switches;
use fairway_core::policy::{self, BRIDGE_TABLE, TABLE, ruleset};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::nftables::{Error, Reader, Transaction, Writer, is_adopted};
use fairway_ruleset::{Element, ElementData, Family, Set, Table, TableFlags};

/// How many elements go into one transaction when they do not fit into one.
const CHUNK: usize = 2000;

/// The tables that Fairway owns.
const TABLES: [(Family, &str); 2] = [(Family::Inet, TABLE), (Family::Bridge, BRIDGE_TABLE)];

/// Programs the tables, through the one socket that owns them.
#[derive(Debug)]
pub(super) struct Tables {
    writer: Mutex<Writer>,
    /// The flags of the tables: `owner` and `persist` where the kernel knows them.
    flags: TableFlags,
    /// The tables with their sets and no chains: the layout of elements.
    layout: Vec<Table>,
}

fn value_of(bytes: &[u8]) -> Option<ElementValue> {
    let address = |length: usize| bytes.get(..length);
    let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let target = |address: IpAddr, port| ElementValue::Target(SocketAddr::new(address, port));
    match bytes.len() {
        4 => Some(ElementValue::Address(<[u8; 4]>::try_from(bytes).ok()?.into())),
        16 => Some(ElementValue::Address(<[u8; 16]>::try_from(bytes).ok()?.into())),
        8 => Some(target(<[u8; 4]>::try_from(address(4)?).ok()?.into(), port(4)?)),
        20 => Some(target(<[u8; 16]>::try_from(address(16)?).ok()?.into(), port(16)?)),
        _ => None,
    }
}

/// The key of an element in the Plan: of a range, both ends.
fn key_of(name: SetName, element: &Element) -> Vec<u8> {
    let mut key = element.key.clone();
    if name.has_ranges() {
        key.extend(element.last.as_ref().unwrap_or(&element.key));
    }
    key
}

fn from_element(element: &Element) -> SetElement {
    let value = match &element.data {
        ElementData::Value(bytes) => value_of(bytes).unwrap_or(ElementValue::None),
        _ => element.limit.map_or(ElementValue::None, |limit| {
            ElementValue::Over(u32::try_from(limit.amount).unwrap_or(u32::MAX))
        }),
    };
    SetElement { value, comment: element.comment.clone().unwrap_or_default() }
}

/// One change of an element.
enum Change {
    Add(Element),
    Remove(Element),
}

/// For which families the table shows that forwarding was enabled for Fairway's networks only.
pub(super) fn drops_unrelated_forwarding() -> Result<(bool, bool), Error> {
    let table = Reader::open()?.table(Family::Inet, TABLE)?;
    Ok(table.map_or((false, false), |table| policy::drops_unrelated_forwarding(&table.at_rest())))
}

impl Tables {
    /// Opens the socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refuses the socket.
    pub fn open() -> Result<Self, Error> {
        let mut layout = ruleset(&RulesetSwitches::default());
        layout.iter_mut().for_each(|table| table.chains.clear());
        let writer = Writer::open()?;
        let flags = writer.best_flags()?;
        Ok(Self { writer: Mutex::new(writer), flags, layout })
    }

    /// The netlink port of the writer, whose notifications are of own changes.
    pub fn port(&self) -> u32 {
        self.lock().port()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a change of a foreign table.
    pub fn commit(&self, transaction: Transaction) -> Result<(), Error> {
        self.lock().commit(transaction)
    }

    fn set(&self, name: SetName) -> Option<(&Table, &Set)> {
        let table = self.layout.iter().find(|table| table.family == name.family())?;
        Some((table, table.set(name.text())?))
    }

    /// Applies a difference in one transaction, unless it does not fit into one.
    ///
    /// # Errors
    /// The error of the kernel, with the refused object.
    pub fn apply(&self, difference: &Difference) -> Result<(), Error> {
        let mut transaction = Transaction::new();
        let tables = match difference.removed.contains_key(&Key::Ruleset) {
            true => Some(Vec::new()),
            false => difference.wanted().find_map(|(_, object)| match object {
                Object::Ruleset(switches) => Some(ruleset(switches)),
                _ => None,
            }),
        };
        // The elements of a deleted table go with it.
        let stays = |family| tables.as_ref().is_none_or(|all| all.iter().any(|table| table.family == family));
        let changes = self.changes(difference, |name| stays(name.family()));
        let mut writer = self.lock();
        for (family, name) in TABLES.into_iter().filter(|(family, _)| !stays(*family)) {
            transaction.destroy_table(family, name);
        }
        let mut replacements = Vec::new();
        let pairs = tables.map_or(Ok(Vec::new()), |tables| self.adopt(&mut writer, tables))?;
        for (old, new) in pairs {
            match transaction.add_new_sets(&old, &new) {
                // New sets are filled before rules look them up: nothing is open meanwhile, however many transactions
                // it takes.
                Some(with_sets) => replacements.push((with_sets, new)),
                None => drop(transaction.replace(&old, &new)),
            }
        }
        let mut pending =
            changes.iter().flat_map(|(name, changes)| changes.chunks(CHUNK).map(move |chunk| (*name, chunk)));
        loop {
            let next = pending.next();
            if let Some((name, chunk)) = next {
                self.put(&mut transaction, name, chunk);
            }
            if next.is_none() {
                for (old, new) in &replacements {
                    transaction.replace(old, new);
                }
            }
            if next.is_none() || transaction.size() > writer.limit() / 2 {
                if !transaction.is_empty() {
                    writer.commit(std::mem::take(&mut transaction))?;
                }
                if next.is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Takes over tables whose owner is gone. Returns each table as it is, and as it shall be.
    fn adopt(&self, writer: &mut Writer, tables: Vec<Table>) -> Result<Vec<(Table, Table)>, Error> {
        let reader = Reader::open()?;
        let mut pairs = Vec::new();
        for new in tables {
            let new = Table { flags: self.flags, ..new };
            let found = reader.table(new.family, &new.name)?;
            let mut old = found.unwrap_or_else(|| Table::new(new.family, new.name.clone()));
            if is_adopted(&old, &new) {
                let mut adoption = Transaction::new();
                adoption.add_table(&new);
                writer.commit(adoption)?;
                old.flags = new.flags;
            }
            pairs.push((old, new));
        }
        Ok(pairs)
    }

    /// The changes of elements, set by set; removals before additions, for the same key may have both.
    fn changes(
        &self,
        difference: &Difference,
        concerned: impl Fn(SetName) -> bool,
    ) -> Vec<(SetName, Vec<Change>)> {
        let mut changes: Vec<(SetName, Vec<Change>)> = Vec::new();
        let mut push = |name: SetName, change: Change| match changes.last_mut() {
            _ if !concerned(name) => {}
            Some((last, list)) if *last == name => list.push(change),
            _ => changes.push((name, vec![change])),
        };
        for (key, object) in &difference.removed {
            if let (Key::Element(name, bytes), Object::Element(element)) = (key, object) {
                push(*name, Change::Remove(element.to_element(*name, bytes)));
            }
        }
        for (key, (old, _)) in &difference.changed {
            if let (Key::Element(name, bytes), Object::Element(element)) = (key, old) {
                push(*name, Change::Remove(element.to_element(*name, bytes)));
            }
        }
        for (key, object) in difference.wanted() {
            if let (Key::Element(name, bytes), Object::Element(element)) = (key, object) {
                push(*name, Change::Add(element.to_element(*name, bytes)));
            }
        }
        changes
    }

    fn put(&self, transaction: &mut Transaction, name: SetName, chunk: &[Change]) {
        let Some((table, set)) = self.set(name) else { return };
        let removed = chunk.iter().filter_map(|change| match change {
            Change::Remove(element) => Some(element),
            Change::Add(_) => None,
        });
        let added = chunk.iter().filter_map(|change| match change {
            Change::Add(element) => Some(element),
            Change::Remove(_) => None,
        });
        let mut removed = removed.peekable();
        if removed.peek().is_some() {
            transaction.destroy_elements(table, set, removed);
        }
        let mut added = added.peekable();
        if added.peek().is_some() {
            transaction.add_elements(table, set, added);
        }
    }

    /// Observes the tables. The fixed part is as planned if it is exactly the one of `switches`.
    ///
    /// # Errors
    /// The kernel refuses to list the tables.
    pub fn observe(&self, switches: Option<&RulesetSwitches>) -> Result<Fragment, Error> {
        let reader = Reader::open()?;
        let mut objects = Fragment::new();
        let mut found = Vec::new();
        for (family, name) in TABLES {
            found.extend(reader.table(family, name)?);
        }
        if found.is_empty() {
            return Ok(objects);
        }
        let wanted: Vec<Table> = switches.map(ruleset).unwrap_or_default();
        // The elements of an unplanned table go with it.
        let stays = |table: &&Table| wanted.iter().any(|wanted| wanted.family == table.family);
        for table in found.iter().filter(stays) {
            for name in SETS.into_iter().filter(|name| name.family() == table.family) {
                for element in table.set(name.text()).into_iter().flat_map(|set| &set.elements) {
                    let object = Object::Element(from_element(element));
                    objects.insert(Key::Element(name, key_of(name, element)), object);
                }
            }
        }
        let wanted = wanted.into_iter().map(|table| Table { flags: self.flags, ..fixed_part(table) });
        let found: Vec<Table> = found.into_iter().map(fixed_part).collect();
        let same = found.iter().cloned().eq(wanted);
        let switches = switches.filter(|_| same).copied();
        // A ruleset that differs is reported by switches that no Plan has.
        objects.insert(Key::Ruleset, Object::Ruleset(switches.unwrap_or_else(|| unknown_switches(&found))));
        Ok(objects)
    }
}

impl Tables {
    /// How the tables differ from the fixed part of `switches`. A table that cannot be read is not compared.
    pub fn deviations(&self, switches: &RulesetSwitches) -> Vec<Deviation> {
        let Ok(reader) = Reader::open() else { return Vec::new() };
        let wanted =
            ruleset(switches).into_iter().map(|table| Table { flags: self.flags, ..fixed_part(table) });
        let compared = wanted.map(|wanted| match reader.table(wanted.family, &wanted.name) {
            Ok(Some(found)) => compare::compare(&fixed_part(found), &wanted),
            Ok(None) => vec![Deviation::missing(format!("table {} {}", wanted.family, wanted.name))],
            Err(_) => Vec::new(),
        });
        compared.flatten().collect()
    }
}

/// A table without elements and counters: its fixed part.
fn fixed_part(mut table: Table) -> Table {
    for set in &mut table.sets {
        set.elements.clear();
    }
    table.at_rest()
}
