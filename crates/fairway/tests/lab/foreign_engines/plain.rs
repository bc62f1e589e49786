//! A host with namespaces that no engine knows.

use std::process::Command;
use std::time::Duration;

use fairway_lab::{Host, Lab, Place, Question, Server, serve_tcp};

use super::{agree, explain};
use crate::explain::said;
use crate::harness::{Stage, eventually};

const HOST: &str = "10.10.50.99";
const LAN: &str = "10.10.50.1";

/// Docker's rules for two bridges, as version 20.10 makes them.
const RULES: &str = "*nat
-A PREROUTING -m addrtype --dst-type LOCAL -j DNAT -p tcp --dport 8080 --to-destination 172.17.0.2:80
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/16 ! -o br-app -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -o br-app -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i br-app -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i br-app ! -o br-app -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o br-app -j DROP
COMMIT
";

/// A host without a daemon, with named namespaces on two bridges; each serves at port 80.
pub struct Plain {
    pub host: Host,
    pub lan: Host,
    pub places: Vec<(String, Place)>,
    _servers: Vec<Server>,
}

/// Runs lines as commands, which have to succeed.
pub fn run_on(host: &Place, text: &str) {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let output = host.run(Command::new(words.next().unwrap()).args(words)).unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Plain {
    pub fn new(lab: &Lab) -> Self {
        let [host, lan] = ["host", "lan"].map(|name| lab.host(name).unwrap());
        let wire = lab.lan("lan0").unwrap();
        wire.join(&host, &[&format!("{HOST}/24")]).unwrap();
        wire.join(&lan, &[&format!("{LAN}/24")]).unwrap();
        lan.route("172.16.0.0/12", HOST).unwrap();
        host.route("default", LAN).unwrap();
        host.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
        for (bridge, address) in [("docker0", "172.17.0.1"), ("br-app", "172.18.0.1")] {
            run_on(
                &host,
                &format!(
                    "ip link add {bridge} type bridge
                    ip address add {address}/16 dev {bridge}
                    ip link set {bridge} up"
                ),
            );
        }
        let all = [
            ("web", "docker0", "172.17.0.2"),
            ("other", "docker0", "172.17.0.3"),
            ("app", "br-app", "172.18.0.2"),
        ];
        for (name, bridge, address) in all {
            let gateway = address.rsplit_once('.').unwrap().0;
            run_on(
                &host,
                &format!(
                    "ip netns add {name}
                    ip link add v-{name} type veth peer name eth0 netns {name}
                    ip link set v-{name} master {bridge}
                    ip link set v-{name} up
                    ip -n {name} link set lo up
                    ip -n {name} address add {address}/16 dev eth0
                    ip -n {name} link set eth0 up
                    ip -n {name} route add default via {gateway}.1"
                ),
            );
        }
        std::fs::write(lab.scratch().join("rules"), RULES).unwrap();
        let path = lab.scratch().join("rules");
        run_on(&host, &format!("iptables-nft-restore {}", path.display()));
        let places: Vec<(String, Place)> = all
            .iter()
            .map(|(name, ..)| ((*name).to_owned(), host.sandbox(format!("/run/netns/{name}")).unwrap()))
            .collect();
        let mut servers: Vec<Server> =
            places.iter().map(|(_, place)| serve_tcp(place, "0.0.0.0:80").unwrap()).collect();
        servers.push(serve_tcp(&host, "0.0.0.0:9000").unwrap());
        servers.push(serve_tcp(&lan, "0.0.0.0:80").unwrap());
        Self { host, lan, places, _servers: servers }
    }

    fn end(&self, from: &str, to: &str) -> String {
        let (explained, _) = explain(&self.host, from, to).unwrap();
        explained.walks[0].end.text.clone()
    }
}

#[test]
fn what_is_said_of_named_namespaces_is_what_happens() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut askers = plain.places.clone();
        askers.push(("host".to_owned(), (*plain.host).clone()));
        askers.push((format!("lan:{LAN}"), (*plain.lan).clone()));
        let targets = ["172.17.0.2:80", "172.17.0.3:80", "172.17.0.3:81", "172.18.0.2:80"]
            .into_iter()
            .map(str::to_owned);
        let own = [8080, 9000, 9001].map(|port| format!("{HOST}:{port}"));
        let targets: Vec<_> = targets.chain(own).map(|it| it.parse().unwrap()).collect();
        assert_eq!(agree(&plain.host, &askers, &targets), 35);
    });
}

#[test]
fn an_end_is_a_namespace_by_name_path_or_process() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let sleeping = plain.places[1].1.spawn(Command::new("sleep").arg("1000")).unwrap();
        let process = format!("pid:{}", sleeping.id());
        for from in ["other", "netns:other", "netns:/run/netns/other", &process] {
            for to in ["web:80", "netns:web:80", "netns:/run/netns/web:80", "172.17.0.2:80"] {
                let text = plain.end(from, to);
                assert!(text.starts_with("delivered on web to lab"), "{from} -> {to}: {text}");
                assert!(text.ends_with("tcp 172.17.0.3:40000 > 172.17.0.2:80"), "{from} -> {to}: {text}");
            }
        }
        assert!(plain.end("172.17.0.3", "web").starts_with("delivered on web to the kernel"));
        let gone = explain(&plain.host, "pid:999999", "web:80").unwrap_err();
        assert!(gone.contains("/proc/999999/ns/net"), "{gone}");
        let unknown = explain(&plain.host, "docker:none", "web:80").unwrap_err();
        assert!(unknown.starts_with("cannot find \"docker:none\": no such container"), "{unknown}");
    });
}

#[test]
fn without_rights_the_missing_ones_are_named() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        // The directory of the program may be root's own: the user stays, and loses all rights.
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", super::FAIRWAY, "explain", "host", "lan"]);
        command.env_remove("FAIRWAY_HOST");
        let output = host.run(&mut command).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            errors.trim_end(),
            "cannot read this host without CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE: run this as root, or with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE"
        );
        assert_eq!(output.status.code(), Some(1));
    });
}

#[test]
fn a_sandbox_and_a_namespace_of_another_engine_reach_each_other() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let sandbox = stage.sandbox("web", &["bridge"], &["8080:80"]);
        run_on(
            &stage.host,
            "ip netns add foreign
            ip link add v-foreign type veth peer name eth0 netns foreign
            ip address add 10.77.0.1/24 dev v-foreign
            ip link set v-foreign up
            ip -n foreign link set lo up
            ip -n foreign address add 10.77.0.2/24 dev eth0
            ip -n foreign link set eth0 up
            ip -n foreign route add default via 10.77.0.1",
        );
        let foreign = stage.host.sandbox("/run/netns/foreign").unwrap();
        let _servers = [&*sandbox, &foreign].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        let address = sandbox.address("bridge");
        let explained = |from: &str, to: &str| {
            let (explained, _) = explain(&stage.host, from, to).unwrap();
            let ends: Vec<String> = explained.walks.iter().map(|it| it.end.text.clone()).collect();
            (ends.join("; "), said(&explained))
        };
        // The daemon does not know the namespace: the host is read, with the daemon's sandboxes.
        let (ends, said) = explained("netns:foreign", "web:80");
        assert!(ends.contains("port not published"), "{ends}");
        assert_eq!(said, Question::to(&format!("{address}:80")).unwrap().tcp(&foreign).unwrap().to_string());
        let (ends, said) = explained("foreign", &format!("{HOST}:8080"));
        assert!(ends.contains("delivered on web to"), "{ends}");
        assert_eq!(said, Question::to(&format!("{HOST}:8080")).unwrap().tcp(&foreign).unwrap().to_string());
        // The daemon knows both ends, and not what is behind the veth.
        let (ends, said) = explained("web", "10.77.0.2:80");
        assert!(ends.contains("delivered on foreign to"), "{ends}");
        assert_eq!(said, Question::to("10.77.0.2:80").unwrap().tcp(&sandbox).unwrap().to_string());
    });
}

#[test]
fn namespaces_and_a_way_through_them_are_drawn() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut command = Command::new(super::FAIRWAY);
        command
            .args(["graph", "--format", "mermaid", "--path", "other", "app:80"])
            .env_remove("FAIRWAY_HOST");
        let output = plain.host.run(&mut command).unwrap();
        let picture = String::from_utf8(output.stdout).unwrap();
        for part in ["docker0 · ip netns", "br-app · ip netns", "172.17.0.3", "DOCKER-ISOLATION-STAGE-2"] {
            assert!(picture.contains(part), "{part}: {picture}{}", String::from_utf8_lossy(&output.stderr));
        }
    });
}

#[test]
fn a_host_is_read_without_a_trace() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let state = || {
            let shown = [
                "ip -o address show",
                "ip rule",
                "ip route show table all",
                "nft list ruleset",
                "ip netns list-id",
            ];
            shown.map(|line| {
                let mut words = line.split(' ');
                let output = plain.host.run(Command::new(words.next().unwrap()).args(words)).unwrap();
                String::from_utf8(output.stdout).unwrap()
            })
        };
        // The kernel checks new IPv6 addresses for a while.
        eventually("addresses are used", Duration::from_secs(20), || !state()[0].contains("tentative"));
        let before = state();
        plain.end("other", "web:80");
        assert_eq!(state(), before, "the host has changed");
    });
}
