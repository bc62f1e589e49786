//! The daemon's flags, by dockerd's names, and its configuration file, by dockerd's keys.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::Args;
use fairway_core::model::parse::address_pool;
use fairway_core::model::{AddressPool, Backend, Settings};
use ipnet::Ipv4Net;
use serde::Deserialize;
use thiserror::Error;

/// The user that the relay becomes where it can: one of those that are in nobody's use by the
/// conventions of systemd (60578 to 61183), so that the firewall can tell its traffic.
const RELAY_USER: u32 = 61_137;

/// Where what belongs to this boot is kept, unless the daemon is told otherwise.
pub const EXEC_ROOT: &str = "/run/fairway";
const DEFAULT_CONFIGURATION: &str = "/etc/fairway/daemon.json";

/// Why the daemon's configuration makes no sense.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("unable to configure the daemon with file {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("unable to configure the daemon with file {path}: {source}")]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A key of the file and a flag say the same thing.
    #[error(
        "unable to configure the daemon with file {path}: the following directives are specified both as a flag and in the configuration file: {names}"
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// The flags.
        names: String,
    },
    /// Nothing would keep sandboxes apart.
    #[error(
        "you specified --iptables=false with --icc=false: icc=false needs the firewall: set --icc or --iptables to true"
    )]
    Isolation,
    /// A value makes no sense.
    #[error("invalid {name} {value}: {reason}")]
    Value {
        /// The flag or key.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The daemon's flags. Each is also a key of the configuration file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DaemonArguments {
    /// Configuration file (JSON, with these flags as keys)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config_file: Option<PathBuf>,
    /// Where what is durable is kept [default: /var/lib/fairway]
    #[arg(long, value_name = "DIRECTORY")]
    pub data_root: Option<PathBuf>,
    /// Where what belongs to this boot is kept [default: /run/fairway]
    #[arg(long, value_name = "DIRECTORY")]
    pub exec_root: Option<PathBuf>,
    /// File for the daemon's process id
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Address and subnet of the default bridge
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<Ipv4Net>,
    /// Where addresses of the default bridge are given from
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr: Option<Ipv4Net>,
    /// Default gateway of sandboxes on the default bridge
    #[arg(long, value_name = "ADDRESS")]
    pub default_gateway: Option<Ipv4Addr>,
    /// Where subnets of networks come from (base=10.0.0.0/8,size=24); may be repeated
    #[arg(long = "default-address-pool", value_name = "POOL", value_parser = pool)]
    #[serde(rename = "default-address-pools")]
    pub default_address_pool: Option<Vec<Pool>>,
    /// Largest packet of networks in bytes [default: that of the default route's interface]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Where ports are published when no address is given [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<IpAddr>,
    /// Program the firewall [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub iptables: Option<bool>,
    /// Carry published ports on loopback and between sandboxes in user space [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub userland_proxy: Option<bool>,
    /// Switch forwarding on if it is off [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_forward: Option<bool>,
    /// Give what leaves networks the host's address [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_masq: Option<bool>,
    /// Let sandboxes on the default bridge talk to one another [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// Name server of sandboxes [default: the host's]; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Option<Vec<IpAddr>>,
    /// Search domain of sandboxes; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Option<Vec<String>>,
    /// Resolver option of sandboxes; may be repeated
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(rename = "dns-opts")]
    pub dns_opt: Option<Vec<String>>,
    /// User that the relay runs as, where it can change its user [default: 61137]
    #[arg(long, value_name = "UID")]
    pub relay_user: Option<u32>,
    /// Sockets to listen on, as a key of the file
    #[arg(skip)]
    pub hosts: Option<Vec<String>>,
    /// Logging level, as a key of the file
    #[arg(skip)]
    #[serde(rename = "log-level")]
    pub level: Option<String>,
    /// The socket of the command line.
    #[arg(skip)]
    #[serde(skip)]
    pub socket: Option<String>,
}

/// A pool as the file has it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Pool {
    base: ipnet::IpNet,
    size: u8,
}

fn pool(text: &str) -> Result<Pool, String> {
    address_pool(text)
        .map(|AddressPool { base, size }| Pool { base, size })
        .map_err(|error| error.to_string())
}

/// What the daemon runs with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where to listen.
    pub socket: PathBuf,
    /// Where what is durable is kept.
    pub data_root: PathBuf,
    /// Where what belongs to this boot is kept.
    pub exec_root: PathBuf,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// What the engine decides with.
    pub settings: Settings,
}

impl DaemonArguments {
    /// The flags and the file together.
    ///
    /// # Errors
    /// The file cannot be read, says what a flag says, or a value makes no sense.
    pub fn configuration(self) -> Result<Configuration, ConfigurationError> {
        let (path, required) = match &self.config_file {
            Some(path) => (path.clone(), true),
            None => (PathBuf::from(DEFAULT_CONFIGURATION), false),
        };
        let file = read(&path, required)?;
        let all = self.merged(file, &path)?;
        let socket = all.socket.or_else(|| all.hosts.and_then(|hosts| hosts.into_iter().next()));
        let socket = socket.unwrap_or_else(|| format!("unix://{}", super::listen::DEFAULT));
        let path = socket.strip_prefix("unix://").filter(|path| !path.is_empty()).ok_or_else(|| {
            ConfigurationError::Value {
                name: "host",
                value: socket.clone(),
                reason: "the daemon listens on unix sockets only: unix:///run/fairway.sock".to_owned(),
            }
        })?;
        if all.iptables == Some(false) && all.icc == Some(false) {
            return Err(ConfigurationError::Isolation);
        }
        let pools = all.default_address_pool.unwrap_or_default();
        let relay_user = all.relay_user.unwrap_or(RELAY_USER);
        Ok(Configuration {
            socket: PathBuf::from(path),
            data_root: all.data_root.unwrap_or_else(|| PathBuf::from("/var/lib/fairway")),
            exec_root: all.exec_root.unwrap_or_else(|| PathBuf::from(EXEC_ROOT)),
            pid_file: all.pidfile,
            settings: Settings {
                backend: if all.iptables.unwrap_or(true) { Backend::Nftables } else { Backend::None },
                userland_proxy: all.userland_proxy.unwrap_or(true),
                ip_forward: all.ip_forward.unwrap_or(true),
                masquerade: all.ip_masq.unwrap_or(true),
                icc: all.icc.unwrap_or(true),
                bridge_address: all.bip,
                fixed_cidr: all.fixed_cidr,
                default_gateway: all.default_gateway,
                address_pools: pools
                    .into_iter()
                    .map(|Pool { base, size }| AddressPool { base, size })
                    .collect(),
                mtu: all.mtu,
                publish_address: all.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                dns: all.dns.unwrap_or_default(),
                dns_search: all.dns_search.unwrap_or_default(),
                dns_options: all.dns_opt.unwrap_or_default(),
                relay_user: may_become(relay_user).then_some(relay_user),
            },
        })
    }

    /// Takes what the file says where no flag does; what both say is refused, as by dockerd.
    fn merged(self, file: Self, path: &Path) -> Result<Self, ConfigurationError> {
        let mut twice = Vec::new();
        macro_rules! either {
            ($($field:ident: $name:literal),* $(,)?) => {
                Self {
                    config_file: None,
                    socket: self.socket,
                    $($field: match (self.$field, file.$field) {
                        (Some(_), Some(_)) => {
                            twice.push($name);
                            None
                        }
                        (flag, key) => flag.or(key),
                    },)*
                }
            };
        }
        let merged = either! {
            data_root: "data-root", exec_root: "exec-root", pidfile: "pidfile", bip: "bip",
            fixed_cidr: "fixed-cidr", default_gateway: "default-gateway",
            default_address_pool: "default-address-pools", mtu: "mtu", ip: "ip", iptables: "iptables",
            userland_proxy: "userland-proxy", ip_forward: "ip-forward", ip_masq: "ip-masq", icc: "icc", dns: "dns",
            dns_search: "dns-search", dns_opt: "dns-opts", relay_user: "relay-user", hosts: "hosts",
            level: "log-level",
        };
        if merged.socket.is_some() && merged.hosts.is_some() {
            twice.push("hosts");
        }
        match twice.is_empty() {
            true => Ok(merged),
            false => Err(ConfigurationError::Twice { path: path.to_owned(), names: twice.join(", ") }),
        }
    }
}

fn read(path: &Path, required: bool) -> Result<DaemonArguments, ConfigurationError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok(DaemonArguments::default());
        }
        Err(source) => return Err(ConfigurationError::Read { path: path.to_owned(), source }),
    };
    let syntax = |source| ConfigurationError::Syntax { path: path.to_owned(), source };
    // Keys of dockerd's that mean nothing here are told, not refused.
    let mut keys: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).map_err(syntax)?;
    for name in IGNORED {
        if keys.remove(name).is_some() {
            tracing::warn!(key = name, "this key of dockerd's means nothing to Fairway");
        }
    }
    serde_json::to_value(keys).and_then(serde_json::from_value).map_err(syntax)
}

/// Keys of dockerd's that are about containers and images.
const IGNORED: [&str; 12] = [
    "debug",
    "storage-driver",
    "storage-opts",
    "log-driver",
    "log-opts",
    "registry-mirrors",
    "insecure-registries",
    "live-restore",
    "experimental",
    "runtimes",
    "default-runtime",
    "labels",
];

/// Whether a process of ours can change its user to `user`: that takes a user namespace with more
/// users than one (user_namespaces(7), `/proc/PID/uid_map`), and the right.
fn may_become(user: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let within = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(user))
    };
    rustix::process::geteuid().is_root() && map.lines().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn with(text: &str, arguments: DaemonArguments) -> Result<Configuration, String> {
        let file = file(text);
        let arguments = DaemonArguments { config_file: Some(file.path().to_owned()), ..arguments };
        arguments.configuration().map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_has_dockerds_keys() {
        let text = r#"{"bip": "10.1.0.1/24", "iptables": false, "dns": ["1.1.1.1"], "hosts": ["unix:///x.sock"],
            "default-address-pools": [{"base": "10.9.0.0/16", "size": 24}], "live-restore": true}"#;
        let configuration = with(text, DaemonArguments::default()).unwrap();
        assert_eq!(configuration.socket, Path::new("/x.sock"));
        assert_eq!(configuration.settings.backend, Backend::None);
        assert_eq!(configuration.settings.bridge_address, "10.1.0.1/24".parse().ok());
        assert_eq!(configuration.settings.address_pools.len(), 1);
    }

    #[test]
    fn what_flag_and_file_both_say_is_refused() {
        let arguments = DaemonArguments { mtu: Some(1400), ..DaemonArguments::default() };
        let error = with(r#"{"mtu": 1300}"#, arguments).unwrap_err();
        assert!(error.ends_with("specified both as a flag and in the configuration file: mtu"), "{error}");
    }

    #[test]
    fn sandboxes_are_kept_apart_by_a_firewall_or_not_at_all() {
        let apart = with(r#"{"icc": false}"#, DaemonArguments::default()).unwrap();
        assert!(!apart.settings.icc);
        assert!(with("{}", DaemonArguments::default()).unwrap().settings.icc);
        let arguments = DaemonArguments { iptables: Some(false), ..Default::default() };
        let error = with(r#"{"icc": false}"#, arguments).unwrap_err();
        assert!(error.starts_with("you specified --iptables=false with --icc=false: "), "{error}");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        assert!(with(r#"{"bipp": "x"}"#, DaemonArguments::default()).unwrap_err().contains("bipp"));
        let arguments = DaemonArguments { socket: Some("tcp://0.0.0.0:1".to_owned()), ..Default::default() };
        assert!(with("{}", arguments).unwrap_err().starts_with("invalid host tcp://0.0.0.0:1: "));
        let missing = DaemonArguments { config_file: Some("/nonexistent".into()), ..Default::default() };
        assert!(missing.configuration().is_err());
    }
}
