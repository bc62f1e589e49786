//! What the daemon runs with, from its flags and its file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use fairway_kernel::iptables::Flavour;
use fairway_model::parse::{interface_name, packet_mark};
use fairway_model::{Backend, DefaultBridge, LogLimits, PacketMark, Settings};

use super::arguments::{DaemonArguments, NetworkOption};
use super::configuration_error::ConfigurationError;
use super::endpoint::{ApiEndpoint, DEFAULT_SOCKET, TlsFiles};
use super::socket_group::SocketGroup;
use super::{check, file};
use crate::logging::{Level, LogFormat};
use crate::relay;

/// The runtime state directory by default.
pub const EXEC_ROOT: &str = "/run/fairway";

/// The data root of an on-demand daemon, below its exec root.
pub const ON_DEMAND: &str = "on-demand";

/// What the daemon runs with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Whether the daemon ends with its last sandbox.
    pub on_demand: bool,
    /// The unix socket that the daemon listens at in any case.
    pub socket: PathBuf,
    /// The group whose members may use the unix sockets.
    pub socket_group: Option<SocketGroup>,
    /// Further places where the API is served.
    pub endpoints: Vec<ApiEndpoint>,
    /// The files of TLS, where the API is served at TCP.
    pub tls: Option<TlsFiles>,
    /// The persistent state directory.
    pub data_root: PathBuf,
    /// The runtime state directory.
    pub exec_root: PathBuf,
    /// Whether to serve the plugin of Docker Engine.
    pub docker_plugin: bool,
    /// The loopback address and port where metrics are served, besides the sockets of the API.
    pub metrics: Option<SocketAddr>,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// From which severity on messages are logged.
    pub log_level: Level,
    /// How messages are written.
    pub log_format: LogFormat,
    /// The flavour of iptables, where one is asked for.
    pub iptables: Option<Flavour>,
    /// What the engine decides with.
    pub settings: Settings,
}

impl DaemonArguments {
    /// The flags and the file together.
    ///
    /// # Errors
    /// The file cannot be read, says what a flag says, or a value makes no sense.
    pub fn configuration(self) -> Result<Configuration, ConfigurationError> {
        file::with_file(self)?.without_file()
    }

    /// The flags alone.
    ///
    /// # Errors
    /// A value makes no sense.
    pub(super) fn without_file(self) -> Result<Configuration, ConfigurationError> {
        let all = self;
        all.ignored.warn();
        let bridge = default_bridge(&all)?;
        check_host_gateway(all.host_gateway.as_deref().unwrap_or_default())?;
        warn_of_ipv6_flags(&all);
        let (socket, endpoints) = endpoints(&all)?;
        let socket_group = SocketGroup::find(all.group.as_deref())?;
        let tls = tls_files(&all, &endpoints)?;
        if all.iptables == Some(false) && all.icc == Some(false) {
            return Err(ConfigurationError::Isolation);
        }
        let mut network_options = BTreeMap::<String, BTreeMap<String, String>>::new();
        for NetworkOption { driver, name, value } in all.default_network_opt.into_iter().flatten() {
            network_options.entry(driver).or_default().insert(name, value);
        }
        let log_options: BTreeMap<_, _> = all.log_opt.into_iter().flatten().collect();
        LogLimits::parse(&log_options)?;
        let metrics = all.metrics_addr.map(metrics_address).transpose()?;
        let accept_mark = all.bridge_accept_fwmark.map(accept_mark).transpose()?;
        let exec_root = all.exec_root.unwrap_or_else(|| PathBuf::from(EXEC_ROOT));
        let data_root = all.data_root.unwrap_or_else(|| match all.on_demand {
            true => exec_root.join(ON_DEMAND),
            false => PathBuf::from("/var/lib/fairway"),
        });
        let docker_plugin = all.docker_plugin.unwrap_or(false) && !all.on_demand;
        let relay_user = all.relay_user.unwrap_or(relay::USER);
        let configuration = Configuration {
            on_demand: all.on_demand,
            socket,
            socket_group,
            endpoints,
            tls,
            data_root,
            exec_root,
            docker_plugin,
            metrics,
            pid_file: all.pidfile,
            log_level: match all.debug {
                Some(true) => Level::Debug,
                _ => all.level.unwrap_or(Level::Info),
            },
            log_format: all.log_format.unwrap_or_default(),
            iptables: all.iptables_flavour,
            settings: Settings {
                backend: all.firewall_backend.unwrap_or(Backend::Nftables),
                iptables: all.iptables.unwrap_or(true),
                ip6tables: all.ip6tables.unwrap_or(true),
                // Podman holds the ports of its containers itself, and CNI's port mapping is by the firewall alone.
                userland_proxy: all.userland_proxy.unwrap_or(!all.on_demand),
                ip_forward: all.ip_forward.unwrap_or(true),
                ip_forward_no_drop: all.ip_forward_no_drop.unwrap_or(false),
                allow_direct_routing: all.allow_direct_routing.unwrap_or(false),
                accept_mark,
                firewall_integration: all.firewall_integration.unwrap_or(all.on_demand || docker_plugin),
                masquerade: all.ip_masq.unwrap_or(true),
                icc: all.icc.unwrap_or(true),
                bridge_address: all.bip,
                fixed_cidr: all.fixed_cidr,
                default_gateway: all.default_gateway,
                bridge,
                ipv6: all.ipv6.unwrap_or(false),
                bridge_address_ipv6: all.bip6,
                fixed_cidr_ipv6: all.fixed_cidr_v6,
                default_gateway_ipv6: all.default_gateway_v6,
                host_gateway: all.host_gateway.unwrap_or_default(),
                network_options,
                address_pools: all.default_address_pool.unwrap_or_default(),
                mtu: all.mtu,
                publish_address: all.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                dns: all.dns.unwrap_or_default(),
                dns_search: check::search_domains(all.dns_search)?,
                dns_options: check::resolver_options(all.dns_opt)?,
                log_options,
                relay_user: relay::may_become(relay_user).then_some(relay_user),
            },
        };
        check::check(&configuration.settings)?;
        Ok(configuration)
    }
}

/// The unix socket in any case, which is the first that is named, or the default one; and the other endpoints.
fn endpoints(all: &DaemonArguments) -> Result<(PathBuf, Vec<ApiEndpoint>), ConfigurationError> {
    let named = if all.sockets.is_empty() { all.hosts.as_deref().unwrap_or_default() } else { &all.sockets };
    let mut endpoints: Vec<ApiEndpoint> =
        named.iter().map(|text| ApiEndpoint::parse(text)).collect::<Result<_, _>>()?;
    let unix = |endpoint: &ApiEndpoint| matches!(endpoint, ApiEndpoint::Unix(_));
    let first = endpoints.iter().position(unix).map(|place| endpoints.remove(place));
    let socket = match first {
        Some(ApiEndpoint::Unix(path)) => path,
        _ => PathBuf::from(DEFAULT_SOCKET),
    };
    Ok((socket, endpoints))
}

/// The files of TLS, without which nothing is served at TCP.
fn tls_files(
    all: &DaemonArguments,
    endpoints: &[ApiEndpoint],
) -> Result<Option<TlsFiles>, ConfigurationError> {
    let Some(address) = endpoints.iter().find_map(|endpoint| match endpoint {
        ApiEndpoint::Tls(address) => Some(address),
        _ => None,
    }) else {
        return Ok(None);
    };
    let files = (&all.tlscacert, &all.tlscert, &all.tlskey);
    match (all.tlsverify, files) {
        (Some(true), (Some(authority), Some(certificate), Some(key))) => Ok(Some(TlsFiles {
            authority: authority.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        _ => Err(ConfigurationError::Value {
            name: "host",
            value: format!("tcp://{address}"),
            reason: "a client of the API is root on this host: add --tlsverify with --tlscacert, --tlscert and --tlskey"
                .to_owned(),
        }),
    }
}

/// `--bridge`, which goes with no address for the bridge.
fn default_bridge(all: &DaemonArguments) -> Result<DefaultBridge, ConfigurationError> {
    let bridge = match all.bridge.as_deref() {
        // What such a daemon is started for has networks of its own.
        None | Some("") if all.on_demand && all.bip.is_none() && all.bip6.is_none() => {
            return Ok(DefaultBridge::Disabled);
        }
        None | Some("") => return Ok(DefaultBridge::Managed),
        Some("none") => DefaultBridge::Disabled,
        Some(name) => {
            interface_name(name).map_err(|error| ConfigurationError::Value {
                name: "bridge",
                value: name.to_owned(),
                reason: error.to_string(),
            })?;
            DefaultBridge::Named(name.to_owned())
        }
    };
    match (all.bip, all.bip6) {
        (Some(_), _) => Err(ConfigurationError::BridgeAndAddress("bip")),
        (_, Some(_)) => Err(ConfigurationError::BridgeAndAddress("bip6")),
        (None, None) => Ok(bridge),
    }
}

/// A name has one address of each family at most.
fn check_host_gateway(addresses: &[IpAddr]) -> Result<(), ConfigurationError> {
    for v6 in [false, true] {
        let mut family = addresses.iter().filter(|address| address.is_ipv6() == v6);
        if let (Some(_), Some(second)) = (family.next(), family.next()) {
            return Err(ConfigurationError::Value {
                name: "host-gateway-ip",
                value: second.to_string(),
                reason: "only one address of each family is possible".to_owned(),
            });
        }
    }
    Ok(())
}

fn warn_of_ipv6_flags(all: &DaemonArguments) {
    let given = [
        ("bip6", all.bip6.is_some()),
        ("fixed-cidr-v6", all.fixed_cidr_v6.is_some()),
        ("default-gateway-v6", all.default_gateway_v6.is_some()),
    ];
    for (flag, _) in given.into_iter().filter(|(_, given)| *given && !all.ipv6.unwrap_or(false)) {
        tracing::warn!(flag, "ignored an IPv6 flag of the default bridge: set --ipv6 to enable IPv6");
    }
}

/// `--metrics-addr`: each client reads the names of networks, so it must be one of the host itself.
fn metrics_address(text: String) -> Result<SocketAddr, ConfigurationError> {
    let refused = |value, reason: &str| ConfigurationError::Value {
        name: "metrics-addr",
        value,
        reason: reason.to_owned(),
    };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err(refused(
            text,
            "metrics are served at loopback alone: use 127.0.0.1 or [::1], and a proxy that authenticates clients for \
             other hosts",
        )),
        Err(_) => Err(refused(text, "an address and a port are expected, such as 127.0.0.1:9323")),
    }
}

fn accept_mark(text: String) -> Result<PacketMark, ConfigurationError> {
    packet_mark(&text).map_err(|error| ConfigurationError::Value {
        name: "bridge-accept-fwmark",
        value: text,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
