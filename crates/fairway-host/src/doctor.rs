//! Observes what the checks of containers of other engines examine.

mod configured;
mod name_servers;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairway_containers::{Container, Engine, Mode};
use fairway_inspect::doctor::{EngineContainer, EngineObservations, Finding, UdpFlow, examine_engines};
use fairway_inspect::explain::KnownNetwork;
use fairway_kernel::conntrack::{Conntrack, Flow};
use fairway_kernel::namespace::{self, ListedNamespace};
use fairway_kernel::route::{Link, Links};
use fairway_kernel::sysctl;
use fairway_model::Protocol;
use fairway_walk::NamespaceId;

use crate::error::HostError;
use crate::host::Host;
use crate::known::known;

/// How long a container that starts or ends may be half there: what looks left over is looked at again after it.
const SETTLING: Duration = Duration::from_millis(300);
/// Checks that need the addresses of all namespaces.
const NEED_ALL_ADDRESSES: [&str; 3] = ["docker-proxy", "stale-dnat", "stale-flows"];

/// Examines the containers of other engines on this host. `own` are Fairway's sandboxes, whose engine is not another one.
///
/// # Errors
/// [`HostError::Rights`], [`HostError::Namespace`], [`HostError::Survey`].
pub fn examine(own: Vec<Container>) -> Result<Vec<Finding>, HostError> {
    let before = processes::docker_proxies();
    let host = Host::read(own)?;
    let mut observed = host.observe_engines();
    observed.proxies = before;
    observed.unused_namespaces = unused(&host.listed, &host.containers.containers);
    let is_orphan = |it: &fairway_inspect::doctor::DockerProxy| !observed.held.contains(&it.container.ip());
    if observed.proxies.iter().any(is_orphan) || !observed.unused_namespaces.is_empty() {
        std::thread::sleep(SETTLING);
        let proxies = processes::docker_proxies();
        observed.proxies.retain(|it| proxies.contains(it));
        let listed = namespace::list()?;
        let unused = unused(&listed, &host.containers.containers);
        observed.unused_namespaces.retain(|it| unused.contains(it));
    }
    Ok(examine_engines(&observed))
}

impl Host {
    fn observe_engines(&self) -> EngineObservations {
        let mut not_examined: BTreeMap<&'static str, String> = BTreeMap::new();
        let links = self.links().unwrap_or_else(|error| {
            not_examined.insert("engine-mtu", error);
            Vec::new()
        });
        let flows = self.udp_flows().unwrap_or_else(|error| {
            not_examined.insert("stale-flows", error);
            Vec::new()
        });
        if self.unread > 0 {
            let reason = format!("cannot look into {} network namespaces", self.unread);
            not_examined.extend(NEED_ALL_ADDRESSES.map(|check| (check, reason.clone())));
        }
        let containers: Vec<EngineContainer> =
            self.containers.containers.iter().map(|it| self.engine_container(it)).collect();
        let recorded = containers.iter().filter(|it| it.running).flat_map(|it| &it.known.networks);
        let recorded = recorded.flat_map(|it| it.addresses.iter().copied());
        let seen = (0..self.listed.len()).flat_map(|place| self.addresses_in(NamespaceId(place)));
        let held: BTreeSet<IpAddr> = seen.chain(recorded).collect();
        EngineObservations {
            not_examined,
            host: self.topology[NamespaceId::HOST].clone(),
            mtus: links.iter().map(|it| (it.index, it.mtu)).collect(),
            own_bridges: links.iter().filter(|it| it.mark().is_some()).map(|it| it.index).collect(),
            containers,
            networks: configured::networks(),
            held,
            proxies: Vec::new(),
            flows,
            unused_namespaces: Vec::new(),
            automatic_helpers: sysctl::read("net/netfilter/nf_conntrack_helper").ok().map(|it| it == "1"),
        }
    }

    fn links(&self) -> Result<Vec<Link>, String> {
        let read = self.workers.run(self.workers.initial(), || Links::open()?.all());
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn udp_flows(&self) -> Result<Vec<UdpFlow>, String> {
        let list = || Conntrack::open()?.translated(Protocol::Udp);
        let read = self.workers.run(self.workers.initial(), list);
        let flows = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(flows.iter().map(udp_flow).collect())
    }

    /// The addresses of the interfaces of a namespace.
    fn addresses_in(&self, place: NamespaceId) -> impl Iterator<Item = IpAddr> {
        self.topology[place].interfaces.iter().flat_map(|it| it.addresses.iter().map(|own| own.addr()))
    }

    fn engine_container(&self, container: &Container) -> EngineContainer {
        let place = self.place_of(container);
        let mut known = known(container, place);
        let own_namespace = container.mode == Mode::Own && place.is_some_and(|it| it != NamespaceId::HOST);
        if let Some(place) = place.filter(|_| own_namespace) {
            self.add_addresses(&mut known.networks, place);
        }
        let dead_name_servers = match (container.pid, place) {
            (Some(pid), Some(place)) if own_namespace => self.dead_name_servers(pid, place),
            _ => Vec::new(),
        };
        EngineContainer {
            name: container.qualified(),
            known,
            running: container.state.exists(),
            own_namespace,
            dead_name_servers,
        }
    }

    /// Adds the addresses of interfaces where the engine records none; of several networks it is not known which has which.
    fn add_addresses(&self, networks: &mut Vec<KnownNetwork>, place: NamespaceId) {
        if networks.iter().any(|it| !it.addresses.is_empty()) {
            return;
        }
        let addresses: Vec<IpAddr> = self.addresses_in(place).filter(|it| !it.is_loopback()).collect();
        match networks.as_mut_slice() {
            [] => {}
            [only] => only.addresses = addresses,
            several => several.iter_mut().for_each(|it| it.addresses = addresses.clone()),
        }
    }
}

fn udp_flow(flow: &Flow) -> UdpFlow {
    let (original, reply) = (flow.original, flow.reply);
    UdpFlow {
        source: SocketAddr::new(original.source, original.source_port),
        destination: SocketAddr::new(original.destination, original.destination_port),
        target: SocketAddr::new(reply.source, reply.source_port),
    }
}

/// The paths of mounted namespaces of engines that have neither a process nor a container.
fn unused(listed: &[ListedNamespace], containers: &[Container]) -> Vec<String> {
    let has_container = |it: &ListedNamespace| {
        // A namespace that `ip netns` names is listed as a container of its own.
        let by_engine = containers.iter().filter(|it| it.engine != Engine::NamedNamespace);
        let mut namespaces = by_engine.filter_map(|it| it.namespace.as_ref());
        namespaces.any(|own| own.identity() == it.namespace.identity())
    };
    let unused = listed.iter().skip(1).filter(|it| it.process.is_none() && !has_container(it));
    let paths = unused.map(|it| it.namespace.path.clone());
    paths.filter(|path| is_of_engine(path)).collect()
}

/// Whether an engine mounts namespaces at such paths: Docker in its directory, CNI as `cni-UUID`, podman as `netns-UUID`.
/// Those of a Docker swarm have no process by design.
fn is_of_engine(path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    let is_uuid =
        |text: &str| text.len() == 36 && text.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-');
    let is_hexadecimal = |text: &str| text.len() == 12 && text.bytes().all(|it| it.is_ascii_hexdigit());
    if directory.ends_with("docker/netns") {
        return is_hexadecimal(name);
    }
    let uuid = name.strip_prefix("cni-").or_else(|| name.strip_prefix("netns-"));
    directory.ends_with("/netns") && uuid.is_some_and(is_uuid)
}

#[cfg(test)]
mod tests;
