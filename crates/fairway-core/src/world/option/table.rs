//! The table of network options, for parsing and help.

use super::{
    ADDRESSES, ADVERTISE_COUNT, ADVERTISE_INTERVAL, COUNT, DEFAULT_ROUTE, DHCP, GATEWAY_MODE_IPV4,
    GATEWAY_MODE_IPV6, Given, INTERVAL, ISOLATE, METRIC, NetworkOptions, PARENT, PEERS, ROUTES, STORM_LIMIT,
};
use crate::world::Refusal;
use fairway_model::MTU_RANGE;

/// A network option.
pub struct NetworkOption {
    /// The name, as in `-o NAME=VALUE`.
    pub name: &'static str,
    /// The placeholder of the value in help.
    pub value: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The drivers that use the option; empty for all drivers.
    pub drivers: &'static [&'static str],
    pub(super) read: fn(&mut NetworkOptions, Given<'_>) -> Result<(), Refusal>,
}

/// The drivers with a bridge.
const BRIDGED: &[&str] = &["bridge", "routed", "lan"];
/// The drivers with a gateway on this host.
const GATEWAY: &[&str] = &["bridge", "routed"];
/// The drivers with a parent interface.
const PARENTED: &[&str] = &["lan", "macvlan"];
const ALL: &[&str] = &[];

/// Builds the table from its columns.
macro_rules! options {
    ($($name:expr, $value:literal, $drivers:expr, $help:literal, $read:expr;)*) => {
        &[$(NetworkOption {
            name: $name, value: $value, help: $help, drivers: $drivers, read: $read
        }),*]
    };
}

/// All network options. Other names with a prefix of Docker's or Fairway's cause a warning.
pub const NETWORK_OPTIONS: &[NetworkOption] = options! {
    PARENT, "INTERFACE", PARENTED, "Parent interface on the host", |read, given| {
        // An empty value is ignored, as in Docker.
        if !given.value.is_empty() {
            read.parent = Some(given.interface()?);
        }
        Ok(())
    };
    "macvlan_mode", "MODE", &["macvlan"], "bridge, private, vepa or passthru", |read, given| {
        read.macvlan_mode = Some(given.macvlan_mode()?);
        Ok(())
    };
    PEERS, "SUBNET@HOST,...", &["routed"], "Subnets of other hosts, with the next hops to them", |read, given| {
        read.peers = given.peers()?;
        Ok(())
    };
    DHCP, "BOOL", PARENTED, "Take IPv4 addresses from the DHCP server of the LAN", |read, given| {
        read.bridge.dhcp = given.flag()?;
        Ok(())
    };
    ADDRESSES, "BOOL", &["bridge", "macvlan"], "Give sandboxes addresses", |read, given| {
        read.without_addresses = !given.flag()?;
        Ok(())
    };
    ISOLATE, "strict|true|false", &["bridge"], "Isolation from other bridge networks", |read, given| {
        read.bridge.isolation = given.isolation()?;
        Ok(())
    };
    "fairway.guard", "strict", BRIDGED, "Drop packets that a sandbox sends from addresses other than its own", |read, given| {
        read.bridge.strict_guard = given.strict()?;
        Ok(())
    };
    "fairway.storm_limit", "FRAMES", &["lan"], "Broadcast and multicast frames a second per sandbox (0 is no limit)", |read, given| {
        read.bridge.storm_limit =
            given.within(&(0..=STORM_LIMIT), "frames a second (0 is no limit)")?;
        Ok(())
    };
    METRIC, "METRIC", ALL, "Metric of the default routes by this network", |read, given| {
        read.routes.metric = Some(given.metric()?);
        Ok(())
    };
    DEFAULT_ROUTE, "BOOL", ALL, "Whether sandboxes may have their default routes by this network", |read, given| {
        read.routes.default_route = Some(given.flag()?);
        Ok(())
    };
    ROUTES, "DEST@GATEWAY,...", ALL, "Static routes in the sandboxes of this network", |read, given| {
        read.routes.routes = Some(given.routes()?);
        Ok(())
    };
    "fairway.names", "BOOL", ALL, "Whether sandboxes of this network resolve one another by name", |read, given| {
        read.names.disabled = !given.flag()?;
        Ok(())
    };
    "fairway.domain", "DOMAIN", ALL, "Domain below which names of this network resolve too", |read, given| {
        read.names.domain = given.domain()?;
        Ok(())
    };
    "fairway.dns", "ADDRESS,...", ALL, "Name servers of sandboxes of this network without --dns", |read, given| {
        read.names.servers = given.name_servers()?;
        Ok(())
    };
    "fairway.alias_answer", "all|first", ALL, "Addresses in the answer to a shared alias", |read, given| {
        read.alias_answer = given.alias_answer()?;
        Ok(())
    };
    "fairway.route_localnet", "BOOL", GATEWAY, "Without the userland proxy, publish ports on 127.0.0.1 too", |read, given| {
        read.bridge.route_localnet = given.flag()?;
        Ok(())
    };
    "com.docker.network.bridge.name", "NAME", BRIDGED, "Name of the bridge", |read, given| {
        read.bridge_name = Some(given.interface()?);
        Ok(())
    };
    GATEWAY_MODE_IPV4, "MODE", GATEWAY, "IPv4 mode: nat, nat-unprotected, routed or isolated", |read, given| {
        read.bridge.gateway_mode_ipv4 = given.gateway_mode()?;
        Ok(())
    };
    GATEWAY_MODE_IPV6, "MODE", GATEWAY, "IPv6 mode: nat, nat-unprotected, routed or isolated", |read, given| {
        read.bridge.gateway_mode_ipv6 = given.gateway_mode()?;
        Ok(())
    };
    "com.docker.network.bridge.enable_ip_masquerade", "BOOL", GATEWAY, "Masquerade outbound traffic", |read, given| {
        read.masquerade = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.bridge.enable_icc", "BOOL", BRIDGED, "Enable communication between sandboxes of the network", |read, given| {
        read.icc = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.bridge.host_binding_ipv4", "ADDRESS", GATEWAY, "Default host address of published ports", |read, given| {
        read.host_binding = Some(given.parsed("an IP address")?);
        Ok(())
    };
    "com.docker.network.bridge.inhibit_ipv4", "BOOL", GATEWAY, "Do not assign the gateway's IPv4 address to the bridge", |read, given| {
        read.bridge.inhibit_ipv4 = given.flag()?;
        Ok(())
    };
    "com.docker.network.bridge.trusted_host_interfaces", "INTERFACE:...", GATEWAY, "Interfaces that may access published ports directly", |read, given| {
        read.bridge.trusted_interfaces = given.interfaces()?;
        Ok(())
    };
    "com.docker.network.container_iface_prefix", "PREFIX", ALL, "Prefix of interface names in sandboxes", |read, given| {
        read.bridge.interface_prefix = Some(given.prefix()?);
        Ok(())
    };
    "com.docker.network.driver.mtu", "BYTES", ALL, "MTU of the network", |read, given| {
        read.mtu = Some(given.within(&MTU_RANGE, "bytes")?);
        Ok(())
    };
    "com.docker.network.host_ipv4", "ADDRESS", GATEWAY, "Source IPv4 address of outbound traffic", |read, given| {
        read.bridge.source_ipv4 = Some(given.source("an IPv4 address")?);
        Ok(())
    };
    "com.docker.network.host_ipv6", "ADDRESS", GATEWAY, "Source IPv6 address of outbound traffic", |read, given| {
        read.bridge.source_ipv6 = Some(given.source("an IPv6 address")?);
        Ok(())
    };
    "com.docker.network.enable_ipv4", "BOOL", ALL, "As --ipv4", |read, given| {
        read.enable_ipv4 = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.enable_ipv6", "BOOL", ALL, "As --ipv6", |read, given| {
        read.enable_ipv6 = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.internal", "BOOL", ALL, "As --internal", |read, given| {
        read.internal = given.flag()?;
        Ok(())
    };
    COUNT, "0-3", BRIDGED, "Number of announcements of new addresses to neighbors", |read, given| {
        read.bridge.advertising.count = given.within(&ADVERTISE_COUNT, "announcements")?;
        Ok(())
    };
    INTERVAL, "100-2000", BRIDGED, "Milliseconds between two announcements", |read, given| {
        read.bridge.advertising.interval_milliseconds =
            given.within(&ADVERTISE_INTERVAL, "milliseconds")?;
        Ok(())
    };
};
