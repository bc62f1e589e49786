//! The steps of a random history, and the strategy that generates them.

use proptest::prelude::*;

use super::values::NETWORK_OPTIONS;

/// Networks, each with the last byte of the requested address.
type Endpoints = Vec<(u8, Option<u8>)>;

/// One action of a user. Small numbers name networks and sandboxes, so that actions meet the same objects often.
#[derive(Debug, Clone)]
pub enum Step {
    Network {
        name: u8,
        ipv6: bool,
        internal: bool,
        icc: bool,
        subnet: Option<u8>,
        options: Vec<u8>,
        driver: DriverChoice,
    },
    RemoveNetwork(u8),
    AddressInUse {
        network: u8,
        last: u8,
    },
    /// The DHCP server renews the first lease, or the lease is lost.
    Lease {
        lost: bool,
    },
    Sandbox {
        name: u8,
        networks: Endpoints,
        ports: Vec<(Option<u8>, bool)>,
        kind: u8,
        links: Vec<u8>,
    },
    Start(u8),
    Stop(u8),
    Remove(u8),
    Connect {
        network: u8,
        sandbox: u8,
        address: Option<u8>,
        priority: i8,
    },
    Disconnect {
        network: u8,
        sandbox: u8,
    },
    /// Another engine's container joins networks that the engine describes.
    Join {
        container: u8,
        networks: Vec<u8>,
        ports: Vec<(Option<u8>, bool)>,
        strict: bool,
    },
    Leave {
        container: u8,
        networks: Vec<u8>,
    },
    UpdateNetwork(u8),
    /// A container of Docker Engine joins a network of the plugin.
    DockerJoin {
        container: u8,
        network: u8,
        address: u8,
    },
    DockerDelete {
        container: u8,
        network: u8,
    },
    /// dockerd has the default route by an endpoint, with these ports; or no longer.
    DockerPorts {
        container: u8,
        network: u8,
        ports: Option<Vec<(Option<u8>, bool)>>,
    },
    DockerIdentify {
        container: u8,
        name: u8,
    },
    DockerPool {
        number: u8,
        released: bool,
    },
    DockerAddress {
        pool: u8,
        last: Option<u8>,
        released: bool,
    },
    DockerNetwork {
        network: u8,
        name: u8,
    },
    Publish {
        sandbox: u8,
        ports: Vec<(Option<u8>, bool)>,
        wide: bool,
    },
    Unpublish {
        sandbox: u8,
        host: Option<u8>,
        container: Option<u8>,
        udp: bool,
        loopback: bool,
    },
    Unlink {
        sandbox: u8,
        target: u8,
    },
    Rename {
        sandbox: u8,
        name: u8,
    },
    Settings {
        proxy: bool,
        firewall: (bool, bool, bool),
        masquerade: bool,
        forward: bool,
        bridged: bool,
        icc: bool,
        direct: bool,
        bridge: u8,
    },
}

/// The driver of a new network, with what its options need.
#[derive(Debug, Clone, Copy)]
pub enum DriverChoice {
    Bridge,
    /// A routed network, with peers or without.
    Routed(u8),
    /// A lan network on the interface of that number.
    Lan(u8),
    /// A macvlan network: the number of its parent, or none; and whether its mode is passthru.
    Macvlan(Option<u8>, bool),
    Ptp,
}

fn driver_choice() -> impl Strategy<Value = DriverChoice> {
    prop_oneof![
        4 => Just(DriverChoice::Bridge),
        2 => (0..3_u8).prop_map(DriverChoice::Routed),
        2 => (3..6_u8).prop_map(DriverChoice::Lan),
        1 => (prop::option::of(2..4_u8), prop::bool::weighted(0.2))
            .prop_map(|(parent, passthru)| DriverChoice::Macvlan(parent, passthru)),
        1 => Just(DriverChoice::Ptp),
    ]
}

/// Generates random steps.
pub fn step() -> impl Strategy<Value = Step> {
    let small = || 0..5_u8;
    prop_oneof![
        2 => (
            small(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>(), prop::option::of(0..4_u8),
            prop::collection::vec(0..NETWORK_OPTIONS.len() as u8, 0..4),
            driver_choice(),
        )
            .prop_map(|(name, ipv6, internal, icc, subnet, options, driver)| Step::Network {
                name, ipv6, internal, icc, subnet, options, driver
            }),
        1 => small().prop_map(Step::RemoveNetwork),
        1 => (small(), 0..4_u8).prop_map(|(network, last)| Step::AddressInUse { network, last }),
        1 => any::<bool>().prop_map(|lost| Step::Lease { lost }),
        3 => (
            small(),
            prop::collection::vec((small(), prop::option::of(0..8_u8)), 0..3),
            prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 0..3),
            0..4_u8,
            prop::collection::vec(small(), 0..3),
        ).prop_map(|(name, networks, ports, kind, links)| Step::Sandbox {
            name, networks, ports, kind, links
        }),
        4 => small().prop_map(Step::Start),
        2 => small().prop_map(Step::Stop),
        1 => small().prop_map(Step::Remove),
        3 => (small(), small(), prop::option::of(0..8_u8), -1..2_i8).prop_map(
            |(network, sandbox, address, priority)| Step::Connect { network, sandbox, address, priority }
        ),
        3 => (
            small(), prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 1..3), any::<bool>(),
        )
            .prop_map(|(sandbox, ports, wide)| Step::Publish { sandbox, ports, wide }),
        3 => (
            small(), prop::option::of(0..8_u8), prop::option::of(0..3_u8), any::<bool>(),
            prop::bool::weighted(0.2),
        )
            .prop_map(|(sandbox, host, container, udp, loopback)| Step::Unpublish {
                sandbox, host, container, udp, loopback
            }),
        4 => (
            0..3_u8, prop::collection::vec(0..4_u8, 1..3),
            prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 0..2), prop::bool::weighted(0.2),
        )
            .prop_map(|(container, networks, ports, strict)| Step::Join { container, networks, ports, strict }),
        3 => (0..3_u8, prop::collection::vec(0..4_u8, 0..3))
            .prop_map(|(container, networks)| Step::Leave { container, networks }),
        1 => (0..8_u8).prop_map(Step::UpdateNetwork),
        1 => (0..2_u8, small()).prop_map(|(network, name)| Step::DockerNetwork { network, name }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(number, released)| Step::DockerPool { number, released }),
        2 => (0..3_u8, prop::option::of(0..4_u8), any::<bool>())
            .prop_map(|(pool, last, released)| Step::DockerAddress { pool, last, released }),
        3 => (0..3_u8, 0..2_u8, 0..8_u8)
            .prop_map(|(container, network, address)| Step::DockerJoin { container, network, address }),
        2 => (0..3_u8, 0..2_u8).prop_map(|(container, network)| Step::DockerDelete { container, network }),
        3 => (
            0..3_u8, 0..2_u8,
            prop::option::of(prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 0..3)),
        )
            .prop_map(|(container, network, ports)| Step::DockerPorts { container, network, ports }),
        1 => (0..3_u8, small()).prop_map(|(container, name)| Step::DockerIdentify { container, name }),
        2 => (small(), small()).prop_map(|(network, sandbox)| Step::Disconnect { network, sandbox }),
        1 => (small(), small()).prop_map(|(sandbox, target)| Step::Unlink { sandbox, target }),
        1 => (small(), small()).prop_map(|(sandbox, name)| Step::Rename { sandbox, name }),
        1 => (prop::array::uniform6(any::<bool>()), any::<(bool, bool, bool)>(), 0..6_u8).prop_map(
            |([proxy, masquerade, forward, bridged, icc, direct], firewall, bridge)| Step::Settings {
                proxy, firewall, masquerade, forward, bridged, icc, direct, bridge
            }
        ),
    ]
}
