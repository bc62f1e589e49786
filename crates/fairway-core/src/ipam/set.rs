//! Sets of addresses in use.

use std::net::IpAddr;

use imbl::OrdMap;
use ipnet::IpNet;

use fairway_model::IpRange;
use fairway_model::address_range::{AddressRange, address, key};

/// The addresses in use within a subnet. Adjacent addresses are merged into runs, so that the lowest free address is found
/// in O(log n), in a /64 as in a /24.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First to last of each run; between two runs at least one address is free.
    runs: OrdMap<u128, u128>,
    count: usize,
}

impl AddressSet {
    /// An empty set.
    pub fn new() -> Self {
        Self { runs: OrdMap::new(), count: 0 }
    }

    /// Marks an address as in use; false if it already was.
    pub fn take(&mut self, address: IpAddr) -> bool {
        let key = key(address);
        if self.run_of(key).is_some() {
            return false;
        }
        let first = key.checked_sub(1).and_then(|below| self.run_of(below)).map_or(key, |run| run.first);
        let last = key.checked_add(1).and_then(|above| self.runs.remove(&above)).unwrap_or(key);
        self.runs.insert(first, last);
        self.count += 1;
        true
    }

    /// Marks an address as free; false if it already was.
    pub fn release(&mut self, address: IpAddr) -> bool {
        let key = key(address);
        let Some(run) = self.run_of(key) else { return false };
        if run.first == key {
            self.runs.remove(&key);
        } else {
            self.runs.insert(run.first, key - 1);
        }
        if run.last != key {
            self.runs.insert(key + 1, run.last);
        }
        self.count -= 1;
        true
    }

    /// Whether an address is in use.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.run_of(key(address)).is_some()
    }

    /// The number of addresses in use.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The lowest free address of `range` that an interface in `subnet` can have
    /// ([`AddressRange::usable`]). None if all are in use, or `range` is outside `subnet`.
    pub fn first_free(&self, range: impl Into<IpRange>, subnet: IpNet) -> Option<IpAddr> {
        let range = range.into();
        if range.is_ipv4() != subnet.addr().is_ipv4() {
            return None;
        }
        let wanted = range.addresses().intersection(AddressRange::usable(subnet))?;
        let free = match self.run_of(wanted.first) {
            Some(run) => run.last.checked_add(1)?,
            None => wanted.first,
        };
        wanted.contains(free).then(|| address(free))
    }

    /// The run that contains an address.
    fn run_of(&self, key: u128) -> Option<AddressRange> {
        let (&first, &last) = self.runs.get_prev(&key)?;
        (key <= last).then_some(AddressRange { first, last })
    }
}

impl FromIterator<IpAddr> for AddressSet {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut set = Self::new();
        set.extend(addresses);
        set
    }
}

impl Extend<IpAddr> for AddressSet {
    fn extend<T: IntoIterator<Item = IpAddr>>(&mut self, addresses: T) {
        for address in addresses {
            self.take(address);
        }
    }
}

#[cfg(test)]
mod tests;
