//! The command line of netavark.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The options of netavark 2.1, which are also those of 1.4.
#[derive(Debug, Parser)]
#[command(name = "netavark", version = super::VERSION, about = "Networks of podman's containers, by Fairway")]
pub(super) struct Arguments {
    /// Read the configuration from this file instead of standard input
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Firewall driver of a daemon that is started: nftables, iptables, firewalld or none
    #[arg(long, env = "NETAVARK_FW")]
    pub firewall_driver: Option<String>,
    /// Directory for the files of aardvark-dns, and of a daemon that is started rootless
    #[arg(short, long)]
    pub config: Option<PathBuf>,
    /// Whether the container is rootless
    #[arg(short, long)]
    pub rootless: Option<bool>,
    /// The aardvark-dns program; if it is another one than Fairway's, it resolves the names
    #[arg(short, long, default_value = "/usr/libexec/podman/aardvark-dns")]
    pub aardvark_binary: PathBuf,
    /// Directory of plugins; can be given several times
    #[arg(long = "plugin-directory")]
    pub plugin_directories: Vec<PathBuf>,
    /// The port that an aardvark-dns listens at which is not Fairway's
    #[arg(long, env = "NETAVARK_DNS_PORT", default_value_t = 53, hide = true)]
    pub dns_port: u16,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Connects a network namespace as the configuration says
    Setup {
        /// Path of the network namespace
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        network_namespace_path: String,
    },
    /// Disconnects a network namespace
    Teardown {
        /// Path of the network namespace
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        network_namespace_path: String,
    },
    /// Changes the name servers of a network
    Update {
        /// Name of the network
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        network_name: String,
        /// The name servers; an empty text removes them
        #[arg(long, required = true, value_delimiter = ',', value_parser = server)]
        network_dns_servers: Vec<Server>,
    },
    /// Completes and checks the configuration of a new network
    Create,
    /// Waits until it is ended: the daemon repairs what firewalld changes
    #[command(name = "firewalld-reload")]
    FirewalldReload,
    /// Repairs the firewall
    #[command(name = "firewall-reload")]
    FirewallReload,
    /// Not needed: the daemon renews leases itself
    #[command(name = "dhcp-proxy")]
    DhcpProxy {
        /// Options of netavark's proxy
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Shows the version
    Version,
}

/// A name server, or none for an empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server(pub Option<IpAddr>);

fn server(text: &str) -> Result<Server, std::net::AddrParseError> {
    if text.is_empty() { Ok(Server(None)) } else { text.parse().map(|address| Server(Some(address))) }
}
