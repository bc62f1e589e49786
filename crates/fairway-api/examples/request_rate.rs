//! Measures what the HTTP face costs, with an engine that touches nothing:
//! `cargo run --release -p fairway-api --example request_rate`.

#![allow(clippy::unwrap_used, reason = "a measurement")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/api/engine.rs"]
mod engine;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/api/small_world.rs"]
mod small_world;

use std::time::{Duration, Instant};

use fairway_api::Client;
use fairway_api::types::{AttachRequest, ContainerCreate, HostConfig, NetworkCreate, PortBinding};

/// Runs `request` again and again on one connection, and prints what it takes.
fn measure(what: &str, count: usize, client: &mut Client, mut request: impl FnMut(&mut Client, usize)) {
    let mut times: Vec<Duration> = (0..count)
        .map(|step| {
            let start = Instant::now();
            request(client, step);
            start.elapsed()
        })
        .collect();
    times.sort();
    let total: Duration = times.iter().sum();
    let rate = count as f64 / total.as_secs_f64();
    println!("{what}: p50 {:?}, p99 {:?}, {rate:.0} a second", times[count / 2], times[count * 99 / 100]);
}

fn attach(step: usize, ports: usize) -> AttachRequest {
    let mut host_config = HostConfig { network_mode: "web".into(), ..HostConfig::default() };
    for port in 0..ports {
        let binding = PortBinding { host_ip: String::new(), host_port: (20000 + port).to_string() };
        host_config.port_bindings.insert(format!("{}/tcp", 1000 + port), Some(vec![binding]));
    }
    AttachRequest {
        name: format!("sandbox-{step}"),
        pid: 1000 + step as u32,
        container: ContainerCreate { host_config, ..ContainerCreate::default() },
        ..AttachRequest::default()
    }
}

fn main() {
    let server = engine::RunningServer::start();
    let mut client = server.client();
    client.create_network(&NetworkCreate { name: "web".into(), ..NetworkCreate::default() }).unwrap();
    measure("GET /_ping", 20_000, &mut client, |client, _| client.ping().unwrap());
    measure("GET /version", 20_000, &mut client, |client, _| drop(client.version().unwrap()));
    measure("GET /networks/web", 10_000, &mut client, |client, _| drop(client.network("web").unwrap()));
    for ports in [0, 1, 1000] {
        measure(&format!("attach and detach, {ports} ports"), 500, &mut client, |client, step| {
            client.attach(&attach(step, ports)).unwrap();
            client.detach(&format!("sandbox-{step}")).unwrap();
        });
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            let mut client = server.client();
            scope.spawn(move || (0..2000).for_each(|_| drop(client.version().unwrap())));
        }
    });
    println!("GET /version on 16 connections: {:.0} a second", 32_000.0 / start.elapsed().as_secs_f64());
}
