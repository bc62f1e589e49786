//! Reading the options of networks and endpoints: once, when these are made.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Refusal;
use fairway_model::parse::interface_name;
use fairway_model::{
    AliasAnswer, BridgeOptions, EndpointOptions, GatewayMode, InterfaceSysctl, MacvlanMode, ParsePeerError,
    Peer,
};

/// The smallest packet that IPv4 must carry whole (RFC 791), and the largest that IP can.
const MTU_RANGE: RangeInclusive<u32> = 68..=65_535;
/// A gigabit carries 1.5 million of the smallest frames a second.
const STORM_LIMIT: u32 = 1_500_000;
/// Docker's limits.
const ADVERTISE_COUNT: RangeInclusive<u8> = 0..=3;
const ADVERTISE_INTERVAL: RangeInclusive<u16> = 100..=2000;
/// Names of interfaces have 15 bytes; this leaves three for the number.
const PREFIX_LIMIT: usize = 12;
/// Entries of one option: its peers are compared with each other, its sysctls are written one by one.
const LIST_LIMIT: usize = 1000;

/// What the options of a network say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// `com.docker.network.bridge.name`.
    pub bridge_name: Option<String>,
    /// `com.docker.network.bridge.enable_ip_masquerade`.
    pub masquerade: Option<bool>,
    /// `com.docker.network.bridge.enable_icc`.
    pub icc: Option<bool>,
    /// `com.docker.network.bridge.host_binding_ipv4`.
    pub host_binding: Option<IpAddr>,
    /// `com.docker.network.driver.mtu`.
    pub mtu: Option<u32>,
    /// `com.docker.network.enable_ipv4`, where `--ipv4` says nothing.
    pub enable_ipv4: Option<bool>,
    /// `com.docker.network.enable_ipv6`, where `--ipv6` says nothing.
    pub enable_ipv6: Option<bool>,
    /// `com.docker.network.internal`.
    pub internal: bool,
    /// `fairway.peers`.
    pub peers: Vec<Peer>,
    /// `fairway.alias_answer`.
    pub alias_answer: AliasAnswer,
    /// `parent`: the interface of the host that the network is on.
    pub parent: Option<String>,
    /// `macvlan_mode`.
    pub macvlan_mode: Option<MacvlanMode>,
    /// Those of bridges alone.
    pub bridge: BridgeOptions,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One option as it was given.
#[derive(Debug, Clone, Copy)]
struct Given<'a> {
    name: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn refused(self, reason: impl Into<String>) -> Refusal {
        Refusal::InvalidOption {
            name: self.name.to_owned(),
            value: self.value.to_owned(),
            reason: reason.into(),
        }
    }

    /// Docker reads these as Go does.
    fn flag(self) -> Result<bool, Refusal> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.refused("true or false is expected")),
        }
    }

    fn parsed<T: FromStr>(self, expected: &str) -> Result<T, Refusal> {
        self.value.parse().map_err(|_| self.refused(format!("{expected} is expected")))
    }

    fn within<T: FromStr + PartialOrd + Display>(
        self,
        range: &RangeInclusive<T>,
        unit: &str,
    ) -> Result<T, Refusal> {
        let number = self.value.parse().ok().filter(|number| range.contains(number));
        let reason = || format!("{} to {} {unit} are possible", range.start(), range.end());
        number.ok_or_else(|| self.refused(reason()))
    }

    fn interface(self) -> Result<String, Refusal> {
        interface_name(self.value).map_err(|error| self.refused(error.to_string()))
    }

    fn macvlan_mode(self) -> Result<MacvlanMode, Refusal> {
        let expected = "bridge, private, vepa or passthru is expected";
        self.value.parse().map_err(|()| self.refused(expected))
    }

    fn gateway_mode(self) -> Result<GatewayMode, Refusal> {
        let expected = "nat, nat-unprotected, routed or isolated is expected";
        GatewayMode::from_name(self.value).ok_or_else(|| self.refused(expected))
    }

    /// An address that packets can come from.
    fn source<A: FromStr + Into<IpAddr> + Copy>(self, expected: &str) -> Result<A, Refusal> {
        let address: A = self.parsed(expected)?;
        let ip: IpAddr = address.into();
        match ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
            true => Err(self.refused("nobody could answer to it: name an address of this host")),
            false => Ok(address),
        }
    }

    /// Refuses a list that is longer than can be handled at once.
    fn check_entries(self, separator: char) -> Result<(), Refusal> {
        match self.value.split(separator).count() > LIST_LIMIT {
            true => Err(self.refused(format!("{LIST_LIMIT} entries are the limit"))),
            false => Ok(()),
        }
    }

    fn interfaces(self) -> Result<Vec<String>, Refusal> {
        self.check_entries(':')?;
        let mut names: Vec<String> = Vec::new();
        for name in self.value.split(':').filter(|name| !name.is_empty()) {
            let name = interface_name(name).map_err(|error| self.refused(error.to_string()))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn peers(self) -> Result<Vec<Peer>, Refusal> {
        self.check_entries(',')?;
        let texts = self.value.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts
            .map(|text| text.parse().map_err(|error: ParsePeerError| self.refused(error.to_string())))
            .collect()
    }

    fn prefix(self) -> Result<String, Refusal> {
        match interface_name(&format!("{}0", self.value)) {
            Ok(_) if !self.value.is_empty() && self.value.len() <= PREFIX_LIMIT => Ok(self.value.to_owned()),
            Ok(_) => {
                Err(self.refused(format!("1 to {PREFIX_LIMIT} bytes are possible, for a number follows")))
            }
            Err(error) => Err(self.refused(error.to_string())),
        }
    }

    fn strict(self) -> Result<bool, Refusal> {
        match self.value {
            "strict" => Ok(true),
            "" => Ok(false),
            _ => Err(self.refused("strict is expected")),
        }
    }

    fn alias_answer(self) -> Result<AliasAnswer, Refusal> {
        match self.value {
            "all" => Ok(AliasAnswer::All),
            "first" => Ok(AliasAnswer::First),
            _ => Err(self.refused("first or all is expected")),
        }
    }

    fn sysctls(self) -> Result<Vec<InterfaceSysctl>, Refusal> {
        self.check_entries(',')?;
        let mut sysctls: BTreeMap<(String, String), String> = BTreeMap::new();
        for text in self.value.split(',') {
            let (directory, name, value) = sysctl(text.trim()).ok_or_else(|| {
                self.refused(format!(
                    "unrecognised network interface sysctl '{}'; represent 'net.X.Y.ethN.Z=V' as \
                     'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'",
                    text.trim()
                ))
            })?;
            sysctls.insert((directory, name), value);
        }
        let typed = |((directory, name), value)| InterfaceSysctl { directory, name, value };
        Ok(sysctls.into_iter().map(typed).collect())
    }
}

/// Directory, name and value of `net.X.Y.IFNAME.Z=V`.
fn sysctl(text: &str) -> Option<(String, String, String)> {
    let (key, value) = text.split_once('=')?;
    let parts: Vec<&str> = key.trim().split('.').collect();
    let [net, family, group, interface, name @ ..] = parts.as_slice() else { return None };
    let word = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    let value = value.trim();
    let readable = !value.is_empty() && !value.contains(char::is_control);
    let known = *net == "net"
        && matches!(*family, "ipv4" | "ipv6" | "mpls")
        && interface.eq_ignore_ascii_case("IFNAME");
    (known && readable && word(group) && !name.is_empty() && name.iter().all(word))
        .then(|| (format!("net/{family}/{group}"), name.join("/"), value.to_owned()))
}

/// What to say of an option that would be ours or Docker's, if there were one of that name.
fn unknown(name: &str) -> Option<String> {
    let ours = name.starts_with("com.docker.network.") || name.starts_with("fairway.");
    ours.then(|| format!("the option {name} is not known here and has no effect"))
}

impl NetworkOptions {
    /// Reads the options of a network.
    ///
    /// # Errors
    /// [`Refusal::InvalidOption`] with the name of the option.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut read = Self::default();
        for (name, value) in options {
            let given = Given { name, value };
            match NETWORK_OPTIONS.iter().find(|option| option.name == name) {
                Some(option) => (option.read)(&mut read, given)?,
                None => read.warnings.extend(unknown(name)),
            }
        }
        Ok(read)
    }

    /// Refuses gateway modes that a network cannot have.
    pub(super) fn check_gateway_modes(&self, internal: bool) -> Result<(), Refusal> {
        let modes = [
            (GATEWAY_MODE_IPV4, self.bridge.gateway_mode_ipv4),
            (GATEWAY_MODE_IPV6, self.bridge.gateway_mode_ipv6),
        ];
        match modes.into_iter().find(|(_, mode)| *mode == GatewayMode::Isolated && !internal) {
            Some((name, _)) => Err(Given { name, value: "isolated" }
                .refused("gateway mode 'isolated' can only be used for an internal network: add --internal")),
            None => Ok(()),
        }
    }
}

/// The interface of the host that a network is on.
pub const PARENT: &str = "parent";
/// Whether IPv4 addresses come from the DHCP server of the LAN.
pub(super) const DHCP: &str = "fairway.dhcp";
/// The hosts that a routed network knows the ways to: `SUBNET@HOST`, separated by commas.
pub(super) const PEERS: &str = "fairway.peers";
const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
const INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// Reads the driver options of an endpoint, with what the user should know.
///
/// # Errors
/// [`Refusal::InvalidOption`] with the name of the option.
pub(super) fn endpoint_options(
    options: &BTreeMap<String, String>,
) -> Result<(EndpointOptions, Vec<String>), Refusal> {
    let (mut read, mut warnings) = (EndpointOptions::default(), Vec::new());
    for (name, value) in options {
        let given = Given { name, value };
        match name.as_str() {
            "com.docker.network.endpoint.ifname" => read.interface = Some(given.interface()?),
            "com.docker.network.endpoint.sysctls" => read.sysctls = given.sysctls()?,
            COUNT => read.advertise_count = Some(given.within(&ADVERTISE_COUNT, "announcements")?),
            INTERVAL => read.advertise_interval = Some(given.within(&ADVERTISE_INTERVAL, "milliseconds")?),
            other => warnings.extend(unknown(other)),
        }
    }
    Ok((read, warnings))
}

mod table;

pub use table::{NETWORK_OPTIONS, NetworkOption};

#[cfg(test)]
mod tests;
