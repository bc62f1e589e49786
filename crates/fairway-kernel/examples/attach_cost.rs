//! What attaching and detaching cost the kernel: `cargo run --release -p fairway-kernel --example
//! attach_cost [-- --ipv6]`, as root or under `unshare -Urnm`. Everything is in namespaces of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use fairway_core::object::{BridgeLink, GatewayRoute, SandboxRoutes, VethLink};
use fairway_kernel::announce::Announcer;
use fairway_kernel::namespace::{Handle, Workers, own};
use fairway_kernel::route::{Links, Mark, NetnsSetup, PendingDelete};
use fairway_kernel::system;
use fairway_model::{EndpointId, MacAddress, NetworkId};
use ipnet::IpNet;
use rustix::thread::UnshareFlags;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As many ports as are worth asking about.
const PORTS: u16 = 900;

fn main() -> Result<(), Failure> {
    let ipv6 = std::env::args().any(|argument| argument == "--ipv6");
    system::unshare(UnshareFlags::NEWNET)?;
    let workers = Workers::new(4)?;
    let links = Links::open()?;
    let bridge = links.apply_bridge(&BridgeLink {
        name: "fairway0".into(),
        network: NetworkId::new([1; 32]),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: if ipv6 {
            vec!["10.0.0.1/16".parse()?, "fd00::1/64".parse()?]
        } else {
            vec!["10.0.0.1/16".parse()?]
        },
        route_localnet: false,
        ipv6,
        parent: None,
        adopted: false,
    })?;
    let target = new_namespace()?;
    let rounds = (0..500).map(|_| timed(|| workers.run(&target, || ()))).collect::<Result<Vec<_>, _>>()?;
    report("enter a namespace and come back, waiting thread", rounds);
    let rounds = (0..500).map(|_| timed(|| fresh_thread(&target))).collect::<Result<Vec<_>, _>>()?;
    report("the same, new thread each time", rounds);
    let rounds =
        (0..500).map(|_| timed(|| workers.run(&target, Links::open))).collect::<Result<Vec<_>, _>>()?;
    report("the same, and a route socket opened and closed", rounds);

    let gateway = |gateway: IpAddr| GatewayRoute { gateway, interface: "eth0".into(), metric: None };
    let mut gateways = vec![gateway("10.0.0.1".parse()?), gateway("fd00::1".parse()?)];
    gateways.retain(|route| ipv6 || route.gateway.is_ipv4());
    let mut sandboxes = Vec::new();
    let announcer = Announcer::open()?;
    let (mut whole, mut outside, mut inside, mut settled, mut announced) =
        (vec![], vec![], vec![], vec![], vec![]);
    for number in 1..=PORTS {
        let namespace = new_namespace()?;
        let mut veth = veth(number, &namespace);
        veth.addresses.retain(|net| ipv6 || net.addr().is_ipv4());
        let routes = SandboxRoutes {
            namespace: namespace.namespace().clone(),
            gateways: gateways.clone(),
            others: Vec::new(),
        };
        let begun = Instant::now();
        let pair = links.apply_veth(&veth, Some(&namespace))?;
        let middle = Instant::now();
        let work = NetnsSetup {
            loopback: true,
            pairs: vec![(veth.clone(), pair.clone())],
            routes: Some(routes),
            ..NetnsSetup::default()
        };
        work.run(&workers, &namespace)?;
        let worked = Instant::now();
        links.activate_port(&veth, &pair)?;
        let ended = Instant::now();
        let addresses: Vec<IpAddr> = veth.addresses.iter().map(|net| net.addr()).collect();
        announcer.announce(bridge.index, veth.mac, &addresses)?;
        announced.push(ended.elapsed());
        settled.push(ended - worked);
        whole.push(ended - begun);
        outside.push(middle - begun);
        inside.push(worked - middle);
        sandboxes.push((namespace, PendingDelete { index: pair.host, mark: Mark::Endpoint(veth.endpoint) }));
    }
    for (name, times) in [
        ("attach", whole),
        ("  host", outside),
        ("  inside", inside),
        ("  settle", settled),
        ("announce", announced),
    ] {
        report(&format!("{name}, ports 1 to 50"), times[..50].to_vec());
        report(&format!("{name}, ports 850 to 900"), times[850..].to_vec());
    }
    report("observe all links", vec![timed(|| links.all())?]);
    let off: Result<Vec<_>, _> =
        sandboxes[..100].iter().map(|(_, doomed)| timed(|| links.set_down(doomed.index, "port"))).collect();
    report("switch a port off", off?);
    for count in [1, 8, 24, 24, 32, 32] {
        let doomed: Vec<_> = sandboxes.drain(..count).map(|(_, doomed)| doomed).collect();
        report(&format!("delete {count}"), vec![timed(|| links.delete_links(&doomed, 0x1234_5678))?]);
    }
    Ok(())
}

fn veth(number: u16, namespace: &Handle) -> VethLink {
    let [high, low] = number.to_be_bytes();
    let ipv4 = Ipv4Addr::new(10, 0, high, low.wrapping_add(if high == 0 { 1 } else { 0 }).max(2));
    let ipv6 = Ipv6Addr::from((0xfd00 << 112) | (u128::from(number) + 16));
    let mut id = [0; 32];
    id[..2].copy_from_slice(&[high, low]);
    VethLink {
        host_interface: format!("fw{number}"),
        endpoint: EndpointId::new(id),
        bridge: "fairway0".into(),
        namespace: Some(namespace.namespace().clone()),
        interface: "eth0".into(),
        mac: MacAddress([2, 0, 0, 1, high, low]),
        mtu: 1500,
        addresses: [IpNet::new(ipv4.into(), 16), IpNet::new(ipv6.into(), 64)].into_iter().flatten().collect(),
        hairpin: false,
        sysctls: Vec::new(),
        advertising: Default::default(),
        alternative_name: None,
    }
}

fn new_namespace() -> Result<Handle, Failure> {
    std::thread::spawn(|| -> Result<Handle, Failure> {
        system::unshare(UnshareFlags::NEWNET)?;
        Ok(own()?)
    })
    .join()
    .map_err(|_| "the thread that makes a namespace panicked")?
}

fn fresh_thread(namespace: &Handle) -> Result<(), Failure> {
    Ok(Workers::new(0)?.run(namespace, || ())?)
}

fn timed<T, E: Into<Failure>>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let done = work().map_err(Into::into);
    let time = begun.elapsed();
    done.map(|_| time)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let p50 = times[times.len() / 2];
    let p99 = times[(times.len() * 99 / 100).min(times.len() - 1)];
    println!("{what:50} least {:>9.1?}   p50 {p50:>10.1?}   p99 {p99:>10.1?}", times[0]);
}
