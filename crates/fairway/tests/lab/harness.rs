//! The stage: `host`, where the daemon runs, and `lan`, its neighbour and default gateway; and sandboxes.

use std::net::IpAddr;
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fairway_api::types::{
    AttachRequest, Attached, ConnectRequest, ContainerCreate, DisconnectRequest, EndpointSettings,
    NetworkCreate, NetworkInspect, PortBinding, PortMap,
};
use fairway_api::{Client, ClientError};
use fairway_kernel::iptables::{Flavour, Programs};
use fairway_kernel::namespace;
use fairway_lab::{Host, Lab, Lan, Place, Process};

use crate::daemon::Daemon;

/// The host's address on the LAN.
pub const HOST: &str = "10.10.50.99";
/// The neighbour's.
pub const LAN: &str = "10.10.50.1";
/// The same by IPv6.
pub const HOST6: &str = "fd50::99";
/// The same by IPv6.
pub const LAN6: &str = "fd50::1";

/// A host on another LAN that the host is on.
pub const FAR: &str = "10.20.0.2";
/// The same by IPv6.
pub const FAR6: &str = "fd20::2";

/// The flags of a firewall backend: `nftables`, or iptables by its flavour, `nft` or `legacy`.
///
/// # Panics
/// When the programs of the flavour are not installed.
pub fn backend(name: &str) -> &'static [&'static str] {
    let (flags, flavour): (&[&str], _) = match name {
        "nftables" => return &[],
        "nft" => (&["--firewall-backend=iptables", "--iptables-flavour=nft"], Flavour::Nft),
        "legacy" => (&["--firewall-backend=iptables", "--iptables-flavour=legacy"], Flavour::Legacy),
        other => panic!("no backend is called {other}"),
    };
    Programs::open(Some(flavour)).expect("this test needs iptables: apt-get install iptables");
    flags
}

/// The backend of all daemons of this test, which is alone in its process.
static EVERYWHERE: OnceLock<&'static str> = OnceLock::new();

/// Has all daemons of this test use a backend.
pub fn use_backend(name: &'static str) {
    EVERYWHERE.set(name).unwrap();
}

/// The flags of the backend that all daemons of this test use.
pub fn flags_everywhere() -> &'static [&'static str] {
    EVERYWHERE.get().map_or(&[], |name| backend(name))
}

/// Makes tests of functions that take a lab: one by nftables and one by iptables of each.
macro_rules! on_each_backend {
    ($($name:ident;)*) => {
        mod by_nftables {$(
            #[test]
            fn $name() {
                fairway_lab::run(|lab| super::$name(lab));
            }
        )*}

        mod by_iptables {$(
            #[test]
            fn $name() {
                fairway_lab::run(|lab| {
                    crate::harness::use_backend("nft");
                    super::$name(lab);
                });
            }
        )*}
    };
}

/// Flags as the daemon takes them.
pub fn texts(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Two hosts on a LAN, and the daemon on one of them.
pub struct Stage {
    /// Where the daemon runs: eth0 is 10.10.50.99/24 and fd50::99/64, the default routes lead to `lan`.
    pub host: Host,
    /// The neighbour, 10.10.50.1 and fd50::1.
    pub lan: Host,
    /// The LAN that both are on.
    pub wire: Lan,
    /// The daemon.
    pub daemon: Daemon,
}

impl Stage {
    /// With a daemon that has these flags.
    pub fn new(lab: &Lab, flags: &[&str]) -> Stage {
        let mut stage = Stage::before_daemon(lab);
        stage.daemon.launch(flags);
        stage.daemon.wait_until_ready();
        stage
    }

    /// With a daemon that is still to be started.
    pub fn before_daemon(lab: &Lab) -> Stage {
        let (host, lan) = (lab.host("host").unwrap(), lab.host("lan").unwrap());
        let wire = lab.lan("wire").unwrap();
        wire.join(&host, &[&format!("{HOST}/24"), &format!("{HOST6}/64")]).unwrap();
        wire.join(&lan, &[&format!("{LAN}/24"), &format!("{LAN6}/64")]).unwrap();
        host.route("default", LAN).unwrap();
        host.route("default", LAN6).unwrap();
        let daemon = Daemon::stopped(&host);
        Stage { host, lan, wire, daemon }
    }

    /// One more host on the same LAN, with these addresses and a daemon of its own with these flags.
    pub fn second_host(&self, lab: &Lab, name: &str, addresses: [&str; 2], flags: &[&str]) -> Stage {
        let host = lab.host(name).unwrap();
        let [ipv4, ipv6] = addresses;
        self.wire.join(&host, &[&format!("{ipv4}/24"), &format!("{ipv6}/64")]).unwrap();
        host.route("default", LAN).unwrap();
        host.route("default", LAN6).unwrap();
        let mut daemon = Daemon::stopped(&host);
        daemon.launch(flags);
        daemon.wait_until_ready();
        Stage { host, lan: self.lan.clone(), wire: self.wire.clone(), daemon }
    }

    /// A host on another LAN of the host, which it has for its router; and the host's interface there.
    pub fn far(&self, lab: &Lab) -> (Host, String) {
        let (far, there) = (lab.host("far").unwrap(), lab.lan("there").unwrap());
        let interface = there.join(&self.host, &["10.20.0.99/24", "fd20::99/64"]).unwrap();
        there.join(&far, &[&format!("{FAR}/24"), &format!("{FAR6}/64")]).unwrap();
        far.route("default", "10.20.0.99").unwrap();
        far.route("default", "fd20::99").unwrap();
        (far, interface)
    }

    /// Has the neighbour take the host for its router.
    pub fn be_router_of_lan(&self) {
        self.lan.route("default", HOST).unwrap();
        self.lan.route("default", HOST6).unwrap();
    }

    /// A client of the daemon.
    pub fn client(&self) -> Client {
        self.daemon.client()
    }

    /// Makes a bridge network with nothing special about it.
    pub fn network(&self, name: &str) -> NetworkInspect {
        self.create_network(name, |_| {}).unwrap()
    }

    /// Makes a network of which more is asked.
    pub fn create_network(
        &self,
        name: &str,
        ask: impl FnOnce(&mut NetworkCreate),
    ) -> Result<NetworkInspect, ClientError> {
        let mut request =
            NetworkCreate { name: name.to_owned(), driver: "bridge".to_owned(), ..Default::default() };
        ask(&mut request);
        let mut client = self.client();
        client.create_network(&request)?;
        client.network(name)
    }

    /// Makes a namespace and attaches it to these networks, with published ports as `-p` has them.
    pub fn sandbox(&self, name: &str, networks: &[&str], publish: &[&str]) -> Sandbox {
        self.attach(name, request(networks, publish)).unwrap()
    }

    /// Makes a namespace (`/run/netns/NAME` of the host, if there is none yet) and attaches it.
    pub fn attach(&self, name: &str, container: ContainerCreate) -> Result<Sandbox, ClientError> {
        let path = format!("{}/{name}", namespace::NAMED_DIRECTORY);
        self.host
            .run_in(|| match namespace::create_named(name) {
                Err(namespace::Error::Exists { .. }) => {}
                made => drop(made.unwrap()),
            })
            .unwrap();
        let place = self.host.sandbox(&path).unwrap();
        let request =
            AttachRequest { name: name.to_owned(), path: path.clone(), container, ..Default::default() };
        let attached = self.client().attach(&request)?;
        Ok(Sandbox { place, path, attached })
    }

    /// Starts a process in a new namespace of the host and attaches that by its pid.
    pub fn attach_process(
        &self,
        name: &str,
        container: ContainerCreate,
    ) -> Result<(Sandbox, Process), ClientError> {
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let path = format!("{}/{name}-is-born", namespace::NAMED_DIRECTORY);
        let born = format!("{name}-is-born");
        let made = self.host.run_in(|| namespace::create_named(&born)).unwrap().unwrap();
        let process = self.host.sandbox(&path).unwrap().spawn(&mut command).unwrap();
        self.host.run_in(|| namespace::remove_named(&made)).unwrap().unwrap();
        let path = format!("/proc/{}/ns/net", process.id());
        let request =
            AttachRequest { name: name.to_owned(), pid: process.id(), container, ..Default::default() };
        let attached = self.client().attach(&request)?;
        Ok((Sandbox { place: self.host.sandbox(&path).unwrap(), path, attached }, process))
    }

    /// Connects a sandbox to one more network.
    pub fn connect(&self, network: &str, name: &str, settings: EndpointSettings) -> Result<(), ClientError> {
        let request = ConnectRequest { container: name.to_owned(), endpoint_config: Some(settings) };
        self.client().connect(network, &request).map(drop)
    }

    /// Takes a sandbox off a network.
    pub fn disconnect(&self, network: &str, name: &str) -> Result<(), ClientError> {
        let request = DisconnectRequest { container: name.to_owned(), force: false };
        self.client().disconnect(network, &request).map(drop)
    }

    /// Takes the name from a namespace that [`Stage::attach`] made: the sandbox is gone soon after.
    pub fn remove_namespace(&self, sandbox: Sandbox) {
        let path = sandbox.path.clone();
        drop(sandbox);
        self.host.run_in(|| namespace::remove_named(&namespace::identity(&path).unwrap())).unwrap().unwrap();
    }
}

/// A sandbox of the stage. It is a [`Place`] for probes; dropped, its namespace stays.
pub struct Sandbox {
    place: Place,
    /// The path of its namespace on the host.
    pub path: String,
    /// What the daemon said.
    pub attached: Attached,
}

impl Deref for Sandbox {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Sandbox {
    /// One that was attached without the daemon of the stage.
    pub fn new(place: Place, path: String, attached: Attached) -> Sandbox {
        Sandbox { place, path, attached }
    }

    /// Its IPv4 address on a network, as it was when it was attached.
    pub fn address(&self, network: &str) -> IpAddr {
        self.attached.networks[network].ip_address.parse().unwrap()
    }

    /// Its IPv6 address on a network, as it was when it was attached.
    pub fn address6(&self, network: &str) -> IpAddr {
        self.attached.networks[network].global_ipv6_address.parse().unwrap()
    }

    /// The host port of one of its ports (`80/tcp`), as it was when it was attached.
    pub fn host_port(&self, port: &str) -> u16 {
        let bindings = self.attached.ports[port].as_ref().unwrap();
        bindings[0].host_port.parse().unwrap()
    }
}

/// What is asked of a sandbox: its networks, and its published ports as `-p` has them: `8080:80`,
/// `127.0.0.1:8080:80/udp`, `[fd00::1]:8080:80`, `80`, `8000-8002:80-82`.
pub fn request(networks: &[&str], publish: &[&str]) -> ContainerCreate {
    let mut container = ContainerCreate::default();
    if let Some(first) = networks.first() {
        container.host_config.network_mode = (*first).to_owned();
    }
    let settings = networks.iter().map(|name| ((*name).to_owned(), EndpointSettings::default()));
    container.networking_config.endpoints_config = settings.collect();
    for text in publish {
        let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
        let (host_ip, host_ports) = host.rsplit_once(':').unwrap_or(("", host));
        let (hosts, ports) = (range(host_ports), range(port));
        let exact = hosts.len() == ports.len();
        for (number, port) in ports.iter().enumerate() {
            let host_port = if exact { hosts[number].to_string() } else { host_ports.to_owned() };
            let host_ip = host_ip.trim_matches(['[', ']']).to_owned();
            let key = format!("{port}/{protocol}");
            let bindings = container.host_config.port_bindings.entry(key).or_default();
            bindings.get_or_insert_default().push(PortBinding { host_ip, host_port });
        }
    }
    container
}

/// Published ports as `-p` has them.
pub fn ports(publish: &[&str]) -> PortMap {
    request(&[], publish).host_config.port_bindings
}

/// `80` or `80-82`; nothing for an empty text.
fn range(text: &str) -> Vec<u16> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so within `patience`.
pub fn eventually(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The words of the daemon's refusal.
///
/// # Panics
/// When it did not refuse.
pub fn refusal<T>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { message, .. }) => message,
        Err(error) => panic!("no refusal: {error}"),
        Ok(_) => panic!("it was not refused"),
    }
}
