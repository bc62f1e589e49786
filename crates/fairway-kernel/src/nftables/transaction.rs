//! A transaction of nf_tables: applied as a whole or not at all.

use std::ops::Range;

use fairway_ruleset::{Chain, Datatype, Element, Family, Rule, Set, Table, TableFlags};

use super::numbers::{self as n, message};
use super::{Error, decode, encode};
use crate::netlink::{Attributes, Batch, MessageBuilder, Refusal};

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// Lists of elements are split before they reach the limit of an attribute, 65,535 bytes. An element has at most some
/// 600.
const LIST_LENGTH: usize = 60_000;
/// Length of a message that frames a batch.
const FRAME_LENGTH: usize = crate::netlink::HEADER_LENGTH + n::HEADER_LENGTH;

/// The elements of a message, to name a refused one.
#[derive(Debug, Clone)]
struct Listing {
    index: usize,
    set: String,
    key: Vec<Datatype>,
}

/// Changes of tables, in order.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(super) batch: Batch,
    listings: Vec<Listing>,
    /// The id of the next new set of the batch.
    sets: u32,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a message of nf_tables.
pub(super) fn begin(
    batch: &mut Batch,
    kind: u16,
    flags: u16,
    family: u8,
    label: String,
) -> MessageBuilder<'_> {
    let mut message = batch.message(n::SUBSYSTEM << 8 | kind, flags, label);
    message.raw(&[family, 0, 0, 0]);
    message
}

fn frame(batch: &mut Batch, kind: u16) {
    let [high, low] = n::SUBSYSTEM.to_be_bytes();
    batch.message(kind, 0, "the transaction").raw(&[0, 0, high, low]);
}

impl Transaction {
    /// A transaction that changes nothing.
    pub fn new() -> Self {
        let mut batch = Batch::new();
        frame(&mut batch, n::BATCH_BEGIN);
        Self { batch, listings: Vec::new(), sets: 0 }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.batch.len() <= 1
    }

    /// Its size in bytes; to be compared with [`super::Writer::limit`].
    pub fn size(&self) -> usize {
        self.batch.bytes().len() + FRAME_LENGTH
    }

    fn message(&mut self, kind: u16, flags: u16, family: Family, label: String) -> MessageBuilder<'_> {
        begin(&mut self.batch, kind, flags, family.number(), label)
    }

    /// Creates a table if it does not exist, or takes it over if its owner is gone. Its content is not changed.
    pub fn add_table(&mut self, table: &Table) -> &mut Self {
        let label = format!("table {} {}", table.family, table.name);
        let mut message = self.message(message::NEW_TABLE, CREATE, table.family, label);
        message.text(n::table::NAME, &table.name);
        encode::table_flags(&mut message, table.flags);
        drop(message);
        self
    }

    /// Creates a table with its content.
    pub fn create(&mut self, table: &Table) -> &mut Self {
        self.replace(&Table::new(table.family, table.name.clone()), table)
    }

    /// Replaces an existing table `old` by `new`: chains, rules and differently declared sets are those of `new`. A
    /// set with the same declaration keeps its elements and counters. A table whose owner is gone is taken over. Else
    /// ownership cannot be changed: a table with other flags is created anew, with the elements of the kept sets but
    /// without their counters.
    pub fn replace(&mut self, old: &Table, new: &Table) -> &mut Self {
        if is_remade(old, new) {
            return self.remake(old, new);
        }
        self.add_table(new);
        if old.chains.iter().any(|chain| !chain.rules.is_empty()) {
            let label = format!("the rules of table {} {}", old.family, old.name);
            self.message(message::DELETE_RULE, 0, old.family, label).text(n::rule::TABLE, &old.name);
        }
        let stays = |set: &Set| {
            !set.flags.anonymous && old.set(&set.name).is_some_and(|before| same_declaration(before, set))
        };
        for set in old.sets.iter().filter(|set| !set.flags.anonymous) {
            if !new.set(&set.name).is_some_and(&stays) {
                self.delete_set(old, &set.name);
            }
        }
        for chain in &old.chains {
            if !new.chain(&chain.name).is_some_and(|after| same_hook(chain, after)) {
                self.delete_chain(old, &chain.name);
            }
        }
        for chain in &new.chains {
            self.add_chain(new, chain);
        }
        for set in new.sets.iter().filter(|set| !stays(set)) {
            self.add_set(new, set);
        }
        for chain in &new.chains {
            for (position, rule) in chain.rules.iter().enumerate() {
                let label = format!("rule {} of chain {}", position + 1, chain.name);
                self.put_rule(new, &chain.name, rule, APPEND, label);
            }
        }
        self
    }

    /// Adds the sets that `new` has and `old` lacks, so that they can be filled before rules look them up; returns the
    /// table with them, as [`Self::replace`] finds it then. None, and nothing is added, where that will make the whole
    /// table or one of its sets anew.
    pub fn add_new_sets(&mut self, old: &Table, new: &Table) -> Option<Table> {
        let declared_anew =
            |set: &Set| old.set(&set.name).is_some_and(|before| !same_declaration(before, set));
        if is_remade(old, new) || new.sets.iter().any(declared_anew) {
            return None;
        }
        self.add_table(new);
        let mut with_sets = Table { flags: new.flags, ..old.clone() };
        for set in new.sets.iter().filter(|set| old.set(&set.name).is_none()) {
            self.add_set(new, set);
            with_sets.sets.push(set.clone());
        }
        Some(with_sets)
    }

    fn remake(&mut self, old: &Table, new: &Table) -> &mut Self {
        let mut new = new.clone();
        for set in &mut new.sets {
            if let Some(before) = old.set(&set.name).filter(|before| same_declaration(before, set)) {
                set.elements.clone_from(&before.elements);
            }
        }
        self.delete_table(old.family, &old.name).create(&new)
    }

    /// Deletes a table with its content.
    pub fn delete_table(&mut self, family: Family, name: &str) -> &mut Self {
        let label = format!("table {family} {name}");
        self.message(message::DELETE_TABLE, 0, family, label).text(n::table::NAME, name);
        self
    }

    /// Deletes a table with its content, if it exists.
    pub fn destroy_table(&mut self, family: Family, name: &str) -> &mut Self {
        let label = format!("table {family} {name}");
        self.message(message::DESTROY_TABLE, 0, family, label).text(n::table::NAME, name);
        self
    }

    /// Creates a chain without rules, or sets the policy of an existing one.
    pub fn add_chain(&mut self, table: &Table, chain: &Chain) -> &mut Self {
        let label = format!("chain {}", chain.name);
        let mut message = self.message(message::NEW_CHAIN, CREATE, table.family, label);
        encode::chain(&mut message, table, chain);
        drop(message);
        self
    }

    /// Removes a chain.
    pub fn delete_chain(&mut self, table: &Table, chain: &str) -> &mut Self {
        let label = format!("chain {chain}");
        let mut message = self.message(message::DELETE_CHAIN, 0, table.family, label);
        message.text(n::chain::TABLE, &table.name).text(n::chain::NAME, chain);
        drop(message);
        self
    }

    /// Appends a rule to a chain.
    pub fn append_rule(&mut self, table: &Table, chain: &str, rule: &Rule) -> &mut Self {
        self.put_rule(table, chain, rule, APPEND, format!("a rule for chain {chain}"))
    }

    /// Inserts a rule at the beginning of a chain.
    pub fn insert_rule(&mut self, table: &Table, chain: &str, rule: &Rule) -> &mut Self {
        self.put_rule(table, chain, rule, 0, format!("a rule for chain {chain}"))
    }

    fn put_rule(&mut self, table: &Table, chain: &str, rule: &Rule, flags: u16, label: String) -> &mut Self {
        let mut message = self.message(message::NEW_RULE, CREATE | flags, table.family, label);
        encode::rule(&mut message, &table.name, chain, rule);
        drop(message);
        self
    }

    /// Deletes the rule with a handle, as read by [`super::Reader::rules`].
    pub fn delete_rule(&mut self, table: &Table, chain: &str, handle: u64) -> &mut Self {
        let label = format!("the rule with handle {handle} of chain {chain}");
        let mut message = self.message(message::DELETE_RULE, 0, table.family, label);
        message.text(n::rule::TABLE, &table.name).text(n::rule::CHAIN, chain).be64(n::rule::HANDLE, handle);
        drop(message);
        self
    }

    /// Creates a set with its elements.
    pub fn add_set(&mut self, table: &Table, set: &Set) -> &mut Self {
        self.sets += 1;
        let id = self.sets;
        let label = format!("set {}", set.name);
        let mut message = self.message(message::NEW_SET, CREATE, table.family, label);
        encode::set(&mut message, &table.name, set, id);
        drop(message);
        self.add_elements(table, set, &set.elements)
    }

    /// Removes a set with its elements.
    pub fn delete_set(&mut self, table: &Table, set: &str) -> &mut Self {
        let mut message = self.message(message::DELETE_SET, 0, table.family, format!("set {set}"));
        message.text(n::set::TABLE, &table.name).text(n::set::NAME, set);
        drop(message);
        self
    }

    /// Removes all elements of a set.
    pub fn flush_set(&mut self, table: &Table, set: &str) -> &mut Self {
        let label = format!("the elements of set {set}");
        let mut message = self.message(message::DELETE_ELEMENTS, 0, table.family, label);
        message.text(n::element::LIST_TABLE, &table.name).text(n::element::LIST_SET, set);
        drop(message);
        self
    }

    /// Adds elements to a set. An existing one with the same value is kept; one with another value is refused
    /// ([`Error::is_present`]).
    pub fn add_elements<'a>(
        &mut self,
        table: &Table,
        set: &Set,
        elements: impl IntoIterator<Item = &'a Element>,
    ) -> &mut Self {
        self.list(message::NEW_ELEMENTS, CREATE, table, set, elements)
    }

    /// Deletes elements from a set. A missing one is refused ([`Error::is_absent`]).
    pub fn delete_elements<'a>(
        &mut self,
        table: &Table,
        set: &Set,
        elements: impl IntoIterator<Item = &'a Element>,
    ) -> &mut Self {
        self.list(message::DELETE_ELEMENTS, 0, table, set, elements)
    }

    /// Deletes those elements of a set that exist.
    pub fn destroy_elements<'a>(
        &mut self,
        table: &Table,
        set: &Set,
        elements: impl IntoIterator<Item = &'a Element>,
    ) -> &mut Self {
        self.list(message::DESTROY_ELEMENTS, 0, table, set, elements)
    }

    fn list<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        table: &Table,
        set: &Set,
        elements: impl IntoIterator<Item = &'a Element>,
    ) -> &mut Self {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let index = self.batch.len();
            self.listings.push(Listing { index, set: set.name.clone(), key: set.key.clone() });
            let label = format!("elements of set {}", set.name);
            let mut message = self.message(kind, flags, table.family, label);
            message.text(n::element::LIST_TABLE, &table.name).text(n::element::LIST_SET, &set.name);
            message.nest(n::element::LIST_ELEMENTS, |list| {
                for element in elements.by_ref() {
                    encode::element(list, set, element);
                    if list.size() > LIST_LENGTH {
                        break;
                    }
                }
            });
        }
        self
    }

    /// Replaces the messages; `origins` are the positions of the former messages that they derive from.
    pub(super) fn rebuild(&mut self, batch: Batch, origins: &[usize]) {
        self.batch = batch;
        self.listings.retain_mut(|listing| {
            let position = origins.iter().position(|origin| *origin == listing.index);
            listing.index = position.unwrap_or_default();
            position.is_some()
        });
    }

    /// The complete batch.
    pub(super) fn finish(&mut self) -> &mut Batch {
        frame(&mut self.batch, n::BATCH_END);
        &mut self.batch
    }

    /// Names the refused object: of a list, the element.
    pub(super) fn explain(&self, refusal: Refusal) -> Error {
        let what = self.element_of(&refusal).unwrap_or(refusal.label);
        Error::Refused { what, errno: refusal.errno, message: refusal.message }
    }

    fn element_of(&self, refusal: &Refusal) -> Option<String> {
        let listing = self.listings.iter().find(|listing| listing.index == refusal.index)?;
        let message = &self.batch.bytes()[messages(self.batch.bytes()).nth(refusal.index)?];
        let mut attributes = Attributes::new(message.get(refusal.offset? as usize..)?);
        let key = decode::key_of_entry(attributes.next()?.nested())?;
        Some(format!("element {} of set {}", Datatype::text_of(&listing.key, &key), listing.set))
    }
}

/// The byte range of each message of a batch.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let length = bytes.get(start..)?.first_chunk().map(|length| u32::from_ne_bytes(*length))? as usize;
        let own = start..start + length;
        start += crate::netlink::align(length);
        Some(own)
    })
}

/// Whether a table has to be made anew, since its ownership cannot be changed.
fn is_remade(old: &Table, new: &Table) -> bool {
    let exists = !old.sets.is_empty() || !old.chains.is_empty();
    exists && old.flags != new.flags && !is_adopted(old, new)
}

/// Whether [`Transaction::add_table`] takes a table over: its owner is gone, and it was made to stay. The kernel adds no
/// base chain to a table in the transaction that takes it over.
pub fn is_adopted(old: &Table, new: &Table) -> bool {
    new.flags == TableFlags::OWNED && old.flags == TableFlags { owner: false, ..TableFlags::OWNED }
}

fn same_declaration(one: &Set, other: &Set) -> bool {
    let declaration = |set: &Set| Set { elements: Vec::new(), ..set.clone() };
    declaration(one) == declaration(other)
}

/// Whether a chain can be kept: only its policy can be changed.
fn same_hook(one: &Chain, other: &Chain) -> bool {
    match (&one.base, &other.base) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.kind == other.kind
                && one.hook == other.hook
                && one.priority == other.priority
                && one.devices == other.devices
        }
        _ => false,
    }
}
