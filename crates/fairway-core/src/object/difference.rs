//! The difference between actual and desired objects.

use std::collections::BTreeMap;

use super::{Fragment, Key, Object};

/// The difference between two sets of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Actual objects that are not desired.
    pub removed: BTreeMap<Key, Object>,
    /// Desired objects that do not exist.
    pub added: BTreeMap<Key, Object>,
    /// Objects that exist and differ: as they are, and as desired.
    pub changed: BTreeMap<Key, (Object, Object)>,
}

impl Difference {
    /// Compares actual with desired objects.
    pub fn between(actual: Fragment, mut desired: Fragment) -> Self {
        let mut difference = Self::default();
        for (key, old) in actual {
            match desired.remove(&key) {
                None => {
                    difference.removed.insert(key, old);
                }
                Some(new) if new != old => {
                    difference.changed.insert(key, (old, new));
                }
                Some(_) => {}
            }
        }
        difference.added = desired;
        difference
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }

    /// The keys of all objects that differ.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.removed.keys().chain(self.added.keys()).chain(self.changed.keys())
    }

    /// The objects to add or change, as desired.
    pub fn wanted(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.added.iter().chain(self.changed.iter().map(|(key, (_, new))| (key, new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_removed_added_changed_or_left_alone() {
        let sysctl = |name: &str, value: &str| (Key::Sysctl(name.into()), Object::Sysctl(value.into()));
        let is = Fragment::from([sysctl("a", "1"), sysctl("b", "1"), sysctl("c", "1")]);
        let shall = Fragment::from([sysctl("b", "1"), sysctl("c", "2"), sysctl("d", "1")]);
        let difference = Difference::between(is.clone(), shall);
        assert_eq!(difference.removed.keys().collect::<Vec<_>>(), [&Key::Sysctl("a".into())]);
        assert_eq!(difference.added.keys().collect::<Vec<_>>(), [&Key::Sysctl("d".into())]);
        assert_eq!(difference.changed.keys().collect::<Vec<_>>(), [&Key::Sysctl("c".into())]);
        assert!(Difference::between(is.clone(), is).is_empty());
    }
}
