//! Orders changes: those of the same object run in the order of their decisions, all others in parallel.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use fairway_core::object::Key;

/// Set when the work of a turn is done.
#[derive(Debug, Default)]
pub struct Done {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Done {
    pub fn wait(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            done = self.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn is_set(&self) -> bool {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// The users of an object: the last turn that changes it, and the turns that have depended on it since.
#[derive(Debug, Default)]
struct Users {
    changer: Option<Arc<Done>>,
    readers: Vec<Arc<Done>>,
}

/// The users of all objects, by a hash of the object's key. Two keys with the same hash only make a turn wait that need
/// not.
#[derive(Debug, Default)]
pub struct Ordering {
    users: HashMap<u64, Users>,
}

/// A place in the order. Work begins with [`Turn::wait`], and ends when the turn is dropped.
#[derive(Debug)]
pub struct Turn {
    done: Arc<Done>,
    before: Vec<Arc<Done>>,
}

fn hash(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Ordering {
    /// Takes a turn behind all turns that change an object on which this one depends, or that change or depend on an
    /// object which this one changes.
    pub fn turn<'a>(
        &mut self,
        changed: impl IntoIterator<Item = &'a Key>,
        relied_upon: impl IntoIterator<Item = &'a Key>,
    ) -> Turn {
        let done = Arc::new(Done::default());
        let mut before: Vec<Arc<Done>> = Vec::new();
        let mut known: HashSet<*const Done> = HashSet::from([Arc::as_ptr(&done)]);
        let mut after = |other: &Arc<Done>| {
            if !other.is_set() && known.insert(Arc::as_ptr(other)) {
                before.push(Arc::clone(other));
            }
        };
        for key in changed {
            let users = self.users.entry(hash(key)).or_default();
            users.changer.iter().chain(&users.readers).for_each(&mut after);
            users.changer = Some(Arc::clone(&done));
            users.readers.clear();
        }
        for key in relied_upon {
            let users = self.users.entry(hash(key)).or_default();
            users.changer.iter().for_each(&mut after);
            users.readers.retain(|reader| Arc::strong_count(reader) > 1);
            users.readers.push(Arc::clone(&done));
        }
        Turn { done, before }
    }

    /// Drops users whose work is done.
    pub fn tidy(&mut self) {
        self.users.retain(|_, users| {
            users.changer.take_if(|changer| changer.is_set());
            users.readers.retain(|reader| !reader.is_set());
            users.changer.is_some() || !users.readers.is_empty()
        });
        self.users.shrink_to(2 * self.users.len());
    }

    /// How many objects have users.
    pub fn len(&self) -> usize {
        self.users.len()
    }
}

impl Turn {
    /// Waits until all turns before are done.
    pub fn wait(&mut self) {
        self.before.drain(..).for_each(|before| before.wait());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.done.set();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering as Memory};
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> Key {
        Key::Bridge(name.to_owned())
    }

    #[test]
    fn changes_of_one_object_run_in_order() {
        let (mut ordering, x) = (Ordering::default(), key("x"));
        let (mut first, mut second) = (ordering.turn([&x], []), ordering.turn([&x], []));
        let reached = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                second.wait();
                assert_eq!(reached.load(Memory::SeqCst), 1);
            });
            first.wait();
            std::thread::sleep(Duration::from_millis(20));
            reached.store(1, Memory::SeqCst);
            drop(first);
        });
    }

    #[test]
    fn turns_that_only_depend_on_an_object_run_in_parallel() {
        let (mut ordering, x) = (Ordering::default(), key("x"));
        let (mut first, mut second) = (ordering.turn([], [&x]), ordering.turn([], [&x]));
        second.wait();
        first.wait();
        let mut changer = ordering.turn([&x], []);
        assert_eq!(changer.before.len(), 2);
        drop((first, second));
        changer.wait();
    }

    #[test]
    fn finished_turns_are_not_waited_for() {
        let (mut ordering, keys) = (Ordering::default(), ["a", "b", "c"].map(key));
        keys.iter().for_each(|key| drop(ordering.turn([key], [])));
        let pending = ordering.turn(&keys, []);
        assert!(pending.before.is_empty());
        assert_eq!(ordering.turn(&keys, &keys).before.len(), 1);
    }

    #[test]
    fn finished_turns_are_dropped() {
        let (mut ordering, x) = (Ordering::default(), key("x"));
        let turn = ordering.turn([&x], []);
        ordering.tidy();
        assert_eq!(ordering.len(), 1);
        drop(turn);
        ordering.tidy();
        assert_eq!(ordering.len(), 0);
    }
}
