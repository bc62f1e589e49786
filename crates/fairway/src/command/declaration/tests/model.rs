//! A model of the daemon: what the API lists after a step.

use fairway_api::types::{
    ContainerInspect, EndpointSettings, IpamConfig, NetworkCreate, NetworkInspect, PortMap,
};

use crate::command::declaration::declared::Sandbox;
use crate::command::declaration::present::{self, Present};
use crate::command::declaration::step::Action;

/// Carries a step out.
pub(super) fn carry_out(present: &mut Present, action: Action) {
    match action {
        Action::RemoveSandbox { name } | Action::Detach { name } => {
            present.sandboxes.retain(|it| present::name(it) != name)
        }
        Action::RemoveNetwork { name } => present.networks.retain(|it| it.name != name),
        Action::CreateNetwork(request) => create_network(present, *request),
        Action::ReplaceNetwork(request) => {
            carry_out(present, Action::RemoveNetwork { name: request.name.clone() });
            create_network(present, *request);
        }
        Action::UpdateNetwork { name, options } => {
            let network = present.networks.iter_mut().find(|it| it.name == name).unwrap();
            for (name, value) in options {
                match value {
                    Some(value) => drop(network.options.insert(name, value)),
                    None => drop(network.options.remove(&name)),
                }
            }
            let defaults = present.default_options.get(&network.driver).into_iter().flatten();
            defaults.for_each(|(name, value)| {
                network.options.entry(name.clone()).or_insert_with(|| value.clone());
            });
        }
        Action::CreateSandbox(sandbox) | Action::AttachAgain(sandbox) => {
            assert!(present.sandbox(&sandbox.name).is_none(), "{} exists", sandbox.name);
            present.sandboxes.push(attached(&sandbox));
        }
        Action::Connect { sandbox, network, settings } => {
            assert!(network == "bridge" || present.network(&network).is_some(), "{network} does not exist");
            let networks = &mut find(present, &sandbox).network_settings.networks;
            assert!(
                networks.insert(network.clone(), given(*settings)).is_none(),
                "{sandbox} is on {network}"
            );
            networks.remove("none");
        }
        Action::Disconnect { sandbox, network } => {
            let sandbox = find(present, &sandbox);
            assert!(sandbox.network_settings.networks.remove(&network).is_some());
            let first = sandbox.network_settings.networks.keys().next();
            sandbox.host_config.network_mode = first.cloned().unwrap_or_else(|| "none".to_owned());
        }
        Action::Publish { sandbox, ports } => {
            for (port, bindings) in ports {
                let there = find(present, &sandbox).host_config.port_bindings.entry(port).or_default();
                there.get_or_insert_default().extend(bindings.into_iter().flatten());
            }
        }
        Action::Unpublish { sandbox, ports } => {
            unpublish(&mut find(present, &sandbox).host_config.port_bindings, &ports);
        }
    }
}

/// An empty address or port means any.
fn unpublish(there: &mut PortMap, ports: &PortMap) {
    let matches = |asked: &str, present: &str| asked.is_empty() || asked == present;
    for (port, bindings) in ports {
        let left = there.get_mut(port).unwrap().get_or_insert_default();
        for asked in bindings.iter().flatten() {
            left.retain(|it| {
                !matches(&asked.host_ip, &it.host_ip) || !matches(&asked.host_port, &it.host_port)
            });
        }
    }
    there.retain(|_, bindings| bindings.as_ref().is_some_and(|it| !it.is_empty()));
}

fn find<'a>(present: &'a mut Present, name: &str) -> &'a mut ContainerInspect {
    present.sandboxes.iter_mut().find(|sandbox| present::name(sandbox) == name).unwrap()
}

fn create_network(present: &mut Present, request: NetworkCreate) {
    assert!(present.network(&request.name).is_none(), "{} exists", request.name);
    let mut ipam = request.ipam.unwrap_or_default();
    if ipam.config.is_empty() {
        let subnet = "172.18.0.0/16".to_owned();
        ipam.config.push(IpamConfig { subnet, ..IpamConfig::default() });
    }
    for config in &mut ipam.config {
        if config.gateway.is_empty() {
            config.gateway = config.subnet.replace(".0.0/16", ".0.1");
        }
    }
    let mut options = request.options;
    for (name, value) in present.default_options.get(&request.driver).into_iter().flatten() {
        options.entry(name.clone()).or_insert_with(|| value.clone());
    }
    // Without a way out; as `World::create_network` has it.
    let closed = request.driver == "ptp" || (request.driver == "macvlan" && !options.contains_key("parent"));
    present.networks.push(NetworkInspect {
        name: request.name,
        driver: request.driver,
        ipam,
        options,
        labels: request.labels,
        internal: request.internal || closed,
        enable_ipv4: request.enable_ipv4.unwrap_or(true),
        enable_ipv6: request.enable_ipv6.unwrap_or(false),
        config_from: request.config_from.unwrap_or_default(),
        config_only: request.config_only,
        ..NetworkInspect::default()
    });
}

fn given(settings: EndpointSettings) -> EndpointSettings {
    let mac_address = match settings.mac_address.as_str() {
        "" => "02:42:00:00:00:01".to_owned(),
        asked => asked.to_owned(),
    };
    EndpointSettings { mac_address, ..settings }
}

fn attached(sandbox: &Sandbox) -> ContainerInspect {
    let request = &sandbox.request;
    let mut shown = ContainerInspect {
        id: "0123456789abcdef".repeat(4),
        name: format!("/{}", sandbox.name),
        kind: if sandbox.created { "created" } else { "attached" }.to_owned(),
        host_config: request.host_config.clone(),
        ..ContainerInspect::default()
    };
    shown.state.running = true;
    shown.config.labels.clone_from(&request.labels);
    shown.config.exposed_ports.clone_from(&request.exposed_ports);
    shown.config.hostname = match request.hostname.as_str() {
        "" => shown.id[..12].to_owned(),
        name => name.to_owned(),
    };
    shown.network_settings.sandbox_key.clone_from(&sandbox.path);
    let asked = request.networking_config.endpoints_config.iter().cloned();
    shown.network_settings.networks = asked.map(|(name, settings)| (name, given(settings))).collect();
    let networks = &mut shown.network_settings.networks;
    match request.host_config.network_mode.as_str() {
        "default" => drop(networks.insert("bridge".to_owned(), EndpointSettings::default())),
        "none" => drop(networks.insert("none".to_owned(), EndpointSettings::default())),
        _ => {}
    }
    if request.host_config.network_mode == "default" {
        shown.host_config.network_mode = "bridge".to_owned();
    }
    shown
}
