//! The CNI plugin, called as runtimes call it: who reaches whom, in each version.

mod chain;
mod cleanup;
mod lan;
mod requests;
mod runtime;

use std::collections::BTreeSet;
use std::net::IpAddr;

use fairway_lab::{Outcome, Place, ask, serve_tcp};
use serde_json::{Value, json};

use crate::dns::{RecordType, look_up};
use crate::harness::{HOST, HOST6, Stage};
use crate::kernel_state::{assert_same, observe};
use crate::upstream::RESOLVER;
use runtime::{Attachment, Runtime, VERSIONS};

/// A network with both families, as documented.
fn plugin() -> Value {
    json!({
        "type": "fairway-cni", "isDefaultGateway": true, "ipMasq": true, "bridge": "cni7",
        "ipam": {"ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd22::/64"}]]},
        "capabilities": {"portMappings": true, "aliases": true, "ips": true, "mac": true, "dns": true},
    })
}

fn answers(place: &Place, address: &str) -> bool {
    matches!(ask(place, address).unwrap(), Outcome::Answered { .. })
}

/// What exists without containers. Forwarding of IPv6 stays on until the daemon ends.
fn with_forwarding(stage: &Stage) -> BTreeSet<String> {
    stage.create_network("first", |network| network.enable_ipv6 = Some(true)).unwrap();
    stage.client().remove_network("first").unwrap();
    observe(stage, &[])
}

fn addresses(place: &Place, name: &str) -> Vec<IpAddr> {
    look_up(place, RESOLVER, name, RecordType::A).unwrap()
}

#[test]
fn containers_are_attached_checked_and_detached_in_each_version() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = with_forwarding(&stage);
        for version in VERSIONS {
            let runtime = Runtime::new(&stage, version, "pods", json!([plugin()]));
            let (web, path) = runtime.namespace("web");
            let (client, client_path) = runtime.namespace("client");
            let id = "ab".repeat(32);
            let arguments = "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop";
            let at = Attachment { arguments, ..Attachment::of(&id, &path) };
            let other = Attachment::of("default-c1", &client_path);
            let ports = json!({
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
                "aliases": ["www"],
            });
            let result = runtime.add(at, &ports).unwrap();
            assert_eq!(result["cniVersion"], version);
            let names: Vec<_> =
                result["interfaces"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
            assert_eq!((names.len(), names[0], names[2]), (3, &json!("cni7"), &json!("eth0")));
            assert_eq!(result["interfaces"][2]["sandbox"], path);
            let family = |text: &str| if version < "1.0.0" { json!(text) } else { Value::Null };
            let ip = |at: usize| {
                let ip = &result["ips"][at];
                [&ip["address"], &ip["gateway"], &ip["interface"], &ip["version"]].map(Clone::clone)
            };
            assert_eq!(ip(0), [json!("10.22.0.2/16"), json!("10.22.0.1"), json!(2), family("4")]);
            assert_eq!(ip(1), [json!("fd22::2/64"), json!("fd22::1"), json!(2), family("6")]);
            let defaults = json!([{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}, {"dst": "::/0", "gw": "fd22::1"}]);
            assert_eq!(
                (&result["routes"], &result["dns"]),
                (&defaults, &json!({"nameservers": ["127.0.0.11"]}))
            );
            runtime.add(other, &json!({})).unwrap();

            let _server = serve_tcp(&web, "[::]:80").unwrap();
            for address in ["10.22.0.2:80", "[fd22::2]:80"] {
                assert!(answers(&client, address), "{address}");
                assert!(answers(&stage.host, address), "{address} from the host");
            }
            for address in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
                assert!(answers(&stage.lan, &address), "{address}");
            }
            assert!(!answers(&stage.lan, &format!("{HOST}:80")));
            for name in ["www", "web.shop", "web.shop.pods"] {
                assert_eq!(addresses(&client, name), ["10.22.0.2".parse::<IpAddr>().unwrap()], "{name}");
            }
            assert_eq!(addresses(&web, "default-c1"), ["10.22.0.3".parse::<IpAddr>().unwrap()]);
            let mut api = stage.client();
            let known = api.container("web.shop").unwrap();
            assert_eq!((known.id.as_str(), known.config.labels["io.fairway.engine"].as_str()), (&*id, "cni"));

            if version != "0.3.1" {
                runtime.check(at, &ports).unwrap();
            }
            // The namespace of a container that has ended is gone.
            runtime.delete(Attachment { netns: "", ..at }).unwrap();
            runtime.delete(other).unwrap();
            runtime.delete(at).unwrap();
            runtime.delete(other).unwrap();
            for (place, path) in [(web, path), (client, client_path)] {
                drop(place);
                stage.host.run_in(|| remove(&path)).unwrap();
            }
            assert_same(version, &observe(&stage, &[]), &before);
        }
    });
}

/// Removes a named namespace.
fn remove(path: &str) {
    use fairway_kernel::namespace::{identity, remove_named};
    remove_named(&identity(path).unwrap()).unwrap();
}
