//! Sandboxes.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use fairway_core::world::{CreateSandbox, NetworkChoice, Refusal};
use fairway_model::RefusalKind;
use fairway_model::parse::{self, ParseError};
use fairway_model::{
    EndpointRequest, LOG_DRIVER, PortRange, ProcessOptions, PublishRequest, ResolverAddresses,
    ResourceLimits, RestartPolicy, SandboxKind, SandboxOptions, UnpublishRequest,
};

use super::endpoint;
use crate::engine_api::{Failure, NamespaceReference};
use crate::types::{self, ContainerCreate, EndpointSettings, PortBinding, PortMap};

/// The parts of a processor in `NanoCpus`.
const NANO: i64 = 1_000_000_000;

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Failure::new(RefusalKind::Invalid, error.to_string())
    }
}

/// The sandbox that a request asks for. An empty name is made up later.
///
/// # Errors
/// Says what cannot be read, or cannot be together.
pub fn container(name: &str, kind: SandboxKind, request: ContainerCreate) -> Result<CreateSandbox, Failure> {
    let host = request.host_config;
    let mut networks = request.networking_config.endpoints_config;
    let links = host.links;
    let network = choose(&host.network_mode, &mut networks, |first| {
        if first.mac_address.is_empty() {
            first.mac_address = request.mac_address;
        }
        if !links.is_empty() {
            first.links.get_or_insert_default().extend(links);
        }
    })?;
    // Docker's word for an image's entrypoint that is to be left out.
    let mut command: Vec<String> = if request.entrypoint == [""] { Vec::new() } else { request.entrypoint };
    let entrypoint = command.len();
    command.extend(request.cmd);
    let process = ProcessOptions {
        entrypoint,
        user: request.user,
        groups: host.group_add,
        init: host.init.unwrap_or_default(),
        open_stdin: request.open_stdin,
        console_size: host.console_size.unwrap_or_default(),
        stdin_once: request.stdin_once,
        sysctls: host.sysctls,
        stop_signal: request.stop_signal,
        stop_timeout: request.stop_timeout,
        restart: restart_policy(&host.restart_policy)?,
        limits: limits(host.memory, host.nano_cpus, host.pids_limit),
    };
    let exposed: Vec<_> = each(request.exposed_ports.into_keys(), parse::expose)?;
    let options = SandboxOptions {
        hostname: match request.hostname.as_str() {
            "" => String::new(),
            text => parse::hostname(text)?,
        },
        dns: each(host.dns, parse::dns_server)?,
        dns_search: each(host.dns_search, parse::dns_search)?,
        dns_options: each(host.dns_options, parse::dns_option)?,
        extra_hosts: each(host.extra_hosts, parse::add_host)?,
        exposed: exposed.into_iter().flatten().collect(),
        publish: publications(host.port_bindings)?,
        ports_held_by_engine: false,
        resolver_addresses: ResolverAddresses::One,
        publish_all: host.publish_all_ports,
        auto_remove: host.auto_remove,
        command,
        environment: request.env,
        directory: working_directory(request.working_dir),
        capabilities_added: host.cap_add,
        capabilities_dropped: host.cap_drop,
        privileged: host.privileged,
        labels: request.labels,
        // Options of another driver mean nothing to the one that there is.
        log_options: match host.log_config.driver.as_str() {
            "" | LOG_DRIVER => host.log_config.config,
            _ => Default::default(),
        },
        image: request.image,
        tty: request.tty,
        process,
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    Ok(CreateSandbox { name: (!name.is_empty()).then(|| name.to_owned()), kind, network, options })
}

/// An absolute path in its shortest form, as in Docker: `..` leaves out the part before it, also where that is a link.
fn working_directory(path: String) -> String {
    if !path.starts_with('/') {
        return path;
    }
    let mut shortest = PathBuf::new();
    for part in Path::new(&path).components() {
        match part {
            Component::ParentDir => drop(shortest.pop()),
            part => shortest.push(part),
        }
    }
    shortest.to_string_lossy().into_owned()
}

/// A restart policy.
///
/// # Errors
/// There is none of this name, or it takes no number.
pub fn restart_policy(asked: &types::RestartPolicy) -> Result<RestartPolicy, ParseError> {
    RestartPolicy::parse(&match asked.maximum_retry_count {
        0 => asked.name.clone(),
        most => format!("{}:{most}", asked.name),
    })
}

/// Limits in Docker's numbers, of which 0 and less is none.
pub fn limits(memory: i64, nano_cpus: i64, pids: Option<i64>) -> ResourceLimits {
    let some = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
    ResourceLimits { memory: some(memory), nano_cpus: some(nano_cpus), pids: pids.and_then(some) }
}

/// Checks `NanoCpus` for a host with so many processors.
///
/// # Errors
/// There are not so many, or it is less than a hundredth of one: the kernel's quota has at least a millisecond in each
/// hundred (`min_cfs_quota_period`).
pub fn check_nano_cpus(nano_cpus: i64, processors: usize) -> Result<(), Failure> {
    let most = i64::try_from(processors).unwrap_or(i64::MAX).saturating_mul(NANO);
    match (NANO / 100..=most).contains(&nano_cpus) {
        true => Ok(()),
        false => Err(Failure::invalid(format!(
            "Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        ))),
    }
}

/// Changed limits in Docker's numbers: a negative number of processes removes that limit, and 0, which old clients always
/// send, changes none.
pub fn limit_changes(memory: i64, nano_cpus: i64, pids: Option<i64>) -> ResourceLimits {
    let pids = pids.filter(|pids| *pids != 0).map(|pids| pids.try_into().unwrap_or_default());
    ResourceLimits { pids, ..limits(memory, nano_cpus, None) }
}

fn each<T>(
    texts: impl IntoIterator<Item = String>,
    read: impl Fn(&str) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    texts.into_iter().map(|text| read(&text)).collect()
}

/// The networks of a request: that of the mode first, then the others in their order. `first` is
/// shown the settings of the first one.
fn choose(
    mode: &str,
    networks: &mut Vec<(String, EndpointSettings)>,
    first: impl FnOnce(&mut EndpointSettings),
) -> Result<NetworkChoice, Failure> {
    // Docker's names for the default bridge.
    let name =
        |text: &str| if matches!(text, "" | "default") { "bridge".to_owned() } else { text.to_owned() };
    for (reference, _) in networks.iter_mut() {
        *reference = name(reference);
    }
    let choice = match mode {
        "host" => NetworkChoice::Host,
        "none" => NetworkChoice::None,
        _ => match mode.strip_prefix("container:") {
            Some("") => return Err(Failure::invalid("invalid container format container:<name|id>")),
            Some(target) => NetworkChoice::Container(target.to_owned()),
            None => {
                if matches!(mode, "" | "default") && networks.is_empty() {
                    let mut own = EndpointSettings::default();
                    first(&mut own);
                    // Nothing is asked: the daemon's default, which may be no network.
                    if own == EndpointSettings::default() {
                        return Ok(NetworkChoice::Networks(Vec::new()));
                    }
                    let asked = ("bridge".to_owned(), endpoint(own)?);
                    return Ok(NetworkChoice::Networks(vec![asked]));
                }
                let mode_given = !matches!(mode, "" | "default");
                let mode = name(mode);
                match networks.iter().position(|(reference, _)| *reference == mode) {
                    Some(place) => {
                        let chosen = networks.remove(place);
                        networks.insert(0, chosen);
                    }
                    None if mode_given => networks.insert(0, (mode, EndpointSettings::default())),
                    None => {}
                }
                if let Some((_, settings)) = networks.first_mut() {
                    first(settings);
                }
                let asked = networks.drain(..).map(|(network, settings)| Ok((network, endpoint(settings)?)));
                return Ok(NetworkChoice::Networks(asked.collect::<Result<_, Failure>>()?));
            }
        },
    };
    // What there is no network for must not be asked for. Docker's client names the mode itself
    // among the networks all the same.
    let mut own = EndpointSettings::default();
    first(&mut own);
    for (reference, settings) in networks.drain(..) {
        if reference != mode {
            return Err(match choice {
                NetworkChoice::None => Refusal::NoneMode.into(),
                _ => Refusal::SharedNamespace.into(),
            });
        }
        own = settings;
    }
    refuse_settings(&choice, &endpoint(own)?)?;
    Ok(choice)
}

/// Refuses what is asked of an endpoint where there is none.
fn refuse_settings(choice: &NetworkChoice, asked: &EndpointRequest) -> Result<(), Failure> {
    let mode = match choice {
        NetworkChoice::Host => "host",
        NetworkChoice::None => "none",
        _ => "container",
    };
    if asked.ipv4.is_some() || asked.ipv6.is_some() {
        return Err(Refusal::AddressOnDefault(mode.to_owned()).into());
    }
    if !asked.links.is_empty() {
        return Err(Refusal::LinkOnHost.into());
    }
    if !asked.aliases.is_empty() {
        return Err(Refusal::AliasOnDefault(mode.to_owned()).into());
    }
    if asked.mac.is_some() {
        return Err(Refusal::ConflictingOptions { option: "mac-address", mode }.into());
    }
    Ok(())
}

/// `PortBindings`, with runs of ports joined to ranges again: Docker's client writes 1,000 bindings
/// for `-p 8000-8999:8000-8999`.
///
/// # Errors
/// Names what cannot be read.
pub fn publications(bindings: PortMap) -> Result<Vec<PublishRequest>, Failure> {
    let mut requests = Vec::new();
    for (port, bindings) in bindings {
        // Exposed, not published.
        for binding in bindings.unwrap_or_default() {
            let host = host_part(&binding)?;
            let text = match (host.is_empty(), binding.host_port.as_str()) {
                (true, "") => port.clone(),
                (_, host_port) => format!("{host}{host_port}:{port}"),
            };
            requests.extend(parse::publish(&text)?);
        }
    }
    // By what a run has in common, then by its ports.
    requests.sort_by_key(|it| (it.protocol, it.host_address, it.container_ports, it.host_ports));
    requests.dedup();
    let mut joined: Vec<PublishRequest> = Vec::new();
    for request in requests {
        match joined.last_mut() {
            Some(last) if follows(last, &request) => {
                last.container_ports.last = request.container_ports.last;
                last.host_ports = match (last.host_ports, request.host_ports) {
                    (Some(run), Some(next)) => Some(PortRange { first: run.first, last: next.last }),
                    _ => None,
                };
            }
            _ => joined.push(request),
        }
    }
    Ok(joined)
}

/// The address of a binding as `--publish` has it, with a colon; nothing if none is given.
fn host_part(binding: &PortBinding) -> Result<String, Failure> {
    match binding.host_ip.parse() {
        Ok(IpAddr::V6(address)) => Ok(format!("[{address}]:")),
        Ok(IpAddr::V4(address)) => Ok(format!("{address}:")),
        Err(_) if binding.host_ip.is_empty() => Ok(String::new()),
        Err(_) => Err(Failure::invalid(format!(
            "invalid IP address: {}: an address such as 10.1.2.3 or fd00::3 is expected as HostIp",
            binding.host_ip
        ))),
    }
}

/// What is to be published no more: `PortBindings` as [`PublishPorts`](crate::types::PublishPorts)
/// has them.
///
/// # Errors
/// Names what cannot be read.
pub fn unpublications(bindings: PortMap) -> Result<Vec<UnpublishRequest>, Failure> {
    let mut requests = Vec::new();
    for (port, bindings) in bindings {
        let (ports, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        let container = if ports.is_empty() { String::new() } else { format!(":{ports}") };
        let whichever = || vec![PortBinding::default()];
        for binding in bindings.filter(|bindings| !bindings.is_empty()).unwrap_or_else(whichever) {
            let host = if binding.host_port.is_empty() { "0" } else { &binding.host_port };
            let text = format!("{}{host}{container}/{protocol}", host_part(&binding)?);
            requests.push(parse::unpublish(&text)?);
        }
    }
    Ok(requests)
}

/// Whether a request goes on where another ends, port for port.
fn follows(last: &PublishRequest, next: &PublishRequest) -> bool {
    let (Some(run), Some(ports)) = (last.host_ports, next.host_ports) else { return false };
    let adjoins = |a: PortRange, b: PortRange| a.last.checked_add(1) == Some(b.first);
    last.protocol == next.protocol
        && last.host_address == next.host_address
        && run.len() == last.container_ports.len()
        && ports.len() == next.container_ports.len()
        && adjoins(last.container_ports, next.container_ports)
        && adjoins(run, ports)
}

/// How a request names a namespace.
///
/// # Errors
/// It names none, or two.
pub fn namespace(pid: u32, path: String) -> Result<NamespaceReference, Failure> {
    match (pid, path.is_empty()) {
        (0, false) => Ok(NamespaceReference::Path(path)),
        (1.., true) => Ok(NamespaceReference::Pid(pid)),
        (0, true) => Err(Failure::invalid("no namespace given: Pid or Path is expected")),
        (1.., false) => Err(Failure::invalid("two namespaces given: either Pid or Path is expected")),
    }
}

#[cfg(test)]
mod tests;
