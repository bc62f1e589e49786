//! The files that name containers for aardvark-dns, where that is not ours.
//!
//! Below `--config`: `aardvark-dns/NETWORK`, or `NETWORK%int` of an internal network. The first line has the addresses to
//! listen at, and the network's name servers; each further line a container: id, IPv4 addresses, IPv6 addresses, names,
//! and its own name servers. Fields are separated by blanks, lists by commas, and an empty field stays empty.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairway_api::types::Attached;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::container::endpoints;
use super::error::NetavarkError;
use super::request::{Container, NamedEndpoint, Network};

/// Others may read the files, as those of netavark.
const MODE: u32 = 0o644;

/// The files of one `--config` directory, with the program that reads them.
pub(super) struct AardvarkFiles<'a> {
    /// `--config`.
    pub config: &'a Path,
    /// `--aardvark-binary`.
    pub program: &'a Path,
    /// The port that the program listens at.
    pub port: u16,
}

/// Joins values by commas.
fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// The first line of a network's file.
fn header(network: &Network) -> String {
    let subnets = network.subnets.iter().flatten();
    let gateways = list(subnets.filter_map(|subnet| subnet.gateway));
    match network.network_dns_servers.as_deref().unwrap_or_default() {
        [] => gateways,
        servers => format!("{gateways} {}", list(servers)),
    }
}

/// The line of a container.
fn entry(container: &Container, named: &NamedEndpoint, addresses: &[IpAddr]) -> String {
    let of = |ipv6: bool| list(addresses.iter().filter(move |address| address.is_ipv6() == ipv6));
    let names = list([&container.container_name].into_iter().chain(named.endpoint.aliases.iter().flatten()));
    let line = format!("{} {} {} {names}", container.container_id, of(false), of(true));
    match container.dns_servers.as_deref().unwrap_or_default() {
        [] => line,
        servers => format!("{line} {}", list(servers)),
    }
}

fn is_of(line: &str, id: &str) -> bool {
    line.split(' ').next() == Some(id)
}

/// A file with one container more, or again.
fn with_entry(text: &str, header: &str, id: &str, entry: &str) -> String {
    let others = text.lines().skip(1).filter(|line| !is_of(line, id));
    [header].into_iter().chain(others).chain([entry]).map(|line| format!("{line}\n")).collect()
}

/// A file with one container less; none if it was the last one.
fn without_entry(text: &str, id: &str) -> Option<String> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.retain(|line| !is_of(line, id));
    (lines.len() > 1).then(|| lines.into_iter().map(|line| format!("{line}\n")).collect())
}

/// A file with other name servers of its network.
fn with_servers(text: &str, servers: &[IpAddr]) -> String {
    let mut lines = text.lines();
    let addresses = lines.next().and_then(|line| line.split(' ').next()).unwrap_or_default();
    let header =
        if servers.is_empty() { addresses.to_owned() } else { format!("{addresses} {}", list(servers)) };
    [header.as_str()].into_iter().chain(lines).map(|line| format!("{line}\n")).collect()
}

impl AardvarkFiles<'_> {
    fn directory(&self) -> PathBuf {
        self.config.join("aardvark-dns")
    }

    fn file(&self, network: &Network) -> PathBuf {
        let suffix = if network.internal { "%int" } else { "" };
        self.directory().join(format!("{}{suffix}", network.name))
    }

    /// Adds a container to the files of its networks, and has the program read them.
    pub fn add(&self, container: &Container, attached: &Attached) -> Result<(), NetavarkError> {
        let named: Vec<_> = endpoints(container).filter(|(_, network)| network.dns_enabled).collect();
        if named.is_empty() {
            return Ok(());
        }
        self.change(|| {
            for (named, network) in &named {
                let Some(given) = attached.networks.get(&network.name) else { continue };
                let addresses = [&given.ip_address, &given.global_ipv6_address];
                let addresses: Vec<_> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
                let path = self.file(network);
                let line = entry(container, named, &addresses);
                write(&path, &with_entry(&read(&path)?, &header(network), &container.container_id, &line))?;
            }
            Ok(())
        })
    }

    /// Removes a container from the files of its networks.
    pub fn remove(&self, container: &Container) -> Result<(), NetavarkError> {
        let named: Vec<_> = endpoints(container).filter(|(_, network)| network.dns_enabled).collect();
        if named.is_empty() || !self.directory().exists() {
            return Ok(());
        }
        self.change(|| {
            for (_, network) in &named {
                let path = self.file(network);
                match without_entry(&read(&path)?, &container.container_id) {
                    Some(text) => write(&path, &text)?,
                    None => remove(&path)?,
                }
            }
            Ok(())
        })
    }

    /// Changes the name servers of a network.
    pub fn update(&self, network: &str, servers: &[IpAddr]) -> Result<(), NetavarkError> {
        if !self.directory().exists() {
            return Ok(());
        }
        self.change(|| {
            for name in [network.to_owned(), format!("{network}%int")] {
                let path = self.directory().join(name);
                if path.exists() {
                    write(&path, &with_servers(&read(&path)?, servers))?;
                }
            }
            Ok(())
        })
    }

    /// Changes the files, as the only one at that time, and has the program read them.
    fn change(&self, change: impl FnOnce() -> Result<(), NetavarkError>) -> Result<(), NetavarkError> {
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        // The one that netavark takes. Aardvark-dns reads every file of its own directory as a network.
        let path = self.config.join("aardvark.lock");
        let lock = File::options().create(true).truncate(false).write(true).mode(MODE).open(&path);
        let lock = lock.map_err(failed("open", &path))?;
        flock(lock.as_fd(), FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &path)(error.into()))?;
        change()?;
        self.notify()
    }

    /// Has the running program read the files again, or starts it where there is a file.
    fn notify(&self) -> Result<(), NetavarkError> {
        let pid = fs::read_to_string(self.directory().join("aardvark.pid")).ok();
        let pid = pid.and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        if pid.is_some_and(|pid| kill_process(pid, Signal::HUP).is_ok()) || !self.has_networks() {
            return Ok(());
        }
        self.start().map_err(failed("start", self.program))
    }

    fn has_networks(&self) -> bool {
        let entries = fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.any(|name| name != "aardvark.pid")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "aardvark-dns is a program of its own, which netavark starts"
    )]
    fn start(&self) -> io::Result<()> {
        let status = Command::new(self.program)
            .arg("--config")
            .arg(self.directory())
            .args(["-p", &self.port.to_string(), "run"])
            // Podman's setting is for netavark alone, and aardvark-dns takes no other than a level.
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("it ended with {status}"))),
        }
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> NetavarkError + 'a {
    move |source| NetavarkError::Aardvark { what, path: path.to_owned(), source }
}

/// The text of a file; a missing one is empty.
fn read(path: &Path) -> Result<String, NetavarkError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(failed("read", path)),
    }
}

/// Replaces a file whole: aardvark-dns may read it at any time.
fn write(path: &Path, text: &str) -> Result<(), NetavarkError> {
    // Aardvark-dns takes every file of its directory for a network.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name("..").join(format!("{name}.new"));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), NetavarkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
