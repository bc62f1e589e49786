use serde_json::json;

use super::*;
use crate::container::Engine;
use crate::testing::{Fixture, lines};

/// As containerd 1.6 wrote it for a pod with a host port, without what is not read.
const POD: &str = r#"{"kind":"cniCacheV1","containerId":"f80f","config":"eyJj","ifName":"eth0","networkName":"bb",
    "cniArgs":[["K8S_POD_NAME","api"],["K8S_POD_NAMESPACE","default"]],
    "capabilityArgs":{"io.kubernetes.cri.pod-annotations":null,
        "portMappings":[{"HostPort":8088,"ContainerPort":80,"Protocol":"tcp","HostIP":""}]},
    "result":{"cniVersion":"0.4.0","dns":{},
        "interfaces":[{"mac":"1a:ae:b8:21:70:ed","name":"cni0"},{"mac":"aa:91:79:d7:bd:15","name":"veth800f0cb5"},
            {"mac":"96:4d:99:4a:dc:bf","name":"eth0","sandbox":"/var/run/netns/cni-3e97"}],
        "ips":[{"address":"10.99.0.3/24","gateway":"10.99.0.1","interface":2,"version":"4"}]}}"#;

/// The loopback of the same pod.
const LOOPBACK: &str = r#"{"kind":"cniCacheV1","containerId":"f80f","ifName":"lo","networkName":"cni-loopback",
    "capabilityArgs":{"portMappings":[{"HostPort":8088,"ContainerPort":80,"Protocol":"tcp","HostIP":""}]},
    "result":{"cniVersion":"0.3.1","ips":[{"address":"127.0.0.1/8","interface":0}]}}"#;

#[test]
fn results_are_read_and_added() {
    let fixture = Fixture::new();
    fixture.file("/var/lib/cni/results/bb-f80f-eth0", POD);
    fixture.file("/var/lib/cni/results/cni-loopback-f80f-lo", LOOPBACK);
    fixture.file("/var/lib/cni/results/broken", "{").file("/var/lib/cni/results/empty", "{}");
    let (containers, notes) = fixture.read(|reader| {
        let results = read(reader);
        let mut pod = Container::new(Engine::Kubernetes, vec!["default/api".to_owned()], "f80f".to_owned());
        add(&mut pod, &results, "f80f");
        add(&mut pod, &results, "other");
        vec![pod]
    });
    assert_eq!(lines(&containers), ["pod:default/api exited bb=10.99.0.3 0.0.0.0:8088->80/tcp"]);
    let attachment = &containers[0].attachments[0];
    assert_eq!(attachment.interface.as_deref(), Some("eth0"));
    assert_eq!(attachment.mac, Some("96:4d:99:4a:dc:bf".parse().unwrap()));
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "engine: cannot use /var/lib/cni/results/broken: EOF while parsing an object at line 1 column 1",
            "engine: cannot use /var/lib/cni/results/empty: there is no containerId",
        ]
    );
}

#[test]
fn results_of_the_old_version_are_read() {
    let value = json!({"containerId": "a", "networkName": "n", "ifName": "eth0", "result": {
        "cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/24"}, "ip6": {"ip": "fd00::2/64"}}});
    let (_, attachment, _) = result(&value).unwrap();
    let expected: Vec<IpAddr> = vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    assert_eq!(attachment.unwrap().addresses, expected);
}

#[test]
fn broken_results_are_refused_or_read_in_part() {
    assert_eq!(result(&json!({"containerId": "a"})).unwrap_err(), "there is no networkName");
    assert_eq!(result(&Value::Null).unwrap_err(), "there is no containerId");
    let value = json!({"containerId": "a", "networkName": "n", "result": {"ips": [7, {"address": "x/24"}, {}],
        "interfaces": "x"}, "capabilityArgs": {"portMappings": [7, {}]}});
    let (_, attachment, ports) = result(&value).unwrap();
    let expected = Attachment { network: "n".to_owned(), interface: None, addresses: Vec::new(), mac: None };
    assert_eq!((attachment, ports), (Some(expected), Vec::new()));
}
