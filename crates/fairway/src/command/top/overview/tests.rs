//! Tables of what a daemon answered.

use fairway_api::types::{EndpointSettings, IpamConfig, PortSummary, TrafficCount};
use fairway_inspect::doctor::Fix;

use super::*;

/// What a daemon answers with a network, two sandboxes and a published port, through which so many bytes came.
pub(in crate::command::top) fn sample(bytes_in: u64) -> Sample {
    let network = |name: &str, driver: &str, subnet: &str| {
        let mut network = NetworkInspect {
            name: name.to_owned(),
            id: name.repeat(3),
            driver: driver.to_owned(),
            ..Default::default()
        };
        if !subnet.is_empty() {
            network.ipam.config = vec![IpamConfig { subnet: subnet.to_owned(), ..Default::default() }];
        }
        network
    };
    let sandbox = |name: &str, state: &str, status: &str| {
        let mut sandbox = ContainerSummary {
            names: vec![format!("/{name}")],
            state: state.to_owned(),
            status: status.to_owned(),
            ..Default::default()
        };
        let endpoint = EndpointSettings { ip_address: "172.18.0.2".to_owned(), ..Default::default() };
        if state == "running" {
            sandbox.network_settings.networks.insert("app".to_owned(), endpoint);
            let port = PortSummary {
                ip: "0.0.0.0".to_owned(),
                private_port: 80,
                public_port: 8080,
                kind: "tcp".to_owned(),
            };
            sandbox.ports = vec![port];
        }
        sandbox
    };
    let count = TrafficCount { packets_in: 1, bytes_in, packets_out: 1, bytes_out: 2_500_000 };
    let port = PortStats {
        container: "web".to_owned(),
        host_ip: "0.0.0.0".to_owned(),
        host_port: 8080,
        container_port: 80,
        protocol: "tcp".to_owned(),
        translated: count,
        proxied_bytes_in: 500,
        ..Default::default()
    };
    let traffic = NetworkStats {
        name: "app".to_owned(),
        id: "appappapp".to_owned(),
        traffic: Some(count),
        ports: vec![port],
        ..Default::default()
    };
    let finding = |severity, id: &str, fix: Option<&str>| Finding {
        id: id.to_owned(),
        severity,
        message: format!("the message of {id}"),
        impact: String::new(),
        fix: fix.map(|command| Fix { command: command.to_owned(), automatic: false }),
    };
    Sample {
        networks: vec![network("host", "host", ""), network("app", "bridge", "172.18.0.0/16")],
        sandboxes: vec![
            sandbox("old", "exited", "Exited (1) 5 minutes ago"),
            sandbox("web", "running", "Up 5 minutes"),
        ],
        traffic: vec![traffic],
        findings: Some(vec![
            finding(Severity::Ok, "relay", None),
            finding(
                Severity::Warning,
                "conntrack-full",
                Some("sysctl -w net.netfilter.nf_conntrack_max=524288"),
            ),
            finding(Severity::Error, "forwarding-off", None),
        ]),
    }
}

#[test]
fn rates_are_those_since_the_sample_before() {
    let (before, now) = (sample(1_000), sample(5_000));
    insta::assert_snapshot!(text(&views(&now, Some((&before, Duration::from_secs(2))))));
}

#[test]
fn without_a_sample_before_there_are_no_rates() {
    let views = views(&sample(1_000), None);
    let cells = |view: &View| view.rows[0].cells.clone();
    assert_eq!(cells(&views[0])[4..], ["-", "-", "1.0 kB", "2.5 MB"]);
    assert_eq!(cells(&views[2])[2..], ["-", "-", "1.5 kB", "2.5 MB"]);
}

#[test]
fn counters_that_start_over_have_no_negative_rate() {
    let views = views(&sample(10), Some((&sample(1_000), Duration::from_secs(1))));
    assert_eq!(views[0].rows[0].cells[4..6], ["0 B", "0 B"]);
}
