//! Options that several commands share: each is defined here and nowhere else.

mod attachment;
mod published;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Args;
use fairway_api::encode;
use fairway_api::types::{ContainerCreate, EndpointIpam, EndpointSettings, HostConfig, NetworkingConfig};
use fairway_model::parse;
use fairway_model::{MacAddress, Protocol};

use super::error::CommandError;
use attachment::Attachment;
use published::Exposed;
pub(super) use published::Published;

/// Which networks a sandbox is on, what ports of it are published, and its names.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SandboxOptions {
    /// Network: a name, 'host', 'none' or 'container:NAME', or, with options for this network,
    /// 'name=NETWORK,alias=A,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,gw-priority=N,driver-opt=K=V';
    /// may be repeated
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Networks")]
    network: Vec<Attachment>,
    /// IPv4 address on the first network
    #[arg(long, value_name = "ADDRESS", value_parser = parse::ipv4, help_heading = "Networks")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "ADDRESS", value_parser = parse::ipv6, help_heading = "Networks")]
    ip6: Option<Ipv6Addr>,
    /// Link-local addresses cannot be chosen
    #[arg(long, value_name = "ADDRESS", value_parser = refuse_link_local, hide = true)]
    link_local_ip: Vec<String>,
    /// MAC address on the first network, such as 92:d0:c6:0a:29:33
    #[arg(long, value_name = "MAC", value_parser = parse::mac, help_heading = "Networks")]
    mac_address: Option<MacAddress>,
    /// Add network-scoped alias for the sandbox on the first network; may be repeated
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = parse::alias, help_heading = "Networks")]
    network_alias: Vec<String>,
    /// Link to another sandbox (NAME or NAME:ALIAS); may be repeated
    #[arg(long, value_name = "LINK", value_parser = parse::link, help_heading = "Networks")]
    link: Vec<(String, String)>,
    /// Publish ports to the host ([ADDRESS:][HOSTPORT:]PORT[/tcp|/udp], also ranges); may be repeated
    #[arg(short, long, value_name = "PORT", help_heading = "Ports")]
    publish: Vec<Published>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long, help_heading = "Ports")]
    publish_all: bool,
    /// Expose a port or a range of ports (PORT[/tcp|/udp]); may be repeated
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    expose: Vec<Exposed>,
    /// Host name [default: the short id]
    #[arg(short = 'h', long, value_name = "NAME", value_parser = parse::hostname, help_heading = "Names")]
    hostname: Option<String>,
    /// DNS server; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = parse::dns_server, help_heading = "Names")]
    dns: Vec<IpAddr>,
    /// DNS search domain; may be repeated
    #[arg(long, value_name = "DOMAIN", value_parser = parse::dns_search, help_heading = "Names")]
    dns_search: Vec<String>,
    /// DNS option, such as ndots:1; may be repeated
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", value_parser = parse::dns_option, help_heading = "Names")]
    dns_option: Vec<String>,
    /// Add a custom host-to-IP mapping (NAME:ADDRESS; 'host-gateway' is the host's address); may be repeated
    #[arg(long, value_name = "HOST", value_parser = parse::add_host, help_heading = "Names")]
    add_host: Vec<(String, Option<IpAddr>)>,
    /// Metadata (key=value); may be repeated
    #[arg(short, long, value_name = "LABEL", value_parser = parse::label)]
    label: Vec<(String, String)>,
}

/// Addresses that are asked for, if any is.
pub(super) fn addresses(ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> Option<EndpointIpam> {
    (ipv4.is_some() || ipv6.is_some()).then(|| EndpointIpam {
        ipv4_address: ipv4.map(|address| address.to_string()).unwrap_or_default(),
        ipv6_address: ipv6.map(|address| address.to_string()).unwrap_or_default(),
        link_local_ips: Vec::new(),
    })
}

/// The values, if there is any.
pub(super) fn given(values: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let values: Vec<String> = values.collect();
    (!values.is_empty()).then_some(values)
}

/// Refuses `--link-local-ip`, with the reason.
pub(super) fn refuse_link_local(_: &str) -> Result<String, String> {
    Err("link-local addresses cannot be chosen, the kernel makes them of the MAC: leave --link-local-ip out"
        .to_owned())
}

impl SandboxOptions {
    /// The request for such a sandbox, as far as these options say.
    ///
    /// # Errors
    /// Options that contradict one another.
    pub(super) fn request(self) -> Result<ContainerCreate, CommandError> {
        let mut networks = self.network;
        for (place, network) in networks.iter().enumerate() {
            if networks[..place].iter().any(|other| other.name == network.name) {
                return Err(CommandError::NetworkConflict(format!(
                    "network {:?} is specified multiple times",
                    network.name
                )));
            }
            let special = ["host", "none"].contains(&network.name.as_str());
            if networks.len() > 1 && (special || network.name.starts_with("container:")) {
                return Err(CommandError::NetworkConflict(format!(
                    "cannot attach both user-defined and non-user-defined network-modes: {} must be the only network",
                    network.name
                )));
            }
        }
        if networks.is_empty() {
            networks.push(Attachment { name: "default".to_owned(), ..Attachment::default() });
        }
        let first = &mut networks[0];
        set("--ip", "per-network IPv4 address", &mut first.ip, self.ip)?;
        set("--ip6", "per-network IPv6 address", &mut first.ip6, self.ip6)?;
        set("--mac-address", "per-network MAC address", &mut first.mac_address, self.mac_address)?;
        if !first.aliases.is_empty() && !self.network_alias.is_empty() {
            return Err(CommandError::Conflict { first: "--network-alias", second: "per-network alias" });
        }
        first.aliases.extend(self.network_alias);
        let network_mode = first.name.clone();

        let mut endpoints: Vec<(String, EndpointSettings)> =
            networks.into_iter().map(|network| (network.name.clone(), settings(network))).collect();
        endpoints[0].1.links = given(self.link.into_iter().map(|(name, alias)| format!("{name}:{alias}")));
        // What says nothing but the name needs no saying.
        if endpoints.len() == 1 {
            endpoints.retain(|(_, settings)| *settings != EndpointSettings::default());
        }
        let publish: Vec<_> = self.publish.into_iter().flat_map(|it| it.0).collect();
        let exposed = self.expose.into_iter().flat_map(|it| it.0);
        let port = |(port, protocol): (u16, Protocol)| (format!("{port}/{protocol}"), Default::default());
        Ok(ContainerCreate {
            hostname: self.hostname.unwrap_or_default(),
            exposed_ports: exposed.map(port).collect(),
            labels: self.label.into_iter().collect(),
            host_config: HostConfig {
                network_mode,
                port_bindings: encode::port_bindings(&publish),
                publish_all_ports: self.publish_all,
                dns: self.dns.iter().map(ToString::to_string).collect(),
                dns_options: self.dns_option,
                dns_search: self.dns_search,
                extra_hosts: encode::extra_hosts(&self.add_host),
                ..HostConfig::default()
            },
            networking_config: NetworkingConfig { endpoints_config: endpoints },
            ..ContainerCreate::default()
        })
    }
}

/// Sets what may be given in one place only.
fn set<T>(
    option: &'static str,
    field: &'static str,
    place: &mut Option<T>,
    value: Option<T>,
) -> Result<(), CommandError> {
    if place.is_some() && value.is_some() {
        return Err(CommandError::Conflict { first: option, second: field });
    }
    if value.is_some() {
        *place = value;
    }
    Ok(())
}

fn settings(network: Attachment) -> EndpointSettings {
    EndpointSettings {
        ipam_config: addresses(network.ip, network.ip6),
        aliases: given(network.aliases.into_iter()),
        mac_address: network.mac_address.map(|mac| mac.to_string()).unwrap_or_default(),
        driver_opts: (!network.driver_options.is_empty()).then_some(network.driver_options),
        gw_priority: network.gateway_priority,
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
mod tests;
