//! What is reported of other engines' containers, on a host with Docker's bridge and rules and no daemon: each problem is
//! made and noticed in the traffic, reported alone, and gone when the printed command was run.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_api::types::Diagnosis;
use fairway_inspect::doctor::{Finding, Severity};
use fairway_lab::{Host, Lab, Outcome, Place, Process, Question, Server, serve_tcp};

use crate::foreign_firewalls::run_with;

const FAIRWAY: &str = env!("CARGO_BIN_EXE_fairway");
const HOST: &str = "10.10.50.99";
const LAN: &str = "10.10.50.1";
const WEB: &str = "172.31.77.2";
const OTHER: &str = "172.31.77.3";
/// An address that no container has.
const GONE: &str = "172.31.77.99";
const IMPATIENT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// The rules of Docker 20.10 for `docker0` with a container that publishes port 8080.
const DOCKER: &str = "*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.31.77.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER -o docker0 -p udp -m udp --dport 53 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.31.77.0/24 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.31.77.2:80
COMMIT
";

/// A host with two containers on `docker0`, and a neighbor on its LAN; all serve at port 80.
struct DockerHost {
    host: Host,
    lan: Host,
    web: Place,
    other: Place,
    _servers: Vec<Server>,
}

impl DockerHost {
    fn new(lab: &Lab) -> Self {
        let [host, lan] = ["host", "lan"].map(|name| lab.host(name).unwrap());
        let wire = lab.lan("lan0").unwrap();
        wire.join(&host, &[&format!("{HOST}/24")]).unwrap();
        wire.join(&lan, &[&format!("{LAN}/24")]).unwrap();
        host.route("default", LAN).unwrap();
        lan.route("172.31.78.0/24", HOST).unwrap();
        host.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
        host.set_bridge_netfilter(false).unwrap();
        bridge(&host, "docker0", "172.31.77.1");
        let web = container(&host, "docker0", "web", WEB);
        let other = container(&host, "docker0", "other", OTHER);
        run_with(&host, "iptables-nft-restore", &[], DOCKER);
        let servers =
            [&web, &other, &*lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap()).into_iter().collect();
        Self { host, lan, web, other, _servers: servers }
    }

    /// What is reported, other than that no daemon runs and that checks passed.
    fn findings(&self) -> Vec<Finding> {
        let mut command = Command::new(FAIRWAY);
        command.args(["doctor", "--format", "json"]).env_remove("FAIRWAY_HOST").stdin(Stdio::null());
        let output = self.host.run(&mut command).unwrap();
        let found: Diagnosis = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        found.findings.into_iter().filter(|it| it.id != "daemon").collect()
    }

    /// The only finding.
    fn only(&self, id: &str, severity: Severity) -> Finding {
        let mut found = self.findings();
        assert_eq!(found.len(), 1, "{found:#?}");
        let found = found.remove(0);
        assert_eq!((found.id.as_str(), found.severity), (id, severity), "{found:#?}");
        found
    }

    fn assert_healthy(&self) {
        assert_eq!(self.findings(), []);
    }

    fn shell(&self, line: &str) {
        shell(&self.host, line);
    }

    /// Runs the printed command.
    fn obey(&self, finding: &Finding) {
        self.shell(&finding.fix.as_ref().unwrap().command);
    }
}

fn shell(host: &Place, line: &str) {
    let output = host.run(Command::new("sh").args(["-c", line]).stdin(Stdio::null())).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}\nthis test needs: apt-get install iptables conntrack");
}

fn bridge(host: &Place, name: &str, address: &str) {
    shell(
        host,
        &format!(
            "ip link add {name} type bridge && ip addr add {address}/24 dev {name} && ip link set {name} up"
        ),
    );
}

/// A container: a namespace with a port of a bridge.
fn container(host: &Host, bridge: &str, name: &str, address: &str) -> Place {
    let gateway = address.rsplit_once('.').unwrap().0;
    shell(
        host,
        &format!(
            "ip netns add {name} && ip link add v-{name} type veth peer name eth0 netns {name} && \
             ip link set v-{name} master {bridge} up && ip -n {name} link set lo up && \
             ip -n {name} addr add {address}/24 dev eth0 && ip -n {name} link set eth0 up && \
             ip -n {name} route add default via {gateway}.1"
        ),
    );
    host.sandbox(format!("/run/netns/{name}")).unwrap()
}

fn ask(from: &Place, to: &str) -> Outcome {
    Question::to(to).unwrap().within(IMPATIENT).tcp(from).unwrap()
}

/// Asks until an answer comes: a bridge's port forwards when the kernel has noticed its carrier.
fn ask_patiently(from: &Place, to: &str) -> Outcome {
    Question::to(to).unwrap().within(PATIENCE).tcp(from).unwrap()
}

#[test]
fn a_healthy_docker_host_has_no_findings() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        assert_eq!(ask_patiently(&docker.web, &format!("{LAN}:80")), Outcome::answered(HOST));
        assert_eq!(ask_patiently(&docker.lan, &format!("{HOST}:8080")), Outcome::answered(LAN));
        docker.assert_healthy();
    });
}

#[test]
fn what_dockers_policy_drops_of_other_bridges() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        bridge(&docker.host, "lxcbr0", "172.31.78.1");
        let guest = container(&docker.host, "lxcbr0", "guest", "172.31.78.2");
        assert_eq!(ask(&guest, &format!("{LAN}:80")), Outcome::TimedOut);
        let found = docker.only("engine-forward-policy", Severity::Error);
        assert!(found.message.starts_with("Docker: table ip filter, chain FORWARD"), "{found:?}");
        docker.obey(&found);
        assert_eq!(ask_patiently(&guest, &format!("{LAN}:80")), Outcome::answered("172.31.78.2"));
        docker.assert_healthy();
    });
}

#[test]
fn forwarding_that_something_switched_off() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        assert_eq!(ask(&docker.web, &format!("{LAN}:80")), Outcome::TimedOut);
        let found = docker.only("engine-forwarding", Severity::Error);
        docker.obey(&found);
        assert_eq!(ask_patiently(&docker.web, &format!("{LAN}:80")), Outcome::answered(HOST));
        docker.assert_healthy();
    });
}

#[test]
fn an_uplink_that_carries_less_than_the_bridge() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.shell("ip link set eth0 mtu 1400");
        let found = docker.only("engine-mtu", Severity::Warning);
        assert!(found.message.contains("docker0") && found.message.contains("eth0 has 1400"), "{found:?}");
        // As Docker makes the bridge again with `--mtu 1400`.
        assert_eq!(found.fix.unwrap().command, "dockerd --mtu 1400");
        docker.shell("ip link set docker0 mtu 1400");
        docker.assert_healthy();
    });
}

#[test]
fn a_route_over_the_subnet_of_containers() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        assert_eq!(ask_patiently(&docker.host, &format!("{WEB}:80")), Outcome::answered("172.31.77.1"));
        docker.shell(
            "ip link add vpn0 type veth peer name vpn1 && ip link set vpn0 up && ip link set vpn1 up && ip route add 172.31.77.0/26 dev vpn0",
        );
        assert_ne!(ask(&docker.host, &format!("{WEB}:80")), Outcome::answered("172.31.77.1"));
        let found = docker.only("engine-subnets", Severity::Error);
        assert!(found.message.contains("172.31.77.0/26 over vpn0"), "{found:?}");
        docker.shell("ip link delete vpn0");
        docker.assert_healthy();
    });
}

#[test]
fn a_proxy_that_outlived_its_container() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        let proxy = |container: &str| -> Process {
            let mut command = Command::new("sh");
            command.arg0("docker-proxy").args([
                "-c",
                "sleep 1000; true",
                "-proto",
                "tcp",
                "-host-ip",
                "0.0.0.0",
            ]);
            command.args(["-host-port", "8081", "-container-ip", container, "-container-port", "80"]);
            docker.host.spawn(&mut command).unwrap()
        };
        let _living = proxy(WEB);
        docker.assert_healthy();
        let mut orphan = proxy(GONE);
        let found = docker.only("docker-proxy", Severity::Error);
        assert!(found.message.contains(&format!("0.0.0.0:8081/tcp for {GONE}:80")), "{found:?}");
        docker.obey(&found);
        assert!(orphan.wait_within(PATIENCE).unwrap().is_some(), "it is the process that was named");
        docker.assert_healthy();
    });
}

#[test]
fn a_rule_that_outlived_its_container() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.shell(&format!(
            "iptables-nft -t nat -I DOCKER 2 ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination {GONE}:80"
        ));
        // The published port leads to the old container.
        assert_ne!(ask(&docker.lan, &format!("{HOST}:8080")), Outcome::answered(LAN));
        let found = docker.only("stale-dnat", Severity::Error);
        assert!(found.message.contains(&format!("translates 8080/tcp to {GONE}")), "{found:?}");
        assert_eq!(found.fix.unwrap().command, "systemctl restart docker");
        run_with(&docker.host, "iptables-nft-restore", &[], DOCKER);
        assert_eq!(ask_patiently(&docker.lan, &format!("{HOST}:8080")), Outcome::answered(LAN));
        docker.assert_healthy();
    });
}

/// Rules as netavark makes them, of a container that is gone.
const NETAVARK: &str = "
table inet netavark {
	chain PREROUTING {
		type nat hook prerouting priority dstnat - 1; policy accept;
		fib daddr type local jump NETAVARK-HOSTPORT-DNAT
	}
	chain NETAVARK-HOSTPORT-DNAT {
		tcp dport 8080 jump nv_76e737_10_89_0_0_nm24_dnat
	}
	chain nv_76e737_10_89_0_0_nm24_dnat {
		tcp dport 8080 dnat ip to 10.89.0.9:80
		tcp dport 8081 dnat ip to 10.89.0.9:81
	}
}
";

#[test]
fn rules_that_a_former_netavark_left() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        run_with(&docker.host, "nft", &["-f", "-"], NETAVARK);
        assert_ne!(ask(&docker.lan, &format!("{HOST}:8080")), Outcome::answered(LAN));
        let found = docker.only("stale-dnat", Severity::Error);
        assert!(found.message.contains("translates 8080/tcp, 8081/tcp to 10.89.0.9"), "{found:?}");
        docker.obey(&found);
        assert_eq!(ask_patiently(&docker.lan, &format!("{HOST}:8080")), Outcome::answered(LAN));
        docker.assert_healthy();
    });
}

/// Sends a datagram to port 53 of the host, always from the same port.
fn send_datagram(lan: &Place) {
    let send = || UdpSocket::bind((LAN, 45353))?.send_to(b"question", (HOST, 53));
    lan.run_in(send).unwrap().unwrap();
}

/// Whether a datagram comes to a container that waits for it while another one is sent.
fn receives(container: &Place, lan: &Place) -> bool {
    std::thread::scope(|scope| {
        let socket = container.run_in(|| UdpSocket::bind("0.0.0.0:53")).unwrap().unwrap();
        socket.set_read_timeout(Some(2 * IMPATIENT)).unwrap();
        let waits = scope.spawn(move || socket.recv(&mut [0; 16]).is_ok());
        send_datagram(lan);
        waits.join().unwrap()
    })
}

#[test]
fn datagrams_that_still_go_to_a_container_that_is_gone() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        let publish = |change: &str, address: &str| {
            docker.shell(&format!(
                "iptables-nft -t nat {change} DOCKER ! -i docker0 -p udp --dport 53 -j DNAT --to-destination {address}:53"
            ));
        };
        publish("-A", OTHER);
        assert!(receives(&docker.other, &docker.lan) || receives(&docker.other, &docker.lan));
        docker.assert_healthy();
        // The container is made again and has another address.
        publish("-D", OTHER);
        publish("-A", WEB);
        docker.shell("ip -n other addr flush dev eth0");
        assert!(!receives(&docker.web, &docker.lan));
        let found = docker.only("stale-flows", Severity::Error);
        assert!(found.message.contains(&format!("still goes to {OTHER}")), "{found:?}");
        docker.obey(&found);
        assert!(receives(&docker.web, &docker.lan));
        docker.assert_healthy();
    });
}

#[test]
fn a_namespace_that_an_engine_forgot() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.shell("ip netns add cni-1b4e28ba-2fa1-11d2-883f-0016d3cca427");
        let found = docker.only("netns-leaks", Severity::Warning);
        assert!(found.message.contains("/run/netns/cni-1b4e28ba-2fa1-11d2-883f-0016d3cca427"), "{found:?}");
        docker.obey(&found);
        docker.assert_healthy();
    });
}

#[test]
fn a_port_on_loopback_that_the_lan_reaches() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.shell(&format!(
            "iptables-nft -t nat -A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp --dport 8081 -j DNAT --to-destination {WEB}:80"
        ));
        // The neighbor sends packets for 127.0.0.1 to the host, and takes those that come from there.
        docker.lan.set_sysctl("net.ipv4.conf.eth0.route_localnet", "1").unwrap();
        docker.lan.set_sysctl("net.ipv4.conf.all.rp_filter", "0").unwrap();
        shell(&docker.lan, "ip addr flush dev lo; ip route flush table local 127.0.0.0/8");
        shell(&docker.lan, &format!("ip route add 127.0.0.1/32 via {HOST} src {LAN}"));
        assert_eq!(ask_patiently(&docker.lan, "127.0.0.1:8081"), Outcome::answered(LAN));
        let found = docker.only("loopback-ports", Severity::Warning);
        assert!(found.message.contains("127.0.0.1:8081/tcp"), "{found:?}");
        docker.obey(&found);
        assert_eq!(ask(&docker.lan, "127.0.0.1:8081"), Outcome::TimedOut);
        docker.assert_healthy();
    });
}

#[test]
fn containers_that_are_to_be_apart_and_are_not() {
    fairway_lab::run(|lab| {
        let docker = DockerHost::new(lab);
        docker.shell("iptables-nft -I FORWARD -i docker0 -o docker0 -j DROP");
        assert_eq!(ask_patiently(&docker.web, &format!("{OTHER}:80")), Outcome::answered(WEB));
        let found = docker.only("engine-bridge-netfilter", Severity::Warning);
        let command = found.fix.unwrap().command;
        assert_eq!(command, "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1");
        docker.host.set_bridge_netfilter(true).unwrap();
        assert_eq!(ask(&docker.web, &format!("{OTHER}:80")), Outcome::TimedOut);
        docker.assert_healthy();
    });
}
