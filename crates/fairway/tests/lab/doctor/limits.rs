//! What is too small, overlaps, or is full.

use std::net::Ipv4Addr;

use crate::dns::{RecordType, look_up};
use fairway_api::types::{IpamConfig, NetworkCreate};
use fairway_inspect::doctor::Severity;
use fairway_lab::{Outcome, Question};
use rustix::process::{Pid, Resource, Rlimit};

use super::{Clinic, PATIENCE, name_server, shell};
use crate::harness::{HOST, LAN, refusal, request};
use crate::upstream::Upstream;

const MTU: &str = "com.docker.network.driver.mtu";

#[test]
fn packets_that_are_too_large() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::after(lab, &[], |stage| {
            shell(stage, "ip link set eth0 mtu 1400");
        });
        assert_eq!(clinic.findings(), [], "networks have the MTU of the default route");
        let wide = |it: &mut NetworkCreate| it.options = [(MTU.to_owned(), "1500".to_owned())].into();
        clinic.stage.create_network("wide", wide).unwrap();
        let sandbox = clinic.stage.sandbox("w", &["wide"], &["8081:80"]);
        let _server = fairway_lab::serve_tcp(&sandbox, "0.0.0.0:80").unwrap();
        let found = clinic.only("mtu", Severity::Warning);
        assert_eq!(found.message, "the MTU of network wide is 1500, larger than the MTU of eth0 (1400)");
        clinic.obey(&found);
        assert_eq!(clinic.findings(), []);
        assert_eq!(sandbox.run_in(|| crate::foreign_changes::link("eth0").mtu).unwrap(), 1400);
        let asked = Question::to(&format!("{HOST}:8081")).unwrap().tcp(&clinic.stage.lan).unwrap();
        assert_eq!(asked, Outcome::answered(LAN));

        // A port of somebody else's that takes less than the bridge.
        let line = "ip link add stranger mtu 1300 type veth && ip link set stranger master BRIDGE up";
        shell(&clinic.stage, &line.replace("BRIDGE", &clinic.bridge()));
        let found = clinic.finding("mtu", Severity::Warning);
        assert!(found.message.contains("stranger (1300)"), "{found:?}");
        clinic.obey(&found);
        clinic.assert_well("mtu");

        // The way into a VPN is narrower; sandboxes are told by ICMP.
        let vpn =
            "ip link add vpn0 mtu 1280 type veth && ip link set vpn0 up && ip route add 10.8.0.0/16 dev vpn0";
        shell(&clinic.stage, vpn);
        let found = clinic.finding("mtu", Severity::Note);
        assert!(found.message.contains("larger than the MTU of vpn0 (1280)"), "{found:?}");
    });
}

#[test]
fn a_route_over_a_network() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        // The host prefers the route to its bridge, which was there first.
        shell(&clinic.stage, "ip address add 172.18.9.9/16 dev eth0");
        let second = clinic.finding("subnet-overlap", Severity::Warning);
        assert!(second.message.contains("172.18.0.0/16 over eth0"), "{second:?}");
        clinic.assert_flows();
        shell(&clinic.stage, "ip address del 172.18.9.9/16 dev eth0");
        clinic.assert_well("subnet-overlap");
        clinic.stage.host.route("172.18.0.0/17", LAN).unwrap();
        assert_ne!(clinic.reach()[1], Outcome::answered(LAN), "the VPN has what is for the sandbox");
        let found = clinic.finding("subnet-overlap", Severity::Error);
        let seen = "the host's route to 172.18.0.0/17 over eth0 overlaps network web (172.18.0.0/16)";
        assert_eq!(found.message, seen);
        assert_eq!(
            found.fix.as_ref().unwrap().command,
            "fairway network disconnect web p && fairway network rm web && fairway network create web && \
             fairway network connect web p"
        );
        clinic.obey(&found);
        clinic.assert_well("subnet-overlap");
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn a_docker_with_the_same_subnet() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let docker0 = "ip link add docker0 type bridge && ip addr add 172.18.0.1/16 dev docker0 && ip link set docker0 up";
        shell(&clinic.stage, docker0);
        let found = clinic.finding("docker", Severity::Error);
        assert_eq!(found.message, "Docker's bridge docker0 has 172.18.0.1/16, which overlaps network web");
        clinic.obey(&found);
        clinic.assert_well("docker");
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn name_servers_on_loopback() {
    fairway_lab::run(|lab| {
        let everything = Ipv4Addr::new(10, 9, 9, 1);
        let clinic = Clinic::new(lab, &[]);
        let _upstream = Upstream::start(&clinic.stage.host, "127.0.0.1", everything);
        name_server(&clinic.stage, "127.0.0.1");
        let plain = clinic.stage.sandbox("plain", &["bridge"], &[]);
        let found = clinic.finding("nameservers", Severity::Warning);
        assert!(found.message.starts_with("the host's name servers (127.0.0.1)"), "{found:?}");
        assert_eq!(found.fix.as_ref().unwrap().command, "fairway network connect web plain");
        clinic.obey(&found);
        clinic.assert_well("nameservers");
        let found = look_up(&plain, "127.0.0.11:53", "name.example", RecordType::A).unwrap();
        assert_eq!(found, [everything]);
        // None at all, and nobody has one of their own.
        clinic.stage.host.run_in(|| std::fs::write("/etc/resolv.conf", "").unwrap()).unwrap();
        let none = clinic.finding("nameservers", Severity::Warning);
        assert!(none.message.starts_with("the host's resolv.conf has no name server"), "{none:?}");
        shell(&clinic.stage, &none.fix.unwrap().command.replace("ADDRESS", LAN));
        clinic.assert_well("nameservers");
    });
}

#[test]
fn networks_without_addresses_and_pools_without_subnets() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &["--default-address-pool=base=10.99.0.0/22,size=24"]);
        let few = clinic.only("subnets", Severity::Warning);
        assert_eq!(few.message, "the address pools have only 2 subnets left");
        ["a", "b"].into_iter().for_each(|name| drop(clinic.stage.network(name)));
        let none = clinic.only("subnets", Severity::Error);
        assert_eq!(none.message, "the address pools have no subnet left; no sandbox uses a, b");
        let more = || clinic.stage.create_network("more", |_| {});
        refusal(more());
        clinic.obey(&none);
        more().unwrap();

        let small = |it: &mut NetworkCreate| {
            let subnet = "10.77.0.0/29".to_owned();
            it.ipam.get_or_insert_default().config = vec![IpamConfig { subnet, ..IpamConfig::default() }];
        };
        clinic.stage.create_network("small", small).unwrap();
        for name in ["s1", "s2", "s3", "s4", "s5"] {
            clinic.stage.sandbox(name, &["small"], &[]);
        }
        let full = clinic.finding("addresses", Severity::Error);
        assert_eq!(full.message, "5 of the 5 addresses in 10.77.0.0/29 are in use on network small");
        refusal(clinic.stage.attach("s6", request(&["small"], &[])));
        clinic.obey(&full);
        clinic.stage.sandbox("s6", &["small-2"], &[]);
    });
}

#[test]
fn a_bridge_without_ports() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let bridge = clinic.bridge();
        let fill = |from: u32, to: u32| {
            // Both ends of each pair.
            let add = |n: u32| {
                format!(
                    "link add f{n} type veth peer name g{n}\nlink set f{n} master {bridge}\nlink set g{n} master {bridge}\n"
                )
            };
            let lines: String = (from..to).map(add).collect();
            crate::foreign_firewalls::run_with(&clinic.stage.host, "ip", &["-batch", "-"], &lines);
        };
        // The sandbox has one of the 1,023.
        fill(0, 460);
        let nearly = clinic.only("bridge-ports", Severity::Warning);
        assert_eq!(nearly.message, format!("921 of the 1023 ports of bridge {bridge} are in use"));
        fill(460, 511);
        let full = clinic.only("bridge-ports", Severity::Error);
        refusal(clinic.stage.attach("more", request(&["web"], &[])));
        clinic.obey(&full);
        let more = clinic.stage.sandbox("more", &["web-2"], &[]);
        let asked = Question::to(&format!("{LAN}:80")).unwrap().within(PATIENCE).tcp(&more).unwrap();
        assert_eq!(asked, Outcome::answered(HOST));
    });
}

#[test]
fn descriptors_that_are_nearly_all_open() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let pid = clinic.stage.daemon.pid();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        let few = Rlimit { current: Some(open + 6), maximum: limit.maximum };
        rustix::process::prlimit(Pid::from_raw(pid as i32), Resource::Nofile, few).unwrap();
        let ports = ["9000-9099:80-179"];
        let found = clinic.only("descriptors", Severity::Warning);
        refusal(clinic.stage.attach("many", request(&["web"], &ports)));
        clinic.obey(&found);
        clinic.assert_well("descriptors");
        clinic.stage.attach("many", request(&["web"], &ports)).unwrap();
    });
}
