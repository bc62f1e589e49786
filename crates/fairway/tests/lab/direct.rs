//! Who may go straight to a sandbox: by `--allow-direct-routing`, from a trusted interface, with the operator's mark;
//! and who may not, where the host remains a router.

use std::time::Duration;

use fairway_kernel::nftables::{Transaction, Writer};
use fairway_lab::{DatagramFlow, Lab, Outcome, Place, Transfer, serve_datagrams, serve_echo};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Table, priority, rule};
use std::net::IpAddr;

use crate::harness::{FAR, FAR6, Stage, request};
use crate::modes::By::{self, Published};
use crate::modes::{ALL, IMPATIENT, addresses, assert_ways, at, dual, give_routes, serve};

on_each_backend! {
    published_ports_are_reached_straight_where_it_is_allowed;
    packets_with_the_operators_mark_may_enter;
    a_host_may_remain_a_router_for_everybody;
}

fn published_ports_are_reached_straight_where_it_is_allowed(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    let (far, trusted) = stage.far(lab);
    give_routes(&stage);
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    stage.create_network("plain", dual(1, &[])).unwrap();
    stage.create_network("trusting", dual(2, &[("trusted_host_interfaces", &trusted)])).unwrap();
    stage.create_network("third", dual(3, &[])).unwrap();
    // What is published for the host alone is not opened to others.
    let make = |name, network, ports: &[&str]| stage.sandbox(name, &[network], ports);
    let plain = make("a", "plain", &["8081:80", "8081:80/udp", "127.0.0.1:8091:81"]);
    let trusting = make("b", "trusting", &["8082:80", "8083:82", "127.0.0.1:8092:81"]);
    let third = stage.sandbox("c", &["third"], &[]);
    let _servers = [&plain, &trusting].map(|place| serve(place));
    let _others = [serve_datagrams(&plain, "[::]:80").unwrap(), serve_echo(&trusting, "[::]:82").unwrap()];
    let look = |stage: &Stage, what: &str, here: &[By], by_trust: &[By]| {
        let mut expected: Vec<(&Place, IpAddr, &[By])> = Vec::new();
        for address in addresses(&plain, "plain") {
            expected.extend([(&*stage.lan, address, here), (&far, address, here), (&third, address, here)]);
        }
        for address in addresses(&trusting, "trusting") {
            expected.extend([(&*stage.lan, address, here), (&third, address, here)]);
            expected.push((&far, address, by_trust));
        }
        assert_ways(&expected, what);
    };
    look(&stage, "as it is", &[], &[Published]);
    for proxy in ["--userland-proxy=false", "--userland-proxy=true"] {
        stage.daemon.restart(&[proxy, "--allow-direct-routing"]);
        look(&stage, "direct routing", &[Published], &[Published]);
        let to = at(plain.address("plain"), 80);
        let flow = DatagramFlow::open(&stage.lan, &to).unwrap();
        assert!(matches!(flow.ask(Duration::from_secs(15)), Outcome::Answered { .. }));
        stage.daemon.restart(&[proxy]);
        look(&stage, "no more", &[], &[Published]);
        assert_eq!(flow.ask(IMPATIENT), Outcome::TimedOut, "a flow of before");
    }
    // What is published no more is not reached straight either, and who was there is cut off.
    let stream = Transfer::start(&far, &at(trusting.address("trusting"), 82)).unwrap();
    assert!(stream.moves_on(10_000, Duration::from_secs(20)));
    stage.client().unpublish("b", request(&[], &["8082:80", "8083:82"]).host_config.port_bindings).unwrap();
    look(&stage, "unpublished", &[], &[]);
    assert!(!stream.moves_on(10_000_000, IMPATIENT));
}

fn packets_with_the_operators_mark_may_enter(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    give_routes(&stage);
    stage.create_network("plain", dual(1, &[])).unwrap();
    stage.create_network("inner", dual(2, &[("com.docker.network.internal", "true")])).unwrap();
    let plain = stage.sandbox("a", &["plain"], &[]);
    let inner = stage.sandbox("b", &["inner"], &[]);
    let _servers = [&plain, &inner].map(|place| serve(place));
    // The operator marks what is for port 80 with 6, of which 2 is looked at.
    stage.host.run_in(|| mark_port(80, 6)).unwrap();
    let look = |stage: &Stage, what: &str, here: &[By]| {
        let lan: &Place = &stage.lan;
        let to_plain = addresses(&plain, "plain").map(|address| (lan, address, here));
        let to_inner = addresses(&inner, "inner").map(|address| (lan, address, [].as_slice()));
        assert_ways(&[to_plain, to_inner].concat(), what);
    };
    look(&stage, "as it is", &[]);
    stage.daemon.restart(&["--bridge-accept-fwmark=0x2/3"]);
    look(&stage, "marked", &[Published]);
    stage.daemon.restart(&["--bridge-accept-fwmark=2"]);
    look(&stage, "another mark", &[]);
}

/// Marks TCP packets to a port, as an operator's own table would.
fn mark_port(port: u16, mark: u32) {
    let mut table = Table::new(Family::Inet, "operator");
    let chain = Chain::base("mark", ChainKind::Filter, Hook::Prerouting, priority::MANGLE);
    table.chains = vec![chain.with([rule().to_port(Protocol::Tcp, port).set_mark(mark)])];
    let mut transaction = Transaction::new();
    transaction.create(&table);
    Writer::open().unwrap().commit(transaction).unwrap();
}

fn a_host_may_remain_a_router_for_everybody(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    let (far, _) = stage.far(lab);
    stage.be_router_of_lan();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    stage.create_network("app", dual(1, &[])).unwrap();
    let sandbox = stage.sandbox("sandbox", &["app"], &[]);
    let _servers = [serve(&far), serve(&sandbox)];
    let look = |stage: &Stage, what: &str, through: &[By]| {
        let lan: &Place = &stage.lan;
        let far = [FAR, FAR6].map(|to| (lan, to.parse().unwrap(), through));
        // It is no way into our networks.
        let inside = addresses(&sandbox, "app").map(|to| (lan, to, [].as_slice()));
        assert_ways(&[far, inside].concat(), what);
    };
    look(&stage, "as it is", &[]);
    for (flags, through) in [(&["--ip-forward-no-drop"][..], &ALL[..]), (&[], &[])] {
        stage.daemon.restart(flags);
        look(&stage, &format!("{flags:?}"), through);
    }
}
