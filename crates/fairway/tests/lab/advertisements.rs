//! A host that has its IPv6 default route from router advertisements keeps it while it forwards for our networks.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use fairway_lab::{Host, Outcome, ask, serve_tcp};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sockopt};

use crate::harness::{HOST6, LAN6, Stage, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
/// All nodes on the link (RFC 4291, 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// `RTF_ADDRCONF | RTF_DEFAULT` of `<linux/ipv6_route.h>`: a default route that was advertised.
const ADVERTISED_DEFAULT: u32 = 0x0005_0000;

/// Says on the wire that this host is a router, for half an hour (RFC 4861, 4.2). False while it cannot yet.
pub fn advertise(router: &Host) -> bool {
    let sent = router.run_in(|| {
        let socket =
            rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
        sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
        let index = rustix::net::netdevice::name_to_index(&socket, "eth0").unwrap();
        let message = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, index);
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &to).is_ok()
    });
    sent.unwrap()
}

/// Whether the host has a default route that was advertised.
pub fn has_route(host: &Host) -> bool {
    let routes =
        host.run_in(|| std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap()).unwrap();
    routes.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = fields.get(8).and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or(0);
        fields.get(1) == Some(&"00") && flags & ADVERTISED_DEFAULT == ADVERTISED_DEFAULT
    })
}

fn accepts(stage: &Stage) -> [String; 2] {
    ["eth0", "default"].map(|name| stage.host.sysctl(&format!("net/ipv6/conf/{name}/accept_ra")).unwrap())
}

#[test]
fn an_advertised_default_route_survives_our_forwarding() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        for (host, forwarding) in [(&stage.host, "0"), (&stage.lan, "1")] {
            host.set_sysctl("net/ipv6/conf/all/forwarding", forwarding).unwrap();
        }
        stage.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
        stage.host.set_sysctl("net/ipv6/conf/default/accept_ra", "1").unwrap();
        eventually("the route is learnt", PATIENCE, || advertise(&stage.lan) && has_route(&stage.host));
        let before = accepts(&stage);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert_eq!(accepts(&stage), before, "no network has IPv6 yet");
        stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        assert_eq!(stage.host.sysctl("net/ipv6/conf/all/forwarding").unwrap(), "1");
        assert_eq!(accepts(&stage), ["2", "2"]);
        assert!(has_route(&stage.host), "it went with our forwarding");
        let web = stage.sandbox("web", &["app"], &[]);
        let _server = serve_tcp(&stage.lan, "[::]:80").unwrap();
        assert_eq!(ask(&web, &format!("[{LAN6}]:80")).unwrap(), Outcome::answered(HOST6));

        // A new daemon remembers what was found, and gives it back with forwarding.
        stage.daemon.restart(&[]);
        assert_eq!(accepts(&stage), ["2", "2"]);
        assert!(has_route(&stage.host));
        stage.daemon.restart(&["--ip-forward=false"]);
        assert_eq!(stage.host.sysctl("net/ipv6/conf/all/forwarding").unwrap(), "0");
        assert_eq!(accepts(&stage), before);
    });
}

#[test]
fn a_host_that_takes_no_advertisements_is_left_so() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "0").unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        assert_eq!(stage.host.sysctl("net/ipv6/conf/eth0/accept_ra").unwrap(), "0");
        stage.daemon.restart(&["--ip-forward=false"]);
        assert_eq!(stage.host.sysctl("net/ipv6/conf/eth0/accept_ra").unwrap(), "0");
    });
}
