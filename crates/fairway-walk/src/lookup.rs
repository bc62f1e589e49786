//! What sets hold and who waits for packets: looked up, however many there are.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use super::topology::{Listener, NamespaceId, NetworkNamespace, listener_of};
use fairway_ruleset::{Element, Set, Table};

/// Asked for what a namespace has more of than is worth reading for one packet ([`NetworkNamespace::on_demand`]).
pub trait StateSource: fmt::Debug {
    /// The element of a set of exact keys that a key is, or else the one that matches what no other does.
    ///
    /// # Errors
    /// Why it cannot be known, in words.
    fn element(
        &self,
        namespace: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String>;

    /// The sockets that wait at a port, whatever their address.
    ///
    /// # Errors
    /// Why it cannot be known, in words.
    fn listeners(&self, namespace: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String>;
}

/// What the namespaces of a topology hold. It belongs to one topology: sets are known by their places in memory.
#[derive(Debug, Default)]
pub(super) struct Lookup<'a> {
    indexes: RefCell<HashMap<*const Set, Rc<Index>>>,
    on_demand: Option<&'a dyn StateSource>,
}

/// Why nothing of a namespace can be looked up.
const UNREAD: &str = "what its sets and sockets are was not read";

impl<'a> Lookup<'a> {
    pub(super) fn with(on_demand: &'a dyn StateSource) -> Self {
        Self { on_demand: Some(on_demand), ..Self::default() }
    }

    /// The element of a set of `namespace`, which is at `place`, that a key meets.
    pub(super) fn element<'s>(
        &self,
        (id, namespace): (NamespaceId, &NetworkNamespace),
        table: &Table,
        set: &'s Set,
        key: &[u8],
    ) -> Result<Option<Cow<'s, Element>>, String> {
        if namespace.on_demand && set.is_exact() {
            let found = self.on_demand.ok_or(UNREAD)?.element(id, table, set, key)?;
            return Ok(found.filter(|it| !exceeds(it)).map(Cow::Owned));
        }
        let mut indexes = self.indexes.borrow_mut();
        let index =
            Rc::clone(indexes.entry(std::ptr::from_ref(set)).or_insert_with(|| Index::of(set).into()));
        Ok(index.find(set, key).map(Cow::Borrowed))
    }

    /// The socket of `namespace`, which is at `place`, that gets what is for `address` and `port`.
    pub(super) fn listener<'m>(
        &self,
        (id, namespace): (NamespaceId, &'m NetworkNamespace),
        protocol: u8,
        address: IpAddr,
        port: u16,
    ) -> Result<Option<Cow<'m, Listener>>, String> {
        if namespace.on_demand {
            let found = self.on_demand.ok_or(UNREAD)?.listeners(id, protocol, port)?;
            return Ok(listener_of(&found, protocol, address, port).cloned().map(Cow::Owned));
        }
        Ok(namespace.listener(protocol, address, port).map(Cow::Borrowed))
    }
}

/// A limit on an element finds what exceeds it: one packet by itself is never too many.
fn exceeds(element: &Element) -> bool {
    element.limit.is_some_and(|limit| limit.inverted)
}

/// The elements of a set in the order of their keys, or of one part of them.
#[derive(Debug)]
struct Index {
    /// The bytes of a key that order them: all, or the part by which ranges of concatenations differ most.
    part: Range<usize>,
    /// Places of elements, by where their part begins.
    order: Vec<usize>,
    /// For each of `order`, the place of the one that reaches furthest among it and those before it.
    furthest: Vec<usize>,
    /// The place of the element that matches what no other does.
    rest: Option<usize>,
}

fn begins<'e>(element: &'e Element, part: &Range<usize>) -> &'e [u8] {
    element.key.get(part.clone()).unwrap_or_default()
}

fn ends<'e>(element: &'e Element, part: &Range<usize>) -> &'e [u8] {
    element.last.as_ref().unwrap_or(&element.key).get(part.clone()).unwrap_or_default()
}

/// Where the parts of a set's keys are, each padded to four bytes if there are several.
fn parts(set: &Set) -> Vec<Range<usize>> {
    let mut at = 0;
    let part = |datatype: &fairway_ruleset::Datatype| {
        let from = at;
        at += if set.is_concatenation() { datatype.length().next_multiple_of(4) } else { set.key_length() };
        from..at
    };
    set.key.iter().map(part).collect()
}

impl Index {
    fn of(set: &Set) -> Self {
        let elements = &set.elements;
        let ordered = |part: &Range<usize>| {
            let found = elements.iter().enumerate().filter(|(_, it)| !it.key.is_empty() && !exceeds(it));
            let mut order: Vec<usize> = found.map(|(place, _)| place).collect();
            order.sort_by(|one, other| begins(&elements[*one], part).cmp(begins(&elements[*other], part)));
            order
        };
        let distinct = |part: &Range<usize>| {
            let mut keys: Vec<&[u8]> = elements.iter().map(|it| begins(it, part)).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.len()
        };
        let has_ranges = elements.iter().any(|element| element.last.is_some());
        let whole = 0..set.key_length();
        let part = match has_ranges {
            true => parts(set).into_iter().max_by_key(distinct).unwrap_or(whole),
            false => whole,
        };
        let order = ordered(&part);
        let mut furthest: Vec<usize> = Vec::with_capacity(order.len());
        for place in &order {
            let so_far = furthest.last().copied().unwrap_or(*place);
            let further = ends(&elements[*place], &part) > ends(&elements[so_far], &part);
            furthest.push(if further { *place } else { so_far });
        }
        let rest = elements.iter().position(|element| element.key.is_empty());
        Self { part, order, furthest, rest }
    }

    /// The element that a key is, or is between the ends of; a concatenation is compared part by part.
    fn find<'s>(&self, set: &'s Set, key: &[u8]) -> Option<&'s Element> {
        let elements = &set.elements;
        let own = key.get(self.part.clone()).unwrap_or_default();
        let behind = self.order.partition_point(|place| begins(&elements[*place], &self.part) <= own);
        let reaches = |at: &usize| ends(&elements[self.furthest[*at]], &self.part).cmp(own) != Ordering::Less;
        let candidates = (0..behind).rev().take_while(reaches).map(|at| &elements[self.order[at]]);
        let within = |element: &&Element| {
            let part = |part: Range<usize>| {
                let own = key.get(part.clone()).unwrap_or_default();
                begins(element, &part) <= own && own <= ends(element, &part)
            };
            if element.last.is_none() { element.key == key } else { parts(set).into_iter().all(part) }
        };
        candidates.into_iter().find(within).or_else(|| self.rest.map(|place| &elements[place]))
    }
}

#[cfg(test)]
mod tests;
