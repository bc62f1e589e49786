//! The metrics of a daemon: what it measured, as text for Prometheus.

mod distribution;
mod exposition;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use fairway_core::traffic::{RelayCounters, Traffic};
use fairway_core::world::World;
use fairway_model::NetworkId;

pub use distribution::Distribution;
pub use exposition::MEDIA_TYPE;
use exposition::{Exposition, Kind};

/// What the Committer measured since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandMeasurements {
    /// How long it took to connect a sandbox to networks.
    pub attaches: Distribution,
    /// How long it took to disconnect one.
    pub detaches: Distribution,
    /// How many commands were refused.
    pub refused: u64,
    /// How many commands failed.
    pub failed: u64,
}

/// What the Reconciler did since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairMeasurements {
    /// How often the kernel was compared with the Plan.
    pub comparisons: u64,
    /// How many comparisons or repairs failed.
    pub failed: u64,
    /// How many repairs there were.
    pub repairs: u64,
    /// How many objects were repaired, by kind.
    pub repaired: BTreeMap<&'static str, u64>,
}

/// The state of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreMeasurements {
    /// The size of its files in bytes.
    pub bytes: u64,
    /// How many changes were submitted.
    pub changes: u64,
    /// How many writes were tried; several changes may share one.
    pub commits: u64,
    /// How long the writes took together.
    pub committing: Duration,
    /// Whether the last write failed.
    pub fails: bool,
}

/// The requests of the API's clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiMeasurements {
    /// How many replies were sent, by HTTP status.
    pub replies: BTreeMap<u16, u64>,
    /// How many requests have no complete reply.
    pub in_progress: usize,
    /// How many connections are open.
    pub connections: usize,
    /// How many connections there may be.
    pub connections_limit: usize,
}

/// Everything that a daemon measures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurements {
    /// The daemon's version.
    pub version: String,
    /// The commands.
    pub commands: CommandMeasurements,
    /// The repairs.
    pub repairs: RepairMeasurements,
    /// Its store.
    pub store: StoreMeasurements,
    /// Whether the relay answers.
    pub relay_up: bool,
    /// What the relay counts; none if it does not answer, or is of a version that does not count.
    pub relay: Option<RelayCounters>,
    /// The entries of the conntrack table, and how many there may be; none without conntrack.
    pub conntrack: Option<(u64, u64)>,
    /// The traffic of the networks that have a bridge.
    pub traffic: BTreeMap<NetworkId, Traffic>,
    /// The API's clients.
    pub api: ApiMeasurements,
}

/// The metrics of a daemon with this World.
pub fn text(world: &World, measured: &Measurements) -> String {
    let mut to = Exposition::default();
    let version = [("version", measured.version.as_str())];
    to.metric("fairway_build_info", Kind::Gauge, "The daemon's version; always 1").labelled(&version, 1);
    world_metrics(&mut to, world);
    command_metrics(&mut to, &measured.commands);
    repair_metrics(&mut to, &measured.repairs);
    traffic_metrics(&mut to, world, &measured.traffic);
    relay_metrics(&mut to, measured.relay_up, measured.relay.as_ref());
    host_metrics(&mut to, measured);
    api_metrics(&mut to, &measured.api);
    to.into_text()
}

/// Counts items by a key.
fn counted<K: Ord>(keys: impl Iterator<Item = (K, usize)>) -> BTreeMap<K, usize> {
    keys.fold(BTreeMap::new(), |mut counts, (key, count)| {
        *counts.entry(key).or_default() += count;
        counts
    })
}

fn world_metrics(to: &mut Exposition, world: &World) {
    let networks = counted(world.networks().map(|network| (network.driver.to_string(), 1)));
    let mut metric = to.metric("fairway_networks", Kind::Gauge, "Networks, by driver");
    networks.iter().for_each(|(driver, count)| metric.labelled(&[("driver", driver)], count));
    let running = world.sandboxes().filter(|sandbox| sandbox.running()).count();
    let mut metric = to.metric("fairway_sandboxes", Kind::Gauge, "Sandboxes, by state");
    metric.labelled(&[("state", "running")], running);
    metric.labelled(&[("state", "stopped")], world.sandboxes().count() - running);
    let connected = world.endpoints().filter(|endpoint| endpoint.allocation.is_some()).count();
    to.metric("fairway_endpoints", Kind::Gauge, "Endpoints of running sandboxes").value(connected);
    let running = world.sandboxes().filter(|sandbox| sandbox.running());
    let ports = running.flat_map(|sandbox| &sandbox.publications);
    let ports = counted(ports.map(|it| (it.protocol.to_string(), it.host_ports.len())));
    let mut metric = to.metric("fairway_published_ports", Kind::Gauge, "Published host ports, by protocol");
    ports.iter().for_each(|(protocol, count)| metric.labelled(&[("protocol", protocol)], count));
}

fn command_metrics(to: &mut Exposition, measured: &CommandMeasurements) {
    let help = "Time to connect a sandbox to its networks, from the request until all is in force";
    to.metric("fairway_attach_duration_seconds", Kind::Histogram, help).distribution(&measured.attaches);
    let help = "Time to disconnect a sandbox from its networks";
    to.metric("fairway_detach_duration_seconds", Kind::Histogram, help).distribution(&measured.detaches);
    let help = "Changes that were asked for and not made: refused, or failed";
    let mut metric = to.metric("fairway_command_failures_total", Kind::Counter, help);
    metric.labelled(&[("reason", "refused")], measured.refused);
    metric.labelled(&[("reason", "failed")], measured.failed);
}

fn repair_metrics(to: &mut Exposition, measured: &RepairMeasurements) {
    let help = "Comparisons of the kernel with the Plan";
    to.metric("fairway_reconciler_runs_total", Kind::Counter, help).value(measured.comparisons);
    let help = "Comparisons or repairs that failed and are tried again";
    to.metric("fairway_reconciler_failures_total", Kind::Counter, help).value(measured.failed);
    let help = "Repairs of drift; one may repair several objects";
    to.metric("fairway_reconciler_repairs_total", Kind::Counter, help).value(measured.repairs);
    let help = "Objects whose drift was repaired, by kind";
    let mut metric = to.metric("fairway_drift_repaired_objects_total", Kind::Counter, help);
    measured.repaired.iter().for_each(|(kind, count)| metric.labelled(&[("kind", kind)], count));
}

fn traffic_metrics(to: &mut Exposition, world: &World, traffic: &BTreeMap<NetworkId, Traffic>) {
    let name = |id: &NetworkId| world.network(*id).map(|network| network.name.as_str());
    let named: Vec<_> = traffic.iter().filter_map(|(id, traffic)| Some((name(id)?, traffic))).collect();
    let help = "Bytes that the sandboxes of a network received from (in) or sent to (out) the host and other networks";
    let mut metric = to.metric("fairway_network_bytes_total", Kind::Counter, help);
    for (network, traffic) in &named {
        metric.labelled(&[("network", network), ("direction", "in")], traffic.inward.bytes);
        metric.labelled(&[("network", network), ("direction", "out")], traffic.outward.bytes);
    }
    let help = "The same in packets";
    let mut metric = to.metric("fairway_network_packets_total", Kind::Counter, help);
    for (network, traffic) in &named {
        metric.labelled(&[("network", network), ("direction", "in")], traffic.inward.packets);
        metric.labelled(&[("network", network), ("direction", "out")], traffic.outward.packets);
    }
}

fn relay_metrics(to: &mut Exposition, up: bool, relay: Option<&RelayCounters>) {
    let help = "Whether the relay answers";
    to.metric("fairway_relay_up", Kind::Gauge, help).value(u8::from(up));
    let mut metric = |name, kind, help: &str, value: fn(&RelayCounters) -> u64| {
        let mut metric = to.metric(name, kind, help);
        relay.iter().for_each(|relay| metric.value(value(relay)));
    };
    let help = "TCP connections that the userland proxy has open";
    metric("fairway_relay_open_connections", Kind::Gauge, help, |it| it.connections.open);
    let help = "How many there may be: beyond, the client with most loses one";
    metric("fairway_relay_connections_limit", Kind::Gauge, help, |it| it.connections.limit);
    let help = "TCP connections that the userland proxy has accepted";
    metric("fairway_relay_connections_total", Kind::Counter, help, |it| it.connections.begun);
    metric("fairway_relay_open_flows", Kind::Gauge, "UDP flows that it has open", |it| it.flows.open);
    metric("fairway_relay_flows_limit", Kind::Gauge, "How many there may be", |it| it.flows.limit);
    metric("fairway_relay_flows_total", Kind::Counter, "UDP flows that it has begun", |it| it.flows.begun);
    let help = "DNS queries that wait for a name server";
    metric("fairway_resolver_waiting_queries", Kind::Gauge, help, |it| it.queries.open);
    let help = "How many may wait: beyond, the sandbox with most loses its oldest";
    metric("fairway_resolver_waiting_queries_limit", Kind::Gauge, help, |it| it.queries.limit);
    let help = "Forwarded DNS queries that no name server answered";
    metric("fairway_resolver_unanswered_total", Kind::Counter, help, |it| it.unanswered);
    let help = "DNS queries, by where the answer comes from: names of sandboxes (names), answers before (cache), name \
                servers (forwarded), or nowhere (refused)";
    let mut metric = to.metric("fairway_resolver_queries_total", Kind::Counter, help);
    if let Some(relay) = relay {
        metric.labelled(&[("answer", "names")], relay.answered_by_names);
        metric.labelled(&[("answer", "cache")], relay.answered_by_cache);
        metric.labelled(&[("answer", "forwarded")], relay.queries.begun);
        metric.labelled(&[("answer", "refused")], relay.refused);
    }
    let help = "Connections, flows and queries that were ended for others, at a limit";
    let mut metric = to.metric("fairway_relay_evictions_total", Kind::Counter, help);
    if let Some(relay) = relay {
        metric.labelled(&[("resource", "connections")], relay.connections.evicted);
        metric.labelled(&[("resource", "flows")], relay.flows.evicted);
        metric.labelled(&[("resource", "queries")], relay.queries.evicted);
    }
}

fn host_metrics(to: &mut Exposition, measured: &Measurements) {
    let (entries, limit) = measured.conntrack.unzip();
    let mut metric = to.metric("fairway_conntrack_entries", Kind::Gauge, "Entries of the conntrack table");
    entries.iter().for_each(|entries| metric.value(entries));
    let help = "How many there may be: beyond, the kernel drops packets";
    let mut metric = to.metric("fairway_conntrack_entries_limit", Kind::Gauge, help);
    limit.iter().for_each(|limit| metric.value(limit));
    let store = &measured.store;
    to.metric("fairway_store_size_bytes", Kind::Gauge, "Size of the store's files").value(store.bytes);
    let help = "Changes that were submitted to the store";
    to.metric("fairway_store_changes_total", Kind::Counter, help).value(store.changes);
    let help = "Time of the store's writes; changes that arrive together share one";
    let mut metric = to.metric("fairway_store_commit_duration_seconds", Kind::Summary, help);
    metric.sum_and_count(store.committing.as_secs_f64(), store.commits);
    let help = "Whether the store's last write failed, and changes are refused";
    to.metric("fairway_store_failing", Kind::Gauge, help).value(u8::from(store.fails));
}

fn api_metrics(to: &mut Exposition, api: &ApiMeasurements) {
    let help = "Replies of the API, by HTTP status";
    let mut metric = to.metric("fairway_api_requests_total", Kind::Counter, help);
    for (status, count) in &api.replies {
        metric.labelled(&[("code", &status.to_string())], count);
    }
    let help = "Requests without a complete reply, streams among them";
    to.metric("fairway_api_requests_in_progress", Kind::Gauge, help).value(api.in_progress);
    let help = "Connections of the API's clients";
    to.metric("fairway_api_open_connections", Kind::Gauge, help).value(api.connections);
    to.metric("fairway_api_connections_limit", Kind::Gauge, "How many there may be")
        .value(api.connections_limit);
}
