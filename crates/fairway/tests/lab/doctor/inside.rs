//! What happens inside sandboxes, and what doctor says to do: it is done, and connections live on.

use std::time::Duration;

use fairway_inspect::doctor::Severity;
use fairway_lab::{Transfer, serve_echo};

use super::{Clinic, IMPATIENT, shell};
use crate::dns::{DnsQuestion, RecordType};
use crate::harness::LAN;

fn resolves(clinic: &Clinic) -> bool {
    let question = DnsQuestion::new("p.", RecordType::A).within(IMPATIENT);
    question.ask(&clinic.sandbox, "127.0.0.11:53").is_ok()
}

#[test]
fn rules_of_the_resolver_that_a_sandbox_flushed_are_made_again() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        assert!(resolves(&clinic));
        shell(&clinic.stage, &format!("nsenter --net={} nft flush ruleset", clinic.sandbox.path));
        assert!(!resolves(&clinic));
        let found = clinic.only("netns", Severity::Warning);
        assert_eq!(found.message, "p: table ip fairway-resolver is missing");
        assert_eq!(found.fix.as_ref().unwrap().command, "fairway doctor --fix");
        let done = clinic.fix("netns");
        assert_eq!(done, "p: restored table ip fairway-resolver");
        assert_eq!(clinic.findings(), []);
        assert!(resolves(&clinic));
        clinic.assert_flows();
    });
}

/// Each change that a sandbox can make to its own inside, the command for it, and a connection that outlives both.
#[test]
fn each_change_inside_is_undone_by_its_command_alone() {
    fairway_lab::run(|lab| {
        let clinic = Clinic::new(lab, &[]);
        let _server = serve_echo(&clinic.stage.lan, "0.0.0.0:81").unwrap();
        let changes = [
            ("ip link set dev eth0 mtu 1300", "mtu of eth0 is 1300, expected 1500"),
            (
                "ip route replace default via 172.18.0.9",
                "default route is via 172.18.0.9 dev eth0, expected via 172.18.0.1 dev eth0",
            ),
            ("ip route del default", "default route is missing, expected via 172.18.0.1 dev eth0"),
            ("ip link set dev eth0 down", "eth0 is down, expected up"),
            ("ip link set dev eth0 address 02:00:00:00:00:09", "MAC address of eth0 is 02:00:00:00:00:09"),
        ];
        for (change, reported) in changes {
            let transfer = Transfer::start(&clinic.sandbox, &format!("{LAN}:81")).unwrap();
            shell(&clinic.stage, &format!("nsenter --net={} {change}", clinic.sandbox.path));
            let found = clinic.finding("netns", Severity::Warning);
            assert!(found.message.contains(reported), "{change}: {found:?}");
            clinic.obey(&found);
            clinic.assert_well("netns");
            clinic.assert_flows();
            assert!(transfer.moves_on(1, Duration::from_secs(10)), "{change}: {found:?}");
        }
    });
}
