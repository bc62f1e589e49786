//! Subnets of networks that meet those that the host itself is on.

use std::time::Duration;

use fairway_lab::{Outcome, ask, serve_tcp};

use crate::cli::{fairway, printed};
use crate::harness::{HOST, HOST6, LAN, LAN6, Stage, eventually};

/// The host reaches its router and is reached from its LAN, by both families.
fn assert_reachable(stage: &Stage) {
    let _servers = [&stage.host, &stage.lan].map(|host| serve_tcp(host, "[::]:7").unwrap());
    for (place, target) in [
        (&stage.lan, format!("{HOST}:7")),
        (&stage.lan, format!("[{HOST6}]:7")),
        (&stage.host, format!("{LAN}:7")),
        (&stage.host, format!("[{LAN6}]:7")),
    ] {
        let seen = ask(place, &target).unwrap();
        assert!(matches!(seen, Outcome::Answered { .. }), "{} to {target}: {seen}", place.name());
    }
}

#[test]
fn a_subnet_that_would_cut_the_host_off_is_refused() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        for (flags, taken) in [
            (
                "--subnet 10.10.50.0/24",
                "10.10.50.1 is the next hop of the host's route to everywhere by eth0",
            ),
            ("--subnet 10.10.50.0/24 --gateway 10.10.50.200", "10.10.50.1 is the next hop"),
            ("--subnet 10.10.50.64/26", "10.10.50.99 is the host's address at eth0"),
            ("--subnet 10.0.0.0/8 --gateway 10.10.50.1", "10.10.50.1 is the next hop"),
            ("--ipv6 --subnet fd50::/64", "fd50::1 is the next hop"),
            ("-d routed --subnet 10.10.50.0/24", "10.10.50.1 is the next hop"),
        ] {
            let refused = fairway(&stage, &format!("network create {flags} app"));
            assert_eq!(refused.code, 1, "{flags}: {refused:?}");
            assert!(refused.errors.contains(taken), "{flags}: {}", refused.errors);
            assert!(refused.errors.contains("-d lan -o parent="), "{flags}: {}", refused.errors);
            assert_reachable(&stage);
        }
        // What is merely overlapped is said, in the reply and in the log.
        stage.host.route("10.77.0.0/16", LAN).unwrap();
        let created = fairway(&stage, "network create --subnet 10.77.1.0/24 app");
        let warning =
            "overlaps 10.77.0.0/16 of eth0: the host does not reach what it has of 10.77.1.0/24 there";
        assert_eq!(created.code, 0, "{created:?}");
        assert!(created.errors.contains(warning), "{}", created.errors);
        assert!(stage.daemon.log().contains(warning));
        let created = fairway(&stage, "network create --subnet 10.0.0.0/10 wide");
        let warning = "overlaps 10.10.50.0/24 of eth0: containers of the network do not reach it";
        assert!(created.code == 0 && created.errors.contains(warning), "{created:?}");
        assert_reachable(&stage);
        printed(&stage, "network rm wide");
        // On a bridge without an address the host loses nothing.
        printed(
            &stage,
            "network create --internal -o com.docker.network.bridge.gateway_mode_ipv4=isolated --subnet 10.10.50.0/24 apart",
        );
        assert_reachable(&stage);
        printed(&stage, "network rm apart");
        for flag in ["--bip=10.10.50.1/24", "--fixed-cidr=10.10.50.0/25"] {
            stage.daemon.kill9();
            stage.daemon.launch(&[flag]);
            assert_eq!(stage.daemon.wait_until_ended().map(|status| status.success()), Some(false), "{flag}");
            let log = stage.daemon.log();
            let last = log.lines().last().unwrap();
            assert!(last.contains("10.10.50.1 is the next hop"), "{last}");
            assert_reachable(&stage);
        }
    });
}

#[test]
fn the_default_bridge_leaves_a_subnet_that_the_host_is_on_now() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let subnet = || stage.client().network("bridge").unwrap().ipam.config[0].subnet.clone();
        assert_eq!(subnet(), "172.17.0.0/16");
        stage.host.add_address("eth0", "172.17.5.5/16").unwrap();
        stage.lan.add_address("eth0", "172.17.0.1/16").unwrap();
        eventually("it has another subnet", Duration::from_secs(20), || subnet() == "172.18.0.0/16");
        let moved = "the default bridge leaves subnet 172.17.0.0/16: ";
        eventually("it is said", Duration::from_secs(20), || stage.daemon.log().contains(moved));
        let _server = serve_tcp(&stage.lan, "0.0.0.0:7").unwrap();
        eventually("the host reaches that LAN", Duration::from_secs(20), || {
            matches!(ask(&stage.host, "172.17.0.1:7").unwrap(), Outcome::Answered { .. })
        });
        // One that sandboxes are on stays, and that is said.
        let one = stage.sandbox("one", &["bridge"], &[]);
        stage.host.add_address("eth0", "172.18.5.5/16").unwrap();
        let warning = "subnet 172.18.0.0/16 of network bridge overlaps 172.18.0.0/16 of eth0";
        eventually("it is said", Duration::from_secs(20), || stage.daemon.log().contains(warning));
        assert_eq!(
            (subnet().as_str(), one.address("bridge").to_string().as_str()),
            ("172.18.0.0/16", "172.18.0.2")
        );
    });
}
