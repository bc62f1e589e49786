//! A slab: values in reusable slots, each with a key that is never reused.

/// The key of a value in a slab. A slot that is used again gets another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlabKey {
    /// The index of the slot.
    pub slot: u32,
    /// How often the slot was used before; 24 bits, so that a key fits into an epoll event.
    pub generation: u32,
}

const GENERATIONS: u32 = (1 << 24) - 1;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by key.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value and returns its key.
    pub fn insert(&mut self, value: T) -> SlabKey {
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.slots.get_mut(slot as usize)
        {
            entry.value = Some(value);
            return SlabKey { slot, generation: entry.generation };
        }
        // Each value has a descriptor of its own, and there are fewer than 2^31 of those.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, value: Some(value) });
        SlabKey { slot, generation: 0 }
    }

    /// The value with this key.
    pub fn get(&self, place: SlabKey) -> Option<&T> {
        let slot = self.slots.get(place.slot as usize)?;
        if slot.generation == place.generation { slot.value.as_ref() } else { None }
    }

    /// The value with this key, mutable.
    pub fn get_mut(&mut self, place: SlabKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        if slot.generation == place.generation { slot.value.as_mut() } else { None }
    }

    /// Removes a value and frees its slot.
    pub fn remove(&mut self, place: SlabKey) -> Option<T> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        if slot.generation != place.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATIONS;
        self.free.push(place.slot);
        Some(value)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All values with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (SlabKey, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let place = SlabKey { slot: slot as u32, generation: entry.generation };
            entry.value.as_ref().map(|value| (place, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_gets_another_key() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }
}
