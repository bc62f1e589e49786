//! Networks on the host's own LAN that a configuration describes.

use std::net::Ipv4Addr;

use fairway_lab::{DhcpServer, serve_tcp};
use serde_json::{Value, json};

use super::answers;
use super::runtime::{Attachment, Runtime};
use crate::harness::{LAN, Stage};

const POOL: Ipv4Addr = Ipv4Addr::new(10, 10, 50, 60);

fn plugin(options: Value, ipam: Value) -> Value {
    let mut plugin = json!({"type": "fairway-cni", "driver": "lan", "options": options});
    if !ipam.is_null() {
        plugin["ipam"] = ipam;
    }
    json!([plugin])
}

#[test]
fn a_described_network_follows_another_on_its_interface_at_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let ipam = json!({"subnet": "10.10.50.0/24", "gateway": LAN, "rangeStart": "10.10.50.100"});
        let described = plugin(json!({"parent": "eth0"}), ipam);
        for number in 0..6 {
            let runtime = Runtime::new(&stage, "1.0.0", &format!("lan{number}"), described.clone());
            let (_web, path) = runtime.namespace(&format!("web{number}"));
            let at = Attachment::of("web", &path);
            runtime.add(at, &json!({})).unwrap();
            runtime.delete(at).unwrap();
        }
    });
}

#[test]
fn a_described_network_takes_the_lan_over_with_its_first_container() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.lan.add_address("eth0", "10.10.50.100/24").unwrap();
        let _server = DhcpServer::start(&stage.lan, "eth0", LAN.parse().unwrap(), &[POOL], 600).unwrap();
        let described = json!({"subnet": "10.10.50.0/24", "gateway": LAN, "rangeStart": "10.10.50.100"});
        for (name, options, ipam, expected) in [
            // The first address of the range is that of another host.
            ("web", json!({"parent": "eth0"}), described, "10.10.50.101/24".to_owned()),
            ("lent", json!({"parent": "eth0", "fairway.dhcp": "true"}), Value::Null, format!("{POOL}/24")),
        ] {
            let runtime = Runtime::new(&stage, "1.0.0", "lan", plugin(options, ipam));
            let (web, path) = runtime.namespace(name);
            let at = Attachment::of(name, &path);
            let result = runtime.add(at, &json!({})).unwrap();
            assert_eq!(result["ips"][0]["address"], json!(expected));
            let address = expected.trim_end_matches("/24");
            let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
            assert!(answers(&stage.lan, &format!("{address}:80")), "{address}");
            runtime.delete(at).unwrap();
        }
    });
}
