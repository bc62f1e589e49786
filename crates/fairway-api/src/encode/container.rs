//! Sandboxes as Docker's containers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_core::world::World;
use fairway_model::parse;
use fairway_model::{
    Endpoint, LOG_DRIVER, NetworkMode, ResolverAddresses, Sandbox, SandboxKind, SandboxState,
};

use super::network::{endpoint_settings, mode_network};
use super::port;
use super::time::{human, rfc3339};
use crate::engine_api::SandboxFiles;
use crate::image::image_id;
use crate::types::{
    Attached, AttachedInterface, ContainerConfig, ContainerInspect, ContainerState, ContainerSummary,
    EndpointSettings, GraphDriver, HostConfig, LogConfig, NetworkSettings, RestartPolicy, SummaryHostConfig,
    SummaryNetworks,
};

/// A sandbox in a list; `now` is in nanoseconds since 1970.
pub(super) fn summarize(world: &World, sandbox: &Sandbox, now: i64) -> ContainerSummary {
    ContainerSummary {
        id: sandbox.id.to_string(),
        names: vec![format!("/{}", sandbox.name)],
        image: sandbox.options.image.clone(),
        image_id: image_id(&sandbox.options.image),
        command: command_line(&sandbox.options.command),
        created: sandbox.created / 1_000_000_000,
        ports: port::summary(world, sandbox),
        labels: sandbox.options.labels.clone(),
        state: status(sandbox).to_owned(),
        status: match &sandbox.state {
            SandboxState::Created => "Created".to_owned(),
            SandboxState::Running { since, .. } => format!("Up {}", human(now - since)),
            SandboxState::Exited { code, at } => {
                let word = if sandbox.is_restarting() { "Restarting" } else { "Exited" };
                format!("{word} ({code}) {} ago", human(now - at))
            }
        },
        host_config: SummaryHostConfig { network_mode: network_mode(world, sandbox) },
        network_settings: SummaryNetworks { networks: networks(world, sandbox) },
    }
}

/// A command as one line; arguments that contain spaces are in quotation marks, as in Docker.
fn command_line(command: &[String]) -> String {
    let quoted = |(place, word): (usize, &String)| match place > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    command.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

/// A sandbox with all that was asked and given.
pub fn inspect_container(world: &World, sandbox: &Sandbox, files: SandboxFiles) -> ContainerInspect {
    let options = &sandbox.options;
    let (entrypoint, cmd) =
        options.command.split_at_checked(options.process.entrypoint).unwrap_or((&[], &options.command));
    ContainerInspect {
        id: sandbox.id.to_string(),
        created: rfc3339(Some(sandbox.created)),
        path: options.command.first().cloned().unwrap_or_default(),
        args: options.command.iter().skip(1).cloned().collect(),
        state: state(sandbox),
        resolv_conf_path: files.resolv_conf,
        hostname_path: files.hostname,
        hosts_path: files.hosts,
        log_path: files.log,
        root_directory: files.root,
        name: format!("/{}", sandbox.name),
        image: image_id(&options.image),
        driver: "host".to_owned(),
        graph_driver: GraphDriver { name: "host".to_owned(), data: None },
        platform: "linux".to_owned(),
        restart_count: sandbox.restarts,
        kind: match sandbox.kind {
            SandboxKind::Run => "run",
            SandboxKind::Attached => "attached",
            SandboxKind::Created => "created",
            SandboxKind::Docker => "docker",
        }
        .to_owned(),
        host_config: host_config(world, sandbox),
        config: ContainerConfig {
            image: options.image.clone(),
            attach_stdin: options.process.open_stdin,
            attach_stdout: true,
            attach_stderr: true,
            tty: options.tty,
            open_stdin: options.process.open_stdin,
            stdin_once: options.process.stdin_once,
            user: options.process.user.clone(),
            stop_signal: options.process.stop_signal.clone(),
            stop_timeout: options.process.stop_timeout,
            hostname: sandbox.hostname(),
            exposed_ports: port::exposed(sandbox),
            env: options.environment.clone(),
            link_env: world.link_environment(sandbox),
            entrypoint: (!entrypoint.is_empty()).then(|| entrypoint.to_vec()),
            cmd: cmd.to_vec(),
            working_dir: options.directory.clone(),
            labels: options.labels.clone(),
            ..ContainerConfig::default()
        },
        network_settings: network_settings(world, sandbox),
        ..ContainerInspect::default()
    }
}

fn network_settings(world: &World, sandbox: &Sandbox) -> NetworkSettings {
    let given = world.default_endpoint(sandbox.id).filter(|endpoint| endpoint.allocation.is_some());
    let default = given.map(|endpoint| endpoint_settings(world, endpoint)).unwrap_or_default();
    NetworkSettings {
        endpoint_id: default.endpoint_id,
        gateway: default.gateway,
        global_ipv6_address: default.global_ipv6_address,
        global_ipv6_prefix_len: default.global_ipv6_prefix_len,
        ip_address: default.ip_address,
        ip_prefix_len: default.ip_prefix_len,
        ipv6_gateway: default.ipv6_gateway,
        mac_address: default.mac_address,
        sandbox_id: sandbox.id.to_string(),
        sandbox_key: namespace_path(world, sandbox),
        ports: port::published(world, sandbox),
        networks: networks(world, sandbox),
    }
}

/// A sandbox that was attached just now.
pub fn attached(world: &World, sandbox: &Sandbox, files: SandboxFiles, warnings: Vec<String>) -> Attached {
    Attached {
        id: sandbox.id.to_string(),
        name: sandbox.name.clone(),
        warnings,
        networks: networks(world, sandbox),
        ports: port::published(world, sandbox),
        interfaces: interfaces(world, sandbox),
        resolv_conf_path: files.resolv_conf,
        hosts_path: files.hosts,
        hostname_path: files.hostname,
    }
}

fn interfaces(world: &World, sandbox: &Sandbox) -> BTreeMap<String, AttachedInterface> {
    let of = |endpoint: &Endpoint| {
        let network = world.network(endpoint.network)?;
        let allocation = endpoint.allocation.as_ref()?;
        let host_name =
            if network.driver.has_bridge() { allocation.host_interface.clone() } else { String::new() };
        let (name, bridge) = (allocation.interface.clone(), network.bridge.clone());
        let resolver = match sandbox.options.resolver_addresses {
            ResolverAddresses::One => String::new(),
            ResolverAddresses::Range => ResolverAddresses::of_range(endpoint.number).to_string(),
        };
        Some((network.name.clone(), AttachedInterface { name, host_name, bridge, resolver }))
    };
    world.endpoints_of_sandbox(sandbox.id).into_iter().filter_map(of).collect()
}

pub(super) fn status(sandbox: &Sandbox) -> &'static str {
    match sandbox.state {
        SandboxState::Created => "created",
        SandboxState::Running { .. } => "running",
        SandboxState::Exited { .. } if sandbox.is_restarting() => "restarting",
        SandboxState::Exited { .. } => "exited",
    }
}

fn state(sandbox: &Sandbox) -> ContainerState {
    // Sandboxes of earlier versions know the times of their state alone.
    let (started, finished, code) = match &sandbox.state {
        SandboxState::Created => (None, None, 0),
        SandboxState::Running { since, .. } => (Some(*since), sandbox.last_exit, 0),
        SandboxState::Exited { code, at } => (sandbox.last_start, Some(*at), *code),
    };
    ContainerState {
        status: status(sandbox).to_owned(),
        running: sandbox.runs_or_restarts(),
        restarting: sandbox.is_restarting(),
        pid: sandbox.process().map_or(0, |process| process.pid),
        oom_killed: sandbox.oom_killed,
        exit_code: code,
        error: sandbox.start_error.clone(),
        started_at: rfc3339(started),
        finished_at: rfc3339(finished),
        ..ContainerState::default()
    }
}

/// The network mode in the terms of `--network`, as it was at the creation.
fn network_mode(world: &World, sandbox: &Sandbox) -> String {
    match sandbox.first_network.as_str() {
        "" => present_network_mode(world, sandbox),
        network => network.to_owned(),
    }
}

/// The network mode in the terms of `--network`, of the networks that the sandbox is on now.
pub(super) fn present_network_mode(world: &World, sandbox: &Sandbox) -> String {
    match &sandbox.mode {
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Shared(other) => format!("container:{other}"),
        NetworkMode::Private => {
            let endpoints = world.endpoints_of_sandbox(sandbox.id);
            let first = endpoints.first().and_then(|endpoint| world.network(endpoint.network));
            first.map_or_else(|| "none".to_owned(), |network| network.name.clone())
        }
    }
}

fn networks(world: &World, sandbox: &Sandbox) -> BTreeMap<String, EndpointSettings> {
    let by_mode = mode_network(world, sandbox).map(|network| {
        let settings = EndpointSettings { network_id: network.id.to_string(), ..EndpointSettings::default() };
        (network.name.clone(), settings)
    });
    let endpoints = world.endpoints_of_sandbox(sandbox.id);
    let with_endpoint = endpoints.into_iter().filter_map(|endpoint| {
        let network = world.network(endpoint.network)?;
        Some((network.name.clone(), endpoint_settings(world, endpoint)))
    });
    by_mode.into_iter().chain(with_endpoint).collect()
}

fn namespace_path(world: &World, sandbox: &Sandbox) -> String {
    let owner = world.namespace_owner(sandbox);
    owner.and_then(Sandbox::namespace).map(|namespace| namespace.path.clone()).unwrap_or_default()
}

/// Links of the default bridge, as Docker has them: `/TARGET:/SOURCE/ALIAS`.
fn links(world: &World, sandbox: &Sandbox) -> Vec<String> {
    let asked = world.default_endpoint(sandbox.id).into_iter().flat_map(|endpoint| &endpoint.request.links);
    let shown = asked.filter_map(|(target, alias)| {
        let target = world.sandbox(target.parse().ok()?)?;
        Some(format!("/{}:/{}/{alias}", target.name, sandbox.name))
    });
    shown.collect()
}

/// Host names with their addresses, each `name:address`; without an address, the host's.
pub fn extra_hosts(hosts: &[(String, Option<IpAddr>)]) -> Vec<String> {
    let text = |(name, address): &(String, Option<IpAddr>)| match address {
        Some(address) => format!("{name}:{address}"),
        None => format!("{name}:{}", parse::HOST_GATEWAY),
    };
    hosts.iter().map(text).collect()
}

fn host_config(world: &World, sandbox: &Sandbox) -> HostConfig {
    let options = &sandbox.options;
    let limits = options.process.limits;
    let signed = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok());
    HostConfig {
        network_mode: network_mode(world, sandbox),
        port_bindings: port::bindings(&options.publish),
        publish_all_ports: options.publish_all,
        auto_remove: options.auto_remove,
        dns: options.dns.iter().map(ToString::to_string).collect(),
        dns_options: options.dns_options.clone(),
        dns_search: options.dns_search.clone(),
        extra_hosts: extra_hosts(&options.extra_hosts),
        links: links(world, sandbox),
        cap_add: options.capabilities_added.clone(),
        cap_drop: options.capabilities_dropped.clone(),
        privileged: options.privileged,
        log_config: LogConfig { driver: LOG_DRIVER.to_owned(), config: options.log_options.clone() },
        restart_policy: RestartPolicy {
            name: options.process.restart.name().to_owned(),
            maximum_retry_count: options.process.restart.most().into(),
        },
        memory: signed(limits.memory).unwrap_or_default(),
        nano_cpus: signed(limits.nano_cpus).unwrap_or_default(),
        pids_limit: signed(limits.pids),
        console_size: Some(options.process.console_size),
        init: options.process.init.then_some(true),
        sysctls: options.process.sysctls.clone(),
        group_add: options.process.groups.clone(),
        ipc_mode: "private".to_owned(),
        ..HostConfig::default()
    }
}
