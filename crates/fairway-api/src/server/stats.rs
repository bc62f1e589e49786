//! `/containers/{id}/stats`: what a container uses, once or each second.

use std::time::Duration;

use fairway_model::Sandbox;
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::Server;
use super::call::Call;
use super::known::find;
use super::reply::Reply;
use crate::encode::rfc3339;
use crate::engine_api::{About, Failure, InterfaceUsage, Usage};
use crate::types::{ContainerStats, CpuStats, CpuUsage, InterfaceStats, MemoryStats, PidsStats};

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

impl Server {
    /// The counters of a container. Without `stream` they are sent once: with `one-shot` at once, else when there are two
    /// to be compared. All are zero for one that does not run, as in Docker.
    pub(super) async fn stats(&self, id: String, call: Call) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        let streams = call.parameter("stream").is_empty() || call.flag("stream");
        let mut before = self.line(&sandbox, None).await?;
        if !streams {
            if sandbox.running() && !call.flag("one-shot") {
                tokio::time::sleep(INTERVAL).await;
                before = self.line(&sandbox, Some(&before)).await?;
            }
            return Reply::json(&before);
        }
        let (send, receive) = mpsc::channel(1);
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let mut text = serde_json::to_vec(&before).unwrap_or_default();
                text.push(b'\n');
                if send.send(Bytes::from(text)).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = send.closed() => return,
                }
                let id = sandbox.id.to_string();
                // One that is removed has no more lines.
                let Ok(known) = server.call(move |engine| find(engine, &id)).await else { return };
                match server.line(&known, Some(&before)).await {
                    Ok(next) => before = next,
                    Err(_) => return,
                }
            }
        });
        Ok(Reply::stream(receive, None))
    }

    async fn line(
        &self,
        sandbox: &Sandbox,
        before: Option<&ContainerStats>,
    ) -> Result<ContainerStats, Failure> {
        let process = sandbox.process().map(|process| process.pid);
        let (usage, about, now) = self
            .call(move |engine| {
                // A process that ends meanwhile uses nothing.
                let usage = process.and_then(|process| engine.usage(process).ok()).unwrap_or_default();
                Ok((usage, engine.about(), engine.now()))
            })
            .await?;
        Ok(stats(sandbox, usage, &about, rfc3339(Some(now)), before))
    }
}

/// The counters in Docker's form.
fn stats(
    sandbox: &Sandbox,
    usage: Usage,
    about: &About,
    read: String,
    before: Option<&ContainerStats>,
) -> ContainerStats {
    let limits = sandbox.options.process.limits;
    ContainerStats {
        id: sandbox.id.to_string(),
        name: format!("/{}", sandbox.name),
        preread: before.map_or_else(|| rfc3339(None), |before| before.read.clone()),
        read,
        pids_stats: PidsStats { current: usage.processes, limit: limits.pids.unwrap_or(u64::MAX) },
        num_procs: 0,
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage { total_usage: usage.processor_time },
            system_cpu_usage: usage.host_time,
            online_cpus: about.processors,
        },
        precpu_stats: before.map(|before| before.cpu_stats.clone()).unwrap_or_default(),
        memory_stats: MemoryStats {
            usage: usage.memory,
            limit: limits.memory.map_or(about.memory, |limit| limit.min(about.memory)),
        },
        networks: usage.interfaces.into_iter().map(|(name, of)| (name, interface(of))).collect(),
    }
}

fn interface(usage: InterfaceUsage) -> InterfaceStats {
    let InterfaceUsage { received: [rx_bytes, rx_packets, rx_errors, rx_dropped], sent } = usage;
    let [tx_bytes, tx_packets, tx_errors, tx_dropped] = sent;
    InterfaceStats {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    }
}
