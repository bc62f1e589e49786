//! Each command that `explain` prints is run as it stands, and then the packet arrives.

use std::time::Duration;

use fairway_lab::{Outcome, Question, serve_tcp};

use crate::cli::fairway;
use crate::doctor::shell;
use crate::harness::{HOST, Stage, eventually};

/// What the line begins with that says what would help.
const HELP: &str = "What would help: ";
/// What commands begin with.
const PROGRAMS: [&str; 6] = ["fairway ", "ip ", "iptables ", "nft ", "nsenter ", "sysctl "];

/// The commands that are advised, one for each alternative that is one.
fn commands(stage: &Stage, from: &str, to: &str) -> Vec<String> {
    let reported = fairway(stage, &format!("explain {from} {to}"));
    let line = reported.output.lines().find_map(|line| line.strip_prefix(HELP));
    let line = line.unwrap_or_else(|| panic!("{}", reported.output));
    let command = |part: &str| {
        let begin = PROGRAMS.iter().filter_map(|it| part.find(it)).min()?;
        let command = part[begin..].split(", and use ").next()?;
        (!command.starts_with("fairway daemon")).then(|| command.to_owned())
    };
    line.split("; or ").filter_map(command).collect()
}

/// A way to keep packets from arriving, and who asks for what.
struct Fault {
    /// What is done, as in a shell of the host.
    make: &'static str,
    from: &'static str,
    to: &'static str,
    /// What answers after each command that is advised, in their order.
    then: &'static [&'static str],
}

#[test]
fn each_command_does_what_it_says() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        stage.network("web");
        let open = |network: &mut fairway_api::types::NetworkCreate| {
            let mode = "com.docker.network.bridge.gateway_mode_ipv4".to_owned();
            network.options.insert(mode, "routed".to_owned());
            network.ipam.get_or_insert_default().config = vec![fairway_api::types::IpamConfig {
                subnet: "172.30.0.0/24".to_owned(),
                ..Default::default()
            }];
        };
        stage.create_network("open", open).unwrap();
        stage.lan.route("172.30.0.0/24", HOST).unwrap();
        shell(&stage, "ip address add 10.10.50.98/24 dev eth0");
        let d1 = stage.sandbox("d1", &["bridge"], &["8080:80", "10.10.50.98:8090:80"]);
        let w1 = stage.sandbox("w1", &["web"], &["127.0.0.1:8082:80"]);
        let r1 = stage.sandbox("r1", &["open"], &[]);
        let _servers = [&d1, &w1, &r1].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        let drops = "nft 'table inet mine { chain onward { type filter hook forward priority 0; tcp dport 80 drop; }; }'";
        let faults = [
            Fault { make: "true", from: "d1", to: "w1:80", then: &["w1:80"] },
            Fault { make: "true", from: "lan", to: "10.10.50.99:8082", then: &["10.10.50.99:8082"] },
            Fault { make: "true", from: "lan", to: "172.30.0.2:80", then: &["172.30.0.2:80"] },
            Fault { make: drops, from: "lan", to: "10.10.50.99:8080", then: &["10.10.50.99:8080"] },
            Fault {
                make: "iptables -P FORWARD DROP",
                from: "lan",
                to: "10.10.50.99:8080",
                then: &["10.10.50.99:8080"],
            },
            Fault {
                make: "ip address del 10.10.50.98/24 dev eth0",
                from: "lan",
                to: "10.10.50.98:8090",
                then: &["10.10.50.98:8090", "10.10.50.99:8090"],
            },
        ];
        for Fault { make, from, to, then } in faults {
            for (place, target) in then.iter().enumerate() {
                shell(&stage, make);
                let mut found = Vec::new();
                eventually(make, Duration::from_secs(20), || {
                    found = commands(&stage, from, to);
                    found.len() >= then.len()
                });
                shell(&stage, &found[place]);
                let answered = || fairway(&stage, &format!("explain {from} {target}")).code == 0;
                eventually(&found[place], Duration::from_secs(20), answered);
                if from == "lan" {
                    let asked = Question::to(target).unwrap().tcp(&stage.lan).unwrap();
                    assert!(matches!(asked, Outcome::Answered { .. }), "{}: {asked}", found[place]);
                }
            }
        }
    });
}
