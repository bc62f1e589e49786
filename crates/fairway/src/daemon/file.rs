//! The daemon's configuration file, and how it goes together with the flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arguments::DaemonArguments;
use super::configuration_error::ConfigurationError;
use super::ignored;

const DEFAULT_CONFIGURATION: &str = "/etc/fairway/daemon.json";

/// The flags, and what the file says where no flag does.
///
/// # Errors
/// The file cannot be read, or says what a flag says.
pub fn with_file(flags: DaemonArguments) -> Result<DaemonArguments, ConfigurationError> {
    let (path, required) = path(&flags);
    let mut file = read(&path, required)?;
    if flags.on_demand {
        // Where the daemon of the system is.
        (file.data_root, file.exec_root, file.pidfile, file.hosts) = (None, None, None, None);
        (file.docker_plugin, file.metrics_addr) = (None, None);
    }
    flags.merged(file, &path)
}

/// The path of the file, and whether there has to be one.
fn path(flags: &DaemonArguments) -> (PathBuf, bool) {
    match &flags.config_file {
        Some(path) => (path.clone(), true),
        None => (PathBuf::from(DEFAULT_CONFIGURATION), false),
    }
}

/// The values of these keys of the file that make sense by themselves; none of a file that cannot be read.
pub fn readable_keys(flags: &DaemonArguments, names: &[&str]) -> DaemonArguments {
    let text = std::fs::read_to_string(path(flags).0).unwrap_or_default();
    let mut keys: serde_json::Map<_, _> = serde_json::from_str(&text).unwrap_or_default();
    keys.retain(|name, value| {
        let key = [(name.clone(), value.clone())].into_iter().collect();
        names.contains(&name.as_str()) && arguments(key).is_ok()
    });
    arguments(keys).unwrap_or_default()
}

impl DaemonArguments {
    /// Takes what the file says where no flag does; what both say is refused, as by dockerd.
    fn merged(self, file: Self, path: &Path) -> Result<Self, ConfigurationError> {
        let mut twice = Vec::new();
        macro_rules! either {
            ($($field:ident: $name:literal),* $(,)?) => {
                Self {
                    config_file: None,
                    on_demand: self.on_demand,
                    sockets: self.sockets,
                    ignored: self.ignored,
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
            data_root: "data-root", exec_root: "exec-root", pidfile: "pidfile", group: "group", bip: "bip",
            bridge: "bridge", ipv6: "ipv6", bip6: "bip6", fixed_cidr_v6: "fixed-cidr-v6",
            default_gateway_v6: "default-gateway-v6", host_gateway: "host-gateway-ips",
            default_network_opt: "default-network-opts",
            fixed_cidr: "fixed-cidr", default_gateway: "default-gateway",
            default_address_pool: "default-address-pools", mtu: "mtu", ip: "ip",
            firewall_backend: "firewall-backend", iptables_flavour: "iptables-flavour", iptables: "iptables",
            ip6tables: "ip6tables",
            userland_proxy: "userland-proxy", ip_forward: "ip-forward", ip_masq: "ip-masq", icc: "icc", dns: "dns",
            dns_search: "dns-search", dns_opt: "dns-opts", relay_user: "relay-user", docker_plugin: "docker-plugin", hosts: "hosts",
            tls: "tls", tlsverify: "tlsverify", tlscacert: "tlscacert", tlscert: "tlscert", tlskey: "tlskey",
            metrics_addr: "metrics-addr", log_format: "log-format", level: "log-level", debug: "debug", log_opt: "log-opts", ip_forward_no_drop: "ip-forward-no-drop",
            allow_direct_routing: "allow-direct-routing", firewall_integration: "firewall-integration", bridge_accept_fwmark: "bridge-accept-fwmark",
        };
        if !merged.sockets.is_empty() && merged.hosts.is_some() {
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
    // Keys of dockerd's that mean nothing here are logged, not refused.
    let mut keys: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(syntax)?;
    keys.retain(|name, _| {
        let kept = !ignored::is_key(name);
        if !kept {
            tracing::warn!(key = name, "ignored a key of dockerd without effect in Fairway");
        }
        kept
    });
    let all = keys.into_iter().collect::<serde_json::Map<_, _>>();
    arguments(all.clone()).map_err(|source| {
        let refused = |(key, value): (String, _)| {
            let source = arguments([(key.clone(), value)].into_iter().collect()).err()?;
            Some(ConfigurationError::Key { path: path.to_owned(), key, source })
        };
        // Without one, a key and its other name are both there.
        all.into_iter().find_map(refused).unwrap_or_else(|| syntax(source))
    })
}

/// The arguments that keys of the file are.
fn arguments(keys: serde_json::Map<String, Value>) -> Result<DaemonArguments, serde_json::Error> {
    serde_json::from_value(Value::Object(keys))
}
