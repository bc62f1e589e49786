//! `fairway network create`.

use clap::Args;
use fairway_api::types::{ConfigReference, Ipam, NetworkCreate};
use fairway_api::{Client, encode};
use fairway_core::ipam::match_subnets;
use fairway_core::world::NETWORK_OPTIONS;
use fairway_model::{Driver, parse};

use crate::command::error::CommandError;
use crate::command::print::{print_line, warn};

/// The network that is wanted.
#[derive(Debug, Args)]
#[command(after_help = drivers_and_options())]
pub(in crate::command) struct CreateOptions {
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet in CIDR format, such as 172.28.0.0/16; one of each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    subnet: Vec<String>,
    /// Gateway of a subnet; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Allocate addresses from this sub-range of a subnet (CIDR, or FIRST-LAST); may be repeated
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Auxiliary address that IPAM never allocates (name=address); may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_delimiter = ',')]
    aux_address: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Enable or disable IPv4 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Option for the driver (key=value); may be repeated
    #[arg(short, long, value_name = "OPTION", value_parser = parse::option)]
    opt: Vec<(String, String)>,
    /// Option for IPAM (key=value), which is kept and shown; may be repeated
    #[arg(long, value_name = "OPTION", value_parser = parse::option)]
    ipam_opt: Vec<(String, String)>,
    /// Create a network that only holds a configuration for others
    #[arg(long)]
    config_only: bool,
    /// Network to copy the configuration from
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Metadata (key=value); may be repeated
    #[arg(long, value_name = "LABEL", value_parser = parse::label)]
    label: Vec<(String, String)>,
    /// Accepted for compatibility with Docker: any sandbox can join any network
    #[arg(long)]
    attachable: bool,
    /// Name
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl CreateOptions {
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        let created = client.create_network(&self.request()?)?;
        created.warning.iter().flat_map(|text| text.lines()).for_each(warn);
        print_line(&created.id)?;
        Ok(0)
    }

    fn request(self) -> Result<NetworkCreate, CommandError> {
        let subnets = match_subnets(&self.subnet, &self.gateway, &self.ip_range, &self.aux_address)?;
        Ok(NetworkCreate {
            name: self.name,
            driver: self.driver,
            internal: self.internal,
            attachable: self.attachable,
            ipam: Some(Ipam {
                driver: "default".to_owned(),
                options: self.ipam_opt.into_iter().collect(),
                config: subnets.into_iter().map(encode::ipam_config).collect(),
            }),
            config_only: self.config_only,
            config_from: self.config_from.map(|network| ConfigReference { network }),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            options: self.opt.into_iter().collect(),
            labels: self.label.into_iter().collect(),
            ..NetworkCreate::default()
        })
    }
}

const EXAMPLES: &str = "Examples:
  fairway network create front
  fairway network create --subnet 172.28.0.0/16 --ipv6 -o com.docker.network.driver.mtu=9000 front
  fairway network create -d lan -o parent=eth0 office
";

/// Examples, and what `-d` and `-o` can be.
fn drivers_and_options() -> String {
    let drivers = Driver::CREATABLE.map(|(driver, help)| format!("  {:8} {help}\n", driver.name()));
    let options = NETWORK_OPTIONS.iter().map(|option| {
        let drivers = match option.drivers {
            [] => String::new(),
            drivers => format!(" [{}]", drivers.join(", ")),
        };
        format!("  {}={}\n      {}{drivers}\n", option.name, option.value, option.help)
    });
    let options: String = options.collect();
    format!("{EXAMPLES}\nDrivers (--driver):\n{}\nOptions of drivers (--opt):\n{options}", drivers.concat())
}
