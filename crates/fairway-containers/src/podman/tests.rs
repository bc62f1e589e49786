use super::*;
use crate::testing::{Fixture, lines};

const GRAPH: &str = "/var/lib/containers/storage/overlay-containers";
const RUN: &str = "/run/containers/storage/overlay-containers";
const NAMED: &str = r#"{"linux": {"namespaces": [{"type": "network", "path": "/run/netns/netns-1"}]}}"#;

fn records(containers: &[(&str, &str)]) -> String {
    let record = |(id, name): &(&str, &str)| {
        format!(r#"{{"id": "{id}", "names": ["{name}"], "metadata": "{{\"name\": \"{name}\"}}"}}"#)
    };
    format!("[{}]", containers.iter().map(record).collect::<Vec<_>>().join(","))
}

/// A running container of root: its conmon, with the pid above its own as process, and its files.
fn run(fixture: &Fixture, id: &str, name: &str, conmon: u32, config: &str) {
    let line = format!(
        "/usr/bin/conmon --api-version 1 -c {id} -u {id} -r /usr/bin/crun -b {GRAPH}/{id}/userdata \
         -p {RUN}/{id}/userdata/pidfile -n {name} --exit-dir /run/libpod/exits --full-attach"
    );
    fixture.process(conmon, 1, &line).process(conmon + 1, conmon, "sleep");
    fixture.file(&format!("{RUN}/{id}/userdata/pidfile"), (conmon + 1).to_string());
    fixture.file(&format!("{GRAPH}/{id}/userdata/config.json"), config);
}

fn found(fixture: &Fixture) -> Vec<String> {
    let (containers, notes) = fixture.read(read);
    assert_eq!(notes, []);
    lines(&containers)
}

#[test]
fn running_exited_and_created_containers_are_found() {
    let fixture = Fixture::new();
    let list = records(&[("aaaa", "web"), ("bbbb", "old"), ("cccc", "made")]);
    fixture.file(&format!("{GRAPH}/containers.json"), list);
    fixture.file(&format!("{RUN}/volatile-containers.json"), records(&[("dddd", "passing")]));
    run(&fixture, "aaaa", "web", 40, NAMED);
    run(&fixture, "dddd", "passing", 50, NAMED);
    fixture.file(&format!("{GRAPH}/bbbb/userdata/config.json"), NAMED);
    let network = "10.89.0.1\naaaa 10.89.0.2 fd00::2 web,aaaa\n";
    fixture.file("/run/containers/networks/aardvark-dns/app", network);
    fixture.file("/run/containers/networks/aardvark-dns/back%int", "10.90.0.1\naaaa 10.90.0.2  web\n");
    fixture.file("/run/containers/networks/aardvark-dns/aardvark.pid", "116");
    let ports = r#"{"container_id": "aaaa", "network_name": "app", "container_ip_v4": "10.89.0.2",
        "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]}"#;
    fixture.file("/run/containers/networks/firewall/ports/1d8f_aaaa", ports);
    fixture.file("/run/containers/networks/firewall/firewall-driver", "nftables");
    assert_eq!(
        found(&fixture),
        [
            "podman:web running pid=41 app=10.89.0.2=fd00::2 back=10.90.0.2 0.0.0.0:8080->80/tcp",
            "podman:old exited",
            "podman:made created",
            "podman:passing running pid=51",
        ]
    );
}

#[test]
fn a_container_of_another_store_is_known_by_its_conmon() {
    let fixture = Fixture::new();
    fixture.process(40, 1, "conmon -c aaaa -n web -b /srv/aaaa/userdata -p /srv/aaaa/pidfile");
    fixture
        .process(41, 40, "sleep")
        .file("/srv/aaaa/pidfile", "41")
        .file("/srv/aaaa/userdata/config.json", NAMED);
    fixture.process(50, 1, "conmon --version");
    assert_eq!(found(&fixture), ["podman:web running pid=41"]);
}

#[test]
fn a_process_that_is_not_conmons_child_is_not_the_containers() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "web", 40, NAMED);
    fixture.process(99, 1, "sshd").file(&format!("{RUN}/aaaa/userdata/pidfile"), "99");
    assert_eq!(found(&fixture), ["podman:web exited"]);
    let fixture = Fixture::new();
    fixture.file(&format!("{GRAPH}/containers.json"), records(&[("aaaa", "web")]));
    fixture.process(99, 1, "sshd").file(&format!("{RUN}/aaaa/userdata/pidfile"), "99");
    assert_eq!(found(&fixture), ["podman:web created"]);
}

#[test]
fn modes_are_read() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "infra", 40, NAMED);
    run(
        &fixture,
        "bbbb",
        "joined",
        50,
        r#"{"linux": {"namespaces": [{"type": "network", "path": "/proc/41/ns/net"}]}}"#,
    );
    run(&fixture, "cccc", "hosted", 60, r#"{"linux": {"namespaces": [{"type": "pid"}]}}"#);
    run(&fixture, "dddd", "alone", 70, r#"{"linux": {"namespaces": [{"type": "network"}]}}"#);
    run(
        &fixture,
        "eeee",
        "lost",
        80,
        r#"{"linux": {"namespaces": [{"type": "network", "path": "/proc/7/ns/net"}]}}"#,
    );
    assert_eq!(
        found(&fixture),
        [
            "podman:infra running pid=41",
            "podman:joined running pid=51 Shared(\"aaaa\")",
            "podman:hosted running pid=61 Host",
            "podman:alone running pid=71 None",
            "podman:lost running pid=81 Shared(\"pid:7\")",
        ]
    );
}

#[test]
fn results_of_cni_are_added() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "web", 40, NAMED);
    let result = r#"{"containerId": "aaaa", "networkName": "podman", "ifName": "eth0",
        "result": {"ips": [{"address": "10.88.0.2/16"}]},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]}}"#;
    fixture.file("/var/lib/cni/results/podman-aaaa-eth0", result);
    assert_eq!(found(&fixture), ["podman:web running pid=41 podman=10.88.0.2 0.0.0.0:8080->80/tcp"]);
}

#[test]
fn containers_of_users_are_theirs() {
    let fixture = Fixture::new();
    fixture.file(
        "/etc/passwd",
        "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:\n",
    );
    let list = |user: &str| {
        format!("/home/{user}/.local/share/containers/storage/overlay-containers/containers.json")
    };
    fixture.file(&list("alice"), records(&[("aaaa", "web")])).file(&list("bob"), records(&[("bbbb", "web")]));
    // bob has no session, so that nothing of his is read.
    fixture.file("/run/user/1000/x", "");
    assert_eq!(found(&fixture), ["podman:alice/web created"]);
}

#[test]
fn containers_of_cri_o_are_pods() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "k8s_POD_api_default_f6a1_0", 40, NAMED);
    run(&fixture, "bbbb", "k8s_nginx_api_default_f6a1_0", 50, NAMED);
    assert_eq!(
        found(&fixture),
        ["pod:default/api running pid=41", "pod:default/api/nginx running pid=51 Shared(\"default/api\")"]
    );
}

#[test]
fn broken_records_are_notes() {
    let fixture = Fixture::new();
    fixture.file(&format!("{GRAPH}/containers.json"), "[{}]");
    fixture.file("/var/lib/containers/storage/vfs-containers/containers.json", "[");
    let (containers, notes) = fixture.read(read);
    assert_eq!(containers, []);
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            format!("engine: cannot use {GRAPH}/containers.json: a container has no id"),
            "engine: cannot use /var/lib/containers/storage/vfs-containers/containers.json: \
             EOF while parsing a list at line 1 column 1"
                .to_owned(),
        ]
    );
}

#[test]
fn a_user_cannot_change_what_is_said_of_roots_containers() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "web", 40, NAMED);
    fixture.file("/run/containers/networks/aardvark-dns/app", "10.89.0.1\naaaa 10.89.0.2  web\n");
    fixture.process(50, 1, "conmon -c aaaa -n web -b /tmp/bundle -p /tmp/pidfile").process(51, 50, "sshd");
    fixture.file("/tmp/pidfile", "51").file("/tmp/bundle/config.json", NAMED);
    let networks = "/run/user/1000/containers/networks/aardvark-dns";
    fixture.file(&format!("{networks}/app"), "10.66.0.1\naaaa 10.66.0.2  web\n");
    let (containers, notes) = fixture.read_with(|it| it.user = if it.pid == 50 { 1000 } else { 0 }, read);
    assert_eq!(notes, []);
    assert_eq!(
        lines(&containers),
        ["podman:web running pid=41 app=10.89.0.2", "podman:1000/web running pid=51 app=10.66.0.2"]
    );
}

#[test]
fn a_user_has_no_pods() {
    let fixture = Fixture::new();
    run(&fixture, "aaaa", "k8s_POD_api_default_f6a1_0", 40, NAMED);
    let (containers, _) = fixture.read_as(1000, read);
    assert_eq!(lines(&containers), ["podman:1000/k8s_POD_api_default_f6a1_0 running pid=41"]);
}
