//! Reads links and addresses of a namespace alone: enough to find out which namespace a link leads to, and which one
//! has an address.

use fairway_walk::{Interface, LinkTie, Tie};

use super::{Error, Shared, interfaces};
use crate::route::{Link, Links};

/// The links of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// The interfaces with their addresses.
    pub interfaces: Vec<Interface>,
    /// The ties of interfaces to others.
    pub ties: Vec<LinkTie>,
}

/// Reads the links of the namespace of the calling thread.
///
/// # Errors
/// The kernel refuses or its answer cannot be read.
pub fn glance() -> Result<Glance, Error> {
    let (links, mut interfaces) = interfaces(&Links::open()?, &Shared::default())?;
    // It depends on routes, which are not read here.
    interfaces.iter_mut().for_each(|interface| interface.reverse_path = 0);
    Ok(Glance { interfaces, ties: links.iter().filter_map(tie).collect() })
}

fn tie(link: &Link) -> Option<LinkTie> {
    let tie = match (link.kind.as_deref()?, link.detail.macvlan) {
        ("veth" | "netkit", _) => Tie::Pair,
        (_, Some(mode)) => Tie::Macvlan(mode),
        _ => return None,
    };
    Some(LinkTie { index: link.index, tie, other: link.peer?, namespace: link.peer_namespace })
}
