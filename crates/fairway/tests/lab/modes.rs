//! Gateway modes of networks: who reaches whom, straight and by the host's address, by IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use fairway_api::types::{IpamConfig, NetworkCreate};
use fairway_lab::{Lab, Outcome, Place, Question, Server, serve_tcp};

use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage, request};
use crate::ping::ping_within;

/// How long is waited for what must not come.
pub const IMPATIENT: Duration = Duration::from_millis(700);

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Published,
    Unpublished,
    Ping,
}
use By::{Ping, Published, Unpublished};

pub const ALL: [By; 3] = [Published, Unpublished, Ping];

pub fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// How long an answer is waited for: a busy machine gets much time for one that is expected.
pub fn patience(expected: bool) -> Duration {
    if expected { Duration::from_secs(15) } else { IMPATIENT }
}

/// The source address that the server saw; none where an answer is not expected and does not come.
fn seen(from: &Place, to: IpAddr, port: u16, expected: bool) -> Option<IpAddr> {
    match Question::to(&at(to, port)).unwrap().within(patience(expected)).tcp(from).unwrap() {
        Outcome::Answered { source, .. } => Some(source),
        _ => None,
    }
}

/// By which ways `to` answers, all tried at once.
fn ways(from: &Place, to: IpAddr, expected: &[By]) -> Vec<By> {
    let answers = |by| {
        let expected = expected.contains(&by);
        match by {
            Published => seen(from, to, 80, expected).is_some(),
            Unpublished => seen(from, to, 81, expected).is_some(),
            Ping => ping_within(from, to, patience(expected)),
        }
    };
    thread::scope(|scope| {
        let tried = ALL.map(|by| (by, scope.spawn(move || answers(by))));
        tried.into_iter().filter_map(|(by, answer)| answer.join().unwrap().then_some(by)).collect()
    })
}

/// Asserts by which ways each place reaches each address.
pub fn assert_ways(expected: &[(&Place, IpAddr, &[By])], what: &str) {
    thread::scope(|scope| {
        let tried: Vec<_> =
            expected.iter().map(|(from, to, by)| scope.spawn(|| ways(from, *to, by))).collect();
        for ((from, to, by), found) in expected.iter().zip(tried) {
            assert_eq!(found.join().unwrap(), *by, "{} to {to}, {what}", from.name());
        }
    });
}

/// Asks for a dual-stack network with the third byte `number` and these options of bridges.
pub fn dual(number: u8, options: &[(&str, &str)]) -> impl FnOnce(&mut NetworkCreate) {
    let options: Vec<_> = options.iter().map(|(name, value)| (full(name), (*value).to_owned())).collect();
    move |network| {
        network.enable_ipv6 = Some(true);
        let ipam = network.ipam.get_or_insert_default();
        for subnet in [format!("172.30.{number}.0/24"), format!("fd30:{number}::/64")] {
            ipam.config.push(IpamConfig { subnet, ..Default::default() });
        }
        network.options.extend(options);
    }
}

pub fn full(name: &str) -> String {
    if name.contains("network.") || name.starts_with("fairway.") {
        return name.to_owned();
    }
    format!("com.docker.network.bridge.{name}")
}

/// The LAN knows the way to the networks.
pub fn give_routes(stage: &Stage) {
    stage.lan.route("172.30.0.0/16", HOST).unwrap();
    stage.lan.route("fd30::/16", HOST6).unwrap();
}

pub fn serve(place: &Place) -> [Server; 2] {
    [80, 81].map(|port| serve_tcp(place, &format!("[::]:{port}")).unwrap())
}

/// Both addresses of a sandbox on a network.
pub fn addresses(sandbox: &Sandbox, network: &str) -> [IpAddr; 2] {
    [sandbox.address(network), sandbox.address6(network)]
}

pub const MODE4: &str = "gateway_mode_ipv4";
pub const MODE6: &str = "gateway_mode_ipv6";

/// A daemon that is killed and started with each setting of br_netfilter and of the proxy.
pub fn in_two_modes(stage: &mut Stage, flags: &[&str], look: impl Fn(&Stage, &str)) {
    for (netfilter, proxy) in [(false, "--userland-proxy=true"), (true, "--userland-proxy=false")] {
        stage.host.set_bridge_netfilter(netfilter).unwrap();
        stage.daemon.restart(&[flags, &[proxy]].concat());
        look(stage, proxy);
    }
}

on_each_backend! {
    each_gateway_mode_lets_in_whom_it_should;
    packets_leave_with_the_address_that_was_asked_for;
    routed_ports_need_no_host_port_and_live_on_every_routed_network;
}

fn each_gateway_mode_lets_in_whom_it_should(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    give_routes(&stage);
    let create = |name, number, mode4, mode6| {
        stage.create_network(name, dual(number, &[(MODE4, mode4), (MODE6, mode6)])).unwrap();
    };
    create("plain", 1, "nat", "nat");
    create("open", 2, "nat-unprotected", "nat-unprotected");
    create("routed", 3, "routed", "routed");
    create("mixed", 4, "nat", "routed");
    create("other", 5, "routed", "nat-unprotected");
    let client = stage.sandbox("client", &["plain"], &[]);
    let make = |name, network, publish| stage.sandbox(name, &[network], &[publish]);
    let plain = make("a", "plain", "8081:80");
    let open = make("b", "open", "8082:80");
    let routed = make("c", "routed", "8083:80");
    let mixed = make("d", "mixed", "8084:80");
    let other = make("e", "other", "8085:80");
    let _servers = [&plain, &open, &routed, &mixed, &other].map(|place| serve(place));
    let _lan = serve(&stage.lan);
    let straight: [&[By]; 2] = [&[], &ALL];
    let [closed, all] = straight;
    let published: &[By] = &[Published, Ping];
    in_two_modes(&mut stage, &[], |stage, what| {
        let mut expected: Vec<(&Place, IpAddr, &[By])> = Vec::new();
        for (sandbox, network, by4, by6) in [
            (&plain, "plain", closed, closed),
            (&open, "open", all, all),
            (&routed, "routed", published, published),
            (&mixed, "mixed", closed, published),
            (&other, "other", published, all),
        ] {
            let [ipv4, ipv6] = addresses(sandbox, network);
            expected.extend([(&*stage.lan, ipv4, by4), (&*stage.lan, ipv6, by6)]);
            expected.extend([(&*stage.host, ipv4, all), (&*stage.host, ipv6, all)]);
            if network != "plain" {
                expected.extend([(&*client, ipv4, by4), (&*client, ipv6, by6)]);
            }
        }
        // Not the other way round.
        for address in addresses(&client, "plain") {
            expected.extend([(&*routed, address, closed), (&*open, address, closed)]);
        }
        assert_ways(&expected, what);
        // By the host's address: where ports are translated, and nowhere else.
        let host: [IpAddr; 2] = [HOST.parse().unwrap(), HOST6.parse().unwrap()];
        for (port, ipv4, ipv6) in [
            (8081, true, true),
            (8082, true, true),
            (8083, false, false),
            (8084, true, false),
            (8085, false, true),
        ] {
            for (address, there) in host.into_iter().zip([ipv4, ipv6]) {
                for from in [&*stage.lan, &*client] {
                    let found = seen(from, address, port, there).is_some();
                    assert_eq!(found, there, "{} to {address}:{port}, {what}", from.name());
                }
            }
        }
        // Who leaves a routed network keeps its address, also the one of which only one family is.
        let lan: [IpAddr; 2] = [LAN.parse().unwrap(), LAN6.parse().unwrap()];
        let sources = |sandbox: &Sandbox| lan.map(|to| seen(sandbox, to, 80, true).unwrap());
        assert_eq!(sources(&plain), host, "{what}");
        assert_eq!(sources(&open), host, "{what}");
        assert_eq!(sources(&routed), addresses(&routed, "routed"), "{what}");
        assert_eq!(sources(&mixed), [host[0], mixed.address6("mixed")], "{what}");
        // And so is who comes to one seen.
        assert_eq!(seen(&stage.lan, routed.address("routed"), 80, true), Some(lan[0]), "{what}");
        assert_eq!(seen(&stage.lan, routed.address6("routed"), 80, true), Some(lan[1]), "{what}");
    });
}

#[test]
fn isolated_networks_have_no_host_on_them() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        give_routes(&stage);
        let internal = ("com.docker.network.internal", "true");
        let isolated = [(MODE4, "isolated"), (MODE6, "isolated"), ("name", "isle"), internal];
        stage.create_network("isle", dual(1, &isolated)).unwrap();
        stage.create_network("shy", dual(2, &[("inhibit_ipv4", "true"), ("name", "shy")])).unwrap();
        stage.create_network("half", dual(3, &[(MODE6, "isolated"), ("name", "half"), internal])).unwrap();
        // All two addresses of it can be used.
        let point = |network: &mut NetworkCreate| {
            network.internal = true;
            network.options.insert(full(MODE4), "isolated".to_owned());
            let subnet = "172.30.9.0/31".to_owned();
            let ipam = network.ipam.get_or_insert_default();
            ipam.config.push(IpamConfig { subnet, ..Default::default() });
        };
        stage.create_network("point", point).unwrap();
        let refused = stage.create_network("open", dual(8, &[(MODE6, "isolated")])).unwrap_err();
        let reason = "gateway mode 'isolated' can only be used for an internal network: add --internal";
        assert!(refused.to_string().contains(reason), "{refused}");
        let names = ["isle", "shy", "half", "point"];
        let pairs = names.map(|network| {
            ["a", "b"].map(|name| stage.sandbox(&format!("{name}-{network}"), &[network], &[]))
        });
        let _servers = pairs.each_ref().map(|[a, _]| serve(a));
        in_two_modes(&mut stage, &[], |stage, what| {
            let of_host = |bridge: &str| stage.host.run_in(|| addresses_of(bridge)).unwrap();
            assert_eq!(of_host("isle"), Vec::<IpAddr>::new(), "{what}");
            let ipv4_of = |bridge: &str| of_host(bridge).into_iter().find(IpAddr::is_ipv4);
            assert_eq!((ipv4_of("shy"), ipv4_of("half")), (None, "172.30.3.1".parse().ok()), "{what}");
            assert!(of_host("half").iter().all(IpAddr::is_ipv4), "{what}");
            let mut expected: Vec<(&Place, IpAddr, &[By])> = Vec::new();
            for ([server, client], network) in pairs.iter().zip(names) {
                expected.push((client, server.address(network), &ALL));
                if network != "point" {
                    expected.push((client, server.address6(network), &ALL));
                }
            }
            let nobody: &[By] = &[];
            for place in [&*stage.lan, &*stage.host] {
                expected.extend(addresses(&pairs[0][0], "isle").map(|address| (place, address, nobody)));
                expected.push((place, pairs[1][0].address("shy"), nobody));
                expected.push((place, pairs[2][0].address6("half"), nobody));
                expected.push((place, pairs[3][0].address("point"), nobody));
            }
            expected.push((&stage.host, pairs[1][0].address6("shy"), &ALL));
            expected.push((&stage.host, pairs[2][0].address("half"), &ALL));
            assert_ways(&expected, what);
        });
    });
}

/// The addresses of an interface of the namespace of the calling thread.
fn addresses_of(interface: &str) -> Vec<IpAddr> {
    let links = fairway_kernel::route::Links::open().unwrap();
    let index = links.index(interface).unwrap();
    let found = links.addresses(index).unwrap().into_iter().filter(|found| found.interface == index);
    found.map(|found| found.address.addr()).collect()
}

fn packets_leave_with_the_address_that_was_asked_for(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    give_routes(&stage);
    stage.host.add_address("eth0", "10.10.50.77/24").unwrap();
    stage.host.add_address("eth0", "fd50::77/64").unwrap();
    let hosts =
        [("com.docker.network.host_ipv4", "10.10.50.77"), ("com.docker.network.host_ipv6", "fd50::77")];
    stage.create_network("both", dual(1, &hosts)).unwrap();
    stage.create_network("six", dual(2, &hosts[1..])).unwrap();
    let keep = [hosts[0], ("enable_ip_masquerade", "false")];
    stage.create_network("kept", dual(3, &keep)).unwrap();
    let sandboxes = ["both", "six", "kept"].map(|name| stage.sandbox(name, &[name], &["80"]));
    let neighbour = stage.sandbox("neighbour", &["both"], &[]);
    let [both, six, kept] = &sandboxes;
    let _servers = [serve(&stage.lan), serve(both)];
    in_two_modes(&mut stage, &[], |_, what| {
        let sources = |from: &Sandbox| {
            [LAN, LAN6].map(|to| seen(from, to.parse().unwrap(), 80, true).unwrap().to_string())
        };
        assert_eq!(sources(both), ["10.10.50.77", "fd50::77"], "{what}");
        assert_eq!(sources(six), [HOST, "fd50::77"], "{what}");
        assert_eq!(sources(kept), addresses(kept, "kept").map(|it| it.to_string()), "{what}");
        // Neighbours are themselves.
        let own = seen(&neighbour, both.address("both"), 80, true);
        assert_eq!(own, Some(neighbour.address("both")), "{what}");
    });
}

fn routed_ports_need_no_host_port_and_live_on_every_routed_network(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    give_routes(&stage);
    stage.create_network("plain", dual(1, &[])).unwrap();
    stage.create_network("routed", dual(2, &[(MODE4, "routed"), (MODE6, "routed")])).unwrap();
    // The network that comes first by its name has the gateway.
    let two = stage.sandbox("two", &["plain", "routed"], &["80:80"]);
    let [one, other] = ["one", "other"].map(|name| stage.sandbox(name, &["routed"], &["80:80"]));
    let _servers = [&two, &one, &other].map(|place| serve(place));
    let host = [HOST, HOST6].map(|address| address.parse::<IpAddr>().unwrap());
    let shown = |name: &str| -> Vec<(String, String)> {
        let ports = stage.client().container(name).unwrap().network_settings.ports;
        let bindings = ports["80/tcp"].clone().unwrap();
        bindings.into_iter().map(|binding| (binding.host_ip, binding.host_port)).collect()
    };
    let pairs = |port: &str| ["0.0.0.0", "::"].map(|ip| (ip.to_owned(), port.to_owned()));
    let look = |what: &str, translated: bool| {
        let mut expected: Vec<(&Place, IpAddr, &[By])> = Vec::new();
        for sandbox in [&two, &one, &other] {
            expected.extend(
                addresses(sandbox, "routed").map(|to| (&*stage.lan, to, [Published, Ping].as_slice())),
            );
        }
        assert_ways(&expected, what);
        for address in host {
            assert_eq!(seen(&stage.lan, address, 80, translated).is_some(), translated, "{address}, {what}");
        }
    };
    look("both", true);
    assert_eq!(shown("two"), pairs("80"));
    assert_eq!(shown("one"), pairs(""));
    stage.disconnect("plain", "two").unwrap();
    look("routed alone", false);
    assert_eq!(shown("two"), pairs(""));
    // It has the host's port again as soon as there is one to have.
    stage.connect("plain", "two", Default::default()).unwrap();
    look("both again", true);
    let third = stage.attach("third", request(&["plain"], &["80:80"])).err().map(|error| error.to_string());
    assert!(third.is_some_and(|error| error.contains("container two publishes 80/tcp")));
}
