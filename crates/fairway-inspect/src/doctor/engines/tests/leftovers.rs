//! What containers that are gone have left, and name servers.

use super::*;
use crate::doctor::{DockerProxy, UdpFlow};

fn proxy(container: &str) -> DockerProxy {
    DockerProxy {
        pid: 4711,
        protocol: Protocol::Tcp,
        host: "0.0.0.0:8080".parse().unwrap(),
        container: container.parse().unwrap(),
    }
}

#[test]
fn a_proxy_without_its_container_is_an_error() {
    let mut host = TestHost::new();
    host.observed.proxies = vec![proxy("172.17.0.2:80")];
    host.is_healthy();
    host.observed.proxies.push(proxy("172.17.0.9:80"));
    host.only(
        "docker-proxy",
        Severity::Error,
        "docker-proxy (process 4711) has 0.0.0.0:8080/tcp for 172.17.0.9:80",
        "kill 4711",
    );
}

#[test]
fn a_rule_to_a_container_that_is_gone_is_an_error() {
    let mut host = TestHost::new();
    host.rule(
        "nat",
        "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.9:80",
    );
    host.only(
        "stale-dnat",
        Severity::Error,
        "chain DOCKER translates 8081/tcp to 172.17.0.9, which no container has",
        "systemctl restart docker",
    );
    host.observed.held.insert(ip("172.17.0.9"));
    host.is_healthy();
}

#[test]
fn rules_that_a_former_netavark_left_are_deleted() {
    let chain = "NETAVARK-DN-1D8721804F16F";
    let saved = format!(
        "*nat
:{chain} - [0:0]
-A {chain} -s 10.88.0.0/16 -p tcp -m tcp --dport 8081 -j MARK --set-xmark 0x2000/0x2000
-A {chain} -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.88.0.9:80
-A {chain} -p tcp -m tcp --dport 8082 -j DNAT --to-destination 172.17.0.2:80
-A {chain} -p tcp -m tcp --dport 8083 -j DNAT --to-destination 10.88.0.9:83
COMMIT
"
    );
    let message = format!("chain {chain} translates 8081/tcp, 8083/tcp to 10.88.0.9, which no container has");
    let mut host = TestHost::new();
    host.rules(&saved);
    let fix = format!("nft 'delete rule ip nat {chain} handle 2; delete rule ip nat {chain} handle 4'");
    host.only("stale-dnat", Severity::Error, &message, &fix);
    let mut host = TestHost::new();
    let prerouting = ":PREROUTING ACCEPT [0:0]\n:NETAVARK";
    let legacy = saved.replacen(":NETAVARK", prerouting, 1);
    host.observed.host.iptables_legacy = iptables_save::read(Family::Ip, &legacy);
    let fix = format!("iptables-legacy -t nat -D {chain} 4 && iptables-legacy -t nat -D {chain} 2");
    host.only("stale-dnat", Severity::Error, &message, &fix);
}

#[test]
fn a_rule_of_the_user_counts_within_the_subnets_of_engines_alone() {
    let mut host = TestHost::new();
    host.rule("nat", "-A PREROUTING -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.0.53");
    host.bridge("virbr0", "192.168.122.1/24");
    host.rule("filter", "-A DOCKER-USER -i virbr0 -j ACCEPT");
    host.rule("nat", "-A PREROUTING -p tcp -m tcp --dport 22 -j DNAT --to-destination 192.168.122.9:22");
    host.is_healthy();
    host.rule("nat", "-A PREROUTING -p tcp -m tcp --dport 23 -j DNAT --to-destination 172.17.0.9");
    host.only(
        "stale-dnat",
        Severity::Error,
        "chain PREROUTING translates 23/tcp to 172.17.0.9",
        "nft -a list chain ip nat PREROUTING",
    );
    // A virtual machine on the bridge has addresses that cannot be seen.
    host.observed.host.interfaces.iter_mut().find(|it| it.name == "docker0a").unwrap().kind =
        "tun".to_owned();
    host.is_healthy();
}

fn flow(target: &str) -> UdpFlow {
    UdpFlow {
        source: "10.0.0.7:40000".parse().unwrap(),
        destination: "10.0.0.2:53".parse().unwrap(),
        target: target.parse().unwrap(),
    }
}

#[test]
fn a_flow_to_a_container_that_is_gone_is_an_error() {
    let mut host = TestHost::new();
    host.observed.flows = vec![flow("172.17.0.9:53")];
    // Without another container that has the port, nothing is missed.
    host.is_healthy();
    host.rule(
        "nat",
        "-A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.2:53",
    );
    host.only(
        "stale-flows",
        Severity::Error,
        "1 flow to port 53/udp of the host still goes to 172.17.0.9, which no container has: from 10.0.0.7:40000",
        "conntrack -D -p udp --orig-port-dst 53 --reply-src 172.17.0.9",
    );
    host.observed.flows = vec![flow("172.17.0.2:53")];
    host.is_healthy();
    // Not a container's.
    host.observed.flows = vec![flow("10.0.0.53:53")];
    host.is_healthy();
}

#[test]
fn a_namespace_without_anything_in_it_is_a_warning() {
    let mut host = TestHost::new();
    host.observed.unused_namespaces = vec!["/run/netns/cni-1".to_owned()];
    host.only(
        "netns-leaks",
        Severity::Warning,
        "network namespace /run/netns/cni-1 has no process",
        "ip netns delete cni-1",
    );
    let path = "/run/docker/netns/0123456789ab";
    host.observed.unused_namespaces = vec![path.to_owned()];
    host.only("netns-leaks", Severity::Warning, path, &format!("umount {path} && rm {path}"));
}

#[test]
fn a_name_server_that_nothing_listens_at_is_an_error() {
    for (engine, fix) in [
        (EngineWords::Docker, "docker run --dns ADDRESS IMAGE"),
        (EngineWords::Podman, "podman run --dns ADDRESS IMAGE"),
        (EngineWords::Nerdctl, "nerdctl run --dns ADDRESS IMAGE"),
        (EngineWords::Kubectl, "kubelet --resolv-conf=/run/systemd/resolve/resolv.conf"),
        (EngineWords::Other, "lxc-stop --reboot --name web"),
    ] {
        let mut host = TestHost::new();
        host.observed.containers[0].known.engine = engine;
        host.observed.containers[0].dead_name_servers = vec![ip("127.0.0.53")];
        host.only(
            "container-nameservers",
            Severity::Error,
            "the resolv.conf of docker:web names 127.0.0.53, and nothing listens there",
            fix,
        );
    }
}

#[test]
fn containers_with_the_same_name_server_are_one_finding() {
    let mut host = TestHost::new();
    host.container("other", EngineWords::Docker, "bridge", "172.17.0.3");
    for container in &mut host.observed.containers {
        container.dead_name_servers = vec![ip("127.0.0.53")];
    }
    host.only(
        "container-nameservers",
        Severity::Error,
        "of docker:web, docker:other names",
        "docker run --dns ADDRESS IMAGE",
    );
}
