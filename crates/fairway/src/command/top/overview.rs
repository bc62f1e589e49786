//! What `fairway top` shows, as tables: a function of what the daemon answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fairway_api::types::{ContainerSummary, NetworkInspect, NetworkStats, PortStats};
use fairway_core::traffic::bytes_with_unit;
use fairway_inspect::doctor::{Finding, Severity};

use crate::command::port::displayed;
use crate::command::print::table;

/// What the daemon answered at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// The networks.
    pub networks: Vec<NetworkInspect>,
    /// All sandboxes.
    pub sandboxes: Vec<ContainerSummary>,
    /// The counters of networks and published ports.
    pub traffic: Vec<NetworkStats>,
    /// What doctor found; none if it was not asked yet.
    pub findings: Option<Vec<Finding>>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Its name.
    pub title: &'static str,
    /// The names of its columns.
    pub header: &'static [&'static str],
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// A cell for each column.
    pub cells: Vec<String>,
    /// How severe it is; `Ok` for what is no finding.
    pub severity: Severity,
}

impl Row {
    fn plain(cells: impl Into<Vec<String>>) -> Self {
        Self { cells: cells.into(), severity: Severity::Ok }
    }
}

/// Bytes to sandboxes, and from them.
type Bytes = (u64, u64);

/// The tables of a sample. Rates are those since the sample before, which was taken so long before.
pub(super) fn views(now: &Sample, before: Option<(&Sample, Duration)>) -> [View; 4] {
    [networks(now, before), sandboxes(now), ports(now, before), findings(now)]
}

/// All tables as text, one below the other.
pub(super) fn text(views: &[View]) -> String {
    let text = |view: &View| {
        let rows = view.rows.iter().map(|row| row.cells.join("\t"));
        let lines: Vec<String> = std::iter::once(view.header.join("\t")).chain(rows).collect();
        format!("{}\n{}", view.title, table(&lines.join("\n")))
    };
    views.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn networks(now: &Sample, before: Option<(&Sample, Duration)>) -> View {
    let mut networks: Vec<&NetworkInspect> = now.networks.iter().collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let (counted, earlier) = (network_bytes(now), before.map(|(sample, _)| network_bytes(sample)));
    let row = |network: &NetworkInspect| {
        let subnets = network.ipam.config.iter().map(|it| it.subnet.as_str()).collect::<Vec<_>>().join(" ");
        let has = |sandbox: &&ContainerSummary| {
            sandbox.state == "running" && sandbox.network_settings.networks.contains_key(&network.name)
        };
        let sandboxes = now.sandboxes.iter().filter(has).count();
        let mut cells = vec![network.name.clone(), network.driver.clone(), subnets, sandboxes.to_string()];
        let id = network.id.as_str();
        cells.extend(traffic_cells(counted.get(id), earlier.as_ref().and_then(|it| it.get(id)), before));
        Row::plain(cells)
    };
    View {
        title: "Networks",
        header: &["NETWORK", "DRIVER", "SUBNETS", "SANDBOXES", "IN/S", "OUT/S", "IN", "OUT"],
        rows: networks.into_iter().map(row).collect(),
    }
}

fn network_bytes(sample: &Sample) -> BTreeMap<&str, Bytes> {
    let traffic = sample.traffic.iter();
    traffic
        .filter_map(|it| Some((it.id.as_str(), it.traffic.map(|it| (it.bytes_in, it.bytes_out))?)))
        .collect()
}

fn sandboxes(now: &Sample) -> View {
    let name = |sandbox: &ContainerSummary| {
        sandbox.names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default()
    };
    let mut sandboxes: Vec<&ContainerSummary> = now.sandboxes.iter().collect();
    // Those that run first.
    sandboxes.sort_by_key(|sandbox| (sandbox.state != "running", name(sandbox)));
    let row = |sandbox: &ContainerSummary| {
        let networks = &sandbox.network_settings.networks;
        let addresses =
            networks.values().flat_map(|it| [it.ip_address.as_str(), it.global_ipv6_address.as_str()]);
        let addresses = addresses.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
        let networks = networks.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        Row::plain([name(sandbox), sandbox.status.clone(), networks, addresses, displayed(&sandbox.ports)])
    };
    View {
        title: "Sandboxes",
        header: &["SANDBOX", "STATUS", "NETWORKS", "ADDRESSES", "PORTS"],
        rows: sandboxes.into_iter().map(row).collect(),
    }
}

fn ports(now: &Sample, before: Option<(&Sample, Duration)>) -> View {
    let (counted, earlier) = (port_bytes(now), before.map(|(sample, _)| port_bytes(sample)));
    let row = |(name, bytes): (&(String, String), &Bytes)| {
        let (sandbox, port) = name.clone();
        let mut cells = vec![sandbox, port];
        cells.extend(traffic_cells(Some(bytes), earlier.as_ref().and_then(|it| it.get(name)), before));
        Row::plain(cells)
    };
    View {
        title: "Published ports",
        header: &["SANDBOX", "PORT", "IN/S", "OUT/S", "IN", "OUT"],
        rows: counted.iter().map(row).collect(),
    }
}

/// What was translated and proxied of each port, by sandbox and port.
fn port_bytes(sample: &Sample) -> BTreeMap<(String, String), Bytes> {
    let ports = sample.traffic.iter().flat_map(|network| &network.ports);
    ports.map(|port| ((port.container.clone(), port_text(port)), both(port))).collect()
}

fn both(port: &PortStats) -> Bytes {
    let translated = &port.translated;
    (translated.bytes_in + port.proxied_bytes_in, translated.bytes_out + port.proxied_bytes_out)
}

fn port_text(port: &PortStats) -> String {
    let at = match port.host_ip.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => port.host_ip.clone(),
    };
    format!("{at}:{}->{}/{}", port.host_port, port.container_port, port.protocol)
}

/// Bytes a second, and bytes, each in and out. Without counters, or without earlier ones, a dash.
fn traffic_cells(
    now: Option<&Bytes>,
    earlier: Option<&Bytes>,
    before: Option<(&Sample, Duration)>,
) -> [String; 4] {
    let seconds = before.map(|(_, since)| since.as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let rate = |side: fn(&Bytes) -> u64| {
        // Counters start over when a bridge is made again.
        let grown = side(now?).saturating_sub(side(earlier?));
        Some(bytes_with_unit(grown as f64 / seconds?))
    };
    let total = |side: fn(&Bytes) -> u64| now.map(|now| bytes_with_unit(side(now) as f64));
    let cells = [rate(|it| it.0), rate(|it| it.1), total(|it| it.0), total(|it| it.1)];
    cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
}

fn findings(now: &Sample) -> View {
    let found = now.findings.iter().flatten().filter(|finding| finding.severity != Severity::Ok);
    let mut found: Vec<&Finding> = found.collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let row = |finding: &Finding| {
        let fix = finding.fix.as_ref().map(|fix| fix.command.clone()).unwrap_or_default();
        let cells = [finding.severity.as_str().to_owned(), finding.id.clone(), finding.message.clone(), fix];
        Row { cells: cells.into(), severity: finding.severity }
    };
    View {
        title: "Findings",
        header: &["SEVERITY", "CHECK", "FINDING", "FIX"],
        rows: match &now.findings {
            Some(_) => found.into_iter().map(row).collect(),
            None => {
                let cells = ["-", "-", "not known yet: doctor has not answered", "-"].map(str::to_owned);
                vec![Row { cells: cells.into(), severity: Severity::Ok }]
            }
        },
    }
}

#[cfg(test)]
pub(super) mod tests;
