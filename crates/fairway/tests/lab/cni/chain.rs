//! Chains with the reference's plugins, and its IPAM plugins.

use std::fs;
use std::path::Path;

use fairway_lab::{Outcome, ask, serve_tcp};
use serde_json::{Value, json};

use super::runtime::{Attachment, REFERENCE, Runtime};
use super::{answers, plugin, with_forwarding};
use crate::harness::{HOST, Stage};
use crate::kernel_state::{assert_same, observe};

/// Whether the reference's plugins are installed.
fn has_reference() -> bool {
    let found = Path::new(REFERENCE).join("host-local").exists();
    if !found {
        eprintln!("skipped: the package containernetworking-plugins is not installed");
    }
    found
}

#[test]
fn later_plugins_of_the_reference_work_on_its_result() {
    if !has_reference() {
        return;
    }
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        for version in ["0.4.0", "1.0.0"] {
            let mut own = plugin();
            own["ipam"] = json!({"subnet": "10.22.0.0/16"});
            own["capabilities"] = json!({});
            let chain = json!([
                own,
                {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
                {"type": "firewall"},
                {"type": "tuning", "capabilities": {"mac": true}, "sysctl": {"net.ipv4.conf.eth0.rp_filter": "2"}},
            ]);
            let runtime = Runtime::new(&stage, version, "chain", chain);
            let (web, path) = runtime.namespace(&format!("web-{version}"));
            let at = Attachment::of("web", &path);
            let asked = json!({
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
                "mac": "c2:b0:57:49:47:f1",
            });
            let result = runtime.add(at, &asked).unwrap();
            assert_eq!(result["interfaces"][2]["mac"], "c2:b0:57:49:47:f1");
            let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
            assert!(answers(&stage.lan, &format!("{HOST}:8080")), "{version}");
            let filter = web.run_in(|| fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/rp_filter").unwrap());
            assert_eq!(filter.unwrap().trim(), "2");
            runtime.delete(at).unwrap();
            runtime.delete(Attachment { netns: "", ..at }).unwrap();
            assert!(!answers(&stage.lan, &format!("{HOST}:8080")));
        }
    });
}

#[test]
fn an_interface_of_another_plugin_is_not_taken_over() {
    if !has_reference() {
        return;
    }
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let data = format!("{}/host-local", fairway_lab::SCRATCH);
        let bridge = json!({
            "type": "bridge", "bridge": "cni9", "ipam": {"type": "host-local", "subnet": "10.29.0.0/24", "dataDir": data},
        });
        let runtime = Runtime::new(&stage, "1.0.0", "mixed", json!([bridge, plugin()]));
        let (_web, path) = runtime.namespace("web");
        let at = Attachment::of("web", &path);
        let (code, message) = runtime.add(at, &json!({})).unwrap_err();
        assert_eq!(code, 7);
        assert!(message.contains("another plugin made interface eth0"), "{message}");
        runtime.delete(at).unwrap();
        // A plugin that made none may come first.
        let chain = json!([{"type": "tuning", "sysctl": {"net.ipv4.conf.all.log_martians": "1"}}, plugin()]);
        let runtime = Runtime::new(&stage, "1.0.0", "after", chain);
        let first = json!({
            "interfaces": [{"name": "lo", "sandbox": path}], "ips": [{"interface": 0, "address": "127.0.0.1/8"}],
        });
        let result = runtime.add_after(at, &first).unwrap();
        assert_eq!(result["interfaces"][3]["name"], "eth0");
        assert_eq!(result["ips"][1]["interface"], 3);
        runtime.delete(at).unwrap();
    });
}

/// The addresses that host-local has given, as its files say.
fn reserved(data: &str, network: &str) -> Vec<String> {
    let names = fs::read_dir(format!("{data}/{network}")).unwrap().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("10.")).collect();
    names.sort();
    names
}

#[test]
fn addresses_come_from_ipam_plugins_and_go_back() {
    if !has_reference() {
        return;
    }
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = with_forwarding(&stage);
        let data = format!("{}/host-local", fairway_lab::SCRATCH);
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let network = format!("delegated-{version}");
            let mut own = plugin();
            own["ipam"] = json!({
                "type": "host-local", "dataDir": data, "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.24.0.0/24", "rangeStart": "10.24.0.50"}]],
            });
            let runtime = Runtime::new(&stage, version, &network, json!([own]));
            let (web, path) = runtime.namespace(&format!("web-{version}"));
            let (_, other_path) = runtime.namespace(&format!("db-{version}"));
            let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
            let at = Attachment::of("web", &path);
            let result = runtime.add(at, &ports).unwrap();
            assert_eq!(result["ips"][0]["address"], "10.24.0.50/24");
            assert_eq!(result["ips"][0]["gateway"], "10.24.0.1");
            let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
            assert!(answers(&stage.lan, &format!("{HOST}:8080")));
            // The port is taken: the address goes back.
            let other = Attachment::of("db", &other_path);
            runtime.add(other, &ports).unwrap_err();
            assert_eq!(reserved(&data, &network), ["10.24.0.50"]);
            if version != "0.3.1" {
                runtime.check(at, &ports).unwrap();
                fs::remove_file(format!("{data}/{network}/10.24.0.50")).unwrap();
                let (_, message) = runtime.check(at, &ports).unwrap_err();
                assert!(message.contains("IPAM plugin host-local"), "{message}");
            }
            runtime.delete(at).unwrap();
            assert_eq!(reserved(&data, &network), [""; 0]);
        }
        let mut own = plugin();
        own["ipam"] = json!({
            "type": "static", "addresses": [{"address": "10.25.0.9/24", "gateway": "10.25.0.254"}],
            "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.10.50.1"]},
        });
        let runtime = Runtime::new(&stage, "1.0.0", "static", json!([own]));
        let (web, path) = runtime.namespace("web");
        let at = Attachment::of("web", &path);
        let result = runtime.add(at, &json!({})).unwrap();
        let ip = json!({"interface": 2, "address": "10.25.0.9/24", "gateway": "10.25.0.254"});
        assert_eq!((&result["ips"][0], &result["dns"]), (&ip, &json!({"nameservers": ["10.10.50.1"]})));
        let _server = serve_tcp(&stage.lan, "0.0.0.0:7").unwrap();
        let seen = ask(&web, "10.10.50.1:7").unwrap();
        assert!(matches!(seen, Outcome::Answered { .. }), "{seen}");
        runtime.delete(at).unwrap();
        let mut failing = plugin();
        failing["ipam"] = json!({"type": "host-local"});
        let runtime = Runtime::new(&stage, "1.0.0", "failing", json!([failing]));
        let (_, message) = runtime.add(at, &Value::Object(Default::default())).unwrap_err();
        assert!(message.contains("IPAM plugin host-local"), "{message}");
        drop(web);
        assert_same("after all", &observe(&stage, &[]), &before);
    });
}
