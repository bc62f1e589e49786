//! MTUs of networks. The kernel has no IPv6 on a link whose MTU is below the minimum of IPv6.

use std::net::SocketAddr;

use fairway_api::types::EndpointSettings;
use fairway_kernel::route::Links;
use fairway_lab::{Lab, Outcome, Question, serve_datagrams};

use crate::cli::{fairway, printed};
use crate::foreign_firewalls::run_with;
use crate::harness::{Sandbox, Stage, request};
use crate::kernel_state::{assert_same, observe};

const MTU: &str = "com.docker.network.driver.mtu";

fn reaches(from: &Sandbox, to: &Sandbox, network: &str) {
    let _server = serve_datagrams(to, "0.0.0.0:80").unwrap();
    let target = SocketAddr::new(to.address(network), 80).to_string();
    let outcome = Question::to(&target).unwrap().udp(from).unwrap();
    assert_eq!(outcome, Outcome::Answered { source: from.address(network) }, "{network}");
}

fn create(
    stage: &Stage,
    name: &str,
    driver: &str,
    ipv6: bool,
    options: &[(&str, &str)],
) -> Result<(), String> {
    let made = stage.create_network(name, |network| {
        network.driver = driver.to_owned();
        network.enable_ipv6 = Some(ipv6);
        network.options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    });
    made.map(drop).map_err(|error| error.to_string())
}

#[test]
fn networks_of_ipv4_have_an_mtu_that_ipv6_could_not_have() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        let mut sandboxes = Vec::new();
        for (driver, mtu) in
            [("bridge", "1279"), ("bridge", "68"), ("routed", "1200"), ("ptp", "1200"), ("macvlan", "1200")]
        {
            let name = format!("{driver}-{mtu}");
            create(&stage, &name, driver, false, &[(MTU, mtu)]).unwrap();
            let mut limited = request(&[&name], &[]);
            if driver == "bridge" {
                let rate = [("fairway.egress_rate".to_owned(), "10mbit".to_owned())];
                let settings = EndpointSettings { driver_opts: Some(rate.into()), ..Default::default() };
                limited.networking_config.endpoints_config[0].1 = settings;
            }
            let one = stage.attach(&format!("{name}-a"), limited).unwrap();
            let two = stage.sandbox(&format!("{name}-b"), &[&name], &[]);
            reaches(&one, &two, &name);
            sandboxes.push((name, one, two));
            let refused = create(&stage, "six", driver, true, &[(MTU, mtu)]).unwrap_err();
            assert!(refused.contains("IPv6 needs at least 1280 bytes (RFC 8200"), "{refused}");
        }
        assert!(printed(&stage, "plan --diff").contains("as planned"));
        stage.daemon.restart(&[]);
        for (name, one, two) in &sandboxes {
            reaches(one, two, name);
        }
    });
}

#[test]
fn the_interface_of_a_lan_has_an_mtu_that_ipv6_could_not_have() {
    fairway_lab::run(|lab: &Lab| {
        let stage = Stage::new(lab, &[]);
        run_with(&stage.host, "ip", &["link", "set", "eth0", "mtu", "1200"], "");
        let of_lan = "--subnet 10.10.50.0/24 --gateway 10.10.50.1 --ip-range 10.10.50.128/25 -o parent=eth0";
        for driver in ["macvlan", "lan"] {
            let ipv6 = format!(
                "network create -d {driver} --ipv6 --subnet fd50::/64 --gateway fd50::1 {of_lan} six"
            );
            let refused = fairway(&stage, &ipv6).errors;
            assert!(refused.contains("IPv6 needs at least 1280 bytes (RFC 8200"), "{refused}");
            printed(&stage, &format!("network create -d {driver} {of_lan} wire"));
            let (one, two) = (stage.sandbox("one", &["wire"], &[]), stage.sandbox("two", &["wire"], &[]));
            reaches(&one, &two, "wire");
            let name = one.run_in(|| Links::open().unwrap().find("eth0").unwrap().unwrap().mtu).unwrap();
            assert_eq!(name, 1200);
            for name in ["one", "two"] {
                stage.client().detach(name).unwrap();
            }
            printed(&stage, "network rm wire");
        }
    });
}

/// With the MTU the kernel removes IPv6, with its addresses and settings, and brings back what a new link has.
#[test]
fn ipv6_is_repaired_after_another_program_has_lowered_an_mtu() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        create(&stage, "app", "bridge", true, &[("com.docker.network.bridge.name", "br-app")]).unwrap();
        let (one, two) = (stage.sandbox("one", &["app"], &[]), stage.sandbox("two", &["app"], &[]));
        let _server = serve_datagrams(&two, "[::]:80").unwrap();
        let target = SocketAddr::new(two.address6("app"), 80).to_string();
        let before = observe(&stage, &[("one", &*one), ("two", &*two)]);
        let ports = stage.host.run_in(|| Links::open().unwrap().all().unwrap()).unwrap();
        let is_port = |name: &str| name == "br-app" || name.starts_with("fw");
        for port in ports.iter().filter(|link| is_port(&link.name)) {
            run_with(&stage.host, "ip", &["link", "set", &port.name, "mtu", "1200"], "");
        }
        run_with(&one, "ip", &["link", "set", "eth0", "mtu", "1200"], "");
        // What was changed inside a sandbox is right again with the next daemon.
        stage.daemon.restart(&[]);
        assert_same("after the restart", &observe(&stage, &[("one", &*one), ("two", &*two)]), &before);
        let outcome = Question::to(&target).unwrap().udp(&one).unwrap();
        assert_eq!(outcome, Outcome::Answered { source: one.address6("app") });
    });
}
