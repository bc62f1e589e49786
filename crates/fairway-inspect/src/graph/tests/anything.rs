//! Pictures of arbitrary hosts, with names that no World would have.

use fairway_model::SandboxId;
use proptest::prelude::*;

use crate::graph::{Mark, Meaning, Member, Network, Picture, Port, Sandbox, Traffic, Uplink, Way};

/// Names that formats stumble over.
pub const ODD_NAMES: [&str; 6] = [
    "\"><script>alert(1)</script>&amp;\\N<br/>#quot;`]]>",
    "a\u{0}b\nc\td\u{ffff}e",
    "網路橋接器網路橋接器網路橋接器",
    "end",
    "1. *one* _two_ `three` - %% four",
    "x --- y(((z)))[[w]]{v}|u|;subgraph",
];

/// Names as people give them, and those that formats stumble over.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z][a-z0-9_.-]{0,14}",
        1 => "[a-zA-Z0-9_.-]{60,128}",
        1 => "[WM@mw]{1,40}",
        1 => prop::sample::select(ODD_NAMES.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{1,30}",
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        "10\\.[0-9]{1,2}\\.0\\.[0-9]{1,2}",
        Just("fd76:27cb:2772::2".to_owned()),
        Just("fd76:27cb:2772:1234:5678:9abc:def0:1234".to_owned()),
    ]
}

fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(name(), 0..=most)
}

fn mark() -> impl Strategy<Value = Mark> {
    let meaning = prop::sample::select(vec![Meaning::Apart, Meaning::Open, Meaning::Plain]);
    (meaning, name(), name()).prop_map(|(meaning, word, sentence)| Mark { meaning, word, sentence })
}

fn uplink() -> impl Strategy<Value = Uplink> {
    (name(), prop::collection::vec(address(), 0..4), texts(2), texts(2), any::<(bool, bool)>()).prop_map(
        |(name, addresses, subnets, routers, (up, taken))| Uplink {
            name,
            addresses,
            subnets,
            routers,
            up,
            taken,
        },
    )
}

fn port() -> impl Strategy<Value = Port> {
    let host =
        prop::option::of(prop_oneof![Just("*:8080".to_owned()), Just("[fd00::1]:8000-8010".to_owned())]);
    host.prop_map(|host| Port { host, inside: "80/tcp".to_owned() })
}

fn sandbox() -> impl Strategy<Value = Sandbox> {
    (name(), any::<bool>(), prop::collection::vec(port(), 0..9), texts(6)).prop_map(
        |(name, running, ports, notes)| Sandbox {
            id: SandboxId::new([0; 32]),
            name,
            running,
            places: Vec::new(),
            ports,
            notes,
        },
    )
}

fn network(uplinks: usize) -> impl Strategy<Value = Network> {
    let way = prop::sample::select(vec![
        None,
        Some(Way::Nat),
        Some(Way::Open),
        Some(Way::HostOnly),
        Some(Way::Own),
    ]);
    let driver = prop::sample::select(vec!["bridge", "routed", "lan", "macvlan", "ptp", ""]);
    let uplink = prop::option::weighted(0.3, 0..uplinks.max(1));
    let bridge = prop::option::weighted(0.9, name());
    let marks = prop::collection::vec(mark(), 0..5);
    (name(), driver, bridge, texts(2), texts(2), marks, way, uplink, any::<bool>()).prop_map(
        move |(name, driver, bridge, gateways, subnets, marks, way, uplink, together)| Network {
            name,
            driver: driver.to_owned(),
            bridge,
            gateways,
            subnets,
            marks,
            way,
            uplink: uplink.filter(|it| *it < uplinks),
            together,
            members: Vec::new(),
            traffic: Some(Traffic { bytes_in: u64::MAX, bytes_out: 7 }).filter(|_| together),
            collapsed: Vec::new(),
        },
    )
}

/// The networks on which each sandbox is, as bits, with its addresses.
type Places = Vec<(u16, Vec<String>)>;

fn joined(mut picture: Picture, places: &Places) -> Picture {
    for (number, (bits, addresses)) in places.iter().enumerate() {
        let on = (0..picture.networks.len()).filter(|network| bits >> (network % 16) & 1 == 1).take(4);
        for (order, network) in on.collect::<Vec<_>>().into_iter().enumerate() {
            picture.networks[network].members.push(Member {
                sandbox: number,
                addresses: addresses.clone(),
                interface: format!("eth{order}"),
                port: String::new(),
                home: order == 0,
            });
        }
    }
    picture.find_places();
    picture
}

pub fn picture() -> impl Strategy<Value = Picture> {
    (0..4_usize, 0..9_usize, 0..40_usize)
        .prop_flat_map(|(uplinks, networks, sandboxes)| {
            let address = prop::collection::vec(address(), 0..3);
            (
                (name(), texts(3), texts(3), prop::collection::vec(uplink(), uplinks)),
                prop::collection::vec(network(uplinks), networks),
                prop::collection::vec(sandbox(), sandboxes),
                // Most are on few networks.
                prop::collection::vec(
                    (
                        (0..10_u16, any::<u16>())
                            .prop_map(|(one, many)| if one < 8 { 1 << one } else { many }),
                        address,
                    ),
                    sandboxes,
                ),
            )
        })
        .prop_map(|((host, rules, drift, uplinks), networks, mut sandboxes, places)| {
            if networks.is_empty() {
                sandboxes.clear();
            }
            // A sandbox without a network is put on the first one.
            let known = networks.len();
            let places: Places = places
                .into_iter()
                .take(sandboxes.len())
                .map(|(bits, addresses)| {
                    let nowhere = (0..known).all(|network| bits >> (network % 16) & 1 == 0);
                    (if nowhere { 1 } else { bits }, addresses)
                })
                .collect();
            joined(Picture { host, rules, drift, uplinks, networks, sandboxes, walk: None }, &places)
        })
}
