//! The counters of published ports in the tables.

use fairway_core::policy::TABLE;
use fairway_core::policy::counting::{Counted, set_name};
use fairway_kernel::nftables::{Error, Reader, Transaction};
use fairway_ruleset::{Count, Element, Family, Set, Table};

use super::Tables;

impl Tables {
    fn counting(&self, ipv4: bool) -> Option<(&Table, &Set)> {
        let table = self.layout.iter().find(|table| table.family == Family::Inet)?;
        Some((table, table.set(set_name(ipv4))?))
    }

    fn counted(&self, ipv4: bool) -> Result<Vec<Element>, Error> {
        let Some((_, set)) = self.counting(ipv4) else { return Ok(Vec::new()) };
        match Reader::open()?.elements(Family::Inet, TABLE, set) {
            // Without a ruleset there are no counters.
            Err(error) if error.is_absent() => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Reads the counters of published ports.
    ///
    /// # Errors
    /// The kernel refuses to list the counters.
    pub fn counts(&self) -> Result<Vec<(Counted, Count)>, Error> {
        let mut found = Vec::new();
        for ipv4 in [true, false] {
            let elements = self.counted(ipv4)?;
            let read = |it: Element| Some((Counted::of(&it.key)?, it.count.unwrap_or_default()));
            found.extend(elements.into_iter().filter_map(read));
        }
        Ok(found)
    }

    /// Deletes the counters of unpublished ports.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_counts(&self, is_gone: impl Fn(&Counted) -> bool) -> Result<(), Error> {
        let mut transaction = Transaction::new();
        for ipv4 in [true, false] {
            let Some((table, set)) = self.counting(ipv4) else { continue };
            let counted = self.counted(ipv4)?;
            let gone = counted.into_iter().filter(|it| Counted::of(&it.key).is_some_and(|it| is_gone(&it)));
            let keys: Vec<Element> = gone.map(|element| Element::new(element.key)).collect();
            transaction.destroy_elements(table, set, &keys);
        }
        self.lock().commit(transaction)
    }
}
