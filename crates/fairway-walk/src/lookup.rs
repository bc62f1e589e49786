//! Lazy lookup of namespaces, set elements and listening sockets.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use super::observed::ObservedNamespace;
use super::topology::{Listener, NamespaceId, NetworkNamespace, listener_of};
use fairway_ruleset::{Element, Set, Table};

/// Reads namespaces when packets come to them, and their elements and sockets one by one, where a namespace has too many
/// to read them all for one packet ([`NetworkNamespace::on_demand`]).
pub trait StateSource: fmt::Debug {
    /// The element of a set of exact keys with that key, else the set's catch-all element.
    ///
    /// # Errors
    /// The reason why the state cannot be read.
    fn element(
        &self,
        namespace: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String>;

    /// The sockets that listen at a port, at any address.
    ///
    /// # Errors
    /// The reason why the state cannot be read.
    fn listeners(&self, namespace: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String>;

    /// All elements of a set without ranges, for a key of which a part may be any of a range; none if they are not read.
    ///
    /// # Errors
    /// The reason why they cannot be read.
    fn elements(
        &self,
        _namespace: NamespaceId,
        _table: &Table,
        _set: &Set,
    ) -> Result<Option<Vec<Element>>, String> {
        Ok(None)
    }

    /// The namespace as it is now, when the first packet comes to it; none if it is as in the topology.
    ///
    /// # Errors
    /// The reason why the namespace cannot be read.
    fn namespace(&self, _namespace: NamespaceId) -> Result<Option<&ObservedNamespace>, String> {
        Ok(None)
    }
}

/// Cached lookups in the namespaces of a topology. A value belongs to one topology: sets are cached by their address.
#[derive(Debug, Default)]
pub(super) struct Lookup<'a> {
    indexes: RefCell<HashMap<*const Set, Rc<Index>>>,
    /// The elements of sets that were read whole on demand; none of those that are not read.
    elements: RefCell<HashMap<*const Set, Option<Rc<[Element]>>>>,
    on_demand: Option<&'a dyn StateSource>,
}

/// The namespaces that packets came to, read on the first visit.
#[derive(Debug, Default)]
pub(super) struct Visits<'a> {
    source: Option<&'a dyn StateSource>,
    /// None for one that is as in the topology.
    observed: RefCell<BTreeMap<NamespaceId, Option<&'a ObservedNamespace>>>,
}

impl<'a> Visits<'a> {
    pub(super) fn with(source: &'a dyn StateSource) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// Reads a namespace that a packet comes to, and returns whether it was not read before.
    pub(super) fn visit(&self, id: NamespaceId) -> Result<bool, String> {
        let Some(source) = self.source.filter(|_| !self.observed.borrow().contains_key(&id)) else {
            return Ok(false);
        };
        let observed = source.namespace(id)?;
        self.observed.borrow_mut().insert(id, observed);
        Ok(observed.is_some())
    }

    /// A namespace that was read; none if it is as in the topology.
    pub(super) fn observed(&self, id: NamespaceId) -> Option<&'a ObservedNamespace> {
        self.observed.borrow().get(&id).copied().flatten()
    }
}

/// The reason when elements and sockets of a namespace cannot be looked up.
const UNREAD: &str = "its set elements and sockets were not read";

impl<'a> Lookup<'a> {
    pub(super) fn with(on_demand: &'a dyn StateSource) -> Self {
        Self { on_demand: Some(on_demand), ..Self::default() }
    }

    /// The element of a set of `namespace`, which is at `place`, that matches a key.
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

    /// The elements of a set of the namespace at `place`, which are read on demand; none if they are not read.
    pub(super) fn elements(
        &self,
        place: NamespaceId,
        table: &Table,
        set: &Set,
    ) -> Result<Option<Rc<[Element]>>, String> {
        if let Some(known) = self.elements.borrow().get(&std::ptr::from_ref(set)) {
            return Ok(known.clone());
        }
        let read = self.on_demand.ok_or(UNREAD)?.elements(place, table, set)?.map(Rc::from);
        self.elements.borrow_mut().insert(set, read.clone());
        Ok(read)
    }

    /// The socket of `namespace`, which is at `place`, that gets packets to an address and port by an
    /// interface, if that is known.
    pub(super) fn listener<'m>(
        &self,
        (id, namespace): (NamespaceId, &'m NetworkNamespace),
        protocol: u8,
        (address, port): (IpAddr, u16),
        interface: Option<u32>,
    ) -> Result<Option<Cow<'m, Listener>>, String> {
        if namespace.on_demand {
            let found = self.on_demand.ok_or(UNREAD)?.listeners(id, protocol, port)?;
            return Ok(listener_of(&found, protocol, (address, port), interface).cloned().map(Cow::Owned));
        }
        Ok(namespace.listener(protocol, address, port, interface).map(Cow::Borrowed))
    }
}

/// Whether an element matches only above a rate: one packet alone never exceeds the rate.
fn exceeds(element: &Element) -> bool {
    element.limit.is_some_and(|limit| limit.inverted)
}

/// An index of the elements of a set, ordered by their keys or by one part of the keys.
#[derive(Debug)]
struct Index {
    /// The bytes of a key that give the order: all, or the part by which ranges of concatenations differ most.
    part: Range<usize>,
    /// Positions of elements, ordered by the first value of their part.
    order: Vec<usize>,
    /// For each of `order`, the position of the element with the highest end among it and those before it.
    furthest: Vec<usize>,
    /// The position of the catch-all element.
    rest: Option<usize>,
}

fn begins<'e>(element: &'e Element, part: &Range<usize>) -> &'e [u8] {
    element.key.get(part.clone()).unwrap_or_default()
}

fn ends<'e>(element: &'e Element, part: &Range<usize>) -> &'e [u8] {
    element.last.as_ref().unwrap_or(&element.key).get(part.clone()).unwrap_or_default()
}

/// The byte ranges of the parts of a set's keys, each padded to four bytes if there are several.
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

    /// The element with that key, or whose range contains the key; a concatenation is compared part by part.
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
