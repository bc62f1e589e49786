//! The interfaces in the namespaces of containers whose engines record no addresses that can be read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_kernel::namespace::{self, Workers};
use fairway_kernel::route::{self, Address, Link, Links};
use fairway_model::MacAddress;
use rustix::io::Errno;

use crate::container::{Attachment, Container, Mode};
use crate::json::text;
use crate::note::Note;
use crate::reader::Reader;

/// The directory in which podman has a file for each network, and its network that needs none.
const NETWORKS: &str = "/etc/containers/networks";
const DEFAULT_NETWORK: (&str, &str) = ("podman0", "podman");

/// The names of networks by the bridges that they have on the host.
pub(crate) type Bridges = BTreeMap<String, String>;

/// An interface in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    /// The bridge or parent on the host that it is connected to, else the other end of its pair, else its own name.
    network: String,
    mac: Option<MacAddress>,
    addresses: Vec<IpAddr>,
}

/// Reads which bridges belong to which networks of podman.
pub(crate) fn bridges(reader: &mut Reader<'_>) -> Bridges {
    let (bridge, name) = DEFAULT_NETWORK;
    let mut bridges = Bridges::from([(bridge.to_owned(), name.to_owned())]);
    for file in reader.names(NETWORKS).into_iter().filter(|name| name.ends_with(".json")).collect::<Vec<_>>()
    {
        let Some(network) = reader.json(&format!("{NETWORKS}/{file}")) else { continue };
        if let (Some(bridge), Some(name)) =
            (text(&network, &["network_interface"]), text(&network, &["name"]))
        {
            bridges.insert(bridge.to_owned(), name.to_owned());
        }
    }
    bridges
}

/// Adds interfaces and addresses to the containers of which no address is recorded.
pub(crate) fn add(containers: &mut [Container], bridges: &Bridges) -> Vec<Note> {
    let lacks = |it: &&mut Container| {
        it.mode == Mode::Own && it.namespace.is_some() && it.addresses().next().is_none()
    };
    let mut lacking: Vec<&mut Container> = containers.iter_mut().filter(lacks).collect();
    if lacking.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    let (Ok(workers), Ok(host)) = (Workers::new(1), Links::open().and_then(|links| links.all())) else {
        return notes;
    };
    for container in &mut lacking {
        let Some(namespace) = container.namespace.clone() else { continue };
        match observe(&workers, &namespace) {
            Ok((links, addresses)) => {
                let found = interfaces(&links, &addresses, &host, bridges);
                join(&mut container.attachments, found);
            }
            Err(namespace::Error::Enter { errno: Errno::PERM, .. }) => {
                notes.push(Note::Denied { path: namespace.path, others: 0, missing: Vec::new() });
            }
            // It has ended since.
            Err(_) => {}
        }
    }
    notes
}

fn observe(
    workers: &Workers,
    namespace: &fairway_model::Namespace,
) -> Result<(Vec<Link>, Vec<Address>), namespace::Error> {
    let handle = namespace::open(namespace)?;
    let read = || {
        let links = Links::open()?;
        Ok::<_, route::Error>((links.all()?, links.addresses(0)?))
    };
    // A namespace that ends while it is read has nothing in it.
    workers.run(&handle, read).map(Result::unwrap_or_default)
}

/// The interfaces of a namespace, but loopback, with the links of the host that they lead to.
fn interfaces(links: &[Link], addresses: &[Address], host: &[Link], bridges: &Bridges) -> Vec<Interface> {
    let connected = links.iter().filter(|link| !link.loopback && (link.up || link.kind.is_some()));
    let interface = |link: &Link| {
        let own = addresses.iter().filter(|it| it.interface == link.index && it.scope == 0);
        let addresses: Vec<IpAddr> = own.map(|it| it.address.addr()).collect();
        let network = network(link, host, bridges).unwrap_or_else(|| link.name.clone());
        Interface { name: link.name.clone(), network, mac: link.mac, addresses }
    };
    connected.map(interface).filter(|it| !it.addresses.is_empty()).collect()
}

/// The name of the network that an interface is connected to, as far as the host's links show it.
fn network(link: &Link, host: &[Link], bridges: &Bridges) -> Option<String> {
    // Its index means nothing where the other end is in the same namespace.
    link.peer_namespace?;
    let other = host.iter().find(|it| Some(it.index) == link.peer)?;
    // Indexes are of one namespace each: only the other end of the same pair says the same of this one.
    if link.kind.as_deref() == Some("veth") && (other.kind != link.kind || other.peer != Some(link.index)) {
        return None;
    }
    let shown = host.iter().find(|it| Some(it.index) == other.master).unwrap_or(other).name.clone();
    Some(bridges.get(&shown).cloned().unwrap_or(shown))
}

/// Joins what is recorded with what was found: an interface is that of the attachment with its name or MAC address, or
/// of the only attachment if it is the only interface.
fn join(attachments: &mut Vec<Attachment>, found: Vec<Interface>) {
    let single = attachments.len() == 1 && found.len() == 1;
    for interface in found {
        let same = |it: &&mut Attachment| {
            it.addresses.is_empty()
                && (single
                    || it.interface.as_ref() == Some(&interface.name)
                    || (it.mac.is_some() && it.mac == interface.mac))
        };
        match attachments.iter_mut().find(same) {
            Some(attachment) => {
                attachment.interface = Some(interface.name);
                attachment.mac = interface.mac;
                attachment.addresses = interface.addresses;
            }
            None => attachments.push(Attachment {
                network: interface.network,
                interface: Some(interface.name),
                addresses: interface.addresses,
                mac: interface.mac,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
