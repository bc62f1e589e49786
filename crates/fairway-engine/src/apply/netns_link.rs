//! Creates and deletes interfaces that exist only inside sandboxes: macvlans and ptp veth pairs. They are created from
//! the host and configured inside by the netns setup that follows.

use fairway_core::object::{Difference, Key, MacvlanLink, NetnsLink, Object, PairLink, Phase};
use fairway_kernel::namespace::{self, Handle};
use fairway_kernel::route::{Links, Mark};

use super::Applier;
use super::progress::Progress;
use crate::error::{ApplyError, Subject};
use crate::failpoint::failpoint;

/// Whether two objects are the same links, perhaps with other settings.
fn same_links(old: &Object, new: &Object) -> bool {
    let place = |link: &NetnsLink| (link.endpoint, link.namespace.clone(), link.interface.clone());
    let stands = |object: &Object| match object {
        Object::Macvlan(MacvlanLink { parent, mode, .. }) => Some((parent.clone(), *mode)),
        _ => None,
    };
    stands(old) == stands(new) && old.netns_links().iter().map(place).eq(new.netns_links().iter().map(place))
}

impl Applier {
    /// Deletes the links that are gone, and creates the new ones.
    pub(crate) fn apply_netns_links(&self, progress: &mut Progress<'_>) {
        let Difference { removed, changed, .. } = progress.difference();
        for (key, object) in removed {
            if let Err(error) = self.delete_links_of(object) {
                progress.fail(Subject::Object(key.clone()), error);
            }
        }
        let ready = progress.ready(&[Phase::NetnsLinks]);
        let is_remade = |key: &Key| changed.get(key).is_none_or(|(old, new)| !same_links(old, new));
        let remade: Vec<_> = ready.into_iter().filter(|(key, _)| is_remade(key)).collect();
        for (key, (old, _)) in remade.iter().filter_map(|(key, _)| changed.get_key_value(*key)) {
            if let Err(error) = self.delete_links_of(old) {
                tracing::warn!(%error, object = %key, "failed to delete {key} before it is made again: {error}");
            }
        }
        failpoint("netns links deleted");
        for (key, object) in remade {
            if let Err(error) = self.create_links_of(object) {
                progress.fail(Subject::Object(key.clone()), error);
            }
        }
    }

    fn create_links_of(&self, object: &Object) -> Result<(), ApplyError> {
        match object {
            Object::Macvlan(macvlan) => {
                let handle = namespace::open(&macvlan.link.namespace)?;
                self.links(|links| links.create_macvlan(macvlan, &handle))
            }
            Object::Pair(pair) => self.make_pair_of(pair, object),
            _ => Ok(()),
        }
    }

    /// Creates a pair again: an existing end is deleted, since its other end is elsewhere. An end whose sandbox has
    /// just ended is left out.
    fn make_pair_of(&self, pair: &PairLink, object: &Object) -> Result<(), ApplyError> {
        self.delete_links_of(object)?;
        failpoint("pair deleted");
        let mut ends = Vec::with_capacity(pair.ends.len());
        for end in &pair.ends {
            match namespace::open(&end.namespace) {
                Ok(handle) => ends.push((end, handle)),
                Err(error) if pair.ends.len() == 1 => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "failed to open the namespace of a ptp peer: {error}; its end waits on the host")
                }
            }
        }
        let mut ends = ends.iter().map(|(end, handle)| (*end, handle));
        let Some(first) = ends.next() else { return Ok(()) };
        self.links(|links| links.create_ptp_pair(pair.network, &pair.waiting, first, ends.next()))
    }

    /// Makes links that were set up carry frames at once. The kernel reports a carrier to their queues by a deferred
    /// work (linkwatch), up to a second later, and drops frames until then; a query of the link runs it at once (since
    /// 6.8). An end of a pair has a carrier only when the other end is up.
    pub(crate) fn settle_netns_links<'a>(&self, links: impl Iterator<Item = &'a NetnsLink>) {
        for link in links {
            let Some(handle) = self.namespace_of(link) else { continue };
            let name = link.interface.clone();
            let asked = self.workers.run(&handle, move || Links::open()?.find(&name));
            if !matches!(asked, Ok(Ok(_))) {
                tracing::debug!(
                    interface = link.interface,
                    "failed to read the carrier of {}; its first frames may be lost",
                    link.interface
                );
            }
        }
    }

    /// Deletes the links of an object in whatever namespace they are. Returns the first error, after trying all.
    fn delete_links_of(&self, object: &Object) -> Result<(), ApplyError> {
        let delete = |link: &NetnsLink| -> Result<(), ApplyError> {
            let Some(handle) = self.namespace_of(link) else { return Ok(()) };
            let pending = link.clone();
            Ok(self.workers.run(&handle, move || Links::open()?.delete_netns_link(&pending))??)
        };
        let mut outcomes: Vec<_> = object.netns_links().iter().map(delete).collect();
        if let Object::Pair(pair) = object {
            let mark = Mark::Network(pair.network);
            outcomes.push(self.links(|links| links.delete_pending_end(&pair.waiting, mark)));
        }
        outcomes.into_iter().collect()
    }

    /// The namespace of a link; none if the namespace is gone, and the link with it. Its path may be gone while the
    /// namespace lives.
    pub fn namespace_of(&self, link: &NetnsLink) -> Option<Handle> {
        namespace::open(&link.namespace).ok().or_else(|| self.resolvers.namespace(link.sandbox))
    }
}
