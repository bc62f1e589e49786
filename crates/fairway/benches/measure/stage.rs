//! The stage: a host with the real daemon, a neighbour on its LAN, and namespaces to attach.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fairway::relay;
use fairway_api::types::{AttachRequest, ContainerCreate, NetworkCreate, PortBinding};
use fairway_api::{Client, ClientError};
use fairway_core::policy::{BRIDGE_TABLE, TABLE};
use fairway_kernel::namespace::{self, NAMED_DIRECTORY};
use fairway_kernel::nftables::Reader;
use fairway_kernel::route::Links;
use fairway_lab::{Host, Lab, Process, SCRATCH};
use fairway_ruleset::Family;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Failure;

/// The host's address on the LAN.
pub const HOST: &str = "10.10.50.99";
/// The neighbour's.
pub const NEIGHBOUR: &str = "10.10.50.1";
const PATIENCE: Duration = Duration::from_secs(60);
/// How often whether something has happened is looked at.
const GLANCE: Duration = Duration::from_millis(1);
/// How long the kernel works on links and namespaces after the last word of a stage.
const AFTERMATH: Duration = Duration::from_secs(3);

/// A daemon on a host of the lab, its store on a real disk.
pub struct Stage {
    /// Where the daemon runs.
    pub host: Host,
    /// A neighbour on the LAN.
    pub neighbour: Host,
    daemon: Process,
    name: String,
    flags: Vec<String>,
    address: String,
    data: TempDir,
}

impl Stage {
    /// Starts a daemon with these flags. The name is the host's.
    pub fn new(lab: &Lab, name: &str, flags: &[&str]) -> Result<Self, Failure> {
        let (host, neighbour) = (lab.host(name)?, lab.host("neighbour")?);
        let wire = lab.lan(name)?;
        wire.join(&host, &[&format!("{HOST}/24")])?;
        wire.join(&neighbour, &[&format!("{NEIGHBOUR}/24")])?;
        host.route("default", NEIGHBOUR)?;
        let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let address = format!("unix://{SCRATCH}/{name}.sock");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let daemon = spawn(&host, name, &address, &data, &flags)?;
        let mut stage = Self { host, neighbour, daemon, name: name.to_owned(), flags, address, data };
        stage.until(|client| client.ping())?;
        Ok(stage)
    }

    /// Starts the daemon again, and does not wait for it.
    pub fn launch(&mut self) -> Result<(), Failure> {
        self.daemon = spawn(&self.host, &self.name, &self.address, &self.data, &self.flags)?;
        Ok(())
    }

    /// Kills the daemon, as nothing can prevent, and the relay if that is wanted.
    pub fn kill(&mut self, with_relay: bool) -> Result<(), Failure> {
        self.daemon.kill()?;
        self.daemon.wait()?;
        if with_relay && let Some(pid) = self.relay() {
            kill_process(Pid::from_raw(pid.cast_signed()).ok_or("no process")?, Signal::KILL)?;
            while self.relay() == Some(pid) {
                std::thread::sleep(GLANCE);
            }
        }
        Ok(())
    }

    /// Asks the daemon to end, and waits until it has.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.daemon.signal(Signal::TERM)?;
        self.daemon.wait_within(PATIENCE)?.ok_or("the daemon does not end")?;
        Ok(())
    }

    /// Whether the daemon runs.
    pub fn is_running(&mut self) -> Result<bool, Failure> {
        Ok(self.daemon.wait_within(Duration::ZERO)?.is_none())
    }

    /// Asks the daemon until it answers.
    pub fn until(&mut self, ask: impl Fn(&mut Client) -> Result<(), ClientError>) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while ask(&mut self.client()?).is_err() {
            let ended = self.daemon.wait_within(GLANCE)?.is_some();
            if ended || Instant::now() > deadline {
                return Err(format!("the daemon does not answer: {}", self.log()?).into());
            }
        }
        Ok(())
    }

    /// What the daemon logged since it was started last.
    pub fn log(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(format!("{SCRATCH}/{}.log", self.name))?)
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.address)?)
    }

    /// Makes a network of users, whose sandboxes have names.
    pub fn network(&self, name: &str) -> Result<(), Failure> {
        let request =
            NetworkCreate { name: name.to_owned(), driver: "bridge".to_owned(), ..NetworkCreate::default() };
        self.client()?.create_network(&request)?;
        Ok(())
    }

    /// Makes namespaces, named `prefix` and a number.
    pub fn namespaces(&self, prefix: &str, count: usize) -> Result<Vec<String>, Failure> {
        let names: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
        self.host.run_in(|| names.iter().try_for_each(|name| namespace::create_named(name).map(drop)))??;
        Ok(names)
    }

    /// Where the daemon listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The daemon's process id in the lab.
    pub fn daemon(&self) -> u32 {
        self.daemon.id()
    }

    /// The relay's process id in the lab.
    pub fn relay(&self) -> Option<u32> {
        let is_relay = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(relay::SUBCOMMAND.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_relay)
    }

    /// What is there that an attach makes more of.
    pub fn holdings(&self) -> Result<Holdings, Failure> {
        let (links, elements) = self.host.run_in(|| -> Result<_, Failure> {
            let reader = Reader::open()?;
            let mut elements = 0;
            for (family, name) in [(Family::Inet, TABLE), (Family::Bridge, BRIDGE_TABLE)] {
                let table = reader.table(family, name)?;
                elements +=
                    table.iter().flat_map(|table| &table.sets).map(|set| set.elements.len()).sum::<usize>();
            }
            Ok((Links::open()?.all()?.len(), elements))
        })??;
        let relay = self.relay().ok_or("the relay is gone")?;
        Ok(Holdings {
            links,
            elements,
            daemon_sockets: sockets(self.daemon())?,
            relay_sockets: sockets(relay)?,
        })
    }
}

fn spawn(
    host: &Host,
    name: &str,
    address: &str,
    data: &TempDir,
    flags: &[String],
) -> Result<Process, Failure> {
    let log = File::create(format!("{SCRATCH}/{name}.log"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.args(["-H", address, "daemon", "--data-root"]).arg(data.path()).args(flags);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(host.spawn(&mut command)?)
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The relay outlives its daemon; with the lab it would end anyway, and would be in the way
        // of the next stage until then.
        let relay = self.relay();
        let _ = self.daemon.kill();
        if let Some(pid) = relay.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(AFTERMATH);
    }
}

/// What is there that an attach makes more of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Links of the host.
    pub links: usize,
    /// Elements of our tables.
    pub elements: usize,
    /// Bound sockets that the daemon holds.
    pub daemon_sockets: usize,
    /// Those of the relay.
    pub relay_sockets: usize,
}

/// The sockets of a process that may be bound: not those of connections to it.
fn sockets(pid: u32) -> Result<usize, Failure> {
    let mut bound = std::collections::BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        bound.extend(
            text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned)),
        );
    }
    let mut count = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let inode = target.to_string_lossy().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
        count += usize::from(bound.contains(&inode));
    }
    Ok(count)
}

/// As [`request`], with the ports published for IPv4 only: one socket for each, so that 10,000 of
/// them fit the limit of open files that a lab's root may have.
pub fn request_ipv4(namespace: &str, network: &str, first: u16, count: u16) -> AttachRequest {
    let mut request = request(namespace, network, first, count);
    for bindings in request.container.host_config.port_bindings.values_mut() {
        bindings.iter_mut().flatten().for_each(|binding| binding.host_ip = "0.0.0.0".to_owned());
    }
    request
}

/// The first port of a sandbox that [`request`] publishes.
pub const FIRST_CONTAINER_PORT: u16 = 1000;

/// What is asked for a namespace: its network, and `count` ports published from `first` on.
pub fn request(namespace: &str, network: &str, first: u16, count: u16) -> AttachRequest {
    let mut container = ContainerCreate::default();
    container.host_config.network_mode = network.to_owned();
    for offset in 0..count {
        let binding = PortBinding { host_ip: String::new(), host_port: (first + offset).to_string() };
        container
            .host_config
            .port_bindings
            .insert(format!("{}/tcp", FIRST_CONTAINER_PORT + offset), Some(vec![binding]));
    }
    AttachRequest {
        name: namespace.to_owned(),
        path: format!("{NAMED_DIRECTORY}/{namespace}"),
        container,
        ..AttachRequest::default()
    }
}
