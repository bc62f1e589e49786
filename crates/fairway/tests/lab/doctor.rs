//! `fairway doctor` on a living host: each problem is made, reported with its fix, and repaired by that fix; and then what
//! did not flow flows.

mod engines;
mod inside;
mod kept;
mod limits;
mod passing;

use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_inspect::doctor::{CHECKS, ENGINE_CHECKS, Finding, Severity};
use fairway_lab::{Lab, Outcome, Question, Server, serve_tcp};

use crate::cli::fairway;
use crate::harness::{HOST, LAN, Sandbox, Stage, backend, eventually};

/// What is not let through is waited for in vain.
const IMPATIENT: Duration = Duration::from_secs(1);
/// How long what the daemon does by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with a sandbox `p` on network `web` that publishes 8080, and a host on the LAN that answers at 80.
struct Clinic {
    stage: Stage,
    sandbox: Sandbox,
    /// Whether there is a user for the relay to become.
    has_other_users: bool,
    _servers: [Server; 2],
}

impl Clinic {
    fn new(lab: &Lab, flags: &[&str]) -> Clinic {
        Clinic::after(lab, flags, |_| {})
    }

    /// Where something was done to the host before the daemon came.
    fn after(lab: &Lab, flags: &[&str], before: impl FnOnce(&Stage)) -> Clinic {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_bridge_netfilter(false).unwrap();
        name_server(&stage, LAN);
        before(&stage);
        stage.daemon.launch(flags);
        stage.daemon.wait_until_ready();
        stage.network("web");
        let sandbox = stage.sandbox("p", &["web"], &["8080:80"]);
        let servers = [&*sandbox, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        let has_other_users = lab.has_other_users().unwrap();
        Clinic { stage, sandbox, has_other_users, _servers: servers }
    }

    /// Whether the sandbox reaches the LAN, and the LAN what it publishes.
    fn reach(&self) -> [Outcome; 2] {
        self.reach_within(IMPATIENT)
    }

    fn reach_within(&self, patience: Duration) -> [Outcome; 2] {
        let ask = |to: String| Question::to(&to).unwrap().within(patience);
        let outward = ask(format!("{LAN}:80")).tcp(&self.sandbox).unwrap();
        [outward, ask(format!("{HOST}:8080")).tcp(&self.stage.lan).unwrap()]
    }

    /// The bridge of `web`.
    fn bridge(&self) -> String {
        let gateway = self.stage.client().network("web").unwrap().ipam.config[0].gateway.parse().unwrap();
        self.stage.host.run_in(|| crate::foreign_changes::bridge_with(gateway)).unwrap()
    }

    fn assert_flows(&self) {
        assert_eq!(self.reach_within(PATIENCE), [Outcome::answered(HOST), Outcome::answered(LAN)]);
    }

    /// All findings. That something was repaired a moment ago is not counted, nor what a lab of one user cannot
    /// have.
    fn findings(&self) -> Vec<Finding> {
        let all = self.stage.client().doctor(false).unwrap().findings;
        let counts = |it: &Finding| {
            it.severity != Severity::Ok && it.id != "healing" && (self.has_other_users || !wants_user(it))
        };
        all.into_iter().filter(counts).collect()
    }

    /// What a check found wrong, when the daemon has noticed.
    fn finding(&self, check: &str, level: Severity) -> Finding {
        let mut found = None;
        eventually(check, PATIENCE, || {
            found = self.findings().into_iter().find(|it| it.id == check && it.severity == level);
            found.is_some()
        });
        found.unwrap()
    }

    /// What `doctor --fix` says that it did; after it nothing of that check is wrong.
    fn fix(&self, check: &str) -> String {
        let reported = fairway(&self.stage, "doctor --fix");
        let wanted = |line: &&str| line.contains(&format!(" {check}: ")) && !line.contains("without user");
        assert_eq!(reported.output.lines().find(wanted), None, "{}", reported.output);
        let done = reported.output.lines().filter_map(|line| line.strip_prefix("done ")).map(str::trim_start);
        done.collect::<Vec<_>>().join("\n")
    }

    /// Nothing is wrong any more with what a check looks at; what others change is followed within moments.
    fn assert_well(&self, check: &str) {
        eventually("it is well again", PATIENCE, || self.findings().iter().all(|it| it.id != check));
    }

    /// Runs what is printed, as a user would.
    fn obey(&self, finding: &Finding) {
        shell(&self.stage, &finding.fix.as_ref().unwrap().command);
    }

    /// The one thing that is wrong, which is this one.
    fn only(&self, check: &str, level: Severity) -> Finding {
        let mut found = self.findings();
        assert_eq!(found.len(), 1, "{found:#?}");
        let found = found.remove(0);
        assert_eq!((found.id.as_str(), found.severity), (check, level), "{found:#?}");
        found
    }
}

/// Whether a finding says that the relay has no user of its own.
fn wants_user(finding: &Finding) -> bool {
    finding.id == "relay" && finding.severity == Severity::Note && finding.message.contains("without user")
}

/// Has the host ask this server.
fn name_server(stage: &Stage, server: &str) {
    let text = format!("nameserver {server}\n");
    stage.host.run_in(|| std::fs::write("/etc/resolv.conf", text).unwrap()).unwrap();
}

/// Runs a line as a user of the host would.
pub fn shell(stage: &Stage, line: &str) -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_fairway"));
    let path =
        format!("{}:{}:/usr/sbin:/sbin", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", path)
        .env("FAIRWAY_HOST", stage.daemon.address())
        .stdin(Stdio::null());
    let output = stage.host.run(&mut command).unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "{line}: {said}\nthis test needs: apt-get install nftables iptables iproute2 procps"
    );
    said
}

/// What each check says when all is well, line by line.
fn well(reported: &str) -> Vec<&str> {
    let names = reported.lines().filter_map(|line| line.strip_prefix("ok ")?.trim_start().split(':').next());
    names.collect()
}

#[test]
fn a_healthy_host_has_no_findings() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        clinic.assert_flows();
        assert_eq!(clinic.findings(), []);
        let reported = fairway(&clinic.stage, "doctor --all");
        let wanted = |id: &str| clinic.has_other_users || id != "relay";
        // A daemon that is named is asked alone.
        let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).filter(|id| wanted(id)).collect();
        assert_eq!(well(&reported.output), ids);
        assert_eq!((reported.code, reported.errors.as_str()), (0, ""), "{}", reported.output);
        let reported = fairway(&clinic.stage, "doctor");
        assert_eq!((reported.code, reported.errors.as_str()), (0, ""), "{}", reported.output);
        if clinic.has_other_users {
            assert_eq!(reported.output, format!("No problems found: {} checks passed.\n", CHECKS.len()));
        } else {
            assert!(
                reported.output.starts_with("note     relay: the relay runs without user: "),
                "{}",
                reported.output
            );
        }
        // Nor is there anything to mend.
        assert_eq!(clinic.stage.client().doctor(true).unwrap().done, [""; 0]);
    });
}

/// With iptables, and first with bridged packets that meet it and then without.
fn healthy_with(lab: &Lab, name: &str) {
    let clinic = Clinic::after(lab, backend(name), |stage| stage.host.set_bridge_netfilter(true).unwrap());
    clinic.assert_flows();
    assert_eq!(clinic.findings(), []);
    clinic.stage.host.set_bridge_netfilter(false).unwrap();
    let unseen = clinic.only("bridge-netfilter", Severity::Note);
    assert!(unseen.impact.contains("FAIRWAY-USER"), "{unseen:?}");
    clinic.obey(&unseen);
    clinic.assert_well("bridge-netfilter");
}

#[test]
fn a_healthy_host_with_iptables_has_no_findings() {
    fairway_lab::run(|lab| healthy_with(lab, "nft"));
}

#[test]
fn a_healthy_host_with_legacy_iptables_has_no_findings() {
    fairway_lab::run(|lab| healthy_with(lab, "legacy"));
}

#[test]
fn without_a_daemon_the_host_is_examined() {
    fairway_lab::run(|lab| {
        let mut clinic = Clinic::new(lab, &[]);
        clinic.stage.daemon.stop();
        let reported = fairway(&clinic.stage, "doctor --all");
        assert_eq!(reported.code, 1, "{}", reported.output);
        assert!(reported.output.contains("error    daemon: no daemon is running"), "{}", reported.output);
        assert!(
            reported.output.contains("fix      systemctl start fairway || fairway daemon\n"),
            "{}",
            reported.output
        );
        let of_host = CHECKS.iter().filter(|check| !check.needs_daemon && check.id != "daemon");
        let of_host = of_host.map(|check| check.id).chain(ENGINE_CHECKS.iter().map(|check| check.id));
        assert_eq!(well(&reported.output), of_host.collect::<Vec<_>>());
        clinic.stage.host.set_sysctl("net.ipv4.ip_unprivileged_port_start", "0").unwrap();
        let reported = fairway(&clinic.stage, "doctor --fix");
        assert!(
            reported.errors.contains("no daemon is running, and only the daemon can apply fixes"),
            "{}",
            reported.errors
        );
        let low = "note     unprivileged-ports: net/ipv4/ip_unprivileged_port_start is 0\n";
        assert!(reported.output.contains(low), "{}", reported.output);
        clinic.stage.daemon.launch(&[]);
        clinic.stage.daemon.wait_until_ready();
        let low = clinic.only("unprivileged-ports", Severity::Note);
        assert_eq!(fairway(&clinic.stage, "doctor").code, 0, "a note is no fault");
        clinic.obey(&low);
        clinic.assert_well("unprivileged-ports");
    });
}
