//! Requests that are decided and not carried out.

use fairway_api::filter::Filters;
use fairway_api::types::CheckedRequest;
use serde_json::{Value, json};

use crate::engine::RunningServer;
use crate::server::{attach, on};

fn post(path: &[&str], body: &Value) -> CheckedRequest {
    CheckedRequest::new("POST", path, body)
}

fn network(name: &str, subnet: &str) -> CheckedRequest {
    let body = json!({"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}});
    post(&["networks", "create"], &body)
}

/// A sandbox in a namespace that is still to be created.
fn sandbox(name: &str, network: &str, address: &str, port: &str) -> CheckedRequest {
    let endpoint = json!({"IPAMConfig": {"IPv4Address": address}});
    let body = json!({"Name": name, "Path": format!("/run/netns/nosuch-{name}"), "Kind": "created", "Container": {
        "HostConfig": {"NetworkMode": network, "PortBindings": {"80/tcp": [{"HostPort": port}]}},
        "NetworkingConfig": {"EndpointsConfig": {network: endpoint}},
    }});
    post(&["fairway", "attach"], &body)
}

#[test]
fn requests_are_decided_one_after_another_and_change_nothing() {
    let server = RunningServer::start();
    let mut client = server.client();
    let names = |client: &mut fairway_api::Client| {
        let networks = client.networks(&Filters::default()).unwrap();
        networks.into_iter().map(|network| network.name).collect::<Vec<_>>()
    };
    client.attach(&attach("there", 5, on("bridge"))).unwrap();
    let before = names(&mut client);
    let refusals = client
        .check(vec![
            network("n1", "172.29.0.0/16"),
            network("n2", "172.29.0.0/16"),
            network("Bad Name", "172.30.0.0/16"),
            sandbox("s1", "n1", "172.29.0.5", "8080"),
            sandbox("s2", "n1", "172.29.0.5", "8081"),
            sandbox("s3", "n1", "10.29.0.5", "8082"),
            sandbox("s4", "n1", "172.29.0.6", "8080"),
            sandbox("s5", "n2", "172.29.0.7", "8083"),
            post(&["networks", "n1", "connect"], &json!({"Container": "there"})),
            post(
                &["containers", "there", "publish"],
                &json!({"PortBindings": {"80/tcp": [{"HostPort": "9000"}]}}),
            ),
            post(&["fairway", "detach"], &json!({"Container": "there"})),
            CheckedRequest::new("DELETE", &["networks", "n1"], &()),
            post(&["containers", "s1", "start"], &json!({})),
            sandbox("there", "n1", "172.29.0.8", "9000"),
        ])
        .unwrap()
        .refusals;
    insta::assert_snapshot!(refusals.join("\n"), @r#"

    Pool overlaps with other one on this address space: 172.29.0.0/16 overlaps 172.29.0.0/16 of network n1: choose another subnet, or remove that network
    "Bad Name" is not a name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, up to 128 characters

    Address already in use: 172.29.0.5 on network n1 is that of container s1
    invalid endpoint settings: no configured subnet of network n1 contains IP address 10.29.0.5
    Bind for 0.0.0.0:8080 failed: port is already allocated: container s1 publishes 8080/tcp




    error while removing network: network n1 has active endpoints (name:"s1" id:"333c04e09d9a"): disconnect them first
    cannot check POST /containers/s1/start: send it, and see what it says
    "#);
    assert_eq!(names(&mut client), before);
    assert!(client.container("there").is_ok() && client.container("s1").is_err());
    assert_eq!(client.check(Vec::new()).unwrap().refusals, Vec::<String>::new());
}
