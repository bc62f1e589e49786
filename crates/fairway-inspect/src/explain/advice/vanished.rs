//! Advice for ports that are published at an address that the host no longer has.

use std::net::IpAddr;

use super::bracketed;
use fairway_model::shell::quote;
use fairway_model::{HostFacts, Protocol, Publication, Sandbox};

/// Whether a publication has an address that the host does not have.
pub(crate) fn has_vanished(publication: &Publication, host: &HostFacts) -> bool {
    let address = publication.host_address;
    let is_everywhere = address.is_unspecified() || address.is_loopback() || publication.routed;
    !is_everywhere && !host.addresses.iter().any(|own| own.destination.addr() == address)
}

/// The command that publishes the same ports at all addresses of the host instead.
pub(crate) fn publish_everywhere(sandbox: &Sandbox, publication: &Publication) -> String {
    let protocol = match publication.protocol {
        Protocol::Tcp => String::new(),
        other => format!("/{other}"),
    };
    let (name, address) = (&sandbox.name, bracketed(publication.host_address));
    let (outer, inner) = (publication.host_ports, publication.container_ports());
    format!(
        "fairway unpublish {name} {}{protocol} && fairway publish {name} {outer}:{inner}{protocol}",
        quote(&format!("{address}:{outer}"))
    )
}

/// The command that adds an address to the host again; none if no interface has the subnet of the address.
pub(crate) fn give_back(address: IpAddr, host: &HostFacts) -> Option<String> {
    let near = host.addresses.iter().find(|own| own.destination.contains(&address))?;
    let length = near.destination.prefix_len();
    Some(format!("ip address add {address}/{length} dev {}", quote(&near.interface)))
}
