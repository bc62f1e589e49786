use super::*;
use crate::testing::{Fixture, lines};

const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// The namespaces of a container of `ctr` without `--net-host`.
const NEW: &str = r#""linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}"#;

/// A task with the annotations of its configuration.
fn task(fixture: &Fixture, place: &str, pid: u32, annotations: &str, namespaces: &str) {
    let directory = format!("{TASKS}/{place}");
    fixture.file(&format!("{directory}/init.pid"), pid.to_string());
    let config = format!("{{\"annotations\": {annotations}, {namespaces}}}");
    fixture.file(&format!("{directory}/config.json"), config);
    fixture.process(pid, 1, "sleep");
}

fn found(fixture: &Fixture) -> Vec<String> {
    let (containers, notes) = fixture.read(read);
    assert_eq!(notes, []);
    lines(&containers)
}

#[test]
fn containers_of_ctr_are_found_and_those_of_docker_left_to_it() {
    let fixture = Fixture::new();
    task(&fixture, "default/plain", 41, "null", NEW);
    task(&fixture, "default/hosted", 42, "null", r#""linux": {"namespaces": [{"type": "pid"}]}"#);
    task(&fixture, "default/ended", 43, "null", NEW);
    std::fs::remove_dir_all(fixture.root().join("proc/43")).unwrap();
    task(&fixture, "moby/dddd", 44, "null", NEW);
    task(&fixture, "plugins.moby/eeee", 45, "null", NEW);
    task(&fixture, "other/plain", 46, "null", NEW);
    task(
        &fixture,
        "other/joined",
        47,
        "null",
        r#""linux": {"namespaces": [{"type": "network", "path": "/proc/46/ns/net"}]}"#,
    );
    assert_eq!(
        found(&fixture),
        [
            "ctr:default/hosted running pid=42 Host",
            "ctr:default/plain running pid=41",
            "ctr:other/joined running pid=47 Shared(\"pid:46\")",
            "ctr:other/plain running pid=46",
        ]
    );
}

#[test]
fn results_of_cni_are_those_of_the_container_in_its_namespace() {
    let fixture = Fixture::new();
    task(&fixture, "default/web", 41, "null", NEW);
    task(&fixture, "other/web", 42, "null", NEW);
    let result = r#"{"containerId": "default-web", "networkName": "bb", "ifName": "eth0",
        "result": {"ips": [{"address": "10.99.0.2/24"}]}}"#;
    fixture.file("/var/lib/cni/results/bb-default-web-eth0", result);
    assert_eq!(
        found(&fixture),
        ["ctr:default/web running pid=41 bb=10.99.0.2", "ctr:other/web running pid=42"]
    );
}

#[test]
fn containers_of_nerdctl_have_their_names_networks_and_ports() {
    let fixture = Fixture::new();
    let annotations = r#"{"nerdctl/name": "web", "nerdctl/networks": "[\"app\",\"bridge\"]",
        "nerdctl/ports": "[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"tcp\",\"HostIP\":\"0.0.0.0\"}]"}"#;
    task(&fixture, "default/aaaa", 41, annotations, NEW);
    let broken = r#"{"nerdctl/name": "odd", "nerdctl/networks": "[", "nerdctl/ports": "{}"}"#;
    task(&fixture, "default/bbbb", 42, broken, NEW);
    let none = r#"{"nerdctl/name": "alone", "nerdctl/networks": "[\"none\"]"}"#;
    task(&fixture, "default/cccc", 43, none, NEW);
    assert_eq!(
        found(&fixture),
        [
            "ctr:default/web running pid=41 app bridge 0.0.0.0:8080->80/tcp",
            "ctr:default/odd running pid=42",
            "ctr:default/alone running pid=43 None",
        ]
    );
    let result = r#"{"containerId": "default-aaaa", "networkName": "app", "result": {"ips": [{"address": "10.4.0.2/24"}]}}"#;
    fixture.file("/var/lib/cni/results/app-default-aaaa-eth0", result);
    assert_eq!(found(&fixture)[0], "ctr:default/web running pid=41 app=10.4.0.2 0.0.0.0:8080->80/tcp");
}

#[test]
fn pods_and_their_containers_are_found() {
    let fixture = Fixture::new();
    // As containerd 1.6 writes it, without what is not read.
    let annotations = r#"{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "f80f",
        "io.kubernetes.cri.sandbox-name": "api", "io.kubernetes.cri.sandbox-namespace": "default"}"#;
    let path = r#""linux": {"namespaces": [{"type": "network", "path": "/var/run/netns/cni-3e97"}]}"#;
    task(&fixture, "k8s.io/f80f", 41, annotations, path);
    let annotations = r#"{"io.kubernetes.cri.container-name": "nginx", "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "f80f", "io.kubernetes.cri.sandbox-name": "api",
        "io.kubernetes.cri.sandbox-namespace": "default"}"#;
    let joined = r#""linux": {"namespaces": [{"type": "network", "path": "/proc/41/ns/net"}]}"#;
    task(&fixture, "k8s.io/7b9b", 42, annotations, joined);
    let annotations = r#"{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "5bb8",
        "io.kubernetes.cri.sandbox-name": "hostpod", "io.kubernetes.cri.sandbox-namespace": "kube-system"}"#;
    task(&fixture, "k8s.io/5bb8", 43, annotations, r#""linux": {"namespaces": [{"type": "pid"}]}"#);
    let result = r#"{"containerId": "f80f", "networkName": "bb", "ifName": "eth0",
        "result": {"ips": [{"address": "10.99.0.3/24"}]}}"#;
    fixture.file("/var/lib/cni/results/bb-f80f-eth0", result);
    assert_eq!(
        found(&fixture),
        [
            "pod:kube-system/hostpod running pid=43 Host",
            "pod:default/api/nginx running pid=42 Shared(\"f80f\")",
            "pod:default/api running pid=41 bb=10.99.0.3",
        ]
    );
    assert_eq!(fixture.read(read).0[2].names, ["default/api", "api"]);
}

#[test]
fn a_task_without_a_readable_configuration_is_listed_by_its_identifier() {
    let fixture = Fixture::new();
    fixture.file(&format!("{TASKS}/default/web/init.pid"), "41").process(41, 1, "sleep");
    fixture.file(&format!("{TASKS}/default/web/config.json"), "{");
    fixture.file(&format!("{TASKS}/default/bad/init.pid"), "x");
    let (containers, notes) = fixture.read(read);
    assert_eq!(lines(&containers), ["ctr:default/web running pid=41"]);
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes[0], format!("engine: cannot use {TASKS}/default/bad/init.pid: it holds no process id"));
    assert!(notes[1].contains("web/config.json: EOF"), "{}", notes[1]);
}
