//! Sandboxes on the host's own LAN: a bridge takes over the host's interface, and gives it back.

mod conflict;
mod dhcp;
mod frames;
mod takeover;

use std::net::IpAddr;

use crate::dns::{RecordType, look_up};
use fairway_api::ClientError;
use fairway_api::types::{ContainerCreate, EndpointIpam, EndpointSettings, IpamConfig, NetworkInspect};
use fairway_kernel::route::Links;
use fairway_lab::{Host, Lab, Outcome, Place, ask, serve_tcp};

use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage, refusal, request};
use crate::ping::ping;

const RESOLVER: &str = "127.0.0.11:53";
/// Where addresses are given from; the highest of the LAN are unused.
const RANGE: &str = "10.10.50.128/28";
const FIRST: &str = "10.10.50.128";

/// Puts a network on the LAN of eth0, of both families.
fn create(stage: &Stage, name: &str, options: &[(&str, &str)]) -> Result<NetworkInspect, ClientError> {
    stage.create_network(name, |network| {
        network.driver = "lan".to_owned();
        network.enable_ipv6 = Some(true);
        network.options.insert("parent".to_owned(), "eth0".to_owned());
        network.options.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let pool = |subnet: &str, ip_range: &str| IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: ip_range.to_owned(),
            ..IpamConfig::default()
        };
        network.ipam.get_or_insert_default().config =
            vec![pool("10.10.50.0/24", RANGE), pool("fd50::/64", "fd50::8000/116")];
    })
}

/// An endpoint that asks for an address.
fn at(address: &str) -> EndpointSettings {
    let ipam = EndpointIpam { ipv4_address: address.to_owned(), ..EndpointIpam::default() };
    EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
}

/// A sandbox on the LAN that asks for an address.
fn on(network: &str, address: &str) -> ContainerCreate {
    let mut container = request(&[network], &[]);
    container.networking_config.endpoints_config[0].1 = at(address);
    container
}

fn port_80(address: impl Into<IpAddr>) -> String {
    std::net::SocketAddr::new(address.into(), 80).to_string()
}

/// The bridge of a network.
fn bridge(stage: &Stage, network: &str) -> String {
    format!("br-{}", &stage.client().network(network).unwrap().id[..12])
}

/// Addresses and routes of an interface, as they are.
pub fn state(host: &Host, interface: &str) -> Vec<String> {
    let interface = interface.to_owned();
    host.run_in(move || {
        let links = Links::open().unwrap();
        let Ok(index) = links.index(&interface) else { return Vec::new() };
        let addresses = links.addresses(index).unwrap();
        let addresses = addresses.iter().filter(|it| it.interface == index && it.moves());
        let mut lines: Vec<_> = addresses.map(|it| format!("{} {:x}", it.address, it.flags)).collect();
        for route in links.routes().unwrap() {
            let destination = route.destination.to_string();
            // Those that come and go with the link-local address.
            let local = destination.starts_with("fe80") || destination.starts_with("ff");
            if route.interface == index && route.table == 254 && !local {
                lines.push(format!("{destination} {:?} {} {}", route.gateway, route.metric, route.protocol));
            }
        }
        lines.sort();
        lines
    })
    .unwrap()
}

/// Where the way to everywhere leads that a sandbox takes.
fn beyond(stage: &Stage) -> &'static str {
    let address = "203.0.113.7";
    stage.lan.add_address("lo", &format!("{address}/32")).unwrap();
    address
}

fn check(lab: &Lab, flags: &[&str], bridge_netfilter: bool) {
    let mut stage = Stage::before_daemon(lab);
    stage.host.set_bridge_netfilter(bridge_netfilter).unwrap();
    stage.daemon.launch(flags);
    stage.daemon.wait_until_ready();
    let other = stage.second_host(lab, "other", ["10.10.50.98", "fd50::98"], &[]);
    let stranger = other.sandbox("stranger", &["bridge"], &[]);
    let beyond = beyond(&stage);
    // A sandbox that lives on the default bridge is put on the LAN as well.
    let living = stage.sandbox("living", &["bridge"], &[]);
    let neighbour = stage.sandbox("neighbour", &["bridge"], &["8080:80"]);
    create(&stage, "lan", &[]).unwrap();
    stage.connect("lan", "living", at("10.10.50.95")).unwrap();
    let second = stage.sandbox("second", &["lan"], &[]);
    assert_eq!(second.address("lan").to_string(), FIRST);
    let places: [&Place; 6] = [&living, &second, &neighbour, &stage.host, &stage.lan, &other.host];
    let _servers = places.map(|it| serve_tcp(it, "[::]:80").unwrap());
    let second6 = second.address6("lan");
    let asked: [(&Place, String, Outcome); 16] = [
        // Sandbox and LAN, both ways, and by both families.
        (&stage.lan, port_80(second.address("lan")), Outcome::answered(LAN)),
        (&stage.lan, port_80(second6), Outcome::answered(LAN6)),
        (&stage.lan, "10.10.50.95:80".to_owned(), Outcome::answered(LAN)),
        (&living, format!("{LAN}:80"), Outcome::answered("10.10.50.95")),
        (&second, format!("{LAN}:80"), Outcome::answered(FIRST)),
        (&second, format!("[{LAN6}]:80"), Outcome::Answered { source: second6 }),
        // Another host, and a sandbox of that.
        (&other.host, port_80(second.address("lan")), Outcome::answered("10.10.50.98")),
        (&stranger, port_80(second.address("lan")), Outcome::answered("10.10.50.98")),
        (&second, "10.10.50.98:80".to_owned(), Outcome::answered(FIRST)),
        // Sandbox and host.
        (&stage.host, port_80(second.address("lan")), Outcome::answered(HOST)),
        (&stage.host, port_80(second6), Outcome::answered(HOST6)),
        (&second, format!("{HOST}:80"), Outcome::answered(FIRST)),
        // By the LAN's own router to everywhere, also from the one that lived on the default bridge.
        (&second, format!("{beyond}:80"), Outcome::answered(FIRST)),
        (&living, format!("{beyond}:80"), Outcome::answered("10.10.50.95")),
        // Other networks of the host go on as before.
        (&neighbour, format!("{beyond}:80"), Outcome::answered(HOST)),
        (&stage.lan, format!("{HOST}:8080"), Outcome::answered(LAN)),
    ];
    std::thread::scope(|scope| {
        for (place, target, expected) in &asked {
            scope.spawn(move || {
                assert_eq!(ask(place, target).unwrap(), *expected, "{} asks {target}", place.name());
            });
        }
    });
    // Networks stay apart: from the LAN nobody gets to what is not published.
    stage.lan.route("172.17.0.0/16", HOST).unwrap();
    assert_eq!(ask(&stage.lan, &port_80(neighbour.address("bridge"))).unwrap(), Outcome::TimedOut);
    assert_eq!(look_up(&living, RESOLVER, "second", RecordType::A).unwrap(), [second.address("lan")]);
}

#[test]
fn sandboxes_host_and_lan_reach_one_another() {
    fairway_lab::run(|lab| check(lab, &[], true));
}

#[test]
fn without_the_proxy_and_bridges_unseen() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"], false));
}

#[test]
fn with_the_iptables_backend() {
    fairway_lab::run(|lab| check(lab, &["--firewall-backend=iptables"], true));
}

#[test]
fn the_same_without_a_firewall() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--iptables=false"]);
        create(&stage, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &[]);
        let _servers = [&*one, &stage.lan].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
        assert_eq!(ask(&stage.lan, &port_80(one.address("lan"))).unwrap(), Outcome::answered(LAN));
        assert_eq!(ask(&one, &format!("{LAN}:80")).unwrap(), Outcome::answered(FIRST));
        assert!(ping(&stage.host, one.address("lan")));
    });
}

#[test]
fn published_ports_on_a_lan_have_no_effect_and_warn() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        create(&stage, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &["8080:80"]);
        assert!(one.attached.warnings.iter().any(|it| it.contains("its gateway is on a LAN")));
        let _server = serve_tcp(&one, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Refused);
        assert_eq!(ask(&stage.lan, &port_80(one.address("lan"))).unwrap(), Outcome::answered(LAN));
    });
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = state(&stage.host, "eth0");
        let missing = refusal(create(&stage, "lan", &[("parent", "eth7")]));
        assert!(missing.contains("no such interface: eth7"), "{missing}");
        let loopback = refusal(create(&stage, "lan", &[("parent", "lo")]));
        assert!(loopback.contains("cannot use interface lo as uplink"), "{loopback}");
        assert_eq!(state(&stage.host, "eth0"), before);
        create(&stage, "lan", &[]).unwrap();
        let twice = refusal(create(&stage, "lan2", &[]));
        assert!(twice.contains("cannot use interface eth0: network lan uses it"), "{twice}");
        // The host's own address, the router's, and one that another sandbox has.
        let one: Sandbox = stage.sandbox("one", &["lan"], &[]);
        for (address, holder) in
            [(HOST, "auxiliary address host"), (LAN, "the gateway"), (FIRST, "container one")]
        {
            let taken = refusal(stage.attach("two", on("lan", address)));
            assert!(taken.contains(holder), "{address}: {taken}");
        }
        drop(one);
    });
}
