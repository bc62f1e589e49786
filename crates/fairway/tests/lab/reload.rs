//! Other settings for a daemon that runs: its file is read again at SIGHUP.

use std::time::Duration;

use fairway_lab::{Outcome, Transfer, ask, serve_echo, serve_tcp};

use crate::cli::printed;
use crate::harness::{HOST, LAN, Stage};
use crate::kernel_state::{assert_same, make_anew, observe};

const FILE: &str = "/etc/daemon-of-this-test.json";
const PATIENCE: Duration = Duration::from_secs(20);

fn write(stage: &Stage, text: &str) {
    stage.host.run_in(|| std::fs::write(FILE, text).unwrap()).unwrap();
}

#[test]
fn settings_change_while_all_runs_on() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, "{}");
        let flags = ["--config-file", FILE];
        stage.daemon.launch(&flags);
        stage.daemon.wait_until_ready();
        let (pid, web) = (stage.daemon.pid(), stage.sandbox("web", &["bridge"], &["8080:80", "8081:81"]));
        let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
        let _servers = [serve_echo(&web, "[::]:81").unwrap(), serve_tcp(&web, "[::]:80").unwrap()];
        let transfers = [
            Transfer::start(&stage.lan, &format!("{HOST}:8081")).unwrap(),
            Transfer::start(&stage.host, "127.0.0.1:8081").unwrap(),
        ];
        let from_lan = |stage: &Stage| ask(&stage.lan, &format!("{HOST}:8080")).unwrap();
        let near = || ask(&neighbour, &format!("{}:80", web.address("bridge"))).unwrap();
        let loopback6 = |stage: &Stage| ask(&stage.host, "[::1]:8080").unwrap();
        // What the file says, what the log says of it, and whether a neighbour and IPv6's loopback are answered.
        let table = [
            (r#"{"userland-proxy": false}"#, "changed=\"userland-proxy\"", true, false),
            (r#"{"icc": false}"#, "changed=\"userland-proxy, icc\"", false, true),
            (r#"{"mtu": 1200}"#, "changed=\"icc, mtu\"", true, true),
            (
                r#"{"mtu": 1400, "dns": ["10.10.50.1"], "ip-masq": false}"#,
                "changed=\"ip-masq, mtu, dns\"",
                true,
                true,
            ),
            (
                r#"{"iptables": false, "ip6tables": false}"#,
                "changed=\"iptables, ip6tables, ip-masq, mtu, dns\"",
                true,
                true,
            ),
            (r#"{"bip": "172.17.9.9/16"}"#, "changed=\"iptables, ip6tables, bip\"", true, true),
            ("{}", "changed=\"bip\"", true, true),
            ("{}", "no setting changed", true, true),
        ];
        for (text, reported, neighbours, carried) in table {
            write(&stage, text);
            let said = stage.daemon.reload();
            assert!(said.lines().last().unwrap().contains(reported), "{text}: {said}");
            assert!(said.contains(" reloaded"), "{text}: {said}");
            assert!(matches!(from_lan(&stage), Outcome::Answered { .. }), "{text}");
            assert_eq!(matches!(near(), Outcome::Answered { .. }), neighbours, "{text}");
            assert_eq!(matches!(loopback6(&stage), Outcome::Answered { .. }), carried, "{text}");
        }
        assert_eq!(stage.daemon.pid(), pid);
        // Carried by the proxy it has been all the time; what was translated has met a time without a firewall.
        assert!(transfers[1].moves_on(1 << 17, PATIENCE));
        drop(transfers);
        let places = [("web", &*web), ("neighbour", &*neighbour)];
        let found = observe(&stage, &places);
        make_anew(&mut stage, &flags, &places);
        assert_same("after all that", &found, &observe(&stage, &places));
    });
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, r#"{"dns-search": ["first.test"]}"#);
        let flags = ["--config-file", FILE, "--userland-proxy=false"];
        stage.daemon.launch(&flags);
        stage.daemon.wait_until_ready();
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let before = observe(&stage, &[("web", &*web)]);
        for (text, reported) in [
            ("{", "EOF while parsing"),
            (r#"{"bipp": "x"}"#, "bipp"),
            (r#"{"mtu": 67}"#, "invalid mtu 67: 68 to 65535 bytes are expected"),
            (r#"{"dns-opts": ["x\nnameserver 6.6.6.6"]}"#, "invalid dns-opts"),
            (r#"{"userland-proxy": true}"#, "specified both as a flag and in the configuration file"),
            (
                r#"{"bip": "10.99.0.1/24", "dns-search": ["x"]}"#,
                "--bip 10.99.0.1/24 does not fit running containers: web",
            ),
            (r#"{"bridge": "own0"}"#, "cannot use bridge own0: it does not exist"),
            (r#"{"icc": false, "iptables": false}"#, "icc=false needs the firewall"),
        ] {
            write(&stage, text);
            let said = stage.daemon.reload();
            assert!(
                said.contains("cannot reload the configuration") && said.contains(reported),
                "{text}: {said}"
            );
            assert_same(text, &observe(&stage, &[("web", &*web)]), &before);
        }
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        // What cannot change is told; what can changes.
        write(
            &stage,
            r#"{"data-root": "/var/lib/other", "dns-search": ["second.test"], "log-driver": "none"}"#,
        );
        let said = stage.daemon.reload();
        assert!(
            said.contains("while the daemon runs; restart the daemon") && said.contains("data-root"),
            "{said}"
        );
        assert!(said.contains("log-driver") && said.contains("changed=\"dns-search\""), "{said}");
        let shown = printed(&stage, "run --rm -- cat /etc/resolv.conf");
        assert!(shown.starts_with("search second.test"), "{shown}");
    });
}
