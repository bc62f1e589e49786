//! What a file declares, as requests of the API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_api::types::{
    ConfigReference, ContainerCreate, EndpointIpam, EndpointSettings, HostConfig, Ipam, IpamConfig,
    NetworkCreate, NetworkingConfig, PortMap,
};
use fairway_api::{decode, encode};
use fairway_core::world::NetworkOptions;
use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_model::{Driver, EndpointRequest, SandboxKind, parse};

use super::error::Refusal;
use super::file::{EndpointKeys, File, NetworkKeys, SandboxKeys, ServiceKeys};
use super::port::Port;
use super::{APPLIED, PREDEFINED};
use crate::command::near;

/// Networks and sandboxes as they should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::command) struct Declaration {
    /// The value of the label of what is made.
    pub(in crate::command) owner: String,
    pub(in crate::command) networks: Vec<NetworkCreate>,
    /// Networks that must exist already.
    pub(in crate::command) external: Vec<String>,
    pub(in crate::command) sandboxes: Vec<Sandbox>,
    pub(in crate::command) services: Vec<Service>,
    /// What the file says and Fairway does not do.
    pub(in crate::command) notes: Vec<String>,
}

/// A namespace with its networks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::command) struct Sandbox {
    pub(in crate::command) name: String,
    /// The path of the namespace.
    pub(in crate::command) path: String,
    /// Whether Fairway creates the namespace.
    pub(in crate::command) created: bool,
    pub(in crate::command) request: ContainerCreate,
}

/// A sandbox whose program is started by other means; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::command) struct Service {
    pub(in crate::command) name: String,
    pub(in crate::command) networks: Option<Vec<(String, EndpointSettings)>>,
    pub(in crate::command) ports: Option<PortMap>,
    /// The keys of the service that are not applied.
    pub(in crate::command) not_applied: Vec<String>,
}

impl Sandbox {
    /// The declared networks; none if the daemon's default is as good as any.
    pub(in crate::command) fn networks(&self) -> Option<&[(String, EndpointSettings)]> {
        match self.request.host_config.network_mode.as_str() {
            "default" => None,
            _ => Some(&self.request.networking_config.endpoints_config),
        }
    }
}

/// Collects what cannot be read, to report all at once.
struct Reader {
    /// The names of networks by their keys.
    names: BTreeMap<String, String>,
    refusals: Vec<Refusal>,
}

impl Declaration {
    /// The declaration of a file, or all that is wrong with it.
    pub(in crate::command) fn new(file: File, place: &str) -> Result<Self, Vec<Refusal>> {
        let file = file.with_default_network();
        let project = file.name.clone();
        let name = |key: &String, keys: &NetworkKeys| match keys.given_name() {
            Some(name) => name.clone(),
            None if project.is_empty() || keys.is_external() => key.clone(),
            None => format!("{project}_{key}"),
        };
        let networks: Vec<(String, NetworkKeys)> =
            file.networks.into_iter().map(|(key, keys)| (key, keys.unwrap_or_default())).collect();
        let names = networks.iter().map(|(key, keys)| (key.clone(), name(key, keys))).collect();
        let mut reader = Reader { names, refusals: Vec::new() };
        let owner = if file.name.is_empty() { place.to_owned() } else { file.name };
        let mut declared = Self { owner, ..Self::default() };
        if !file.not_applied.is_empty() {
            declared.notes.push(format!(
                "not applied: {}: Fairway applies networks, sandboxes and the networks and ports of services",
                file.not_applied.join(", ")
            ));
        }
        for (key, keys) in networks {
            let name = reader.names[&key].clone();
            let known = declared.networks.iter().map(|it| &it.name).chain(&declared.external);
            if known.into_iter().any(|known| *known == name) {
                reader.refusals.push(Refusal::Twice(name));
            } else if keys.is_external() {
                declared.external.push(name);
            } else if name == File::DEFAULT {
                reader.refusals.push(Refusal::Default);
            } else if PREDEFINED.contains(&name.as_str()) {
                reader.refusals.push(Refusal::Predefined(name));
            } else {
                declared.networks.extend(reader.network(name, keys, &declared.owner));
            }
        }
        // Networks with a configuration of another come after it.
        declared.networks.sort_by_key(|network| !network.config_only);
        for (name, keys) in file.sandboxes {
            declared.sandboxes.extend(reader.sandbox(name, keys.unwrap_or_default(), &declared.owner));
        }
        for (key, keys) in file.services {
            let service = reader.service(key, keys.unwrap_or_default());
            let taken = declared.sandboxes.iter().map(|it| &it.name);
            if taken.chain(declared.services.iter().map(|it| &it.name)).any(|name| *name == service.name) {
                reader.refusals.push(Refusal::SandboxTwice(service.name.clone()));
            }
            declared.services.push(service);
        }
        if reader.refusals.is_empty() { Ok(declared) } else { Err(reader.refusals) }
    }
}

impl Reader {
    fn network(&mut self, name: String, keys: NetworkKeys, owner: &str) -> Option<NetworkCreate> {
        let ipam = keys.ipam.unwrap_or_default();
        let config = ipam.config.into_iter().map(|subnet| IpamConfig {
            subnet: subnet.subnet,
            ip_range: subnet.ip_range,
            gateway: subnet.gateway,
            auxiliary_addresses: subnet.aux_addresses,
        });
        let mut labels = keys.labels;
        // A network with the configuration of another has the labels of that.
        if keys.config_from.is_none() {
            labels.insert(APPLIED.to_owned(), owner.to_owned());
        }
        let mut request = NetworkCreate {
            name,
            driver: keys.driver.filter(|driver| driver != "default").unwrap_or_else(|| "bridge".to_owned()),
            internal: keys.internal.unwrap_or_default(),
            attachable: keys.attachable.unwrap_or_default(),
            config_only: keys.config_only.unwrap_or_default(),
            config_from: keys.config_from.map(|key| ConfigReference {
                // A network that the file does not have may be there already.
                network: self.names.get(&key).cloned().unwrap_or(key),
            }),
            ipam: Some(Ipam {
                driver: ipam.driver.unwrap_or_else(|| "default".to_owned()),
                options: ipam.options,
                config: config.collect(),
            }),
            enable_ipv4: keys.enable_ipv4,
            enable_ipv6: keys.enable_ipv6,
            options: keys.driver_opts,
            labels,
            ..NetworkCreate::default()
        };
        if !Driver::CREATABLE.iter().any(|(driver, _)| driver.name() == request.driver) {
            let drivers = Driver::CREATABLE.map(|(driver, _)| driver.name());
            let near = near::question(&request.driver, &drivers);
            let (driver, drivers) = (request.driver, drivers.join(", "));
            self.refusals.push(Refusal::Driver { network: request.name, driver, near, drivers });
            return None;
        }
        if let Err(refusal) = NetworkOptions::parse(&request.options) {
            let (what, name, reason) = ("network", request.name, refusal.to_string());
            self.refusals.push(Refusal::Value { what, name, reason });
            return None;
        }
        match decode::network(request.clone()) {
            Ok((read, _)) => {
                // As the daemon shows them: without host bits, addresses in their short form.
                let subnets = read.subnets.into_iter().map(|mut it| {
                    it.subnet = it.subnet.map(|subnet| subnet.trunc());
                    encode::ipam_config(it)
                });
                request.ipam.get_or_insert_default().config = subnets.collect();
                Some(request)
            }
            Err(failure) => {
                self.refusals.push(Refusal::value("network", &request.name, failure));
                None
            }
        }
    }

    fn sandbox(&mut self, name: String, keys: SandboxKeys, owner: &str) -> Option<Sandbox> {
        let created = keys.netns.is_none();
        let path = match keys.netns {
            Some(path) if path.starts_with('/') => path,
            Some(path) if path.is_empty() || path.contains('/') => {
                self.refusals.push(Refusal::Namespace { sandbox: name, path });
                return None;
            }
            Some(named) => format!("{NAMED_DIRECTORY}/{named}"),
            None => format!("{NAMED_DIRECTORY}/{name}"),
        };
        let networks = keys.networks.map(|networks| self.endpoints(&name, networks));
        let network_mode = match networks.as_deref() {
            None => "default".to_owned(),
            Some([]) => "none".to_owned(),
            Some([(first, _), ..]) => first.clone(),
        };
        let mut labels = keys.labels;
        labels.insert(APPLIED.to_owned(), owner.to_owned());
        let mut request = ContainerCreate {
            hostname: keys.hostname,
            exposed_ports: keys.expose.into_iter().map(|port| (port, BTreeMap::new())).collect(),
            labels,
            host_config: HostConfig {
                network_mode,
                port_bindings: bindings(keys.ports),
                dns: keys.dns,
                dns_options: keys.dns_opt,
                dns_search: keys.dns_search,
                extra_hosts: keys.extra_hosts,
                ..HostConfig::default()
            },
            networking_config: NetworkingConfig { endpoints_config: networks.unwrap_or_default() },
            ..ContainerCreate::default()
        };
        let read = parse::name(&name).map_err(fairway_api::Failure::from);
        match read.and_then(|_| decode::container(&name, SandboxKind::Attached, request.clone())) {
            Ok(read) => {
                // As the daemon shows them.
                let options = read.options;
                request.exposed_ports = options
                    .exposed
                    .iter()
                    .map(|(port, protocol)| (format!("{port}/{protocol}"), BTreeMap::new()))
                    .collect();
                request.hostname = options.hostname;
                request.host_config.dns_options = options.dns_options;
                request.host_config.dns_search = options.dns_search;
                request.host_config.dns = options.dns.iter().map(ToString::to_string).collect();
                request.host_config.extra_hosts = encode::extra_hosts(&options.extra_hosts);
                Some(Sandbox { name, path, created, request })
            }
            Err(failure) => {
                self.refusals.push(Refusal::value("sandbox", &name, failure));
                None
            }
        }
    }

    fn service(&mut self, key: String, keys: ServiceKeys) -> Service {
        let name = keys.container_name.unwrap_or(key);
        let networks = keys.networks.map(|networks| self.endpoints(&name, networks));
        Service { networks, ports: keys.ports.map(bindings), not_applied: keys.not_applied, name }
    }

    /// The endpoints of a sandbox or service, by the names of their networks.
    fn endpoints(
        &mut self,
        owner: &str,
        mut keys: Vec<(String, EndpointKeys)>,
    ) -> Vec<(String, EndpointSettings)> {
        keys.sort_by_key(|(_, keys)| std::cmp::Reverse(keys.priority.unwrap_or_default()));
        let mut endpoints = Vec::new();
        for (key, keys) in keys {
            let Some(network) = self.names.get(&key).cloned() else {
                let near = near::question(&key, &self.names.keys().collect::<Vec<_>>());
                self.refusals.push(Refusal::NoNetwork { owner: owner.to_owned(), network: key, near });
                continue;
            };
            match decode::endpoint(settings(keys)) {
                Ok(read) => endpoints.push((network, canonical(read))),
                Err(failure) => self.refusals.push(Refusal::value("the networks of", owner, failure)),
            }
        }
        endpoints
    }
}

/// An endpoint as the daemon shows it: addresses and names in one form.
fn canonical(read: EndpointRequest) -> EndpointSettings {
    let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    settings(EndpointKeys {
        aliases: read.aliases,
        ipv4_address: text(read.ipv4.map(IpAddr::V4)),
        ipv6_address: text(read.ipv6.map(IpAddr::V6)),
        mac_address: read.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        gw_priority: Some(read.gateway_priority),
        priority: None,
        driver_opts: read.driver_options,
        links: read.links.into_iter().map(|(name, alias)| format!("{name}:{alias}")).collect(),
    })
}

fn settings(keys: EndpointKeys) -> EndpointSettings {
    let addressed = !keys.ipv4_address.is_empty() || !keys.ipv6_address.is_empty();
    EndpointSettings {
        ipam_config: addressed.then(|| EndpointIpam {
            ipv4_address: keys.ipv4_address,
            ipv6_address: keys.ipv6_address,
            link_local_ips: Vec::new(),
        }),
        links: (!keys.links.is_empty()).then_some(keys.links),
        aliases: (!keys.aliases.is_empty()).then_some(keys.aliases),
        mac_address: keys.mac_address,
        driver_opts: (!keys.driver_opts.is_empty()).then_some(keys.driver_opts),
        gw_priority: keys.gw_priority.unwrap_or_default(),
        ..EndpointSettings::default()
    }
}

fn bindings(ports: Vec<Port>) -> PortMap {
    let requests: Vec<_> = ports.into_iter().map(|port| port.0).collect();
    encode::port_bindings(&requests)
}
