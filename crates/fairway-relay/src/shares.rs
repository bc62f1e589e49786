//! Fair shares of a scarce resource: decides whose part is given up when the limit is reached.
//!
//! Each part belongs to an owner (the sandbox that a port leads to) and to a source (a client). When the parts
//! together cost more than the limit, the greediest gives way: of the owner with the most, of its source with the
//! most, the part that was idle longest. A part that reaches its idle timeout ends in any case. Each step takes
//! logarithmic time, and memory grows with the present parts only.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The source that an address is counted to: an IPv6 client can use any address of its /64.
pub(crate) fn source(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        address => address,
    }
}

/// One part: its owner, its source, its cost, and when it was used.
#[derive(Debug)]
struct Part<O, S> {
    owner: O,
    source: S,
    cost: usize,
    used: Instant,
    /// Its idle timeout.
    idle_timeout: Duration,
    /// When it is checked next; never later than its idle timeout.
    queued: Instant,
}

/// The parts of one source in an owner's share, by their last use.
#[derive(Debug)]
struct Source<M> {
    cost: usize,
    parts: BTreeSet<(Instant, M)>,
}

impl<M: Copy + Ord> Source<M> {
    /// The order of sources: by cost, then by how long the oldest part was idle.
    fn rank<S>(&self, source: S) -> Option<Rank<S>> {
        self.parts.first().map(|(used, _)| (self.cost, Reverse(*used), source))
    }
}

/// The greediest is the last.
type Rank<S> = (usize, Reverse<Instant>, S);

/// The parts of one owner.
#[derive(Debug)]
struct Owner<S, M> {
    cost: usize,
    sources: HashMap<S, Source<M>>,
    ranking: BTreeSet<Rank<S>>,
}

/// Parts of a scarce resource, by owner and source.
#[derive(Debug)]
pub(crate) struct Shares<O, S, M> {
    limit: usize,
    total: usize,
    parts: HashMap<M, Part<O, S>>,
    owners: HashMap<O, Owner<S, M>>,
    ranking: BTreeSet<(usize, O)>,
    queue: BTreeSet<(Instant, M)>,
}

impl<O, S, M> Shares<O, S, M>
where
    O: Copy + Ord + Hash,
    S: Copy + Ord + Hash,
    M: Copy + Ord + Hash,
{
    /// Creates an empty set of parts with this limit.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            total: 0,
            parts: HashMap::new(),
            owners: HashMap::new(),
            ranking: BTreeSet::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Changes the limit.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Adds a part that is used now, or replaces the one with its key.
    pub fn insert(
        &mut self,
        part: M,
        owner: O,
        source: S,
        cost: usize,
        idle_timeout: Duration,
        now: Instant,
    ) {
        self.remove(part);
        let queued = now + idle_timeout;
        self.parts.insert(part, Part { owner, source, cost, used: now, idle_timeout, queued });
        self.queue.insert((queued, part));
        self.account(owner, source, |parts| {
            parts.insert((now, part));
            (0, cost)
        });
    }

    /// Removes a part, if it exists.
    pub fn remove(&mut self, part: M) {
        let Some(Part { owner, source, cost, used, queued, .. }) = self.parts.remove(&part) else { return };
        self.queue.remove(&(queued, part));
        self.account(owner, source, |parts| {
            parts.remove(&(used, part));
            (cost, 0)
        });
    }

    /// Records that a part is used.
    pub fn touch(&mut self, part: M, now: Instant) {
        let Some(it) = self.parts.get_mut(&part) else { return };
        let used = std::mem::replace(&mut it.used, now);
        if used == now {
            return;
        }
        let (owner, source) = (it.owner, it.source);
        self.account(owner, source, |parts| {
            parts.remove(&(used, part));
            parts.insert((now, part));
            (0, 0)
        });
    }

    /// Changes the idle timeout of a part.
    pub fn set_idle_timeout(&mut self, part: M, idle_timeout: Duration) {
        let Some(it) = self.parts.get_mut(&part) else { return };
        it.idle_timeout = idle_timeout;
        let queued = std::mem::replace(&mut it.queued, it.used + idle_timeout);
        self.queue.remove(&(queued, part));
        self.queue.insert((it.queued, part));
    }

    /// The part to give up if the parts exceed the limit.
    pub fn excess(&self) -> Option<M> {
        if self.total <= self.limit {
            return None;
        }
        let (_, owner) = self.ranking.last()?;
        let owner = self.owners.get(owner)?;
        let (.., source) = owner.ranking.last()?;
        owner.sources.get(source)?.parts.first().map(|(_, part)| *part)
    }

    /// The cost of an owner's parts.
    pub fn cost_of(&self, owner: O) -> usize {
        self.owners.get(&owner).map_or(0, |owner| owner.cost)
    }

    /// A part that reached its idle timeout.
    pub fn idle(&mut self, now: Instant) -> Option<M> {
        while let Some((queued, part)) = self.queue.first().copied() {
            if queued > now {
                return None;
            }
            let it = self.parts.get_mut(&part)?;
            if it.used + it.idle_timeout <= now {
                return Some(part);
            }
            // The part was used since it was queued.
            it.queued = it.used + it.idle_timeout;
            self.queue.pop_first();
            self.queue.insert((it.queued, part));
        }
        None
    }

    /// When to call [`Self::idle`] next.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(queued, _)| *queued)
    }

    /// Changes the parts of a source by `change`, which returns the costs that were removed and added.
    fn account(
        &mut self,
        owner: O,
        source: S,
        change: impl FnOnce(&mut BTreeSet<(Instant, M)>) -> (usize, usize),
    ) {
        let has = self.owners.entry(owner).or_insert_with(|| Owner {
            cost: 0,
            sources: HashMap::new(),
            ranking: BTreeSet::new(),
        });
        let of_source =
            has.sources.entry(source).or_insert_with(|| Source { cost: 0, parts: BTreeSet::new() });
        let rank = of_source.rank(source);
        let (less, more) = change(&mut of_source.parts);
        of_source.cost = of_source.cost + more - less;
        let new_rank = of_source.rank(source);
        if rank != new_rank {
            if let Some(rank) = rank {
                has.ranking.remove(&rank);
            }
            match new_rank {
                Some(new_rank) => has.ranking.insert(new_rank),
                None => has.sources.remove(&source).is_some(),
            };
        }
        if less != more {
            self.total = self.total + more - less;
            self.ranking.remove(&(has.cost, owner));
            has.cost = has.cost + more - less;
            self.ranking.insert((has.cost, owner));
        }
        if has.sources.is_empty() {
            self.ranking.remove(&(has.cost, owner));
            self.owners.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests;
