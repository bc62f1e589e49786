//! What one question of where a packet goes costs, on a host with much on it, and what the walk itself does.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fairway_core::plan::plan;
use fairway_core::world::{self, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_inspect::topology::planned;
use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::Lab;
use fairway_model::Rng;
use fairway_model::{
    EndpointRequest, HostFacts, HostRoute, MacAddress, Namespace, PortRange, Protocol, PublishRequest,
    SandboxKind, SandboxOptions, Settings,
};
use fairway_walk::{FlowPosition, Interface, NamespaceId, Sender, Tuple, Walker, add_interface};
use fairway_walk::{add_default_route, empty_namespace};

use crate::Failure;
use crate::figures::{Table, Times, milliseconds};
use crate::memory::proportional;
use crate::stage::{FIRST_CONTAINER_PORT, HOST, NEIGHBOUR, Stage, request_ipv4};

const SANDBOXES: u16 = 1000;
const PUBLISHING: u16 = 100;
const EACH: u16 = 100;
const FIRST: u16 = 10_000;
/// How often each is asked.
const ROUNDS: usize = 50;
/// How long the walker walks.
const LENGTH: Duration = Duration::from_secs(3);

/// What is walked, and how for the packet of that number.
type Walk<'a> = (&'static str, &'a dyn Fn(&mut Walker<'_>, usize));

/// A host with little, and one with 1,000 sandboxes and 10,000 publications; then the walker alone.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let columns = ["", "answer p50", "p99", "command p50", "p99", "daemon MiB", "after"];
    let table =
        Table::new("One question, ms, and the daemon's memory before and after all of them", &columns);
    let stage = Stage::new(lab, "explain", &[])?;
    stage.network("names")?;
    let names = stage.namespaces("sandbox", SANDBOXES.into())?;
    let mut client = stage.client()?;
    let mut attach = |number: u16| -> Result<(), Failure> {
        let ports = if number < PUBLISHING { EACH } else { 0 };
        let request = request_ipv4(&names[usize::from(number)], "names", FIRST + number * ports, ports);
        client.attach(&request)?;
        Ok(())
    };
    (0..2).try_for_each(&mut attach)?;
    // Who has the socket is looked for too.
    let sandbox = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{}", names[0]))?;
    let _server = sandbox.run_in(|| TcpListener::bind(("0.0.0.0", FIRST_CONTAINER_PORT + 1)))??;
    rows(&stage, &table, "2 sandboxes, 200 publications")?;
    (2..SANDBOXES).try_for_each(&mut attach)?;
    rows(&stage, &table, "1,000 sandboxes, 10,000 publications")?;
    drop(stage);
    walker()
}

fn rows(stage: &Stage, table: &Table, what: &str) -> Result<(), Failure> {
    let mut client = stage.client()?;
    let published = format!("{HOST}:{}", FIRST + 1);
    let inside = format!("sandbox0:{}", FIRST_CONTAINER_PORT + 1);
    let lan = format!("lan:{NEIGHBOUR}");
    let questions = [
        ("from the LAN to a published port", lan.as_str(), published.as_str(), false),
        ("a neighbor to a published port, by the proxy", "sandbox1", published.as_str(), false),
        ("a neighbor by name", "sandbox1", inside.as_str(), false),
        ("from the LAN to a published port, by the Plan", lan.as_str(), published.as_str(), true),
    ];
    for (question, from, to, by_plan) in questions {
        let before = proportional(stage.daemon())?;
        let (mut answers, mut commands) = (Times::default(), Times::default());
        for _ in 0..ROUNDS {
            answers.note(|| client.explain(from, to, by_plan))?;
        }
        for _ in 0..ROUNDS / 5 {
            commands.note(|| command(stage, from, to, by_plan))?;
        }
        let after = proportional(stage.daemon())?;
        let cells =
            [format!("{what}: {question}")].into_iter().chain(answers.cells()).chain(commands.cells());
        table.row(cells.chain([before, after].map(|value| format!("{value:.1}"))));
    }
    Ok(())
}

/// As people ask, with a program that starts and ends.
fn command(stage: &Stage, from: &str, to: &str, by_plan: bool) -> Result<(), Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.args(["-H", stage.address(), "explain", from, to]).args(by_plan.then_some("--plan"));
    // Nobody listens in these sandboxes: its exit code says so.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(())
}

/// A host as planned, whose LAN is behind interface 2.
fn topology() -> Result<fairway_walk::Topology, Failure> {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let facts = HostFacts {
        addresses: vec![HostRoute {
            destination: format!("{HOST}/24").parse()?,
            interface: "eth0".to_owned(),
        }],
        hostname: "host".to_owned(),
        ..HostFacts::default()
    };
    let configure =
        world::Command::Configure { settings: Box::new(Settings::default()), host: Box::new(facts) };
    let network = CreateNetwork { name: "names".to_owned(), ..CreateNetwork::default() };
    for command in [configure, world::Command::CreateNetwork(network)] {
        world.apply(command, 0, &mut rng)?;
    }
    for number in 0..SANDBOXES {
        let ports = if number < PUBLISHING { EACH } else { 0 };
        let publish = |offset: u16| PublishRequest {
            host_address: Some(Ipv4Addr::UNSPECIFIED.into()),
            host_ports: Some(PortRange::single(FIRST + number * EACH + offset)),
            container_ports: PortRange::single(FIRST_CONTAINER_PORT + offset),
            protocol: Protocol::Tcp,
        };
        let options = SandboxOptions { publish: (0..ports).map(publish).collect(), ..Default::default() };
        let create = CreateSandbox {
            name: Some(format!("sandbox{number}")),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks(vec![("names".to_owned(), EndpointRequest::default())]),
            options,
        };
        let namespace = Namespace { path: format!("/{number}"), device: 4, inode: u64::from(number) + 1 };
        let attach =
            world::Command::Attach { create: Box::new(create), process: None, namespace: Some(namespace) };
        world.apply(attach, 0, &mut rng)?;
    }
    let mut host = empty_namespace("host");
    let interface = Interface {
        index: 2,
        name: "eth0".to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: vec![format!("{HOST}/24").parse()?],
        ..Interface::default()
    };
    add_interface(&mut host, interface);
    add_default_route(&mut host, NEIGHBOUR.parse()?, 2);
    Ok(planned(&world, &plan(&world), host))
}

/// Packets that the walker takes from one end to the other in a second.
fn walker() -> Result<(), Failure> {
    let table = Table::new(
        "The walker alone, planned: 1,000 sandboxes, 10,000 publications",
        &["", "packets/s", "ms to index"],
    );
    let topology = topology()?;
    let (host, neighbor): (IpAddr, IpAddr) = (HOST.parse()?, NEIGHBOUR.parse()?);
    let sandbox = topology.namespaces[1].interfaces[1].addresses[0].addr();
    let published = |number: usize| Tuple {
        protocol: 6,
        source: neighbor,
        destination: host,
        source_port: 40_000,
        destination_port: FIRST + u16::try_from(number % 10_000).unwrap_or_default(),
    };
    let walks: [Walk<'_>; 3] = [
        ("from the LAN to a published port, translated", &|walker, number| {
            walker.arrives(NamespaceId::HOST, 2, published(number), FlowPosition::First);
        }),
        ("a sandbox to its neighbor", &|walker, number| {
            let tuple = Tuple {
                source: Ipv4Addr::UNSPECIFIED.into(),
                destination: sandbox,
                destination_port: 80,
                ..published(number)
            };
            walker.walk_from_program(Sender::of(NamespaceId(2)), tuple, FlowPosition::First);
        }),
        ("from the LAN to a port that is not published", &|walker, number| {
            walker.arrives(
                NamespaceId::HOST,
                2,
                Tuple { destination_port: 9, ..published(number) },
                FlowPosition::First,
            );
        }),
    ];
    for (what, walk) in walks {
        let begun = Instant::now();
        let known = Walker::new(&topology);
        walk(&mut known.without_flows(), 0);
        let first = begun.elapsed();
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < LENGTH {
            walk(&mut known.without_flows(), count);
            count += 1;
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        table.row([what.to_owned(), format!("{rate:.0}"), milliseconds(first.as_secs_f64() * 1e3)]);
    }
    // So that it is seen that they get where they should.
    match Walker::new(&topology).arrives(NamespaceId::HOST, 2, published(0), FlowPosition::First).end {
        fairway_walk::End::NoListener { namespace, .. } if topology.name(namespace) == "sandbox0" => Ok(()),
        other => Err(format!("it walks elsewhere: {other:?}").into()),
    }
}
