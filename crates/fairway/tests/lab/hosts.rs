//! Two hosts, each with a daemon of its own, and nothing that joins them but the LAN: what is published on one is
//! reached from the sandboxes of the other, and nothing else is.

use std::net::SocketAddr;
use std::thread;

use fairway_api::types::IpamConfig;
use fairway_lab::{Lab, Outcome, ask, serve_tcp};

use crate::harness::{HOST, HOST6, Sandbox, Stage};

/// The second host.
const OTHER: &str = "10.10.50.98";
const OTHER6: &str = "fd50::98";

/// A sandbox on a network of its own with this subnet, IPv6 besides.
fn sandbox(stage: &Stage, name: &str, subnet: &str, publish: &[&str]) -> Sandbox {
    let create = stage.create_network("app", |network| {
        network.enable_ipv6 = Some(true);
        let config = IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() };
        network.ipam.get_or_insert_default().config = vec![config];
    });
    create.unwrap();
    stage.sandbox(name, &["app"], publish)
}

fn check(lab: &Lab, flags: &[&str]) {
    let here = Stage::new(lab, flags);
    let there = here.second_host(lab, "other", [OTHER, OTHER6], flags);
    let client = sandbox(&here, "client", "172.30.1.0/24", &["8081:80"]);
    let server = sandbox(&there, "server", "172.30.2.0/24", &["8080:80"]);
    let default = here.sandbox("default", &["bridge"], &[]);
    let _servers = [&client, &server].map(|it| serve_tcp(it, "[::]:80").unwrap());
    let (published, published6) = (format!("{OTHER}:8080"), format!("[{OTHER6}]:8080"));
    // The asker is seen with the address of its host.
    let asked = [
        (&client, published.clone(), Outcome::answered(HOST)),
        (&client, published6, Outcome::answered(HOST6)),
        (&default, published, Outcome::answered(HOST)),
        (&server, format!("{HOST}:8081"), Outcome::answered(OTHER)),
        (&client, format!("{OTHER}:80"), Outcome::Refused),
    ];
    thread::scope(|scope| {
        for (place, target, expected) in &asked {
            scope.spawn(move || assert_eq!(ask(place, target).unwrap(), *expected, "{target}"));
        }
    });
    // Even who knows the way to its own address does not get there.
    here.host.route("172.30.2.0/24", OTHER).unwrap();
    let own = SocketAddr::new(server.address("app"), 80).to_string();
    assert_eq!(ask(&client, &own).unwrap(), Outcome::TimedOut);
}

#[test]
fn a_published_port_of_another_host_is_reached() {
    fairway_lab::run(|lab| check(lab, &[]));
}

#[test]
fn and_without_the_proxy() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"]));
}
