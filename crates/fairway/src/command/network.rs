//! `fairway network`.

mod create;
mod list;
mod stats;

use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use clap::{Args, Subcommand};
use fairway_api::Client;
use fairway_api::filter::Filters;
use fairway_api::types::{ConnectRequest, DisconnectRequest, EndpointSettings};
use fairway_model::parse;

use super::error::CommandError;
use super::inspect;
use super::options::{addresses, given, refuse_link_local};
use super::print::{each, print, print_line, warn};

/// What can be done with networks.
#[derive(Debug, Subcommand)]
pub(super) enum NetworkCommand {
    /// Create a network
    Create(create::CreateOptions),
    /// List networks
    #[command(alias = "list")]
    Ls(list::ListNetworks),
    /// Display detailed information on one or more networks
    Inspect(InspectNetworks),
    /// Remove one or more networks
    #[command(alias = "remove")]
    Rm(RemoveNetworks),
    /// Remove all unused networks
    Prune(PruneNetworks),
    /// Show packets and bytes of networks and published ports
    Stats(stats::NetworkStatistics),
    /// Connect a sandbox to a network
    Connect(Box<ConnectOptions>),
    /// Disconnect a sandbox from a network
    Disconnect(DisconnectOptions),
}

/// Which networks to show.
#[derive(Debug, Args)]
pub(super) struct InspectNetworks {
    /// Format output: 'json' or a Go template such as '{{.Driver}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Accepted for compatibility with Docker
    #[arg(short, long, hide = true)]
    verbose: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Which networks to remove.
#[derive(Debug, Args)]
pub(super) struct RemoveNetworks {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Which unused networks to remove.
#[derive(Debug, Args)]
pub(super) struct PruneNetworks {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Filter output, such as 'until=24h' or 'label=env=test'; may be repeated
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// What is asked of the new endpoint.
#[derive(Debug, Args)]
pub(super) struct ConnectOptions {
    /// IPv4 address, such as 172.30.100.104
    #[arg(long, value_name = "ADDRESS", value_parser = parse::ipv4)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address, such as 2001:db8::33
    #[arg(long, value_name = "ADDRESS", value_parser = parse::ipv6)]
    ip6: Option<Ipv6Addr>,
    /// Add network-scoped alias for the sandbox; may be repeated
    #[arg(long, value_name = "NAME", value_parser = parse::alias)]
    alias: Vec<String>,
    /// Link to another sandbox (NAME or NAME:ALIAS); may be repeated
    #[arg(long, value_name = "LINK", value_parser = parse::link)]
    link: Vec<(String, String)>,
    /// Link-local addresses cannot be chosen
    #[arg(long, value_name = "ADDRESS", value_parser = refuse_link_local, hide = true)]
    link_local_ip: Vec<String>,
    /// Option for the driver (key=value); may be repeated
    #[arg(long, value_name = "OPTION", value_parser = parse::driver_option)]
    driver_opt: Vec<(String, String)>,
    /// Highest gives the default gateway; may be negative
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i32,
    /// Network
    network: String,
    /// Sandbox
    container: String,
}

/// Which endpoint is to go.
#[derive(Debug, Args)]
pub(super) struct DisconnectOptions {
    /// Accepted for compatibility with Docker: no endpoint needs force
    #[arg(short, long)]
    force: bool,
    /// Network
    network: String,
    /// Sandbox
    container: String,
}

impl NetworkCommand {
    /// Does it; the exit code.
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        match self {
            Self::Create(options) => options.run(client),
            Self::Ls(options) => options.run(client),
            Self::Inspect(options) => inspect::inspect(
                client,
                &options.networks,
                &[inspect::Kind::Network],
                options.format.as_deref(),
            ),
            Self::Rm(options) => each(&options.networks, |network| {
                match client.remove_network(network).map_err(CommandError::from) {
                    Err(error) if error.not_found() => match options.force {
                        true => Ok(()),
                        false => Err(CommandError::NotFound { kind: "network", name: network.to_owned() }),
                    },
                    outcome => outcome.and_then(|()| print_line(network)),
                }
            }),
            Self::Stats(options) => options.run(client),
            Self::Prune(options) => options.run(client),
            Self::Connect(options) => {
                let ConnectOptions {
                    network, container, ip, ip6, alias, link, driver_opt, gw_priority, ..
                } = *options;
                let settings = EndpointSettings {
                    ipam_config: addresses(ip, ip6),
                    links: given(link.into_iter().map(|(name, alias)| format!("{name}:{alias}"))),
                    aliases: given(alias.into_iter()),
                    driver_opts: (!driver_opt.is_empty()).then(|| driver_opt.into_iter().collect()),
                    gw_priority,
                    ..EndpointSettings::default()
                };
                let request = ConnectRequest { container, endpoint_config: Some(settings) };
                client.connect(&network, &request)?.warnings.iter().for_each(|text| warn(text));
                Ok(0)
            }
            Self::Disconnect(options) => {
                let request = DisconnectRequest { container: options.container, force: options.force };
                client.disconnect(&options.network, &request)?.warnings.iter().for_each(|text| warn(text));
                Ok(0)
            }
        }
    }
}

/// Removes unused networks, and prints their names.
pub(super) fn prune(client: &mut Client, filters: &Filters) -> Result<(), CommandError> {
    let mut deleted = client.prune_networks(filters)?.networks_deleted.unwrap_or_default();
    deleted.sort();
    match deleted.is_empty() {
        true => Ok(()),
        false => print(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n"))),
    }
}

/// Reads `--filter`: each `name=value`.
pub(super) fn filters(texts: &[String]) -> Result<Filters, CommandError> {
    texts.iter().try_fold(Filters::default(), |filters, text| {
        let (name, value) = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| CommandError::Filter(text.clone()))?;
        // `label!=x` is a filter of that name.
        Ok(filters.with(&name.to_ascii_lowercase(), value))
    })
}

impl PruneNetworks {
    fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let filters = filters(&self.filter)?;
        let warning = "This will remove all custom networks not used by at least one container.";
        if !self.force && !confirmed(warning)? {
            return Ok(0);
        }
        prune(client, &filters).map(|()| 0)
    }
}

/// Asks whether what the warning says may be done.
pub(super) fn confirmed(warning: &str) -> Result<bool, CommandError> {
    print(&format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::Print)?;
    if !io::stdin().is_terminal() {
        let _ = writeln!(io::stdout());
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "YES"))
}
