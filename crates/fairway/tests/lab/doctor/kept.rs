//! What Fairway keeps: its ports, its objects, its relay.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;

use fairway_inspect::doctor::Severity;
use fairway_lab::{Host, Outcome, Process, Question};
use rustix::process::{Pid, Signal, kill_process};

use super::{Clinic, IMPATIENT, PATIENCE, shell};
use crate::cli::fairway;
use crate::foreign_changes;
use crate::harness::{HOST, LAN, eventually};
use crate::kernel_state::{kill_relay, relay_pid};

/// A process that has a listening socket on port 8080 for its input.
fn listener(host: &Host) -> Process {
    let mut bound = None;
    eventually("the port is free", PATIENCE, || {
        bound = host.run_in(|| TcpListener::bind("0.0.0.0:8080")).unwrap().ok();
        bound.is_some()
    });
    let mut command = Command::new("sleep");
    command.arg("infinity").stdin(OwnedFd::from(bound.unwrap()));
    host.spawn(&mut command).unwrap()
}

#[test]
fn a_port_that_another_program_took() {
    fairway_lab::run(|lab| {
        let mut clinic = Clinic::new(lab, &["--iptables=false"]);
        clinic.stage.daemon.kill9();
        kill_relay();
        let other = listener(&clinic.stage.host);
        clinic.stage.daemon.launch(&["--iptables=false"]);
        clinic.stage.daemon.wait_until_ready();
        assert_ne!(clinic.reach()[1], Outcome::answered(LAN));
        let found = clinic.finding("ports", Severity::Error);
        assert!(found.message.starts_with("0.0.0.0:8080/tcp, published for p, is held by "), "{found:?}");
        assert_eq!(found.fix.as_ref().unwrap().command, format!("kill {}", other.id()));
        clinic.obey(&found);
        drop(other);
        clinic.fix("ports");
        eventually("it is ours again", PATIENCE, || clinic.reach()[1] != Outcome::Refused);
        assert!(matches!(clinic.reach_within(PATIENCE)[1], Outcome::Answered { .. }));
        clinic.assert_well("ports");
    });
}

#[test]
fn ports_that_nothing_carries_or_that_others_may_get() {
    fairway_lab::run(|lab| {
        let held = ["--iptables=false", "--ip6tables=false", "--userland-proxy=false"];
        let mut clinic = Clinic::new(lab, &held);
        assert_eq!(clinic.reach()[1], Outcome::Refused);
        let found = clinic.finding("publishing", Severity::Error);
        assert_eq!(found.fix.unwrap().command, "fairway daemon --userland-proxy=true");
        clinic.stage.daemon.restart(&["--iptables=false", "--ip6tables=false", "--userland-proxy=true"]);
        clinic.assert_well("publishing");
        assert!(matches!(clinic.reach_within(PATIENCE)[1], Outcome::Answered { .. }));

        clinic.stage.sandbox("q", &["web"], &["40000:80"]);
        clinic.stage.host.set_sysctl("net.ipv4.ip_local_reserved_ports", "7000-7001").unwrap();
        let found = clinic.finding("ephemeral-ports", Severity::Note);
        let fix = "sysctl -w net.ipv4.ip_local_reserved_ports=7000-7001,40000";
        assert_eq!(found.fix.as_ref().unwrap().command, fix);
        clinic.obey(&found);
        clinic.assert_well("ephemeral-ports");
    });
}

#[test]
fn what_is_other_than_it_was_made() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let path = clinic.sandbox.attached.resolv_conf_path.clone();
        let read = || clinic.stage.host.run_in(|| std::fs::read_to_string(&path).unwrap()).unwrap();
        let before = read();
        clinic.stage.host.run_in(|| std::fs::write(&path, "nameserver 192.0.2.53\n").unwrap()).unwrap();
        let planned = clinic.stage.client().plan_difference().unwrap().changes;
        let [change] = planned.as_slice() else { panic!("{planned:?}") };
        let text = change.to_string();
        assert!(
            text.starts_with("~ file resolv.conf of sandbox p: line 1 \"nameserver 192.0.2.53\" -> "),
            "{text}"
        );
        assert!(text.ends_with(" (sandbox p: differs)"), "{text}");
        let found = clinic.only("drift", Severity::Warning);
        assert!(
            found.message.contains("file resolv.conf of sandbox")
                && found.message.contains("is \"nameserver 192.0.2.53\", expected \""),
            "{found:?}"
        );
        assert_eq!(found.fix.as_ref().unwrap().command, "fairway doctor --fix");
        let done = clinic.fix("drift");
        assert_eq!(done, format!("repaired: {}", found.message));
        assert_eq!(read(), before);
        assert_eq!(clinic.findings(), []);
        assert_eq!(clinic.stage.client().plan_difference().unwrap().changes, []);

        // From within, it is the sandbox's own.
        clinic.sandbox.run_in(foreign_changes::remove_default_route).unwrap();
        assert_ne!(clinic.reach()[0], Outcome::answered(HOST));
        let found = clinic.only("netns", Severity::Warning);
        assert_eq!(found.message, "p: default route is missing, expected via 172.18.0.1 dev eth0");
        assert_eq!(clinic.stage.client().doctor(true).unwrap().done, [""; 0]);
        clinic.obey(&found);
        clinic.assert_well("netns");
        clinic.assert_flows();
    });
}

#[test]
fn what_is_left_of_what_is_gone() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let id = "0123456789abcdef".repeat(4);
        let other = "fedcba9876543210".repeat(4);
        let directory = format!("/run/fairway/sandboxes/{id}");
        let mine = "table inet stranger { chain mine { type filter hook input priority 0; }; }";
        let lines = [
            format!("ip link add lost type bridge && ip link set lost alias fairway:network:{id} up"),
            "ip addr add 172.19.0.1/16 dev lost".to_owned(),
            // Those of others are left alone, whatever they are called.
            "ip link add br-0123456789ab type bridge".to_owned(),
            "ip route add 10.66.0.0/16 via 10.10.50.1 proto 70".to_owned(),
            format!("nft '{mine}'"),
            format!("mkdir -p {directory} && echo 1 > {directory}/hosts"),
            format!(
                "mkdir -p /etc/netns/lost && ln -s /run/fairway/sandboxes/{other}/hosts /etc/netns/lost/hosts"
            ),
            // As after iptables-restore of what was saved while iptables was the backend.
            "iptables-nft -N FAIRWAY && iptables-nft -N FAIRWAY-USER && iptables-nft -A FAIRWAY-USER -p sctp -j RETURN && iptables-nft -A FORWARD -j FAIRWAY"
                .to_owned(),
        ];
        lines.iter().for_each(|line| drop(shell(&clinic.stage, line)));
        let found: Vec<String> =
            clinic.findings().into_iter().map(|it| format!("{}: {}", it.id, it.message)).collect();
        for what in [
            "the bridge lost",
            "the route to 10.66.0.0/16",
            "files of removed sandbox 0123456789ab",
            "/etc/netns/lost/hosts links",
            "unused chains of Fairway in table ip filter",
        ] {
            assert!(
                found.iter().any(|line| line.starts_with(&format!("leaks: {what}"))),
                "{what}: {found:#?}"
            );
        }
        let done = clinic.fix("leaks");
        assert!(done.contains("repaired: the bridge lost is there and belongs to nothing"), "{done}");
        assert_eq!(clinic.findings(), []);
        let has =
            |name: &'static str| clinic.stage.host.run_in(move || foreign_changes::has_link(name)).unwrap();
        assert!(!has("lost") && has("br-0123456789ab"));
        assert!(shell(&clinic.stage, "nft list tables").contains("inet stranger"));
        assert!(!shell(&clinic.stage, "ip route").contains("10.66.0.0/16"));
        let rules = shell(&clinic.stage, "iptables-nft -S");
        assert!(
            !rules.contains("-j FAIRWAY") && rules.contains("-A FAIRWAY-USER -p sctp"),
            "the user's own stays: {rules}"
        );
        clinic.assert_flows();
    });
}

#[test]
fn a_relay_that_does_not_answer() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let asked = || {
            let question = Question::to("127.0.0.1:8080").unwrap().within(IMPATIENT);
            matches!(question.tcp(&clinic.stage.host).unwrap(), Outcome::Answered { .. })
        };
        assert!(asked());
        let pid = relay_pid().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::STOP).unwrap();
        assert!(!asked());
        let found = clinic.only("relay", Severity::Error);
        assert_eq!(found.fix.as_ref().unwrap().command, format!("kill -KILL {pid}"));
        let done = clinic.fix("relay");
        assert_eq!(done, "started a new relay and sent it the whole state");
        assert!(relay_pid().is_some_and(|it| it != pid));
        assert!(asked());
        assert_eq!(clinic.findings(), []);
    });
}

#[test]
fn repeated_foreign_changes() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let bridge = clinic.bridge();
        for round in 0..4 {
            clinic.stage.host.run_in(|| foreign_changes::set_down(&bridge)).unwrap();
            eventually("it is repaired", PATIENCE, || {
                let reported = clinic.stage.client().doctor(false).unwrap().findings;
                reported.iter().any(|it| {
                    it.id == "healing" && it.message.contains(&format!("repaired {} object", round + 1))
                })
            });
            let reported = fairway(&clinic.stage, "doctor");
            assert_eq!(reported.code, i32::from(round == 3), "{}", reported.output);
        }
        let reported = fairway(&clinic.stage, "doctor");
        assert!(
            reported.output.contains("warning  healing: the daemon repaired 4 objects"),
            "{}",
            reported.output
        );
        let events = shell(&clinic.stage, "fairway events --since 10m --until 0s --filter type=daemon");
        assert!(events.contains(&format!("state of bridge {bridge}: expected up, found down")), "{events}");
        clinic.assert_flows();
    });
}
