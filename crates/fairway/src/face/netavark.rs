//! Netavark: the program that podman starts to connect a container to its networks.
//!
//! Podman writes one JSON text with all networks of the container; its own IPAM has chosen the addresses. See
//! `docs/reference/netavark.md`.

mod aardvark_files;
mod arguments;
mod container;
mod create;
mod error;
mod network;
mod plugin;
mod reply;
mod request;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use fairway_api::types::UpdateNetwork;
use fairway_api::{Client, ClientError};
use fairway_kernel::host_facts;
use fairway_kernel::route::Links;
use fairway_model::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::aardvark_files::AardvarkFiles;
use self::arguments::{Arguments, Command};
use self::container::{Resolver, is_built_in, network_of};
use self::error::{NetavarkError, RequestError};
use self::reply::{Failure, Status, Version};
use self::request::{Container, Network};
use crate::face::daemon::{self, Place};

/// The name of the program.
pub const NAME: &str = "netavark";
/// The version of netavark whose protocol this is.
const VERSION: &str = "2.1.0";
/// The directory of root's podman, for commands of units, which name none.
const CONFIG: &str = "/run/containers/networks";

/// What podman's users know the engine's options as.
const WORDS: &[(&str, &str)] = &[
    ("com.docker.network.bridge.name", "--interface-name"),
    ("com.docker.network.driver.mtu", "mtu"),
    ("com.docker.network.endpoint.ifname", "interface_name"),
    ("com.docker.network.host_ipv4", "outbound_addr4"),
    ("com.docker.network.host_ipv6", "outbound_addr6"),
    ("fairway.host_interface", "host_interface_name"),
];

/// Runs a command of netavark. `arguments` begins with the name of the program.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let face = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => Face { arguments },
        Err(usage) => {
            // If it cannot be printed, the exit code says enough.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match face.run().and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Podman reads the error from standard output.
            let failure = Failure { error: daemon::in_words(&error.to_string(), WORDS) };
            let _ = json(&failure).and_then(|text| print(&text));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), NetavarkError> {
    let newline = if text.is_empty() { "" } else { "\n" };
    write!(io::stdout(), "{text}{newline}").map_err(NetavarkError::Print)
}

fn json(value: &impl Serialize) -> Result<String, NetavarkError> {
    Ok(serde_json::to_string(value)?)
}

/// One call by podman.
struct Face {
    arguments: Arguments,
}

impl Face {
    /// Runs the command, and returns what it prints.
    fn run(&self) -> Result<String, NetavarkError> {
        match &self.arguments.command {
            Command::Setup { network_namespace_path } => json(&self.setup(network_namespace_path)?),
            Command::Teardown { network_namespace_path } => {
                self.teardown(network_namespace_path).map(|()| String::new())
            }
            Command::Update { network_name, network_dns_servers } => {
                let servers: Vec<IpAddr> = network_dns_servers.iter().filter_map(|server| server.0).collect();
                self.update(network_name, &servers).map(|()| String::new())
            }
            Command::Create => {
                let links = Links::open().and_then(|links| links.all()).map_err(NetavarkError::Links)?;
                let links: Vec<_> = links.into_iter().map(|link| link.name).collect();
                let program = |driver: &str| plugin::find(&self.arguments.plugin_directories, driver);
                let now = jiff::Timestamp::now().to_string();
                let mut rng = Rng::new(getrandom::u64().map_err(NetavarkError::Random)?);
                json(&create::network(self.load()?, &links, &program, now, &mut rng)?)
            }
            // The daemon repairs what firewalld changes. The unit of this command is active as long as it waits.
            Command::FirewalldReload => loop {
                std::thread::park();
            },
            Command::DhcpProxy { .. } => Err(NetavarkError::NotNeeded(
                "dhcp-proxy is not needed: the Fairway daemon gets and renews leases itself",
            )),
            Command::FirewallReload => self.repair().map(|()| String::new()),
            Command::Version => Ok(serde_json::to_string_pretty(&Version {
                version: VERSION,
                commit: "",
                build_time: "",
                target: format!("{}-unknown-linux", std::env::consts::ARCH),
                default_fw_driver: "nftables",
            })?),
        }
    }

    fn load<T: DeserializeOwned>(&self) -> Result<T, NetavarkError> {
        let text = match &self.arguments.file {
            Some(path) => fs::read_to_string(path),
            None => io::read_to_string(io::stdin()),
        };
        Ok(serde_json::from_str(&text.map_err(NetavarkError::Load)?)?)
    }

    fn config(&self, command: &'static str) -> Result<&Path, NetavarkError> {
        self.arguments.config.as_deref().ok_or(NetavarkError::NoConfig(command))
    }

    fn place(&self, command: &'static str) -> Result<Place, NetavarkError> {
        let directory = self.config(command)?.to_owned();
        Ok(Place { rootless: self.arguments.rootless.unwrap_or(false), directory })
    }

    /// Another aardvark-dns than ours, with its files.
    fn aardvark<'a>(&'a self, config: &'a Path) -> Option<AardvarkFiles<'a>> {
        let program = self.arguments.aardvark_binary.as_path();
        let identity = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
        let theirs = identity(program)?;
        let is_ours = identity(Path::new("/proc/self/exe")) == Some(theirs);
        (!is_ours).then_some(AardvarkFiles { config, program, port: self.arguments.dns_port })
    }

    fn setup(&self, namespace: &str) -> Result<BTreeMap<String, Status>, NetavarkError> {
        File::open(namespace).map_err(NetavarkError::Namespace)?;
        let container: Container = self.load()?;
        let place = self.place("setup")?;
        let plugins = self.plugins(&container)?;
        let aardvark = self.aardvark(&place.directory);
        let resolver = if aardvark.is_some() { Resolver::Aardvark } else { Resolver::Engine };
        let parent = default_parent(&container);
        let request = container::join(&container, namespace, parent.as_deref(), resolver)?;
        let mut statuses = BTreeMap::new();
        if !request.networks.is_empty() {
            let attached = daemon::join(&place, &request, &container::leave(&container))?;
            let connected = container::statuses(&container, &attached, resolver).and_then(|statuses| {
                aardvark.as_ref().map_or(Ok(()), |files| files.add(&container, &attached))?;
                Ok(statuses)
            });
            statuses = self.or_undo(&place, &container, connected)?;
        }
        for (position, (program, named)) in plugins.iter().enumerate() {
            let network = network_of(&container, named)?;
            match plugin::setup(program, namespace, &container, named, network) {
                Ok(status) => drop(statuses.insert(named.name.clone(), status)),
                Err(error) => {
                    for (program, named) in plugins.iter().take(position) {
                        let network = network_of(&container, named)?;
                        // The error of the setup is the one to show.
                        let _ = plugin::teardown(program, namespace, &container, named, network);
                    }
                    return self.or_undo(&place, &container, Err(error));
                }
            }
        }
        Ok(statuses)
    }

    /// Disconnects a container whose setup has failed: podman calls no teardown then.
    fn or_undo<T>(
        &self,
        place: &Place,
        container: &Container,
        outcome: Result<T, NetavarkError>,
    ) -> Result<T, NetavarkError> {
        if outcome.is_err() && !container::leave(container).networks.is_empty() {
            // The error of the setup is the one to show.
            let _ = self.aardvark(&place.directory).map_or(Ok(()), |files| files.remove(container));
            let _ = daemon::ask(place, |client| client.leave(&container::leave(container)));
        }
        outcome
    }

    /// The networks of a container that plugins make, each with the program.
    fn plugins<'a>(
        &self,
        container: &'a Container,
    ) -> Result<Vec<(PathBuf, &'a request::NamedEndpoint)>, RequestError> {
        let mut plugins = Vec::new();
        for named in &container.networks {
            let program = self.plugin_of(network_of(container, named)?)?;
            plugins.extend(program.map(|program| (program, named)));
        }
        Ok(plugins)
    }

    /// The program that makes a network; none if the engine does.
    fn plugin_of(&self, network: &Network) -> Result<Option<PathBuf>, RequestError> {
        if is_built_in(network) {
            return Ok(None);
        }
        let program = plugin::find(&self.arguments.plugin_directories, &network.driver);
        program.map(Some).ok_or_else(|| RequestError::Driver(network.driver.clone()))
    }

    /// Disconnects a container. What is gone already is no error, and an error does not keep the rest.
    fn teardown(&self, namespace: &str) -> Result<(), NetavarkError> {
        let container: Container = self.load()?;
        let place = self.place("teardown")?;
        let mut errors = Vec::new();
        if let Some(files) = self.aardvark(&place.directory) {
            errors.extend(files.remove(&container).err());
        }
        let request = container::leave(&container);
        if !request.networks.is_empty() {
            errors.extend(daemon::ask_if_any(&place, |client| client.leave(&request)).err().map(Into::into));
        }
        for named in &container.networks {
            errors.extend(self.teardown_by_plugin(namespace, &container, named).err());
        }
        match errors.len() {
            0 => Ok(()),
            1 => errors.pop().map_or(Ok(()), Err),
            _ => Err(NetavarkError::Several(errors.iter().map(ToString::to_string).collect())),
        }
    }

    fn teardown_by_plugin(
        &self,
        namespace: &str,
        container: &Container,
        named: &request::NamedEndpoint,
    ) -> Result<(), NetavarkError> {
        let network = network_of(container, named)?;
        match self.plugin_of(network)? {
            Some(program) => plugin::teardown(&program, namespace, container, named, network),
            None => Ok(()),
        }
    }

    fn update(&self, network: &str, servers: &[IpAddr]) -> Result<(), NetavarkError> {
        let place = self.place("update")?;
        if let Some(files) = self.aardvark(&place.directory) {
            return files.update(network, servers);
        }
        let list = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let value = (!list.is_empty()).then_some(list);
        let request = UpdateNetwork { options: [("fairway.dns".to_owned(), value)].into() };
        match daemon::ask(&place, |client: &mut Client| client.update_network(network, &request)) {
            // A network without containers is in no daemon: the next setup describes it.
            Err(daemon::Error::Client(ClientError::Refused { status: 404, .. })) => Ok(()),
            updated => Ok(updated?),
        }
    }

    /// Has the daemon make the kernel equal to what was asked for; one that starts does so first. Without a container
    /// there is none, and nothing to repair.
    fn repair(&self) -> Result<(), NetavarkError> {
        let directory = self.arguments.config.as_deref().unwrap_or(Path::new(CONFIG)).to_owned();
        let place = Place { rootless: self.arguments.rootless.unwrap_or(false), directory };
        daemon::ask_if_any(&place, |client| client.doctor(true))?;
        Ok(())
    }
}

/// The host's interface with the default route, if a macvlan network of the container names no parent.
fn default_parent(container: &Container) -> Option<String> {
    let needed = container::endpoints(container).any(|(_, network)| {
        network.driver == "macvlan" && network.network_interface.as_deref().unwrap_or_default().is_empty()
    });
    if !needed {
        return None;
    }
    host_facts::observe(&Links::open().ok()?, |_| false).ok()?.default_interface
}

/// Parses any bytes as a request; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(container) = serde_json::from_slice::<request::Container>(bytes) {
        container.network_info.values().for_each(|it| drop(network::network(it, Some("eth0"))));
    }
    if let Ok(asked) = serde_json::from_slice::<create::Create>(bytes) {
        let _ = create::network(asked, &[], &|_| None, String::new(), &mut fairway_model::Rng::new(1));
    }
}
