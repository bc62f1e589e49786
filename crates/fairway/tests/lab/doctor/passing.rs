//! What keeps packets from passing the host.

use fairway_inspect::doctor::Severity;
use fairway_lab::{Lab, Outcome, Question, serve_datagrams, serve_tcp};

use super::{Clinic, IMPATIENT, PATIENCE, shell};
use crate::advertisements::{advertise, has_route};
use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, LAN, eventually};

/// What Docker has in the table `filter`.
const DOCKER: &str = include_str!("../../../../fairway-inspect/src/conflict/data/docker.v4");

const IN_VAIN: Outcome = Outcome::TimedOut;

#[test]
fn forwarding_that_is_off() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::after(lab, &["--ip-forward=false"], |stage| {
            stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        });
        assert_eq!(clinic.reach()[0], IN_VAIN);
        let all = clinic.only("forwarding", Severity::Error);
        let fix = all.fix.as_ref().unwrap();
        assert_eq!((fix.command.as_str(), fix.automatic), ("sysctl -w net.ipv4.ip_forward=1", false));
        // It is not Fairway's: nothing is done.
        assert_eq!(clinic.stage.client().doctor(true).unwrap().done, [""; 0]);
        assert_eq!(clinic.stage.host.sysctl("net.ipv4.ip_forward").unwrap(), "0");
        clinic.obey(&all);
        clinic.assert_well("forwarding");
        clinic.assert_flows();

        clinic.stage.host.set_sysctl("net.ipv4.conf.eth0.forwarding", "0").unwrap();
        assert_eq!(clinic.reach(), [IN_VAIN, IN_VAIN]);
        let one = clinic.only("forwarding", Severity::Error);
        assert_eq!(one.fix.as_ref().unwrap().command, "sysctl -w net.ipv4.conf.eth0.forwarding=1");
        clinic.obey(&one);
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);

        // A bridge is Fairway's own.
        let bridge = clinic.bridge();
        clinic.stage.host.set_sysctl(&format!("net.ipv4.conf.{bridge}.forwarding"), "0").unwrap();
        assert_eq!(clinic.reach()[0], IN_VAIN);
        assert!(clinic.only("forwarding", Severity::Error).fix.unwrap().automatic);
        assert_eq!(clinic.fix("forwarding"), format!("set net/ipv4/conf/{bridge}/forwarding to 1"));
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);
    });
}

fn policy_of_drop(lab: &Lab, program: &str) {
    let clinic = Clinic::new(lab, &[]);
    shell(&clinic.stage, &format!("{program} -P FORWARD DROP"));
    assert_eq!(clinic.reach(), [IN_VAIN, IN_VAIN]);
    let found = clinic.finding("forward-policy", Severity::Error);
    assert!(
        found.message.contains("chain FORWARD: its policy drops what sandboxes send elsewhere"),
        "{found:?}"
    );
    let accepted = format!("{program} -I FORWARD -i {} -j ACCEPT", clinic.bridge());
    assert!(found.fix.as_ref().unwrap().command.contains(&accepted), "{found:?}");
    assert!(!found.fix.as_ref().unwrap().automatic, "it is foreign");
    clinic.obey(&found);
    clinic.assert_well("forward-policy");
    clinic.assert_flows();
    assert_eq!(clinic.findings(), []);
}

#[test]
fn a_forward_policy_of_drop() {
    fairway_lab::run(|lab| policy_of_drop(lab, "iptables-nft"));
}

#[test]
fn a_forward_policy_of_drop_of_legacy_iptables() {
    fairway_lab::run(|lab| policy_of_drop(lab, "iptables-legacy"));
}

#[test]
fn a_policy_of_drop_in_a_table_of_ones_own() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let rules = "table inet mine { chain pass { type filter hook forward priority 5; policy drop; }; }";
        run_with(&clinic.stage.host, "nft", &["-f", "-"], rules);
        assert_eq!(clinic.reach(), [IN_VAIN, IN_VAIN]);
        let found = clinic.finding("forward-policy", Severity::Error);
        let accepted = format!("nft insert rule inet mine pass iifname {} accept", clinic.bridge());
        assert!(found.fix.as_ref().unwrap().command.contains(&accepted), "{found:?}");
        clinic.obey(&found);
        clinic.assert_well("forward-policy");
        clinic.assert_flows();
    });
}

#[test]
fn a_docker_firewall_that_drops() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        run_with(&clinic.stage.host, "iptables-nft-restore", &[], DOCKER);
        assert_eq!(clinic.reach(), [IN_VAIN, IN_VAIN]);
        let found = clinic.finding("forward-policy", Severity::Error);
        assert!(found.message.starts_with("Docker: table ip filter, chain FORWARD"), "{found:?}");
        let before_dockers_own = format!("iptables-nft -I DOCKER-USER -i {} -j ACCEPT", clinic.bridge());
        assert!(found.fix.as_ref().unwrap().command.contains(&before_dockers_own), "{found:?}");
        clinic.obey(&found);
        clinic.assert_well("forward-policy");
        clinic.assert_flows();
    });
}

#[test]
fn advertisements_that_are_not_heeded() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::after(lab, &[], |stage| {
            stage.host.set_sysctl("net/ipv6/conf/all/forwarding", "0").unwrap();
            stage.lan.set_sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
            stage.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
            eventually("a route is learnt", PATIENCE, || advertise(&stage.lan) && has_route(&stage.host));
        });
        clinic.stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        assert_eq!(clinic.findings(), [], "the daemon sees to it");
        clinic.stage.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
        let found = clinic.only("accept-ra", Severity::Warning);
        shell(&clinic.stage, "ip -6 route del default proto ra");
        (0..5).for_each(|_| assert!(advertise(&clinic.stage.lan)));
        std::thread::sleep(IMPATIENT);
        assert!(!has_route(&clinic.stage.host), "nothing is heeded");
        clinic.obey(&found);
        eventually("a route is learnt", PATIENCE, || {
            advertise(&clinic.stage.lan) && has_route(&clinic.stage.host)
        });
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn rules_of_another_firewall() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let bridge = clinic.bridge();
        let _server = serve_tcp(&clinic.stage.host, "0.0.0.0:9000").unwrap();
        let rules = format!(
            "table inet mine {{
                chain guests {{ iifname {bridge} drop; }}
                chain pass {{ type filter hook forward priority 5; jump guests; }}
                chain here {{ type filter hook input priority 5; iifname {bridge} drop; }}
            }}"
        );
        run_with(&clinic.stage.host, "nft", &["-f", "-"], &rules);
        let own = Question::to(&format!("{HOST}:9000")).unwrap().within(IMPATIENT);
        assert_eq!(clinic.reach()[0], IN_VAIN);
        assert_eq!(own.tcp(&clinic.sandbox).unwrap(), IN_VAIN);
        let outward = clinic.finding("firewall", Severity::Error);
        assert!(
            outward.message.contains("table inet mine, chain guests: the rule with handle"),
            "{outward:?}"
        );
        clinic.obey(&outward);
        clinic.assert_flows();
        let inward = clinic.finding("firewall", Severity::Warning);
        assert!(inward.message.contains("chain here"), "{inward:?}");
        clinic.obey(&inward);
        clinic.assert_well("firewall");
        let own = Question::to(&format!("{HOST}:9000")).unwrap().within(IMPATIENT);
        let address = clinic.sandbox.address("web").to_string();
        assert_eq!(own.tcp(&clinic.sandbox).unwrap(), Outcome::answered(&address));
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn a_rule_that_drops_published_udp_ports() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let rules = "table inet mine { chain pass {
            type filter hook forward priority 5
            iifname eth0 meta l4proto udp drop
        }
        }";
        run_with(&clinic.stage.host, "nft", &["-f", "-"], rules);
        // No UDP port is published yet.
        assert_eq!(clinic.findings(), []);
        let names = clinic.stage.sandbox("names", &["web"], &["8053:53/udp"]);
        let _server = serve_datagrams(&names, "0.0.0.0:53").unwrap();
        let asked = |patience| {
            let question = Question::to(&format!("{HOST}:8053")).unwrap().within(patience);
            question.udp(&clinic.stage.lan).unwrap()
        };
        assert_eq!(asked(IMPATIENT), IN_VAIN);
        let found = clinic.only("firewall", Severity::Error);
        assert!(
            found.message.contains("drops what comes to published UDP ports from elsewhere"),
            "{found:?}"
        );
        clinic.obey(&found);
        clinic.assert_well("firewall");
        assert_eq!(asked(PATIENCE), Outcome::answered(LAN));
    });
}

#[test]
fn rules_of_both_kinds_of_iptables() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        for program in ["iptables-nft", "iptables-legacy"] {
            shell(&clinic.stage, &format!("{program} -A INPUT -p tcp --dport 23 -j DROP"));
        }
        let found = clinic.only("two-firewalls", Severity::Warning);
        assert_eq!(
            found.message,
            "the host has rules of legacy iptables (filter) and of iptables-nft (filter)"
        );
        clinic.obey(&found);
        clinic.assert_well("two-firewalls");
        let rules = shell(&clinic.stage, "iptables-legacy -S; iptables-nft -S");
        assert_eq!(rules.matches("--dport 23").count(), 2, "both are in one place: {rules}");
        assert!(!shell(&clinic.stage, "iptables-legacy -S").contains("-A "));
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn bridges_of_others_that_meet_the_firewall() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        // As libvirt has it: two machines on a bridge, and a policy that is not meant for them.
        shell(&clinic.stage, "ip link add virbr0 type bridge && ip link set virbr0 up");
        for (name, address) in [("m1", "192.168.77.1/24"), ("m2", "192.168.77.2/24")] {
            let line = format!(
                "ip netns add {name} && ip link add {name} type veth peer name eth0 netns {name} && \
                 ip link set {name} master virbr0 up && ip -n {name} addr add {address} dev eth0 && \
                 ip -n {name} link set eth0 up"
            );
            shell(&clinic.stage, &line);
        }
        let [one, two] =
            ["m1", "m2"].map(|it| clinic.stage.host.sandbox(format!("/run/netns/{it}")).unwrap());
        let _server = serve_tcp(&two, "0.0.0.0:80").unwrap();
        let question = || Question::to("192.168.77.2:80").unwrap();
        let meet = || question().within(IMPATIENT).tcp(&one).unwrap();
        // A port forwards when the kernel has noticed its carrier, up to a second later
        // (net/core/link_watch.c), and more on a busy machine.
        let first = question().within(PATIENCE).tcp(&one).unwrap();
        assert_eq!(first, Outcome::answered("192.168.77.1"));
        clinic.stage.host.set_bridge_netfilter(true).unwrap();
        assert!(clinic.only("bridge-netfilter", Severity::Note).message.contains("1 foreign bridge: virbr0"));
        shell(&clinic.stage, "iptables-nft -P FORWARD DROP");
        assert_eq!(meet(), IN_VAIN);
        let found = clinic.finding("bridge-netfilter", Severity::Warning);
        clinic.obey(&found);
        assert_eq!(meet(), Outcome::answered("192.168.77.1"));
        clinic.assert_well("bridge-netfilter");
        clinic.obey(&clinic.finding("forward-policy", Severity::Error));
        clinic.assert_flows();
    });
}

#[test]
fn a_strict_check_of_sources() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let stage = &clinic.stage;
        // Somebody far away comes in by a second interface, and would be answered by the first.
        let (far, second) = (lab.host("far").unwrap(), lab.lan("second").unwrap());
        second.join(&stage.host, &["10.10.60.99/24"]).unwrap();
        second.join(&stage.lan, &["10.10.60.1/24"]).unwrap();
        second.join(&far, &["10.10.60.7/24", "192.0.2.7/32"]).unwrap();
        far.route("10.10.50.0/24", "10.10.60.99").unwrap();
        for (setting, value) in
            [("ip_forward", "1"), ("conf.all.rp_filter", "0"), ("conf.eth0.rp_filter", "0")]
        {
            stage.lan.set_sysctl(&format!("net.ipv4.{setting}"), value).unwrap();
        }
        stage.lan.route("192.0.2.0/24", "10.10.60.7").unwrap();
        // Else it asks for neighbours from its far address, and hears nothing already then.
        far.set_sysctl("net.ipv4.conf.all.arp_announce", "2").unwrap();
        let asked = || {
            let question = Question::to(&format!("{HOST}:8080")).unwrap().within(IMPATIENT);
            question.from("192.0.2.7".parse().unwrap()).tcp(&far).unwrap()
        };
        assert_eq!(asked(), Outcome::answered("192.0.2.7"));
        stage.host.set_sysctl("net.ipv4.conf.eth1.rp_filter", "1").unwrap();
        assert_eq!(asked(), IN_VAIN);
        let dropped = clinic.only("rp-filter", Severity::Warning);
        assert!(dropped.message.contains(" and is strict on eth1"), "{dropped:?}");
        clinic.obey(&dropped);
        assert_eq!(asked(), Outcome::answered("192.0.2.7"));
        assert_eq!(clinic.findings(), []);

        // Where the routes themselves say so.
        stage.host.set_sysctl("net.ipv4.conf.eth1.rp_filter", "1").unwrap();
        shell(stage, "ip route add default via 10.10.60.1 metric 4000");
        let routed = clinic.only("rp-filter", Severity::Warning);
        let seen = "rp_filter of eth1 is strict, and the better default route is over eth0";
        assert_eq!(routed.message, seen);
        assert_eq!(asked(), IN_VAIN);
        clinic.obey(&routed);
        assert_eq!(asked(), Outcome::answered("192.0.2.7"));
        assert_eq!(clinic.findings(), []);
    });
}
