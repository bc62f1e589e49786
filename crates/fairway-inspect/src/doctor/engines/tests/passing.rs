//! Forwarding, firewalls, MTU, bridged packets, subnets.

use super::*;
use crate::doctor::ConfiguredNetwork;

#[test]
fn forwarding_that_is_off_is_an_error() {
    let mut host = TestHost::new();
    host.find("eth0").forwarding.0 = false;
    host.only(
        "engine-forwarding",
        Severity::Error,
        "does not forward IPv4 packets from eth0",
        "sysctl -w net.ipv4.conf.eth0.forwarding=1",
    );
    host.find("docker0").forwarding.0 = false;
    host.only("engine-forwarding", Severity::Error, "from docker0, eth0", "sysctl -w net.ipv4.ip_forward=1");
    // As netavark has it for an internal network.
    host.find("eth0").forwarding.0 = true;
    host.is_healthy();
}

#[test]
fn a_bridge_without_ports_or_engine_need_not_forward() {
    let mut host = TestHost::new();
    host.interface("podman0", "bridge", "10.88.0.1/16").forwarding = (false, false);
    host.bridge("isolated", "10.99.0.1/24");
    host.find("isolated").forwarding = (false, false);
    host.is_healthy();
}

#[test]
fn dockers_policy_drops_what_other_bridges_send() {
    let mut host = TestHost::new();
    host.bridge("virbr0", "192.168.122.1/24");
    host.only(
        "engine-forward-policy",
        Severity::Error,
        "Docker: table ip filter, chain FORWARD: its policy drops what comes from bridge virbr0",
        "iptables -I DOCKER-USER -i virbr0 -j ACCEPT && \
         iptables -I DOCKER-USER -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    );
    host.rule("filter", "-A DOCKER-USER -i virbr0 -j ACCEPT");
    host.is_healthy();
}

#[test]
fn an_internal_network_is_to_reach_nothing() {
    let mut host = TestHost::new();
    host.bridge("br-0123456789ab", "172.19.0.1/16");
    let index = host.find("br-0123456789ab").index;
    host.observed.mtus.insert(index, 9000);
    assert_eq!(host.findings().len(), 2);
    host.rule("filter", "-A DOCKER-ISOLATION-STAGE-1 ! -s 172.19.0.0/16 -o br-0123456789ab -j DROP");
    assert_eq!(host.findings().len(), 2);
    host.rule("filter", "-A DOCKER-ISOLATION-STAGE-1 ! -d 172.19.0.0/16 -i br-0123456789ab -j DROP");
    host.is_healthy();
}

#[test]
fn a_policy_of_the_user_counts_for_bridges_of_engines_alone() {
    let mut host = TestHost::new();
    host.observed.host.tables.clear();
    host.observed.containers.clear();
    host.rules("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i docker0 -j ACCEPT\nCOMMIT\n");
    host.bridge("guests", "192.168.7.1/24");
    host.is_healthy();
    host.bridge("podman0", "10.88.0.1/16");
    host.only(
        "engine-forward-policy",
        Severity::Error,
        "iptables: table ip filter, chain FORWARD: its policy drops what comes from bridge podman0 (podman)",
        "iptables -I FORWARD -i podman0 -j ACCEPT && \
         iptables -I FORWARD -o podman0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    );
}

#[test]
fn ufw_and_legacy_iptables_have_their_own_words() {
    let mut host = TestHost::new();
    host.observed.host.tables.clear();
    host.observed.containers.clear();
    host.rules(
        "*filter\n:FORWARD DROP [0:0]\n:ufw-user-forward - [0:0]\n-A FORWARD -j ufw-user-forward\nCOMMIT\n",
    );
    let found = host.findings();
    assert_eq!(found[0].fix.as_ref().unwrap().command, "ufw route allow in on docker0");
    let tables = iptables_save::read(Family::Ip, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
    host.observed.host.tables.clear();
    host.observed.host.iptables_legacy = tables;
    let found = host.findings();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("legacy table ip filter"), "{found:?}");
    assert!(found[0].fix.as_ref().unwrap().command.starts_with("iptables-legacy -I FORWARD -i docker0"));
}

#[test]
fn fairways_own_bridges_and_the_hosts_are_left_out() {
    let mut host = TestHost::new();
    host.bridge("br-b9acfcf5310a", "172.18.0.1/16");
    assert_eq!(host.findings().len(), 1);
    let own = host.find("br-b9acfcf5310a").index;
    host.observed.own_bridges.insert(own);
    host.is_healthy();
    // The uplink is a bridge, with machines on the LAN.
    host.bridge("br0", "192.168.1.2/24");
    let bridge = host.find("br0").index;
    host.observed.host.routes.retain(|it| it.destination.prefix_len() != 0);
    host.route("0.0.0.0/0", "br0");
    host.observed.mtus.insert(bridge, 1500);
    host.is_healthy();
}

#[test]
fn an_mtu_larger_than_the_uplinks_is_a_warning() {
    let mut host = TestHost::new();
    let uplink = host.find("eth0").index;
    host.observed.mtus.insert(uplink, 1450);
    host.only(
        "engine-mtu",
        Severity::Warning,
        "bridge docker0 (Docker network bridge), with docker:web has MTU 1500, and the uplink eth0 has 1450",
        "dockerd --mtu 1450",
    );
    let bridge = host.find("docker0").index;
    host.observed.mtus.insert(bridge, 1400);
    host.is_healthy();
}

#[test]
fn the_mtu_of_a_network_is_set_by_its_engine() {
    for (bridge, engine, fix) in [
        (
            "br-0123456789ab",
            EngineWords::Docker,
            "docker network rm app && docker network create -o com.docker.network.driver.mtu=1450 app",
        ),
        ("podman1", EngineWords::Podman, "podman network rm app && podman network create -o mtu=1450 app"),
        ("cni0", EngineWords::Kubectl, "ip link set dev cni0 mtu 1450"),
    ] {
        let mut host = TestHost::new();
        host.bridge(bridge, "10.7.0.1/24");
        host.rule("filter", &format!("-A DOCKER-USER -i {bridge} -j ACCEPT"));
        host.container("app1", engine, "app", "10.7.0.2");
        for (name, mtu) in [("eth0", 1450), ("docker0", 1450)] {
            let index = host.find(name).index;
            host.observed.mtus.insert(index, mtu);
        }
        host.only("engine-mtu", Severity::Warning, "docker:app1", fix);
    }
}

#[test]
fn kube_proxy_needs_bridged_packets() {
    const FIX: &str = "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1";
    let mut host = TestHost::new();
    host.bridge("cni0", "10.244.0.1/24");
    host.rule("filter", "-A DOCKER-USER -i cni0 -j ACCEPT");
    host.is_healthy();
    host.rules("*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j MARK --set-xmark 1\nCOMMIT\n");
    host.only("engine-bridge-netfilter", Severity::Error, "pods on bridge cni0", FIX);
    host.observed.host.bridge_netfilter.0 = true;
    host.is_healthy();
}

#[test]
fn containers_that_are_to_be_apart_need_bridged_packets() {
    const FIX: &str = "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1";
    let mut host = TestHost::new();
    host.rule("filter", "-A FORWARD -i docker0 -o docker0 -j DROP");
    host.only("engine-bridge-netfilter", Severity::Warning, "(icc=false)", FIX);
    host.observed.host.bridge_netfilter.0 = true;
    host.is_healthy();
}

#[test]
fn a_route_over_the_subnet_of_a_bridge_is_an_error() {
    let mut host = TestHost::new();
    host.interface("tun0", "tun", "");
    host.route("172.17.5.0/24", "tun0");
    host.only(
        "engine-subnets",
        Severity::Error,
        "has 172.17.0.0/16, which overlaps the host's route to 172.17.5.0/24 over tun0",
        "dockerd --bip ADDRESS/BITS",
    );
}

#[test]
fn a_wider_route_is_a_note_and_a_default_route_none() {
    let mut host = TestHost::new();
    host.interface("tun0", "tun", "");
    host.route("0.0.0.0/1", "tun0");
    host.route("128.0.0.0/1", "tun0");
    host.is_healthy();
    host.route("172.16.0.0/12", "tun0");
    host.only("engine-subnets", Severity::Note, "172.16.0.0/12 over tun0", "dockerd --bip ADDRESS/BITS");
    host.observed.host.routes.last_mut().unwrap().kind = RouteKind::Blackhole;
    host.is_healthy();
}

#[test]
fn bridges_of_two_engines_with_one_subnet_are_an_error() {
    let mut host = TestHost::new();
    host.bridge("podman1", "172.17.128.1/24");
    host.rule("filter", "-A DOCKER-USER -i podman1 -j ACCEPT");
    host.only(
        "engine-subnets",
        Severity::Error,
        "has 172.17.0.0/16, which overlaps 172.17.128.0/24 of bridge podman1 (podman)",
        "podman network rm NETWORK && podman network create --subnet ADDRESS/BITS NETWORK",
    );
}

fn configured(name: &str, bridge: &str, subnet: &str) -> ConfiguredNetwork {
    ConfiguredNetwork {
        engine: "CNI",
        name: name.to_owned(),
        file: format!("/etc/cni/net.d/{name}.conflist"),
        bridge: Some(bridge.to_owned()),
        subnets: vec![subnet.parse().unwrap()],
    }
}

#[test]
fn two_networks_with_one_bridge_are_a_warning() {
    let mut host = TestHost::new();
    host.observed.networks =
        vec![configured("one", "cni0", "10.4.0.0/24"), configured("two", "cni0", "10.5.0.0/24")];
    host.is_healthy();
    host.interface("cni0", "bridge", "10.4.0.1/24");
    host.only(
        "engine-bridges",
        Severity::Warning,
        "bridge cni0 is that of CNI network one (/etc/cni/net.d/one.conflist) and of CNI network two",
        "vi /etc/cni/net.d/two.conflist",
    );
    host.observed.networks.pop();
    host.is_healthy();
}

#[test]
fn a_pool_that_is_taken_is_a_note() {
    let mut host = TestHost::new();
    host.observed.networks = vec![configured("one", "cni0", "172.17.3.0/24")];
    host.only(
        "engine-bridges",
        Severity::Note,
        "overlaps the one of bridge docker0",
        "vi /etc/cni/net.d/one.conflist",
    );
    host.observed.networks = vec![configured("one", "cni0", "10.4.0.0/24")];
    host.is_healthy();
    // The same network, for another of podman's backends.
    host.bridge("podman0", "10.88.0.1/16");
    host.rule("filter", "-A DOCKER-USER -i podman0 -j ACCEPT");
    host.observed.networks = vec![configured("podman", "cni-podman0", "10.88.0.0/16")];
    host.is_healthy();
}

#[test]
fn one_address_of_two_containers_is_an_error() {
    let mut host = TestHost::new();
    host.container("twin", EngineWords::Docker, "bridge", "172.17.0.2");
    host.only(
        "engine-bridges",
        Severity::Error,
        "docker:web and docker:twin both have 172.17.0.2 on bridge docker0",
        "docker restart twin",
    );
    host.observed.containers[1].running = false;
    host.is_healthy();
    // A container in the namespace of another one has the same address.
    host.observed.containers[1].running = true;
    host.observed.containers[1].known.namespace = host.observed.containers[0].known.namespace;
    host.is_healthy();
}
