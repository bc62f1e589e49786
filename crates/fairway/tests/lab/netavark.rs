//! The program as podman's netavark, called as podman calls it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use fairway_api::types::EndpointSettings;
use fairway_kernel::namespace;
use fairway_lab::{DatagramFlow, Lab, Outcome, Place, SCRATCH, ask, serve_datagrams, serve_tcp};
use serde_json::{Value, json};

use crate::harness::{HOST, LAN, Stage, eventually, flags_everywhere};
use crate::kernel_state::{assert_same, observe};
use crate::on_demand::{PROGRAM, wait_until_ended};

/// One container of podman's.
struct Container {
    name: &'static str,
    id: String,
    path: String,
    place: Place,
}

impl Container {
    fn new(stage: &Stage, name: &'static str, number: u8) -> Self {
        let path = format!("{}/{name}", namespace::NAMED_DIRECTORY);
        stage.host.run_in(|| namespace::create_named(name)).unwrap().unwrap();
        let place = stage.host.sandbox(&path).unwrap();
        Self { name, id: format!("{number:02x}").repeat(32), path, place }
    }

    /// What podman writes: networks by number, each 10.89.NUMBER.0/24 with the option, and the ports.
    fn request(&self, networks: &[u8], options: Value, ports: Value) -> Value {
        let last = 10 + u8::from_str_radix(&self.id[..2], 16).unwrap();
        let network = |number: &u8| {
            json!({"name": format!("n{number}"), "id": "ab".repeat(32), "driver": "bridge", "options": options,
                "network_interface": format!("podman{number}"), "ipv6_enabled": false, "internal": false,
                "subnets": [{"subnet": format!("10.89.{number}.0/24"), "gateway": format!("10.89.{number}.1")}],
                "dns_enabled": true, "ipam_options": {"driver": "host-local"}})
        };
        let endpoint = |number: &u8| {
            json!({"static_ips": [format!("10.89.{number}.{last}")], "aliases": [],
                "interface_name": format!("eth{number}")})
        };
        let by_name = |of: &dyn Fn(&u8) -> Value| {
            networks.iter().map(|it| (format!("n{it}"), of(it))).collect::<BTreeMap<_, _>>()
        };
        json!({"container_id": self.id, "container_name": self.name, "port_mappings": ports,
            "networks": by_name(&endpoint), "network_info": by_name(&network)})
    }
}

/// Has the daemon of the stage be that of the host.
fn link_default_socket(stage: &Stage) {
    let socket = stage.daemon.address().trim_start_matches("unix://").to_owned();
    stage.host.run_in(|| std::os::unix::fs::symlink(socket, "/run/fairway.sock")).unwrap().unwrap();
}

/// Runs netavark on the host as podman does; returns the exit code and what it printed.
fn netavark(stage: &Stage, arguments: &[&str], input: &Value) -> (i32, Value) {
    let run = || {
        let mut command = Command::new(PROGRAM);
        command.arg0("/usr/libexec/podman/netavark").args(["--config", SCRATCH, "--rootless=false"]);
        command.args(["--aardvark-binary", PROGRAM]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), printed)
    };
    stage.host.run_in(run).unwrap()
}

fn setup(stage: &Stage, container: &Container, request: &Value) -> Value {
    let (code, printed) = netavark(stage, &["setup", &container.path], request);
    assert_eq!(code, 0, "{printed}");
    printed
}

fn teardown(stage: &Stage, container: &Container, request: &Value) {
    assert_eq!(netavark(stage, &["teardown", &container.path], request), (0, Value::Null));
}

fn tcp(host_ip: &str, host_port: u16, container_port: u16, range: u16) -> Value {
    json!([{"host_ip": host_ip, "host_port": host_port, "container_port": container_port, "range": range,
        "protocol": "tcp"}])
}

on_each_backend! {
    containers_reach_one_another_and_are_published;
    flows_of_datagrams_from_before_reach_a_container_whose_port_podman_holds;
}

fn containers_reach_one_another_and_are_published(lab: &Lab) {
    let stage = Stage::before_daemon(lab);
    crate::on_demand::configure(&stage);
    let before = observe(&stage, &[]);
    let (web, other) = (Container::new(&stage, "web", 1), Container::new(&stage, "other", 2));
    let ports = tcp("", 8000, 80, 100);
    let request = web.request(&[1], json!({}), ports.clone());
    let printed = setup(&stage, &web, &request);
    assert_eq!(
        printed["n1"]["interfaces"]["eth1"]["subnets"],
        json!([{"gateway": "10.89.1.1", "ipnet": "10.89.1.11/24"}])
    );
    let _server = serve_tcp(&web.place, "0.0.0.0:80").unwrap();
    let _last = serve_tcp(&web.place, "0.0.0.0:179").unwrap();
    for port in [8000, 8099] {
        assert_eq!(ask(&stage.lan, &format!("{HOST}:{port}")).unwrap(), Outcome::answered(LAN), "{port}");
    }
    assert!(matches!(ask(&stage.host, "127.0.0.1:8000").unwrap(), Outcome::Answered { .. }));
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8100")).unwrap(), Outcome::Refused);

    let strict = other.request(&[2], json!({}), json!([]));
    setup(&stage, &other, &strict);
    assert_eq!(ask(&other.place, "10.89.1.11:80").unwrap(), Outcome::TimedOut, "isolated");
    assert!(matches!(ask(&other.place, &format!("{HOST}:8000")).unwrap(), Outcome::Answered { .. }));
    // Connected to a further network, with all ports again, as podman does.
    let further = web.request(&[2], json!({}), ports);
    setup(&stage, &web, &further);
    assert!(matches!(ask(&other.place, "10.89.2.11:80").unwrap(), Outcome::Answered { .. }));
    teardown(&stage, &web, &further);
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8000")).unwrap(), Outcome::answered(LAN));
    teardown(&stage, &other, &strict);
    teardown(&stage, &web, &request);
    teardown(&stage, &web, &request);
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8000")).unwrap(), Outcome::Refused);
    remove_namespaces(&stage, &[web, other]);
    wait_until_ended();
    assert_same("after the end", &observe(&stage, &[]), &before);
}

fn flows_of_datagrams_from_before_reach_a_container_whose_port_podman_holds(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    link_default_socket(&stage);
    let web = Container::new(&stage, "web", 1);
    let _held = stage.host.run_in(|| UdpSocket::bind("0.0.0.0:5300")).unwrap().unwrap();
    let flow = DatagramFlow::open(&stage.lan, &format!("{HOST}:5300")).unwrap();
    let answered = || matches!(flow.ask(Duration::from_millis(200)), Outcome::Answered { .. });
    assert!(!answered(), "the host tracks the flow as its own");
    let ports = json!([{"host_port": 5300, "container_port": 53, "protocol": "udp"}]);
    setup(&stage, &web, &web.request(&[1], json!({}), ports));
    let _server = serve_datagrams(&web.place, "0.0.0.0:53").unwrap();
    eventually("the flow is answered", Duration::from_secs(1), answered);
}

fn remove_namespaces(stage: &Stage, containers: &[Container]) {
    for container in containers {
        let remove = || namespace::remove_named(&namespace::identity(&container.path).unwrap());
        stage.host.run_in(remove).unwrap().unwrap();
    }
}

#[test]
fn many_containers_at_once_are_connected_and_disconnected() {
    const NAMES: [&str; 32] = [
        "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15",
        "c16", "c17", "c18", "c19", "c20", "c21", "c22", "c23", "c24", "c25", "c26", "c27", "c28", "c29",
        "c30", "c31",
    ];
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let before = observe(&stage, &[]);
        let containers: Vec<_> =
            (0..).zip(NAMES).map(|(number, name)| Container::new(&stage, name, number)).collect();
        let request = |number: usize, container: &Container| {
            let port = 8000 + u16::try_from(number).unwrap();
            container.request(&[u8::try_from(number % 4).unwrap() + 1], json!({}), tcp("", port, 80, 1))
        };
        for command in ["setup", "teardown"] {
            let barrier = Barrier::new(containers.len());
            std::thread::scope(|scope| {
                for (number, container) in containers.iter().enumerate() {
                    let (stage, barrier) = (&stage, &barrier);
                    scope.spawn(move || {
                        let request = request(number, container);
                        barrier.wait();
                        let (code, printed) = netavark(stage, &[command, &container.path], &request);
                        assert_eq!(code, 0, "{command} {}: {printed}", container.name);
                    });
                }
            });
            if command == "setup" {
                let [.., last] = &containers[..] else { unreachable!() };
                let _server = serve_tcp(&last.place, "0.0.0.0:80").unwrap();
                assert_eq!(ask(&stage.lan, &format!("{HOST}:8031")).unwrap(), Outcome::answered(LAN));
            }
        }
        remove_namespaces(&stage, &containers);
        wait_until_ended();
        assert_same("after the end", &observe(&stage, &[]), &before);
    });
}

/// Podman listens on the ports itself, and answers no client there.
#[test]
fn ports_that_podman_holds_are_translated_where_others_use_the_proxy() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, flags_everywhere());
        link_default_socket(&stage);
        let (web, other) = (Container::new(&stage, "web", 1), Container::new(&stage, "other", 2));
        let request = web.request(&[1], json!({}), tcp("", 8080, 80, 1));
        setup(&stage, &web, &request);
        setup(&stage, &other, &other.request(&[2], json!({}), json!([])));
        let held = stage.host.run_in(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
        assert!(held.is_ok(), "{held:?}");
        let _server = serve_tcp(&web.place, "0.0.0.0:80").unwrap();
        for (place, at) in [
            (&*stage.lan, HOST),
            (&*stage.host, "127.0.0.1"),
            (&*stage.host, HOST),
            (&other.place, HOST),
            (&other.place, "10.89.2.1"),
            (&web.place, HOST),
        ] {
            let seen = ask(place, &format!("{at}:8080")).unwrap();
            assert!(matches!(seen, Outcome::Answered { .. }), "{at}: {seen:?}");
        }
        // Also where the container's gateway is on a network of the user.
        stage.network("nx");
        stage.connect("nx", "web", EndpointSettings::default()).unwrap();
        for at in ["127.0.0.1", HOST] {
            let seen = ask(&stage.host, &format!("{at}:8080")).unwrap();
            assert!(matches!(seen, Outcome::Answered { .. }), "{at}: {seen:?}");
        }
        // A sandbox of the daemon's own keeps its proxy.
        let own = stage.sandbox("own", &["bridge"], &["8081:80"]);
        let _server = serve_tcp(&own, "0.0.0.0:80").unwrap();
        assert!(matches!(ask(&stage.host, "127.0.0.1:8081").unwrap(), Outcome::Answered { .. }));
        assert!(matches!(ask(&other.place, &format!("{HOST}:8081")).unwrap(), Outcome::Answered { .. }));
    });
}

#[test]
fn a_bridge_of_the_user_is_known_at_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        link_default_socket(&stage);
        let web = Container::new(&stage, "web", 1);
        stage.host.run(Command::new("ip").args(["link", "add", "podman1", "up", "type", "bridge"])).unwrap();
        setup(&stage, &web, &web.request(&[1], json!({"mode": "unmanaged"}), json!([])));
    });
}

#[test]
fn errors_are_json_and_change_nothing() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let web = Container::new(&stage, "web", 1);
        let error = |arguments: &[&str], input: &Value| {
            let (code, printed) = netavark(&stage, arguments, input);
            (code, printed["error"].as_str().unwrap_or_default().to_owned())
        };
        let good = web.request(&[1], json!({}), json!([]));
        assert_eq!(
            error(&["setup", "/run/netns/nosuch"], &good),
            (1, "invalid namespace path: IO error: No such file or directory (os error 2)".to_owned())
        );
        let (code, text) = error(&["setup", &web.path], &json!({"container_id": 7}));
        assert!(code == 1 && text.starts_with("failed to load network options: "), "{text}");
        assert_eq!(error(&["bogus"], &good).0, 2);
        let with = |name: &str, value: &str| web.request(&[1], json!({name: value}), json!([]));
        assert_eq!(
            error(&["setup", &web.path], &with("isolate", "maybe")).1,
            "invalid isolate option \"maybe\""
        );
        assert!(
            error(&["setup", &web.path], &with("vlan", "7")).1.contains("option vlan=7 is not supported")
        );
        setup(&stage, &web, &good);
        let (code, text) = error(&["setup", &web.path], &good);
        assert!(code == 1 && text.contains("is on network n1 already"), "{text}");
        let update = ["update", "n1", "--network-dns-servers", "9.9.9.9,8.8.8.8"];
        assert_eq!(netavark(&stage, &update, &Value::Null), (0, Value::Null));
        assert_eq!(netavark(&stage, &["update", "gone", "--network-dns-servers", ""], &Value::Null).0, 0);
        teardown(&stage, &web, &good);
    });
}
