//! How the work of choosing ports grows.

use crate::world::port_claims::LOOKUPS;
use crate::world::{Change, Command, CreateSandbox, NetworkChoice, World};
use fairway_model::Rng;
use fairway_model::{
    EndpointRequest, HostFacts, Namespace, PortRange, Protocol, PublishRequest, SandboxKind, SandboxOptions,
    Settings, UnpublishRequest,
};

/// A World with sandboxes `web` and `other`, which run.
fn running() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let host = HostFacts { ephemeral_ports: Some((20_000, 59_999)), ..HostFacts::default() };
    world.apply(Command::Configure { settings: Box::default(), host: Box::new(host) }, 1, &mut rng).unwrap();
    for name in ["web", "other"] {
        let create = CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Run,
            network: NetworkChoice::Networks(Vec::new()),
            options: SandboxOptions::default(),
        };
        world.apply(Command::CreateSandbox(Box::new(create)), 1, &mut rng).unwrap();
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 });
        let sandbox = name.to_owned();
        world.apply(Command::StartSandbox { sandbox, process: None, namespace }, 1, &mut rng).unwrap();
    }
    (world, rng)
}

fn request(container: u16, host_ports: Option<PortRange>) -> PublishRequest {
    PublishRequest {
        host_address: None,
        host_ports,
        container_ports: PortRange::single(container),
        protocol: Protocol::Tcp,
    }
}

fn publish(world: &mut World, rng: &mut Rng, requests: Vec<PublishRequest>) -> Result<Change, String> {
    let command = Command::Publish { sandbox: "web".to_owned(), requests };
    world.apply(command, 1, rng).map_err(|refusal| refusal.to_string())
}

/// How many conflicts are looked for when `web` publishes what `requests` makes for a count of ports.
fn lookups(count: u16, requests: impl Fn(u16) -> PublishRequest) -> usize {
    let (mut world, mut rng) = running();
    LOOKUPS.set(0);
    publish(&mut world, &mut rng, (1..=count).map(requests).collect()).unwrap();
    LOOKUPS.get()
}

#[test]
fn look_ups_grow_with_the_ports_and_not_faster() {
    type Requests = fn(u16) -> PublishRequest;
    let kinds: [(&str, Requests); 3] = [
        ("random", |port| request(port, None)),
        ("one of a range", |port| request(port, Some(PortRange { first: 1000, last: 65_000 }))),
        ("fixed", |port| request(port, Some(PortRange::single(port)))),
    ];
    for (kind, requests) in kinds {
        let (few, many) = (lookups(1000, requests), lookups(16_000, requests));
        assert!(many <= 24 * few, "{kind}: {few} for 1,000 ports, {many} for 16,000");
    }
}

#[test]
fn free_ports_in_a_row_are_found_in_one_step_per_taken_port() {
    let (mut world, mut rng) = running();
    // No 500 ports in a row are free but the last ones.
    let taken = (20_250..59_000).step_by(250).map(|port| request(1, Some(PortRange::single(port))));
    publish(&mut world, &mut rng, taken.collect()).unwrap();
    LOOKUPS.set(0);
    let run = PublishRequest { container_ports: PortRange { first: 1, last: 500 }, ..request(1, None) };
    let change = publish(&mut world, &mut rng, vec![run]).unwrap();
    assert!(change.published[0].host_ports.first > 59_000 - 250, "{:?}", change.published[0]);
    assert!(LOOKUPS.get() <= 3 * 2 * 40_000, "{}", LOOKUPS.get());
}

/// Container ports 80 and following at as many of the host ports 8000 to 8005, of which some are taken.
#[test]
fn a_range_gives_its_first_free_ports_in_a_row() {
    for (count, taken, expected) in [
        (2, vec![], Some(8000)),
        (2, vec![8000], Some(8001)),
        (2, vec![8001], Some(8002)),
        (2, vec![8000, 8002], Some(8003)),
        (2, vec![8001, 8003], Some(8004)),
        (3, vec![8002], Some(8003)),
        (5, vec![8000], Some(8001)),
        (6, vec![], Some(8000)),
        (2, vec![8001, 8003, 8005], None),
        (3, vec![8002, 8005], None),
        (5, vec![8001], None),
        (7, vec![], None),
    ] {
        let (mut world, mut rng) = running();
        let single = |port: &u16| request(1, Some(PortRange::single(*port)));
        publish(&mut world, &mut rng, taken.iter().map(single).collect()).unwrap();
        let range = PortRange { first: 8000, last: 8005 };
        let run = PublishRequest {
            container_ports: PortRange { first: 80, last: 79 + count },
            ..request(80, Some(range))
        };
        let first = publish(&mut world, &mut rng, vec![run]).ok().map(|change| {
            let ports: Vec<_> = change.published.iter().map(|it| it.host_ports).collect();
            assert!(ports.iter().all(|it| *it == ports[0] && it.len() == usize::from(count)), "{ports:?}");
            ports[0].first
        });
        assert_eq!(first, expected, "{count} ports, {taken:?} taken");
    }
}

#[test]
fn all_ports_of_a_range_are_given_before_it_is_refused() {
    let (mut world, mut rng) = running();
    let range = PortRange { first: 65_000, last: 65_535 };
    let requests = (1..=536).map(|port| request(port, Some(range))).collect();
    assert_eq!(publish(&mut world, &mut rng, requests).unwrap().published.len(), 2 * 536);
    let refusal = publish(&mut world, &mut rng, vec![request(1, Some(range))]).unwrap_err();
    assert_eq!(refusal, "all tcp host ports of 65000-65535 are in use");
    let run = PublishRequest { container_ports: PortRange { first: 1, last: 60_000 }, ..request(1, None) };
    assert!(publish(&mut world, &mut rng, vec![run]).unwrap_err().starts_with("all tcp host ports of "));
}

#[test]
fn every_port_can_be_published_and_unpublished_one_by_one() {
    let (mut world, mut rng) = running();
    let fixed = (1..=u16::MAX).map(|port| request(port, Some(PortRange::single(port))));
    assert_eq!(publish(&mut world, &mut rng, fixed.collect()).unwrap().published.len(), 2 * 65_535);
    let each = (2..=u16::MAX).map(|port| UnpublishRequest {
        host_address: None,
        host_ports: Some(PortRange::single(port)),
        container_ports: None,
        protocol: Protocol::Tcp,
    });
    let command = Command::Unpublish { sandbox: "web".to_owned(), requests: each.collect() };
    world.apply(command, 1, &mut rng).unwrap();
    let left = &world.find_sandbox("web").unwrap().publications;
    assert_eq!(left.iter().map(|it| it.host_ports).collect::<Vec<_>>(), [PortRange::single(1); 2]);
}

#[test]
fn requests_above_a_limit_are_refused_with_the_limit() {
    let (mut world, mut rng) = running();
    let all = PublishRequest { container_ports: PortRange { first: 1, last: 65_535 }, ..request(1, None) };
    let refusal = publish(&mut world, &mut rng, vec![all; 3]).unwrap_err();
    let text = "too many published ports of a container: 196605 where 131070 is the limit: ask for fewer";
    assert_eq!(refusal, text);
    let request = EndpointRequest {
        aliases: (0..20_000).map(|number| format!("a{number}")).collect(),
        ..EndpointRequest::default()
    };
    let network = crate::world::CreateNetwork { name: "net".to_owned(), ..Default::default() };
    world.apply(Command::CreateNetwork(network), 1, &mut rng).unwrap();
    let connect = Command::Connect { network: "net".to_owned(), sandbox: "web".to_owned(), request };
    let refusal = world.apply(connect, 1, &mut rng).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "too many bytes of aliases: 168890 where 98304 is the limit: ask for fewer"
    );
    let ranges = (1..=257).map(|port| UnpublishRequest {
        host_address: None,
        host_ports: Some(PortRange { first: port, last: port + 1 }),
        container_ports: None,
        protocol: Protocol::Tcp,
    });
    let unpublish = Command::Unpublish { sandbox: "web".to_owned(), requests: ranges.collect() };
    let refusal = world.apply(unpublish, 1, &mut rng).unwrap_err();
    assert!(refusal.to_string().starts_with("too many port ranges to unpublish: 257 "), "{refusal}");
}

fn configured(settings: Settings, requests: Vec<PublishRequest>) -> Vec<String> {
    let (mut world, mut rng) = running();
    let configure = Command::Configure { settings: Box::new(settings), host: Box::default() };
    world.apply(configure, 1, &mut rng).unwrap();
    publish(&mut world, &mut rng, requests).unwrap().warnings
}

#[test]
fn ports_that_nothing_forwards_are_warned_of_with_the_flags() {
    let at = |address: &str| PublishRequest {
        host_address: address.parse().ok(),
        ..request(80, Some(PortRange::single(8080)))
    };
    let settings = |iptables, ip6tables, userland_proxy| Settings {
        iptables,
        ip6tables,
        userland_proxy,
        ipv6: true,
        ..Settings::default()
    };
    let text = |flags: &str| {
        vec![format!(
            "Published ports of web are held but not forwarded: the daemon runs with {flags} and \
             --userland-proxy=false"
        )]
    };
    let both = "--iptables=false, --ip6tables=false";
    let any = || vec![request(80, Some(PortRange::single(8080)))];
    let cases = [
        (settings(true, true, false), any(), Vec::new()),
        (settings(false, false, true), any(), Vec::new()),
        (settings(false, true, false), any(), text("--iptables=false")),
        (settings(false, true, false), vec![at("::")], Vec::new()),
        (settings(false, false, false), vec![at("127.0.0.1")], text("--iptables=false")),
    ];
    for (settings, requests, expected) in cases {
        assert_eq!(configured(settings.clone(), requests), expected, "{settings:?}");
    }
    // The endpoints have no IPv6 addresses until their sandboxes start again.
    let (mut world, mut rng) = running();
    let configure =
        Command::Configure { settings: Box::new(settings(false, false, false)), host: Box::default() };
    world.apply(configure, 1, &mut rng).unwrap();
    world
        .apply(Command::StopSandbox { sandbox: "web".to_owned(), exit: 0.into(), process: None }, 1, &mut rng)
        .unwrap();
    let start = Command::StartSandbox {
        sandbox: "web".to_owned(),
        process: None,
        namespace: Some(Namespace { path: "/run/netns/web".to_owned(), device: 4, inode: 5 }),
    };
    world.apply(start, 1, &mut rng).unwrap();
    assert_eq!(publish(&mut world, &mut rng, any()).unwrap().warnings, text(both));
    let only_ipv6 = vec![PublishRequest { host_ports: Some(PortRange::single(8081)), ..at("::1") }];
    assert_eq!(publish(&mut world, &mut rng, only_ipv6).unwrap().warnings, text("--ip6tables=false"));
}

#[test]
fn sctp_ports_are_warned_of_where_the_proxy_would_answer() {
    let sctp = || vec![PublishRequest { protocol: Protocol::Sctp, ..request(80, None) }];
    let settings = |userland_proxy| Settings { userland_proxy, ..Settings::default() };
    let warnings = configured(settings(true), sctp());
    assert!(warnings.len() == 1 && warnings[0].starts_with("SCTP ports of web"), "{warnings:?}");
    assert!(configured(settings(false), sctp()).is_empty());
    assert!(configured(settings(true), vec![request(80, None)]).is_empty());
}

#[test]
fn publish_all_omits_exposed_ports_with_a_request_of_their_own() {
    let (mut world, mut rng) = running();
    let create = CreateSandbox {
        name: Some("all".to_owned()),
        kind: SandboxKind::Run,
        network: NetworkChoice::Networks(Vec::new()),
        options: SandboxOptions {
            exposed: vec![(80, Protocol::Tcp), (80, Protocol::Udp)],
            publish: vec![request(80, Some(PortRange::single(8080)))],
            publish_all: true,
            ..SandboxOptions::default()
        },
    };
    world.apply(Command::CreateSandbox(Box::new(create)), 1, &mut rng).unwrap();
    let sandbox = world.find_sandbox("all").unwrap();
    let protocols = World::publish_requests(sandbox).into_iter().map(|request| request.protocol);
    assert_eq!(protocols.collect::<Vec<_>>(), [Protocol::Tcp, Protocol::Udp]);
}
