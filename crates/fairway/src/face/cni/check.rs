//! CHECK: compares what exists with the result of ADD.

use std::net::IpAddr;

use fairway_api::types::{ContainerInspect, PortMap};
use fairway_kernel::namespace::{self, Workers};
use fairway_kernel::route::Links;
use fairway_kernel::survey;
use fairway_walk::{Interface, Route};
use ipnet::IpNet;

use super::error::Error;
use super::result::Outcome;

/// The routing table with the routes of interfaces.
const MAIN: u32 = 254;

/// What exists in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The routes.
    pub routes: Vec<Route>,
}

impl Seen {
    /// Reads a namespace.
    ///
    /// # Errors
    /// It is gone, or cannot be read.
    pub fn read(path: &str) -> Result<Self, Error> {
        let failed =
            |error: &dyn std::error::Error| Error::Check(format!("cannot read namespace {path}: {error}"));
        let handle = namespace::open_path(path).map_err(|error| failed(&error))?;
        let workers = Workers::new(1).map_err(|error| failed(&error))?;
        let look = || -> Result<Self, survey::Error> {
            let routes = Links::open()?.routes()?.into_iter().map(survey::route).collect();
            Ok(Self { interfaces: survey::glance()?.interfaces, routes })
        };
        workers.run(&handle, look).map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    /// Compares with the result of ADD.
    ///
    /// # Errors
    /// [`Error::Check`] names what is missing.
    pub fn check(&self, interface: &str, expected: &Outcome) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Check(text));
        let Some(place) = expected.in_sandbox(interface) else {
            return wrong(format!(
                "the result of ADD (prevResult) has no interface {interface} in a sandbox"
            ));
        };
        let Some(seen) = self.interfaces.iter().find(|it| it.name == interface) else {
            return wrong(format!("interface {interface} is missing in the container"));
        };
        if !seen.up {
            return wrong(format!("interface {interface} of the container is down"));
        }
        let mac = expected.interfaces.get(place).map_or("", |it| it.mac.as_str());
        if !mac.is_empty() && !seen.mac.to_string().eq_ignore_ascii_case(mac) {
            return wrong(format!("interface {interface} has MAC address {} instead of {mac}", seen.mac));
        }
        let own = expected.ips.iter().filter(|ip| ip.interface.is_none_or(|it| it == place));
        for ip in own {
            let found = ip.address.parse::<IpNet>().is_ok_and(|address| seen.addresses.contains(&address));
            if !found {
                return wrong(format!("address {} is missing on interface {interface}", ip.address));
            }
        }
        for route in &expected.routes {
            let Ok(destination) = route.dst.parse::<IpNet>().map(|net| net.trunc()) else { continue };
            // A family without an address has no routes.
            let has_family =
                expected.ips.iter().any(|ip| ip.address.contains(':') == destination.addr().is_ipv6());
            let found = self.routes.iter().any(|it| it.table == MAIN && it.destination == destination);
            if has_family && !found {
                return wrong(format!("route {destination} is missing in the container"));
            }
        }
        Ok(())
    }
}

/// Compares what the daemon has with the result of ADD and the published ports.
///
/// # Errors
/// [`Error::Check`] names what is missing.
pub fn check_container(
    known: &ContainerInspect,
    network: &str,
    expected: &Outcome,
    ports: &PortMap,
) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::Check(text));
    let Some(endpoint) = known.network_settings.networks.get(network) else {
        return wrong(format!("the container is not on network {network}"));
    };
    let addresses = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    for address in addresses.into_iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
        let given = |text: &str| text.parse::<IpNet>().is_ok_and(|net| net.addr() == address);
        if !expected.ips.iter().any(|ip| given(&ip.address)) {
            return wrong(format!(
                "the daemon has address {address}, which the result of ADD (prevResult) has not"
            ));
        }
    }
    let published = &known.network_settings.ports;
    for (port, bindings) in ports {
        let own = published.get(port).cloned().flatten().unwrap_or_default();
        for binding in bindings.iter().flatten() {
            if !own.iter().any(|it| it.host_port == binding.host_port) {
                return wrong(format!("host port {} is not published to {port}", binding.host_port));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
