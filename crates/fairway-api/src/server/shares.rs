//! Divides a limited resource fairly among clients.
//!
//! While the resource suffices, each client gets the amount that it requests. Otherwise a client that holds more than
//! another one has to release its share first; only then is a request refused.

use std::collections::BTreeMap;

/// A client: a user, a process of that user, and a connection of that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Holder {
    /// The user's id.
    pub user: u32,
    /// The process id; 0 if unknown.
    pub process: i32,
    /// The number of the connection.
    pub connection: u64,
}

/// A limited resource, and the amount that each client holds of it.
#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    /// The amount that is reserved for root.
    reserved: usize,
    held: BTreeMap<Holder, usize>,
    total: usize,
}

/// The answer to a client's request for a resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The resource suffices.
    Enough,
    /// The resource suffices after one of these clients releases its share: clients that hold more, most first.
    After(Vec<Holder>),
}

impl Shares {
    /// A resource with the amount `limit`, of which `reserved` is kept for root.
    pub fn new(limit: usize, reserved: usize) -> Self {
        Self { limit, reserved: reserved.min(limit), held: BTreeMap::new(), total: 0 }
    }

    /// Whether `holder` may have `amount` more.
    pub fn ask(&self, holder: Holder, amount: usize) -> Answer {
        let limit = if holder.user == 0 { self.limit } else { self.limit - self.reserved };
        match self.total.saturating_add(amount) <= limit {
            true => Answer::Enough,
            false => Answer::After(self.greedier(holder, amount)),
        }
    }

    /// Records that `holder` has `amount` more.
    pub fn take(&mut self, holder: Holder, amount: usize) {
        *self.held.entry(holder).or_default() += amount;
        self.total += amount;
    }

    /// Records that `holder` has released its whole share.
    pub fn release(&mut self, holder: Holder) {
        self.total -= self.held.remove(&holder).unwrap_or(0);
    }

    /// The clients that hold more than `holder` would, most first: those of users with more; if there are none, those
    /// of the same user's processes with more; if there are none, connections of the same process with more.
    fn greedier(&self, holder: Holder, amount: usize) -> Vec<Holder> {
        let levels: [fn(&Holder) -> Holder; 3] = [
            |it| Holder { process: 0, connection: 0, ..*it },
            |it| Holder { connection: 0, ..*it },
            |it| *it,
        ];
        let mut within: Vec<(Holder, usize)> =
            self.held.iter().map(|(holder, held)| (*holder, *held)).collect();
        for level in levels {
            let mut sums: BTreeMap<_, usize> = BTreeMap::new();
            for (other, held) in &within {
                *sums.entry(level(other)).or_default() += held;
            }
            let sum = |other: &Holder| sums.get(&level(other)).copied().unwrap_or(0);
            let own = sum(&holder).saturating_add(amount);
            let mut more: Vec<_> = within.iter().filter(|(other, _)| sum(other) > own).collect();
            if !more.is_empty() {
                more.sort_by_key(|(other, held)| std::cmp::Reverse((sum(other), *held)));
                return more.into_iter().map(|(other, _)| *other).collect();
            }
            within.retain(|(other, _)| level(other) == level(&holder));
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(user: u32, process: i32, connection: u64) -> Holder {
        Holder { user, process, connection }
    }

    fn filled(limit: usize, reserved: usize, held: &[(Holder, usize)]) -> Shares {
        let mut shares = Shares::new(limit, reserved);
        held.iter().for_each(|(holder, amount)| shares.take(*holder, *amount));
        shares
    }

    #[test]
    fn a_single_client_may_use_everything() {
        let shares = filled(10, 0, &[(holder(1, 1, 1), 9)]);
        assert_eq!(shares.ask(holder(1, 1, 1), 1), Answer::Enough);
        assert_eq!(shares.ask(holder(1, 1, 1), 2), Answer::After(Vec::new()));
    }

    #[test]
    fn the_greediest_user_then_process_then_connection_releases_first() {
        let (a, b, c) = (holder(1, 1, 1), holder(1, 2, 2), holder(1, 2, 3));
        let shares = filled(10, 0, &[(a, 2), (b, 3), (c, 5)]);
        assert_eq!(shares.ask(holder(2, 9, 9), 1), Answer::After(vec![c, b, a]));
        assert_eq!(shares.ask(holder(1, 1, 4), 1), Answer::After(vec![c, b]));
        assert_eq!(shares.ask(holder(1, 2, 4), 1), Answer::After(vec![c, b]));
        assert_eq!(shares.ask(b, 1), Answer::After(vec![c]));
        assert_eq!(shares.ask(c, 1), Answer::After(Vec::new()));
        assert_eq!(shares.ask(holder(2, 9, 9), 10), Answer::After(Vec::new()), "each holder has less");
    }

    #[test]
    fn a_share_is_reserved_for_root() {
        let mut shares = filled(10, 2, &[(holder(1, 1, 1), 8)]);
        assert_eq!(shares.ask(holder(1, 1, 1), 1), Answer::After(Vec::new()));
        assert_eq!(shares.ask(holder(2, 1, 2), 1), Answer::After(vec![holder(1, 1, 1)]));
        assert_eq!(shares.ask(holder(0, 1, 3), 2), Answer::Enough);
        shares.release(holder(1, 1, 1));
        assert_eq!(shares.ask(holder(2, 1, 2), 8), Answer::Enough);
    }
}
