//! The options that a network can have: the one list that reads them and that help is made of.

use super::{
    ADVERTISE_COUNT, ADVERTISE_INTERVAL, COUNT, DHCP, GATEWAY_MODE_IPV4, GATEWAY_MODE_IPV6, Given, INTERVAL,
    MTU_RANGE, NetworkOptions, PARENT, PEERS, STORM_LIMIT,
};
use crate::world::Refusal;

/// An option of networks.
pub struct NetworkOption {
    /// Its name, as `-o NAME=VALUE` has it.
    pub name: &'static str,
    /// What stands for its value in help.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The drivers that it has an effect with; empty for all.
    pub drivers: &'static [&'static str],
    pub(super) read: fn(&mut NetworkOptions, Given<'_>) -> Result<(), Refusal>,
}

/// The drivers whose networks have a bridge.
const BRIDGED: &[&str] = &["bridge", "routed", "lan"];
/// Those whose networks have a gateway on this host.
const GATEWAY: &[&str] = &["bridge", "routed"];
/// Those whose networks are on an interface of the host.
const PARENTED: &[&str] = &["lan", "macvlan"];
const ALL: &[&str] = &[];

/// Makes an option of its columns.
macro_rules! options {
    ($($name:expr, $value:literal, $drivers:expr, $help:literal, $read:expr;)*) => {
        &[$(NetworkOption {
            name: $name, value: $value, help: $help, drivers: $drivers, read: $read
        }),*]
    };
}

/// All options of networks. Any other name that begins as Docker's or Fairway's is warned of.
pub const NETWORK_OPTIONS: &[NetworkOption] = options! {
    PARENT, "INTERFACE", PARENTED, "Interface of the host that the network is on", |read, given| {
        // Nothing is as if it were not given, as in Docker.
        if !given.value.is_empty() {
            read.parent = Some(given.interface()?);
        }
        Ok(())
    };
    "macvlan_mode", "MODE", &["macvlan"], "bridge, private, vepa or passthru", |read, given| {
        read.macvlan_mode = Some(given.macvlan_mode()?);
        Ok(())
    };
    PEERS, "SUBNET@HOST,...", &["routed"], "Subnets of other hosts, and the hosts they are reached by", |read, given| {
        read.peers = given.peers()?;
        Ok(())
    };
    DHCP, "BOOL", PARENTED, "Take IPv4 addresses from the DHCP server of the LAN", |read, given| {
        read.bridge.dhcp = given.flag()?;
        Ok(())
    };
    "fairway.guard", "strict", BRIDGED, "Drop whatever a sandbox sends from other addresses than its own", |read, given| {
        read.bridge.strict_guard = given.strict()?;
        Ok(())
    };
    "fairway.storm_limit", "FRAMES", &["lan"], "Frames a second that a sandbox may send to all (0 is no limit)", |read, given| {
        read.bridge.storm_limit =
            given.within(&(0..=STORM_LIMIT), "frames a second (0 is no limit)")?;
        Ok(())
    };
    "fairway.alias_answer", "all|first", ALL, "How many addresses the answer to a shared alias has", |read, given| {
        read.alias_answer = given.alias_answer()?;
        Ok(())
    };
    "fairway.route_localnet", "BOOL", GATEWAY, "Without the proxy, let 127.0.0.1 lead to published ports", |read, given| {
        read.bridge.route_localnet = given.flag()?;
        Ok(())
    };
    "com.docker.network.bridge.name", "NAME", BRIDGED, "Name of the bridge", |read, given| {
        read.bridge_name = Some(given.interface()?);
        Ok(())
    };
    GATEWAY_MODE_IPV4, "MODE", GATEWAY, "nat, nat-unprotected, routed or isolated", |read, given| {
        read.bridge.gateway_mode_ipv4 = given.gateway_mode()?;
        Ok(())
    };
    GATEWAY_MODE_IPV6, "MODE", GATEWAY, "The same for IPv6", |read, given| {
        read.bridge.gateway_mode_ipv6 = given.gateway_mode()?;
        Ok(())
    };
    "com.docker.network.bridge.enable_ip_masquerade", "BOOL", GATEWAY, "Give what leaves the network the host's address", |read, given| {
        read.masquerade = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.bridge.enable_icc", "BOOL", BRIDGED, "Let sandboxes of the network talk to one another", |read, given| {
        read.icc = Some(given.flag()?);
        Ok(())
    };
    "com.docker.network.bridge.host_binding_ipv4", "ADDRESS", GATEWAY, "Where ports are published when no address is given", |read, given| {
        read.host_binding = Some(given.parsed("an IP address")?);
        Ok(())
    };
    "com.docker.network.bridge.inhibit_ipv4", "BOOL", GATEWAY, "Leave the gateway's IPv4 address to another host on the bridge", |read, given| {
        read.bridge.inhibit_ipv4 = given.flag()?;
        Ok(())
    };
    "com.docker.network.bridge.trusted_host_interfaces", "INTERFACE:...", GATEWAY, "Interfaces from which published ports are reached directly", |read, given| {
        read.bridge.trusted_interfaces = given.interfaces()?;
        Ok(())
    };
    "com.docker.network.container_iface_prefix", "PREFIX", ALL, "Prefix of interface names in sandboxes", |read, given| {
        read.bridge.interface_prefix = Some(given.prefix()?);
        Ok(())
    };
    "com.docker.network.driver.mtu", "BYTES", ALL, "Largest packet of the network", |read, given| {
        read.mtu = Some(given.within(&MTU_RANGE, "bytes")?);
        Ok(())
    };
    "com.docker.network.host_ipv4", "ADDRESS", GATEWAY, "Source address of what leaves the network", |read, given| {
        read.bridge.source_ipv4 = Some(given.source("an IPv4 address")?);
        Ok(())
    };
    "com.docker.network.host_ipv6", "ADDRESS", GATEWAY, "The same for IPv6", |read, given| {
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
    COUNT, "0-3", BRIDGED, "How many times new addresses are announced to neighbors", |read, given| {
        read.bridge.advertising.count = given.within(&ADVERTISE_COUNT, "announcements")?;
        Ok(())
    };
    INTERVAL, "100-2000", BRIDGED, "Milliseconds between two announcements", |read, given| {
        read.bridge.advertising.interval_milliseconds =
            given.within(&ADVERTISE_INTERVAL, "milliseconds")?;
        Ok(())
    };
};
