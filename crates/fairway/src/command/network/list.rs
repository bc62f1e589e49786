//! `fairway network ls`.

use clap::Args;
use fairway_api::Client;
use fairway_api::types::NetworkInspect;

use super::filters;
use crate::command::error::CommandError;
use crate::command::print::{Column, ListOptions, identifier, labels, print};
use crate::command::template::Value;

const FIELDS: [Column; 9] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// Which networks to list, and how.
#[derive(Debug, Args)]
pub(in crate::command) struct ListNetworks {
    /// Filter output, such as 'driver=bridge', 'name=web' or 'dangling=true'; may be repeated
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    options: ListOptions,
}

impl ListNetworks {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let mut networks = client.networks(&filters(&self.filter)?)?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: Vec<Value> = networks.iter().map(|it| row(it, self.options.no_trunc)).collect();
        print(&self.options.show(&["ID", "Name", "Driver", "Scope"], &FIELDS, &rows)?)?;
        Ok(0)
    }
}

fn row(network: &NetworkInspect, whole: bool) -> Value {
    Value::texts([
        ("ID", identifier(&network.id, whole)),
        ("Name", network.name.clone()),
        ("Driver", network.driver.clone()),
        ("Scope", network.scope.clone()),
        ("IPv4", network.enable_ipv4.to_string()),
        ("IPv6", network.enable_ipv6.to_string()),
        ("Internal", network.internal.to_string()),
        ("Labels", labels(&network.labels)),
        ("CreatedAt", network.created.clone()),
    ])
}
