//! Hosts and sandboxes with routes of their own: what is said, and what becomes of a real connection.

use std::net::SocketAddr;
use std::time::Duration;

use fairway_inspect::doctor::Severity;
use fairway_lab::{Outcome, ask, serve_tcp};

use super::{agree, said};
use crate::cli::fairway;
use crate::doctor::shell;
use crate::harness::{HOST, HOST6, LAN, LAN6, Stage, eventually};

#[test]
fn an_answer_that_leaves_by_another_interface_is_not_said_to_arrive() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let wire = lab.lan("second").unwrap();
        wire.join(&stage.host, &["10.60.0.99/24"]).unwrap();
        let _server = serve_tcp(&stage.host, "0.0.0.0:9000").unwrap();
        let target = format!("{HOST}:9000");
        let reported = || stage.client().explain("lan", &target, false).unwrap().sentence;
        assert!(reported().starts_with("It is answered"), "{}", reported());
        assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::answered(LAN));
        // On the second LAN nothing sends it back.
        shell(&stage, "ip route add default via 10.60.0.1 dev eth1 table 100");
        shell(&stage, &format!("ip rule add from {HOST} priority 100 lookup 100"));
        assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::TimedOut);
        assert!(!reported().contains("It is answered"), "{}", reported());
    });
}

#[test]
fn routes_that_a_sandbox_made_itself_are_followed() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("inner", |network| network.internal = true).unwrap();
        let (one, two) = (stage.sandbox("one", &["inner"], &[]), stage.sandbox("two", &["inner"], &[]));
        let _server = serve_tcp(&two, "0.0.0.0:80").unwrap();
        let inside = |path: &str, line: &str| shell(&stage, &format!("nsenter --net={path} {line}"));
        inside(&two.path, "ip address add 198.51.100.7/32 dev lo");
        let questions: [(&str, &fairway_lab::Place, Vec<SocketAddr>); 1] =
            [("one", &one, vec!["198.51.100.7:80".parse().unwrap()])];
        // There is no way.
        assert_eq!(agree(&stage, &questions), 1);
        inside(&one.path, &format!("ip route add 198.51.100.7 via {}", two.address("inner")));
        assert!(matches!(ask(&one, "198.51.100.7:80").unwrap(), Outcome::Answered { .. }));
        assert_eq!(agree(&stage, &questions), 1);
        assert_eq!(fairway(&stage, "explain one 198.51.100.7:80").code, 0);
    });
}

#[test]
fn bridge_ports_that_do_not_forward_are_known() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let (one, two) = (stage.sandbox("one", &["bridge"], &[]), stage.sandbox("two", &["bridge"], &[]));
        let _server = serve_tcp(&two, "0.0.0.0:80").unwrap();
        let target = SocketAddr::new(two.address("bridge"), 80);
        let questions = [("one", &*one, vec![target]), ("host", &stage.host, vec![target])];
        assert_eq!(agree(&stage, &questions), 2);
        let walked = stage.client().explain("one", &target.to_string(), false).unwrap();
        let port = walked.walks[0]
            .steps
            .iter()
            .find_map(|it| it.text().strip_prefix("to its port ").map(str::to_owned));
        let port = port.unwrap();
        // Disabled, listening and learning.
        for (number, state) in [(0, "disabled"), (1, "listening"), (2, "learning")] {
            shell(&stage, &format!("bridge link set dev {port} state {number}"));
            assert_eq!(agree(&stage, &questions), 2);
            let sentence = stage.client().explain("one", &target.to_string(), false).unwrap().sentence;
            assert!(sentence.ends_with(&format!("the bridge port {port} of host is {state}.")), "{sentence}");
        }
        shell(&stage, &format!("bridge link set dev {port} state 3"));
        assert_eq!(agree(&stage, &questions), 2);
    });
}

#[test]
fn tentative_and_deprecated_addresses_are_known() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("dual", |network| network.enable_ipv6 = Some(true)).unwrap();
        let (one, two) = (stage.sandbox("one", &["dual"], &[]), stage.sandbox("two", &["dual"], &[]));
        let _server = serve_tcp(&two, "[::]:80").unwrap();
        let inside = |path: &str, line: &str| shell(&stage, &format!("nsenter --net={path} {line}"));
        let (own, to) = (one.address6("dual"), two.address6("dual"));
        let (more, target) = (own.to_string().replace("::", "::1:"), format!("[{to}]:80"));
        let explained = || stage.client().explain("one", &target, false).unwrap();
        let agreed = || {
            // A change of addresses takes the kernel a moment.
            eventually("the kernel agrees", Duration::from_secs(20), || {
                said(&explained()) == ask(&one, &target).unwrap().to_string()
            });
            explained().sentence
        };
        let answered = |source: &str| format!("It is answered; the server sees {source}.");
        // The kernel takes the newest of addresses that are equally good.
        inside(&one.path, &format!("ip address add {more}/64 dev eth0 nodad"));
        assert_eq!(agreed(), answered(&more));
        inside(&one.path, &format!("ip address change {more}/64 dev eth0 nodad preferred_lft 0"));
        assert_eq!(agreed(), answered(&own.to_string()));
        for (setting, value) in [("accept_dad", 1), ("dad_transmits", 60)] {
            inside(&two.path, &format!("sysctl -q -w net.ipv6.conf.eth0.{setting}={value}"));
        }
        inside(&two.path, &format!("ip address del {to}/64 dev eth0"));
        inside(&two.path, &format!("ip address add {to}/64 dev eth0"));
        let sentence = agreed();
        assert!(sentence.contains("it is tentative on eth0 of two"), "{sentence}");
    });
}

#[test]
fn link_local_addresses_are_given_with_their_interface() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let link_local = |place: &fairway_lab::Place| {
            let inside = place.run_in(|| fairway_kernel::survey::survey("").unwrap().namespace).unwrap();
            let eth0 = inside.interface_named("eth0").unwrap();
            let is_local = |address: &std::net::IpAddr| matches!(address, std::net::IpAddr::V6(address) if address.is_unicast_link_local());
            eth0.addresses.iter().map(|net| net.addr()).find(is_local).unwrap()
        };
        let (own, neighbor) = (link_local(&stage.host), link_local(&stage.lan));
        let _server = serve_tcp(&stage.host, "[::]:9000").unwrap();
        let reported = |from: &str, to: &str| stage.client().explain(from, to, false).unwrap().sentence;
        let answered = reported(&format!("lan:{neighbor}%eth0"), &format!("[{own}%eth0]:9000"));
        assert_eq!(answered, format!("It is answered; the server sees {neighbor}."));
        assert!(reported("host", &format!("[{neighbor}%eth0]:80")).starts_with("Leaves the host;"));
        let vague = stage.client().explain("host", &neighbor.to_string(), false).unwrap_err().to_string();
        assert!(vague.contains(&format!("as in {neighbor}%eth0")), "{vague}");
        let unknown = stage.client().explain("host", &format!("{neighbor}%eth7"), false).unwrap_err();
        assert!(unknown.to_string().contains("host has no interface \"eth7\""), "{unknown}");
    });
}

#[test]
fn the_lan_is_asked_by_the_family_of_the_other_end() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("dual", |network| network.enable_ipv6 = Some(true)).unwrap();
        let one = stage.sandbox("one", &["dual"], &["8081:80"]);
        let _servers = [&*one, &*stage.lan].map(|it| serve_tcp(it, "[::]:80").unwrap());
        let sentence = |from: &str, to: &str| stage.client().explain(from, to, false).unwrap().sentence;
        let answered = format!("It is answered; the server sees {LAN6}.");
        assert_eq!(sentence("lan", &format!("[{HOST6}]:8081")), answered);
        assert_eq!(ask(&stage.lan, &format!("[{HOST6}]:8081")).unwrap(), Outcome::answered(LAN6));
        // A peer without an address of its own is reached by the family of the sender.
        assert_eq!(sentence(&format!("lan:{LAN6}"), "host:8081"), answered);
        assert!(!sentence(&format!("lan:{LAN6}"), "one:80").is_empty());
        let from_sandbox = sentence(&one.address6("dual").to_string(), "lan:80");
        assert!(from_sandbox.starts_with("Leaves the host"), "{from_sandbox}");
        // And without a router, by an address of the subnet.
        shell(&stage, "ip -6 route del default");
        assert!(sentence("lan", &format!("[{HOST6}]:8081")).starts_with("It is answered"));
    });
}

#[test]
fn an_address_that_vanishes_is_noticed() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        shell(&stage, "ip address add 10.10.50.98/24 dev eth0");
        let web = stage.sandbox("web", &["bridge"], &["10.10.50.98:8090:80"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let asked = || ask(&stage.lan, "10.10.50.98:8090").unwrap();
        assert_eq!(asked(), Outcome::answered(LAN));
        shell(&stage, "ip address del 10.10.50.98/24 dev eth0");
        let found = || {
            let all = stage.client().doctor(false).unwrap().findings;
            all.into_iter().find(|it| it.id == "published-addresses" && it.severity == Severity::Error)
        };
        eventually("it is noticed", Duration::from_secs(20), || found().is_some());
        shell(&stage, &found().unwrap().fix.unwrap().command);
        crate::harness::eventually("it is well", std::time::Duration::from_secs(20), || found().is_none());
        assert_eq!(asked(), Outcome::answered(LAN));
    });
}

/// The elements of these sets are not read until a packet whose source port may be any is looked up.
#[test]
fn sets_of_source_ports_are_looked_up_for_all_ports() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_bridge_netfilter(false).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let off = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        stage.create_network("apart", |network| network.options = [off].into()).unwrap();
        let [one, _two] = ["one", "two"].map(|name| stage.sandbox(name, &["apart"], &[]));
        let explained = |to: &str| stage.client().explain("one", to, false).unwrap().sentence;
        // There is no link, so no source port is that of one.
        let apart = explained("two:53/udp");
        assert!(apart.starts_with("No answer: dropped on host by bridge fairway icc-off"), "{apart}");
        let _server = serve_tcp(&stage.host, "0.0.0.0:9000").unwrap();
        for (port, is_branch) in [(40_000, true), (22, false)] {
            let rules = format!(
                "flush ruleset; table ip t {{ set ports {{ type inet_service; elements = {{ {port} }}; }}; \
                 chain out {{ type filter hook output priority 0; tcp sport @ports drop; }}; }}"
            );
            shell(&stage, &format!("echo '{rules}' | nsenter --net={} nft -f -", one.path));
            let sentence = explained(&format!("{HOST}:9000"));
            assert_eq!(sentence.starts_with("It depends."), is_branch, "{sentence}");
        }
    });
}
