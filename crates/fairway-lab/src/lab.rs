//! A lab, its hosts and the LANs between them.

use std::net::IpAddr;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fairway_kernel::system;
use ipnet::IpNet;
use rustix::thread::UnshareFlags;

use crate::error::{LabError, Trying};
use crate::inside::is_inside;
use crate::mounts::{self, SCRATCH};
use crate::place::Place;
use crate::wire::{FarEnd, Wire};

/// A set of hosts and LANs that is gone with this process. The process's own network namespace is where
/// the switches stand; it has no way into a LAN but packet sockets.
#[derive(Debug)]
pub struct Lab {
    /// How many links and MAC addresses were handed out.
    numbers: Arc<AtomicU32>,
}

impl Lab {
    /// Prepares this process, which must be inside already.
    pub(crate) fn new() -> Result<Lab, LabError> {
        if !is_inside() {
            return Err(LabError::Outside);
        }
        mounts::make_lab()?;
        // The switches are no hosts: without this, each of their ports would speak IPv6 for itself.
        write_sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        Wire::open()?.set_up("lo")?;
        Ok(Lab { numbers: Arc::default() })
    }

    /// Adds a host: a network namespace with its loopback up, and its own host name, /run, /var/lib, /etc and
    /// /sys. /etc/resolv.conf is an empty file.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        let place = thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, || {
                    system::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS)
                        .trying(|| format!("make the namespaces of {name}"))?;
                    rustix::system::sethostname(name.as_bytes())
                        .trying(|| format!("name the host {name}"))?;
                    mounts::make_host(name)?;
                    Wire::open()?.set_up("lo")?;
                    Place::current(name)
                })
                .trying(|| format!("start a thread for {name}"))?;
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Ok(Host { place, cables: Arc::default() })
    }

    /// Adds a LAN: a switch that hosts can be plugged into.
    ///
    /// # Errors
    /// When the name is taken, or no name for an interface (15 bytes).
    pub fn lan(&self, name: &str) -> Result<Lan, LabError> {
        Wire::open()?.add_bridge(name, mac(self.numbers.fetch_add(1, Ordering::Relaxed)))?;
        Ok(Lan { name: name.to_owned(), switches: Place::here()?, numbers: Arc::clone(&self.numbers) })
    }

    /// Whether there are other users than root here, to whom a process can change: not so without real root, for
    /// then the kernel lets only the user enter who started it (user_namespaces(7)).
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn has_other_users(&self) -> Result<bool, LabError> {
        let path = "/proc/self/uid_map";
        let map = std::fs::read_to_string(path).trying(|| format!("read {path}"))?;
        Ok(map.lines().count() > 1 || !map.trim_end().ends_with(" 1"))
    }

    /// The directory that the lab and all its hosts see.
    #[must_use]
    pub fn scratch(&self) -> &'static Path {
        Path::new(SCRATCH)
    }
}

/// A LAN.
#[derive(Clone, Debug)]
pub struct Lan {
    name: String,
    switches: Place,
    numbers: Arc<AtomicU32>,
}

impl Lan {
    /// Plugs a host in with these addresses (with prefix lengths, `"10.10.50.99/24"`) and returns the name of its
    /// new interface: eth0 for its first, then eth1 and so on. The addresses are usable when this returns.
    ///
    /// # Errors
    /// When a text is no address with prefix length, or the kernel refuses.
    pub fn join(&self, host: &Host, addresses: &[&str]) -> Result<String, LabError> {
        let addresses = addresses.iter().map(|text| prefix(text)).collect::<Result<Vec<_>, _>>()?;
        let interface = host.run_in(|| {
            (0..).map(|number| format!("eth{number}")).find(|name| crate::wire::index(name).is_err())
        })?;
        let interface = interface.unwrap_or_default();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let namespace = host.network().as_raw_fd().unsigned_abs();
        let far = FarEnd { name: &interface, mac: mac(number), namespace };
        let port = format!("port{number}");
        self.switches.run_in(|| Wire::open()?.add_cable(&port, &self.name, far))??;
        host.run_in(|| {
            // A link-local address that is still being tried cannot be used for a second.
            write_sysctl(&format!("net.ipv6.conf.{interface}.accept_dad"), "0")?;
            let wire = Wire::open()?;
            wire.set_up(&interface)?;
            addresses.iter().try_for_each(|address| wire.add_address(&interface, *address))
        })??;
        let cable = Cable { interface: interface.clone(), switches: self.switches.clone(), port };
        cable.wait_until_running(host)?;
        host.cables.lock().unwrap_or_else(PoisonError::into_inner).push(cable);
        Ok(interface)
    }

    /// The place where the switches stand: a capture on the interface [`Lan::name`] sees what the switch floods.
    #[must_use]
    pub fn switches(&self) -> &Place {
        &self.switches
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A machine of the lab. It is a [`Place`] for programs and probes.
#[derive(Clone, Debug)]
pub struct Host {
    place: Place,
    cables: Arc<Mutex<Vec<Cable>>>,
}

/// What an interface of a host is plugged into.
#[derive(Debug)]
struct Cable {
    interface: String,
    switches: Place,
    port: String,
}

impl Cable {
    fn wait_until_running(&self, host: &Place) -> Result<(), LabError> {
        host.run_in(|| Wire::open()?.wait_until_running(&self.interface))??;
        self.switches.run_in(|| Wire::open()?.wait_until_running(&self.port))?
    }
}

impl Deref for Host {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Host {
    /// Routes a destination (`"172.16.0.0/12"`, or `"default"`) by way of a gateway, in place of the route that may
    /// be there.
    ///
    /// # Errors
    /// When a text is no address, or the gateway cannot be reached.
    pub fn route(&self, destination: &str, gateway: &str) -> Result<(), LabError> {
        let via = address(gateway)?;
        let destination = match (destination, via) {
            ("default", IpAddr::V4(_)) => prefix("0.0.0.0/0")?,
            ("default", IpAddr::V6(_)) => prefix("::/0")?,
            (other, _) => prefix(other)?,
        };
        self.run_in(|| Wire::open()?.add_route(destination, via))?
    }

    /// Removes the route to a destination that [`Host::route`] made.
    ///
    /// # Errors
    /// When the text is no address with prefix length, or there is no such route.
    pub fn remove_route(&self, destination: &str) -> Result<(), LabError> {
        let destination = prefix(destination)?;
        self.run_in(|| Wire::open()?.remove_route(destination))?
    }

    /// Gives an interface one more address, with its prefix length.
    ///
    /// # Errors
    /// When the text is no address with prefix length, or the kernel refuses.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let address = prefix(address)?;
        self.run_in(|| Wire::open()?.add_address(interface, address))?
    }

    /// Sets an interface up or down. One that is plugged into a LAN carries frames when this returns.
    ///
    /// # Errors
    /// When there is no such interface, or it gets no carrier in three seconds.
    pub fn set_link(&self, interface: &str, up: bool) -> Result<(), LabError> {
        self.run_in(|| {
            let wire = Wire::open()?;
            if up { wire.set_up(interface) } else { wire.set_down(interface) }
        })??;
        let cables = self.cables.lock().unwrap_or_else(PoisonError::into_inner);
        let cable = cables.iter().find(|cable| up && cable.interface == interface);
        cable.map_or(Ok(()), |cable| cable.wait_until_running(self))
    }

    /// Sets a sysctl of this host's network, by its dotted name.
    ///
    /// # Errors
    /// When there is none of that name, or it refuses the value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run_in(|| write_sysctl(name, value))?
    }

    /// Reads a sysctl of this host's network, without the line's end.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn sysctl(&self, name: &str) -> Result<String, LabError> {
        let path = sysctl_path(name);
        let text = self.run_in(|| std::fs::read_to_string(&path))?.trying(|| format!("read {path}"))?;
        Ok(text.trim_end().to_owned())
    }

    /// Switches on or off that bridged packets of this host meet iptables and nf_tables of the inet families
    /// (net.bridge.bridge-nf-call-iptables and -ip6tables, of one network namespace since Linux 5.3). Where the
    /// module br_netfilter is not loaded, they are off and cannot be switched on.
    ///
    /// # Errors
    /// When it is to be on and the module is not loaded.
    pub fn set_bridge_netfilter(&self, on: bool) -> Result<(), LabError> {
        if !on && !self.has_bridge_netfilter()? {
            return Ok(());
        }
        let value = if on { "1" } else { "0" };
        self.set_sysctl("net.bridge.bridge-nf-call-iptables", value)?;
        self.set_sysctl("net.bridge.bridge-nf-call-ip6tables", value)
    }

    /// Whether the kernel has the module br_netfilter.
    ///
    /// # Errors
    /// When the host cannot be entered.
    pub fn has_bridge_netfilter(&self) -> Result<bool, LabError> {
        self.run_in(|| Path::new("/proc/sys/net/bridge").exists())
    }
}

/// A locally administered MAC address.
fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0x1a, a, b, c, d]
}

fn write_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    let path = sysctl_path(name);
    std::fs::write(&path, value).trying(|| format!("write {value} to {path}"))
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn prefix(text: &str) -> Result<IpNet, LabError> {
    text.parse().map_err(|_| LabError::Address {
        text: text.to_owned(),
        wanted: "an address with a prefix length",
        example: "10.10.50.99/24",
    })
}

fn address(text: &str) -> Result<IpAddr, LabError> {
    text.parse().map_err(|_| LabError::Address {
        text: text.to_owned(),
        wanted: "an address",
        example: "10.10.50.1",
    })
}
