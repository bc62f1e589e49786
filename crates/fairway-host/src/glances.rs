//! Reads links and addresses of all network namespaces of the host, several at a time.

use std::collections::BTreeMap;

use fairway_kernel::namespace::{self, Handle, ListedNamespace, Workers};
use fairway_kernel::parallel::in_parallel_at_most;
use fairway_kernel::survey::{Glance, glance};
use fairway_walk::NamespaceId;

/// How many namespaces are open at the same time: the limit of open files may be 1,024.
const CHUNK: usize = 256;
/// How many are read at the same time.
const AT_ONCE: usize = 4;

/// A namespace with what was seen of it at a glance.
#[derive(Debug)]
pub struct Glanced {
    /// Where it was found.
    pub listed: ListedNamespace,
    /// Its links and addresses.
    pub glance: Glance,
    /// The places of other namespaces by the ids that it has for them.
    pub ids: BTreeMap<i32, NamespaceId>,
}

/// The namespaces that were read, and why others were not.
#[derive(Debug, Default)]
pub struct Glances {
    /// Those that were read, in the order in which they were listed.
    pub read: Vec<Glanced>,
    /// Paths and reasons of those that exist and could not be read.
    pub unread: Vec<String>,
}

/// What a namespace says of itself: its links, and the id that it has for the host's namespace.
type Seen = (Glance, Option<i32>);

impl Glances {
    /// Reads namespaces; the first of them is the host's. One that has ended meanwhile is left out.
    pub fn of(workers: &Workers, listed: Vec<ListedNamespace>) -> Self {
        let mut all = Self::default();
        for chunk in listed.chunks(CHUNK) {
            all.read_chunk(workers, chunk);
        }
        all.look_up_others(workers);
        all
    }

    fn read_chunk(&mut self, workers: &Workers, chunk: &[ListedNamespace]) {
        let mut handles: Vec<(&ListedNamespace, Handle)> = Vec::new();
        for listed in chunk {
            match namespace::open(&listed.namespace) {
                Ok(handle) => handles.push((listed, handle)),
                Err(error) => self.leave_out(listed, &error),
            }
        }
        let seen = in_parallel_at_most(AT_ONCE, &handles, |(_, handle)| look_into(workers, handle));
        let mut kept: Vec<Handle> = Vec::new();
        let first = self.read.len();
        for ((listed, handle), seen) in handles.into_iter().zip(seen) {
            match seen {
                Ok((glance, host)) => {
                    let ids = host.map(|id| (id, NamespaceId::HOST)).into_iter().collect();
                    self.read.push(Glanced { listed: listed.clone(), glance, ids });
                    kept.push(handle);
                }
                Err(error) => self.leave_out(listed, &error),
            }
        }
        let ids = workers.run(workers.initial(), move || namespace::numbers_of(&kept));
        // Without ids the indexes of both ends decide.
        let Ok(Ok(ids)) = ids else { return };
        let Some(host) = self.read.first_mut() else { return };
        let places = ids.into_iter().enumerate().map(|(place, id)| (id, NamespaceId(first + place)));
        host.ids.extend(places.filter_map(|(id, place)| Some((id?, place))));
    }

    /// Finds the namespaces that links of namespaces other than the host's lead to, if it is not the host's either.
    fn look_up_others(&mut self, workers: &Workers) {
        let foreign = |it: &Glanced| {
            let mut ids = it.glance.ties.iter().filter_map(|tie| tie.namespace);
            ids.any(|id| !it.ids.contains_key(&id))
        };
        let places: Vec<usize> =
            self.read.iter().enumerate().skip(1).filter(|(_, it)| foreign(it)).map(|it| it.0).collect();
        if places.is_empty() {
            return;
        }
        let all: Vec<_> = self.read.iter().map(|it| it.listed.namespace.clone()).collect();
        for (number, chunk) in all.chunks(CHUNK).enumerate() {
            let open = chunk.iter().enumerate().filter_map(|(place, it)| {
                Some((NamespaceId(number * CHUNK + place), namespace::open(it).ok()?))
            });
            let (ids, handles): (Vec<NamespaceId>, Vec<Handle>) = open.unzip();
            for place in &places {
                let Some(it) = self.read.get_mut(*place) else { continue };
                let Ok(own) = namespace::open(&it.listed.namespace) else { continue };
                let others = handles.clone();
                let Ok(Ok(found)) = workers.run(&own, move || namespace::numbers_of(&others)) else {
                    continue;
                };
                it.ids.extend(found.into_iter().zip(&ids).filter_map(|(id, place)| Some((id?, *place))));
            }
        }
    }

    fn leave_out(&mut self, listed: &ListedNamespace, error: &dyn std::fmt::Display) {
        if namespace::identity(&listed.namespace.path).is_ok() {
            self.unread.push(format!("{}: {error}", listed.namespace.path));
        }
    }
}

fn look_into(workers: &Workers, handle: &Handle) -> Result<Seen, String> {
    let host = workers.initial().clone();
    let look = move || {
        let seen = glance()?;
        // The kernel gives the id as it lists the links.
        let away = seen.ties.iter().any(|tie| tie.namespace.is_some());
        let ids = if away { namespace::numbers_of(&[host]).unwrap_or_default() } else { Vec::new() };
        Ok::<_, fairway_kernel::survey::Error>((seen, ids.first().copied().flatten()))
    };
    match workers.run(handle, look) {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
