//! Shares of something scarce: whose part goes when there is no more of it.
//!
//! Each part belongs to an owner (the sandbox that a port leads to) and to a source (a client). When the parts
//! together cost more than the limit, the greediest makes way: of the owner with the most, of the source with the most
//! among its own, the part that was idle longest. A part that was not used for as long as it may be idle ends in any
//! case. Each step takes logarithmic time, and memory grows with the parts that there are, not with those that were.

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

/// One part: whose it is, what it costs, and when it was used.
#[derive(Debug)]
struct Part<O, S> {
    owner: O,
    source: S,
    cost: usize,
    used: Instant,
    /// How long it may be idle.
    patience: Duration,
    /// When it is looked at next; never later than when its patience ends.
    queued: Instant,
}

/// What one source has of an owner's share: its parts by their last use.
#[derive(Debug)]
struct Source<M> {
    cost: usize,
    parts: BTreeSet<(Instant, M)>,
}

impl<M: Copy + Ord> Source<M> {
    /// What it is compared by: its cost, and among equals how long its oldest part was idle.
    fn rank<S>(&self, source: S) -> Option<Rank<S>> {
        self.parts.first().map(|(used, _)| (self.cost, Reverse(*used), source))
    }
}

/// The greediest is the last.
type Rank<S> = (usize, Reverse<Instant>, S);

/// What one owner has.
#[derive(Debug)]
struct Owner<S, M> {
    cost: usize,
    sources: HashMap<S, Source<M>>,
    ranking: BTreeSet<Rank<S>>,
}

/// Parts of something scarce, by owner and source.
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
    /// No parts yet, of what there is `limit` of.
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

    /// Changes how much there is.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds a part that is used now, in place of the one with its name.
    pub fn insert(&mut self, part: M, owner: O, source: S, cost: usize, patience: Duration, now: Instant) {
        self.remove(part);
        let queued = now + patience;
        self.parts.insert(part, Part { owner, source, cost, used: now, patience, queued });
        self.queue.insert((queued, part));
        self.account(owner, source, |parts| {
            parts.insert((now, part));
            (0, cost)
        });
    }

    /// Removes a part, if it is there.
    pub fn remove(&mut self, part: M) {
        let Some(Part { owner, source, cost, used, queued, .. }) = self.parts.remove(&part) else { return };
        self.queue.remove(&(queued, part));
        self.account(owner, source, |parts| {
            parts.remove(&(used, part));
            (cost, 0)
        });
    }

    /// Notes that a part is used.
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

    /// Changes how long a part may be idle.
    pub fn set_patience(&mut self, part: M, patience: Duration) {
        let Some(it) = self.parts.get_mut(&part) else { return };
        it.patience = patience;
        let queued = std::mem::replace(&mut it.queued, it.used + patience);
        self.queue.remove(&(queued, part));
        self.queue.insert((it.queued, part));
    }

    /// The part that has to go for the others to fit, if they do not.
    pub fn excess(&self) -> Option<M> {
        if self.total <= self.limit {
            return None;
        }
        let (_, owner) = self.ranking.last()?;
        let owner = self.owners.get(owner)?;
        let (.., source) = owner.ranking.last()?;
        owner.sources.get(source)?.parts.first().map(|(_, part)| *part)
    }

    /// What the parts of an owner cost.
    pub fn cost_of(&self, owner: O) -> usize {
        self.owners.get(&owner).map_or(0, |owner| owner.cost)
    }

    /// A part whose patience has ended.
    pub fn idle(&mut self, now: Instant) -> Option<M> {
        while let Some((queued, part)) = self.queue.first().copied() {
            if queued > now {
                return None;
            }
            let it = self.parts.get_mut(&part)?;
            if it.used + it.patience <= now {
                return Some(part);
            }
            // It was used since it was queued.
            it.queued = it.used + it.patience;
            self.queue.pop_first();
            self.queue.insert((it.queued, part));
        }
        None
    }

    /// When to call [`Self::idle`] next.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(queued, _)| *queued)
    }

    /// Changes the parts of a source by `change`, which says what they cost less and what they cost more.
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
