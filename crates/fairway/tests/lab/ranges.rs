//! Ranges of ten thousand ports.

use std::time::Duration;

use fairway_lab::{Outcome, Question, serve_datagrams};

use crate::harness::{HOST, LAN, Stage, request};

#[test]
fn ten_thousand_udp_ports_are_published_and_unpublished() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        stage.network("web");
        let range = "0.0.0.0:20000-29999:20000-29999/udp";
        let sandbox = stage.sandbox("a", &["web"], &[range]);
        let ports = [20_000, 24_999, 29_999];
        let _servers = ports.map(|port| serve_datagrams(&sandbox, &format!("0.0.0.0:{port}")).unwrap());
        let asked = |port: u16| {
            let question = Question::to(&format!("{HOST}:{port}")).unwrap();
            question.within(Duration::from_secs(15)).udp(&stage.lan).unwrap()
        };
        for port in ports {
            assert_eq!(asked(port), Outcome::answered(LAN), "{port}");
        }
        for port in [19_999, 30_000] {
            assert_eq!(asked(port), Outcome::Refused, "{port} is not of the range");
        }
        let held = |port: u16| {
            stage.host.run_in(move || std::net::UdpSocket::bind(("0.0.0.0", port)).is_err()).unwrap()
        };
        assert!(ports.into_iter().all(held) && !held(30_000));
        stage.client().unpublish("a", request(&[], &[range]).host_config.port_bindings).unwrap();
        for port in ports {
            assert_eq!(asked(port), Outcome::Refused, "{port} is published no more");
            assert!(!held(port));
        }
        assert_eq!(sandbox.attached.ports.len(), 10_000);
    });
}
