//! Alternative names of interfaces on the host, `fairway.host_interface`.

use super::option::HOST_INTERFACE;
use super::{Refusal, World};
use fairway_model::{Endpoint, EndpointOptions, Network};

fn refused(name: &str, reason: String) -> Refusal {
    Refusal::InvalidOption { name: HOST_INTERFACE.to_owned(), value: name.to_owned(), reason }
}

/// Refuses a name for the host's end of a veth pair where the driver makes no pair.
pub(super) fn check_has_host_interface(network: &Network, options: &EndpointOptions) -> Result<(), Refusal> {
    match &options.host_interface {
        Some(name) if !network.driver.has_bridge() => Err(refused(
            name,
            format!("with the driver {} a container has no interface on the host", network.driver),
        )),
        _ => Ok(()),
    }
}

impl World {
    /// Refuses a name for the host's end of the veth pair of an endpoint that another interface has, as far as the World
    /// knows; the kernel refuses those of other programs.
    pub(super) fn check_host_interface(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let Some(name) = &endpoint.options.host_interface else { return Ok(()) };
        let has_bridge = |network: &&Network| network.bridge == *name;
        if let Some(network) = self.networks().find(has_bridge) {
            return Err(refused(name, format!("the bridge of network {} has that name", network.name)));
        }
        let has_name = |other: &&Endpoint| {
            other.id != endpoint.id
                && other.allocation.is_some()
                && other.options.host_interface.as_ref() == Some(name)
        };
        match self.endpoints().find(has_name).and_then(|other| self.sandbox(other.sandbox)) {
            Some(sandbox) => {
                Err(refused(name, format!("the interface of container {} has that name", sandbox.name)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
