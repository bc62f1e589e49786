//! `fairway network stats`.

use std::net::IpAddr;

use clap::Args;
use fairway_api::Client;
use fairway_api::types::{NetworkStats, PortStats, TrafficCount};

use crate::command::error::CommandError;
use crate::command::print::{print, print_line, table};

const HEADER: &str =
    "NETWORK\tSANDBOX\tPORT\tPACKETS IN\tBYTES IN\tPACKETS OUT\tBYTES OUT\tPROXIED IN\tPROXIED OUT";

/// Which networks to show, and how.
#[derive(Debug, Args)]
pub(in crate::command) struct NetworkStatistics {
    /// Format output: 'table' or 'json'
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Name or id [default: all]
    #[arg(value_name = "NETWORK")]
    network: Option<String>,
}

impl NetworkStatistics {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let found = client.stats(self.network.as_deref())?;
        if self.format == "json" {
            for network in &found {
                // It was read from such text.
                print_line(&serde_json::to_string(network).unwrap_or_default())?;
            }
            return Ok(0);
        }
        let lines: Vec<String> =
            std::iter::once(HEADER.to_owned()).chain(found.iter().flat_map(rows)).collect();
        print(&table(&lines.join("\n")))?;
        Ok(0)
    }
}

fn counts(count: &TrafficCount) -> String {
    format!("{}\t{}\t{}\t{}", count.packets_in, count.bytes_in, count.packets_out, count.bytes_out)
}

/// One line for the network, and one for each port.
fn rows(network: &NetworkStats) -> Vec<String> {
    let own =
        network.traffic.as_ref().map(|traffic| format!("{}\t\t\t{}\t\t", network.name, counts(traffic)));
    let ports = network.ports.iter().map(|port| format!("{}\t{}", network.name, row(port)));
    own.into_iter().chain(ports).collect()
}

fn row(port: &PortStats) -> String {
    let at = match port.host_ip.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => port.host_ip.clone(),
    };
    let PortStats { container, host_port, container_port, protocol, .. } = port;
    let counts = counts(&port.translated);
    let (inward, outward) = (port.proxied_bytes_in, port.proxied_bytes_out);
    format!("{container}\t{at}:{host_port}->{container_port}/{protocol}\t{counts}\t{inward}\t{outward}")
}
