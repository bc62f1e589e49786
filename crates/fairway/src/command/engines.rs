//! `fairway ps --all-engines`: the containers of every engine on this host.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use fairway_api::filter::Filters;
use fairway_api::types::ContainerInspect;
use fairway_api::{Client, ClientError};
use fairway_containers::{Attachment, Container, Engine, Mode, PublishedPort, State, read};
use fairway_kernel::namespace;
use fairway_model::{PortRange, Protocol};

use super::error::CommandError;
use super::print::{Column, ListOptions, identifier, print, warn};
use super::template::Value;

const FIELDS: [Column; 10] = [
    ("Engine", "ENGINE"),
    ("Names", "NAMES"),
    ("ID", "CONTAINER ID"),
    ("Networks", "NETWORKS"),
    ("Addresses", "ADDRESSES"),
    ("Ports", "PORTS"),
    ("Pid", "PID"),
    ("Status", "STATUS"),
    ("Namespace", "NAMESPACE"),
    ("QualifiedName", "QUALIFIED NAME"),
];
const COLUMNS: [&str; 8] = ["Engine", "Names", "ID", "Networks", "Addresses", "Ports", "Pid", "Status"];

/// How long Fairway's daemon may take, as any engine.
const DAEMON_LIMIT: Duration = Duration::from_secs(1);

/// Lists the containers of all engines, those that run or all. What could not be read goes to the standard error.
pub(super) fn list(client: Client, all: bool, options: &ListOptions) -> Result<i32, CommandError> {
    let own = ask(client);
    let mut survey = read(Path::new("/"));
    match own.recv_timeout(DAEMON_LIMIT) {
        Ok(Ok(containers)) => survey.add(containers),
        Ok(Err(ClientError::NotRunning { .. })) => {}
        Ok(Err(error)) => warn(&format!("fairway: {error}")),
        Err(_) => warn("fairway: the daemon did not answer within a second: its sandboxes are not listed"),
    }
    survey.containers.retain(|container| all || container.state.exists());
    survey.read_interfaces();
    let names: Vec<(String, String)> =
        survey.containers.iter().map(|it| (it.id.clone(), it.name().to_owned())).collect();
    let rows: Vec<Value> = survey.containers.iter().map(|it| row(it, &names, options.no_trunc)).collect();
    print(&options.show(&COLUMNS, &FIELDS, &rows)?)?;
    survey.notes.iter().for_each(|note| warn(&printable(&note.to_string())));
    Ok(0)
}

/// Asks the daemon for its sandboxes, while the other engines are read.
fn ask(mut client: Client) -> mpsc::Receiver<Result<Vec<Container>, ClientError>> {
    let (sender, receiver) = mpsc::channel();
    // After the limit the answer is not waited for.
    std::thread::spawn(move || drop(sender.send(sandboxes(&mut client))));
    receiver
}

/// The daemon's sandboxes.
pub(super) fn sandboxes(client: &mut Client) -> Result<Vec<Container>, ClientError> {
    let mut found = Vec::new();
    for summary in client.containers(true, &Filters::default())? {
        match client.container(&summary.id) {
            Ok(known) => found.push(sandbox(&known)),
            // It was removed since.
            Err(ClientError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A sandbox as the daemon describes it.
fn sandbox(known: &ContainerInspect) -> Container {
    let name = known.name.trim_start_matches('/').to_owned();
    let mut container = Container::new(Engine::Fairway, vec![name], known.id.clone());
    container.state = match known.state.status.as_str() {
        "running" => State::Running,
        "created" => State::Created,
        _ => State::Exited,
    };
    container.mode = match known.host_config.network_mode.as_str() {
        "host" => Mode::Host,
        "none" => Mode::None,
        mode => mode.strip_prefix("container:").map_or(Mode::Own, |it| Mode::Shared(it.to_owned())),
    };
    let settings = &known.network_settings;
    if container.state.exists() {
        container.pid = (known.state.pid != 0).then_some(known.state.pid);
        container.namespace = namespace::identity(&settings.sandbox_key).ok();
    }
    let attachments = settings.networks.iter().map(|(network, endpoint)| {
        let texts = [&endpoint.ip_address, &endpoint.global_ipv6_address];
        let addresses = texts.iter().filter_map(|text| text.parse().ok()).collect();
        Attachment {
            network: network.clone(),
            interface: None,
            addresses,
            mac: endpoint.mac_address.parse().ok(),
        }
    });
    container.attachments = attachments.filter(|_| container.mode == Mode::Own).collect();
    let ports = settings.ports.iter().flat_map(|(inside, bindings)| {
        let (port, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let protocol = Protocol::from_name(protocol);
        let inside = port.parse().ok().zip(protocol);
        bindings.iter().flatten().filter_map(move |binding| {
            let (container_port, protocol) = inside?;
            Some(PublishedPort {
                protocol,
                host_address: binding.host_ip.parse().ok()?,
                host_ports: PortRange::single(binding.host_port.parse().ok()?),
                container_port: Some(container_port),
            })
        })
    });
    container.ports = PublishedPort::join(ports.collect());
    container
}

/// What is shown of a container. `names` are the names of all by identifier, for those that share a namespace.
fn row(container: &Container, names: &[(String, String)], whole: bool) -> Value {
    let networks = match &container.mode {
        Mode::Host => "host".to_owned(),
        Mode::None => "none".to_owned(),
        Mode::Shared(id) => {
            let name = names.iter().find(|(known, _)| known == id).map_or(id, |(_, name)| name);
            format!("container:{name}")
        }
        Mode::Own => joined(container.attachments.iter().map(|it| &it.network)),
    };
    let id = match container.id.as_str() {
        // Such engines know a container by its name alone.
        "" => container.name().to_owned(),
        id if id.len() == 64 => identifier(id, whole),
        id => id.to_owned(),
    };
    let namespace = container.namespace.as_ref().map(|it| it.path.clone()).unwrap_or_default();
    let texts = [
        ("Engine", container.engine.to_string()),
        ("Names", container.name().to_owned()),
        ("ID", id),
        ("Networks", networks),
        ("Addresses", joined(container.addresses())),
        ("Ports", container.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("Pid", container.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        ("Status", container.state.to_string()),
        ("Namespace", namespace),
        ("QualifiedName", container.qualified()),
    ];
    Value::texts(texts.map(|(field, text)| (field, printable(&text))))
}

/// A text without control characters: names are in files of any user, and would reach the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn joined(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
