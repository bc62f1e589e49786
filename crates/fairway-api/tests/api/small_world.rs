//! A World small enough to be read: three networks, four sandboxes.

use std::collections::BTreeMap;

use fairway_core::world::{Record, World};
use fairway_model::{
    Allocation, Driver, Endpoint, EndpointId, EndpointRequest, Namespace, Network, NetworkId, NetworkMode,
    PortRange, ProcessIdentity, Protocol, Publication, PublishRequest, Sandbox, SandboxId, SandboxKind,
    SandboxOptions, SandboxState, Subnet,
};

/// 2026-11-22T02:02:43Z.
pub const CREATED: i64 = 1_795_312_963_489_811_622;
/// An hour and a half later.
pub const NOW: i64 = CREATED + 5_400_000_000_000;

fn network(byte: u8, name: &str, driver: Driver, subnets: &[(&str, &str)]) -> Network {
    let subnet = |(subnet, gateway): &(&str, &str)| Subnet {
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        ip_range: None,
        auxiliary: BTreeMap::new(),
        chosen: true,
        gateway_chosen: false,
    };
    Network {
        id: NetworkId::new([byte; 32]),
        name: name.into(),
        created: CREATED,
        driver,
        predefined: matches!(name, "bridge" | "host" | "none"),
        transient: false,
        bridge: String::new(),
        enable_ipv4: true,
        enable_ipv6: subnets.len() > 1,
        subnets: subnets.iter().map(subnet).collect(),
        internal: false,
        masquerade: None,
        icc: None,
        mtu: None,
        host_binding: None,
        adopted: None,
        macvlan: None,
        peers: Vec::new(),
        name_options: Default::default(),
        routes: Default::default(),
        alias_answer: Default::default(),
        uplink: None,
        addresses_in_use: BTreeMap::new(),
        bridge_options: Default::default(),
        ipam_options: Default::default(),
        configuration: None,
        config_from: None,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

fn sandbox(byte: u8, name: &str, mode: NetworkMode, state: SandboxState) -> Sandbox {
    Sandbox {
        id: SandboxId::new([byte; 32]),
        name: name.into(),
        created: CREATED + i64::from(byte),
        kind: SandboxKind::Run,
        mode,
        first_network: String::new(),
        options: SandboxOptions::default(),
        state,
        publications: Vec::new(),
        resolver: false,
        removed_networks: Vec::new(),
        stopped_by_user: false,
        restarts: 0,
        last_start: None,
        last_exit: None,
        oom_killed: false,
        start_error: String::new(),
    }
}

fn running(pid: u32) -> SandboxState {
    SandboxState::Running {
        process: Some(ProcessIdentity { pid, start_time: 7 }),
        namespace: Some(Namespace { path: format!("/proc/{pid}/ns/net"), device: 4, inode: pid.into() }),
        since: CREATED,
    }
}

fn endpoint(byte: u8, network: u8, sandbox: u8, request: EndpointRequest, addresses: &[&str]) -> Endpoint {
    let allocation = addresses.first().map(|first| Allocation {
        ipv4: first.parse().ok(),
        ipv6: addresses.get(1).and_then(|second| second.parse().ok()),
        mac: format!("02:00:00:00:00:{byte:02x}").parse().unwrap(),
        interface: format!("eth{}", byte & 1),
        host_interface: format!("fw{byte}"),
        lease: None,
    });
    Endpoint {
        id: EndpointId::new([byte; 32]),
        network: NetworkId::new([network; 32]),
        sandbox: SandboxId::new([sandbox; 32]),
        order: byte.into(),
        number: 0,
        request,
        options: Default::default(),
        allocation,
    }
}

/// `bridge` and `host`; `web` (IPv4, IPv6, a range, an auxiliary address), on which are `db`, with an
/// alias and a link, and `front`, which publishes and is on `bridge` too; `old`, which exited; and
/// `net`, which is attached and shares `front`'s namespace.
pub fn world() -> World {
    let mut web = network(
        0xb0,
        "web",
        Driver::Bridge,
        &[("172.18.0.0/24", "172.18.0.1"), ("fd00:1::/64", "fd00:1::1")],
    );
    web.subnets[0].ip_range = Some("172.18.0.128/25".parse().unwrap());
    web.subnets[0].auxiliary.insert("printer".into(), "172.18.0.200".parse().unwrap());
    web.labels.insert("tier".into(), "front".into());
    web.options.insert("com.docker.network.bridge.name".into(), "br-web".into());

    let mut front = sandbox(0xc1, "front", NetworkMode::Private, running(4711));
    front.options.command = vec!["httpd".into(), "-f".into()];
    front.options.environment = vec!["A=b".into()];
    front.options.exposed = vec![(80, Protocol::Tcp), (443, Protocol::Tcp)];
    front.options.labels.insert("app".into(), "shop".into());
    front.options.dns = vec!["10.0.0.53".parse().unwrap()];
    front.options.extra_hosts =
        vec![("gw".into(), None), ("printer".into(), Some("172.18.0.200".parse().unwrap()))];
    let ports = |first, last| PortRange { first, last };
    front.options.publish = vec![
        PublishRequest {
            host_address: None,
            host_ports: Some(ports(8080, 8081)),
            container_ports: ports(80, 81),
            protocol: Protocol::Tcp,
        },
        PublishRequest {
            host_address: Some("127.0.0.1".parse().unwrap()),
            host_ports: Some(ports(5000, 5010)),
            container_ports: PortRange::single(53),
            protocol: Protocol::Udp,
        },
    ];
    front.publications = vec![
        Publication {
            host_address: "0.0.0.0".parse().unwrap(),
            host_ports: ports(8080, 8081),
            container_port: 80,
            protocol: Protocol::Tcp,
            routed: false,
        },
        Publication {
            host_address: "127.0.0.1".parse().unwrap(),
            host_ports: PortRange::single(5003),
            container_port: 53,
            protocol: Protocol::Udp,
            routed: false,
        },
    ];
    let old = sandbox(0xc3, "old", NetworkMode::Private, SandboxState::Exited { code: 3, at: CREATED });
    let mut net = sandbox(0xc4, "net", NetworkMode::Shared(front.id), running(4712));
    net.kind = SandboxKind::Attached;
    let asked = EndpointRequest {
        ipv4: Some("172.18.0.9".parse().unwrap()),
        aliases: vec!["database".into()],
        links: vec![("front".into(), "shop".into())],
        gateway_priority: 5,
        ..EndpointRequest::default()
    };
    World::from_records([
        Record::Network(network(0xa0, "bridge", Driver::Bridge, &[("172.17.0.0/16", "172.17.0.1")])),
        Record::Network(network(0xa1, "host", Driver::Host, &[])),
        Record::Network(web),
        Record::Sandbox(Box::new(front)),
        Record::Sandbox(Box::new(sandbox(0xc2, "db", NetworkMode::Private, running(4713)))),
        Record::Sandbox(Box::new(old)),
        Record::Sandbox(Box::new(net)),
        Record::Endpoint(endpoint(0xe0, 0xa0, 0xc1, EndpointRequest::default(), &["172.17.0.2"])),
        Record::Endpoint(endpoint(
            0xe1,
            0xb0,
            0xc1,
            EndpointRequest::default(),
            &["172.18.0.128", "fd00:1::2"],
        )),
        Record::Endpoint(endpoint(0xe2, 0xb0, 0xc2, asked, &["172.18.0.9", "fd00:1::3"])),
        Record::Endpoint(endpoint(0xe3, 0xb0, 0xc3, EndpointRequest::default(), &[])),
    ])
}
