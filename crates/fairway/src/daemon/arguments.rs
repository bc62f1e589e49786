//! The daemon's flags, by dockerd's names; the keys of its configuration file are the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use fairway_kernel::iptables::Flavour;
use fairway_model::AddressPool;
use fairway_model::Backend;
use fairway_model::parse::{ParseError, address_pool, checked_pool, cidr, option};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::backend::{backend, flavour, named_backend, named_flavour};
use super::ignored::Ignored;
use crate::logging::{Level, LogFormat};

/// The environment variable for `--docker-plugin`.
pub const DOCKER_PLUGIN_VARIABLE: &str = "FAIRWAY_DOCKER_PLUGIN";

/// The daemon's flags. Each is also a key of the configuration file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DaemonArguments {
    /// Configuration file (JSON, with these flags as keys)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config_file: Option<PathBuf>,
    /// End with the last sandbox, and remove all that was made: for programs that start a daemon when they need one
    #[arg(long)]
    #[serde(skip)]
    pub on_demand: bool,
    /// Persistent state directory [default: /var/lib/fairway]
    #[arg(long, value_name = "DIRECTORY")]
    pub data_root: Option<PathBuf>,
    /// Runtime state directory [default: /run/fairway]
    #[arg(long, value_name = "DIRECTORY")]
    pub exec_root: Option<PathBuf>,
    /// Path of the PID file
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Group for the unix socket [default: fairway, if there is one]
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Address and subnet of the default bridge
    #[arg(long, value_name = "CIDR", value_parser = subnet::<Ipv4Net>)]
    #[serde(deserialize_with = "cidr_key")]
    pub bip: Option<Ipv4Net>,
    /// IPv4 subnet for fixed IPs of the default bridge
    #[arg(long, value_name = "CIDR", value_parser = subnet::<Ipv4Net>)]
    #[serde(deserialize_with = "cidr_key")]
    pub fixed_cidr: Option<Ipv4Net>,
    /// Default gateway IPv4 address of the default bridge
    #[arg(long, value_name = "ADDRESS")]
    pub default_gateway: Option<Ipv4Addr>,
    /// Bridge of your own for the default network, or 'none' for no default network
    #[arg(short, long, value_name = "BRIDGE")]
    pub bridge: Option<String>,
    /// Enable IPv6 networking on the default bridge [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv6: Option<bool>,
    /// IPv6 address and subnet of the default bridge
    #[arg(long, value_name = "CIDR", value_parser = subnet::<Ipv6Net>)]
    #[serde(deserialize_with = "cidr_key")]
    pub bip6: Option<Ipv6Net>,
    /// IPv6 subnet for fixed IPs of the default bridge
    #[arg(long, value_name = "CIDR", value_parser = subnet::<Ipv6Net>)]
    #[serde(deserialize_with = "cidr_key")]
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// Default gateway IPv6 address of the default bridge
    #[arg(long, value_name = "ADDRESS")]
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// Address that 'host-gateway' stands for in --add-host [default: the default bridge's]; once for each family
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS")]
    #[serde(rename = "host-gateway-ips", alias = "host-gateway-ip", deserialize_with = "one_or_more")]
    pub host_gateway: Option<Vec<IpAddr>>,
    /// Default option of networks of a driver (bridge=NAME=VALUE); may be repeated
    #[arg(long = "default-network-opt", value_name = "OPTION", value_parser = network_option)]
    #[serde(rename = "default-network-opts", deserialize_with = "by_driver")]
    pub default_network_opt: Option<Vec<NetworkOption>>,
    /// Default address pool for networks (base=10.0.0.0/8,size=24); may be repeated
    #[arg(long = "default-address-pool", value_name = "POOL", value_parser = address_pool)]
    #[serde(rename = "default-address-pools", deserialize_with = "pools")]
    pub default_address_pool: Option<Vec<AddressPool>>,
    /// MTU of networks in bytes [default: that of the default route's interface]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Default host address of published ports [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<IpAddr>,
    /// Firewall backend to use: nftables or iptables [default: nftables]
    #[arg(long, value_name = "BACKEND", value_parser = backend)]
    #[serde(default, deserialize_with = "named_backend")]
    pub firewall_backend: Option<Backend>,
    /// Kind of iptables to use: nft or legacy [default: that of the host's iptables]
    #[arg(long, value_name = "KIND", value_parser = flavour)]
    #[serde(default, deserialize_with = "named_flavour")]
    pub iptables_flavour: Option<Flavour>,
    /// Enable addition of IPv4 firewall rules [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub iptables: Option<bool>,
    /// Enable addition of IPv6 firewall rules [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip6tables: Option<bool>,
    /// Use the userland proxy for loopback traffic and between sandboxes [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub userland_proxy: Option<bool>,
    /// Enable IP forwarding if it is off [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_forward: Option<bool>,
    /// Do not drop forwarded traffic unrelated to Fairway after enabling forwarding [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_forward_no_drop: Option<bool>,
    /// Allow direct routed access to published ports [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_direct_routing: Option<bool>,
    /// Accept packets with this firewall mark (MARK or MARK/MASK) into networks
    #[arg(long, value_name = "MARK")]
    pub bridge_accept_fwmark: Option<String>,
    /// Insert a jump where another firewall would drop the forwarded traffic of networks [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub firewall_integration: Option<bool>,
    /// Enable IP masquerading of outbound traffic [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_masq: Option<bool>,
    /// Enable inter-sandbox communication on the default bridge [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// DNS server of sandboxes [default: the host's]; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Option<Vec<IpAddr>>,
    /// DNS search domain of sandboxes; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Option<Vec<String>>,
    /// DNS option of sandboxes; may be repeated
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(rename = "dns-opts")]
    pub dns_opt: Option<Vec<String>>,
    /// Default log option of sandboxes (max-size=10m, max-file=3); may be repeated
    #[arg(long = "log-opt", value_name = "OPTION", value_parser = option)]
    #[serde(rename = "log-opts", deserialize_with = "by_name")]
    pub log_opt: Option<Vec<(String, String)>>,
    /// User that the relay runs as, where it can change its user [default: 61137]
    #[arg(long, value_name = "UID")]
    pub relay_user: Option<u32>,
    /// Use TLS for -H tcp://..., and accept clients whose certificate is of --tlscacert [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tlsverify: Option<bool>,
    /// Trust only clients whose certificate is of this authority
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// TLS certificate of the daemon
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// TLS key of the daemon
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// TLS without certificates of clients: dockerd's flag, which is refused
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls: Option<bool>,
    /// Serve Docker Engine's network plugin at /run/docker/plugins/fairway.sock [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        env = DOCKER_PLUGIN_VARIABLE)]
    pub docker_plugin: Option<bool>,
    /// Set the logging format [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Address of the host itself and port to serve metrics for Prometheus at, such as 127.0.0.1:9323 [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_addr: Option<String>,
    /// Sockets to listen on, as a key of the file
    #[arg(skip)]
    pub hosts: Option<Vec<String>>,
    /// Logging level, of the command line or as a key of the file
    #[arg(skip)]
    #[serde(rename = "log-level")]
    pub level: Option<Level>,
    /// Debug mode, of the command line or as a key of the file
    #[arg(skip)]
    pub debug: Option<bool>,
    /// The sockets of the command line.
    #[arg(skip)]
    #[serde(skip)]
    pub sockets: Vec<String>,
    /// Flags of dockerd's that mean nothing here.
    #[command(flatten)]
    #[serde(skip)]
    pub ignored: Ignored,
}

/// An option of networks: driver, name and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOption {
    /// The driver's name.
    pub driver: String,
    /// The option's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

fn network_option(text: &str) -> Result<NetworkOption, String> {
    let parts = text.split_once('=').and_then(|(driver, rest)| Some((driver, rest.split_once('=')?)));
    let (driver, (name, value)) = parts.ok_or("driver=name=value is expected, such as bridge=mtu=1400")?;
    let [driver, name, value] = [driver, name, value].map(str::to_owned);
    Ok(NetworkOption { driver, name, value })
}

/// An address with a prefix length, of one family or of either.
pub trait Cidr: FromStr {
    /// What one looks like.
    const EXAMPLE: &str;
}

impl Cidr for Ipv4Net {
    const EXAMPLE: &str = "172.17.0.1/16";
}

impl Cidr for IpNet {
    const EXAMPLE: &str = "10.0.0.0/8";
}

impl Cidr for Ipv6Net {
    const EXAMPLE: &str = "fd00:17::1/64";
}

fn subnet<T: Cidr>(text: &str) -> Result<T, ParseError> {
    cidr(text, T::EXAMPLE)
}

/// The same as a key of the file.
fn cidr_key<'de, T: Cidr, D: Deserializer<'de>>(reader: D) -> Result<Option<T>, D::Error> {
    required_cidr_key(reader).map(Some)
}

fn required_cidr_key<'de, T: Cidr, D: Deserializer<'de>>(reader: D) -> Result<T, D::Error> {
    subnet(&String::deserialize(reader)?).map_err(D::Error::custom)
}

/// dockerd's key holds one address, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<IpAddr>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(IpAddr),
        More(Vec<IpAddr>),
    }
    Ok(Some(match OneOrMore::deserialize(reader)? {
        OneOrMore::One(address) => vec![address],
        OneOrMore::More(addresses) => addresses,
    }))
}

/// dockerd's key holds an object of options.
fn by_name<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<(String, String)>>, D::Error> {
    Ok(Some(BTreeMap::deserialize(reader)?.into_iter().collect()))
}

/// dockerd's key holds an object for each driver.
fn by_driver<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<NetworkOption>>, D::Error> {
    let drivers = BTreeMap::<String, BTreeMap<String, String>>::deserialize(reader)?;
    let options = drivers.into_iter().flat_map(|(driver, options)| {
        let option = move |(name, value)| NetworkOption { driver: driver.clone(), name, value };
        options.into_iter().map(option)
    });
    Ok(Some(options.collect()))
}

/// dockerd's key holds an object for each pool.
fn pools<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<AddressPool>>, D::Error> {
    #[derive(Deserialize)]
    struct Pool {
        #[serde(deserialize_with = "required_cidr_key")]
        base: IpNet,
        size: u8,
    }
    let pools = Vec::<Pool>::deserialize(reader)?.into_iter();
    let checked = pools.map(|Pool { base, size }| checked_pool(base, size).map_err(D::Error::custom));
    checked.collect::<Result<_, _>>().map(Some)
}
