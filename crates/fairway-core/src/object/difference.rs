//! What has to be done so that what is becomes what follows.

use std::collections::BTreeMap;

use super::{Fragment, Key, Object};

/// The way from one set of objects to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects that are to be gone.
    pub removed: BTreeMap<Key, Object>,
    /// Objects that are to be made.
    pub added: BTreeMap<Key, Object>,
    /// Objects that are there and are to be other: as they are, as they shall be.
    pub changed: BTreeMap<Key, (Object, Object)>,
}

impl Difference {
    /// Compares what is with what shall be.
    pub fn between(is: Fragment, mut shall: Fragment) -> Self {
        let mut difference = Self::default();
        for (key, old) in is {
            match shall.remove(&key) {
                None => {
                    difference.removed.insert(key, old);
                }
                Some(new) if new != old => {
                    difference.changed.insert(key, (old, new));
                }
                Some(_) => {}
            }
        }
        difference.added = shall;
        difference
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }

    /// Every key that is touched.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.removed.keys().chain(self.added.keys()).chain(self.changed.keys())
    }

    /// The objects that are to be made or to be other, as they shall be.
    pub fn wanted(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.added.iter().chain(self.changed.iter().map(|(key, (_, new))| (key, new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_gone_new_other_or_left_alone() {
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
