//! Cases as values: a world and the packets that are sent through it, drawn from a seed or read from JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fairway_model::Rng;
use serde::{Deserialize, Serialize};

use crate::own::{foreign, route, route_inside, rule};

/// The host's addresses on its LAN.
pub const HOST: [&str; 2] = ["10.10.50.99", "fd50::99"];
/// The neighbor's there.
pub const LAN: [&str; 2] = ["10.10.50.1", "fd50::1"];
/// The host's addresses on its second LAN, which networks may take over.
pub const SIDE: [&str; 2] = ["10.60.0.99", "fd60::99"];
/// The neighbor's there.
pub const SIDE_LAN: [&str; 2] = ["10.60.0.1", "fd60::1"];
/// More addresses that the host may have: one more of its LAN, and one that no other host has.
pub const MORE: [&str; 2] = ["10.10.50.98", "10.77.0.1"];
/// The port at which each sandbox and the neighbor have servers.
pub const SERVED: u16 = 80;
/// The port at which the host has servers.
pub const ON_HOST: u16 = 9000;
/// The first port that is published.
pub const PUBLISHED: u16 = 8000;
/// The first port that packets come from, and the first identifier of an echo.
pub const ASKING: u16 = 20_000;

/// A world and packets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    pub world: World,
    pub probes: Vec<Probe>,
}

/// What a world is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    pub userland_proxy: bool,
    pub iptables: bool,
    pub ip6tables: bool,
    pub by_iptables: bool,
    pub icc: bool,
    /// Whether the default bridge has IPv6.
    pub default_ipv6: bool,
    pub masquerade: bool,
    pub direct: bool,
    pub bridge_netfilter: bool,
    /// `rp_filter` of the host.
    pub reverse_path: u8,
    /// `route_localnet` of the host's interface to the LAN.
    pub route_localnet: bool,
    /// Whether the neighbor has routes to the networks by the host.
    pub lan_routes: bool,
    /// Whether the host has more addresses.
    pub more_addresses: bool,
    pub networks: Vec<Network>,
    pub sandboxes: Vec<Sandbox>,
    /// Rules of the user's own on the host.
    pub foreign: Vec<Foreign>,
    /// Routes of the user's own on the host: destination, and `via ADDRESS` or a kind, as `ip route add` has them.
    pub routes: Vec<String>,
    /// Rules of the host's routing policy, as `ip rule add` has them. Table 100 leads to the second LAN.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Routes that sandboxes make themselves, by number, as `ip route replace` has them.
    #[serde(default)]
    pub inside: Vec<(usize, String)>,
    /// Whether the host loses the first of its additional addresses after ports were published there.
    #[serde(default)]
    pub vanishes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    Bridge,
    Routed,
    Lan,
    Macvlan,
    Ptp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    pub driver: Driver,
    pub ipv6: bool,
    pub internal: bool,
    /// Options of the network: names and values.
    pub options: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sandbox {
    /// By number; 0 is the default bridge.
    pub networks: Vec<usize>,
    pub publish: Vec<Published>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// The host's address; none for all.
    pub address: Option<IpAddr>,
    pub host: u16,
    pub port: u16,
    pub udp: bool,
}

/// A rule in a base chain of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Foreign {
    /// As `nft` has it: `type filter hook forward priority -10`.
    pub chain: String,
    pub rule: String,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    Sandbox(usize),
    Host,
    Lan,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// An address of a sandbox on one of its networks, by number.
    Sandbox(usize, usize),
    /// The gateway of a network.
    Gateway(usize),
    /// An unused address of a network.
    Nobody(usize),
    /// The link-local address of the other end of the origin's `eth0`: of the neighbor, the host, or a
    /// gateway.
    LinkLocal,
    At(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    Echo,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    pub from: From,
    pub to: To,
    pub ipv6: bool,
    pub protocol: Protocol,
    /// 0 for an echo.
    pub port: u16,
}

/// The subnets of a network by number: 172.20.0.0/24 and fd20::/64 for the first after the default bridge.
pub fn subnets(network: usize) -> (Ipv4Addr, Ipv6Addr) {
    let number = 19 + network as u16;
    (Ipv4Addr::new(172, number as u8, 0, 0), Ipv6Addr::new(0xfd20 + network as u16, 0, 0, 0, 0, 0, 0, 0))
}

/// What draws.
pub struct Dice(Rng);

impl Dice {
    pub fn percent(&mut self, chance: u64) -> bool {
        self.0.below(100) < chance
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound.max(1) as u64) as usize
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

impl Case {
    /// The case of a seed, with so many packets.
    pub fn drawn(seed: u64, packets: usize) -> Case {
        let mut dice = Dice(Rng::new(seed));
        let mut world = world(&mut dice);
        // Every third one, so that a few worlds have all backends among them.
        world.by_iptables = seed.is_multiple_of(3);
        let probes = (0..packets).map(|_| probe(&mut dice, &world)).collect();
        Case { world, probes }
    }
}

fn world(dice: &mut Dice) -> World {
    let filtered = dice.percent(85);
    let networks: Vec<Network> = (0..2 + dice.below(3)).map(|number| network(dice, number)).collect();
    // One network takes the host's second interface.
    let mut taken = false;
    let networks: Vec<Network> = networks
        .into_iter()
        .filter(|network| {
            let takes = matches!(network.driver, Driver::Lan | Driver::Macvlan);
            let first = !taken;
            taken |= takes;
            !takes || first
        })
        .collect();
    let mut places = vec![0; networks.len() + 1];
    let mut port = PUBLISHED;
    let more_addresses = dice.percent(50);
    let sandboxes: Vec<Sandbox> = (0..4 + dice.below(3))
        .map(|_| sandbox(dice, &networks, &mut places, &mut port, more_addresses))
        .collect();
    let inside = (0..dice.below(3)).map(|_| (dice.below(sandboxes.len()), route_inside(dice))).collect();
    World {
        userland_proxy: dice.percent(50),
        iptables: filtered,
        ip6tables: if dice.percent(90) { filtered } else { !filtered },
        by_iptables: false,
        icc: dice.percent(80),
        default_ipv6: dice.percent(40),
        masquerade: dice.percent(85),
        direct: dice.percent(15),
        bridge_netfilter: dice.percent(60),
        reverse_path: if dice.percent(50) { 0 } else { 1 + dice.below(2) as u8 },
        route_localnet: dice.percent(15),
        lan_routes: dice.percent(60),
        more_addresses,
        vanishes: more_addresses && dice.percent(50),
        rules: if dice.percent(40) {
            (0..1 + dice.below(2)).map(|_| rule(dice)).collect()
        } else {
            Vec::new()
        },
        inside,
        foreign: (0..dice.below(4)).map(|_| foreign(dice)).collect(),
        routes: (0..dice.below(3)).map(|_| route(dice)).collect(),
        networks,
        sandboxes,
    }
}

const GATEWAY_MODE: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];

fn network(dice: &mut Dice, number: usize) -> Network {
    let driver = match dice.below(20) {
        0..13 => Driver::Bridge,
        13..15 => Driver::Routed,
        15..17 => Driver::Lan,
        17..19 => Driver::Macvlan,
        _ => Driver::Ptp,
    };
    let mut options = Vec::new();
    let mut option = |name: &str, value: &str| options.push((name.to_owned(), value.to_owned()));
    let internal = dice.percent(15) && matches!(driver, Driver::Bridge | Driver::Macvlan);
    if driver == Driver::Bridge {
        if dice.percent(25) {
            option("com.docker.network.bridge.enable_icc", "false");
        }
        if dice.percent(15) {
            option("com.docker.network.bridge.enable_ip_masquerade", "false");
        }
        for name in GATEWAY_MODE {
            if dice.percent(25) {
                let modes: &[&str] = match internal {
                    true => &["isolated", "nat"],
                    false => &["routed", "nat-unprotected", "nat"],
                };
                option(name, dice.one(modes));
            }
        }
        if dice.percent(15) {
            option("fairway.guard", "strict");
        }
        if dice.percent(10) {
            option("com.docker.network.bridge.trusted_host_interfaces", "eth0");
        }
        if dice.percent(10) {
            option("fairway.route_localnet", "false");
        }
    }
    if driver == Driver::Macvlan {
        if !internal {
            option("parent", "eth1");
        }
        option("macvlan_mode", dice.one(&["bridge", "private", "vepa"]));
    }
    if driver == Driver::Lan {
        option("parent", "eth1");
    }
    if driver == Driver::Routed && dice.percent(50) {
        option("fairway.peers", &format!("172.30.{number}.0/24@{}", LAN[0]));
    }
    Network { driver, ipv6: dice.percent(60), internal, options }
}

fn sandbox(
    dice: &mut Dice,
    networks: &[Network],
    places: &mut [usize],
    port: &mut u16,
    more_addresses: bool,
) -> Sandbox {
    let mut chosen = Vec::new();
    for _ in 0..1 + dice.below(2) {
        let network = dice.below(networks.len() + 1);
        let pair = network > 0 && networks[network - 1].driver == Driver::Ptp;
        if !(chosen.contains(&network) || pair && places[network] == 2) {
            places[network] += 1;
            chosen.push(network);
        }
    }
    let mut publish = Vec::new();
    for _ in 0..dice.below(3) {
        let more = Some(MORE[0]).filter(|_| more_addresses);
        let addresses = [None, None, None, Some("127.0.0.1"), Some(HOST[0]), Some(HOST[1]), more];
        let address = addresses[dice.below(addresses.len())].map(|text| text.parse().unwrap());
        let port_inside = if dice.percent(80) { SERVED } else { SERVED + 1 };
        publish.push(Published { address, host: *port, port: port_inside, udp: dice.percent(30) });
        *port += 1;
    }
    Sandbox { networks: chosen, publish }
}

fn probe(dice: &mut Dice, world: &World) -> Probe {
    let sandboxes = world.sandboxes.len();
    let from = match dice.below(10) {
        0..6 => From::Sandbox(dice.below(sandboxes)),
        6..8 => From::Host,
        _ => From::Lan,
    };
    let published: Vec<&Published> = world.sandboxes.iter().flat_map(|it| &it.publish).collect();
    let ipv6 = dice.percent(35);
    let family = usize::from(ipv6);
    let host: IpAddr = HOST[family].parse().unwrap();
    let at = |text: &str| To::At(text.parse().unwrap());
    let network = dice.below(world.networks.len() + 1);
    let asked = dice.below(sandboxes);
    let places = world.sandboxes[asked].networks.len().max(1);
    let hosts_own = |dice: &mut Dice| match dice.below(12) {
        0..6 => To::At(host),
        6 => at(if ipv6 { "::1" } else { "127.0.0.1" }),
        7 => at(if ipv6 { "::" } else { "0.0.0.0" }),
        8 => at(SIDE[family]),
        9 => at(if ipv6 { "::1" } else { dice.one(&["127.0.0.2", "127.0.0.53"]) }),
        10 => at(if ipv6 { HOST[1] } else { MORE[dice.below(2)] }),
        _ => To::Gateway(network),
    };
    if ipv6 && dice.percent(12) {
        let published = published.get(dice.below(published.len())).filter(|it| !it.udp);
        let port = published.filter(|_| from == From::Lan).map_or(SERVED, |it| it.host);
        return Probe { from, to: To::LinkLocal, ipv6, protocol: Protocol::Tcp, port };
    }
    let (to, port) = match dice.below(20) {
        0..7 => (To::Sandbox(asked, dice.below(places)), SERVED),
        7 => (To::Sandbox(asked, dice.below(places)), SERVED + 1),
        8 => (To::Nobody(network), SERVED),
        9 => (To::Gateway(network), ON_HOST),
        10 => (at(LAN[family]), SERVED + dice.below(2) as u16),
        11 => (at(SIDE_LAN[family]), SERVED),
        12 => {
            let far = if ipv6 { ["fd99::7", "fd98::7"] } else { ["198.51.100.7", "203.0.113.7"] };
            (at(far[dice.below(2)]), SERVED)
        }
        13 => (hosts_own(dice), ON_HOST + dice.below(2) as u16),
        _ if published.is_empty() => (To::At(host), ON_HOST),
        _ => {
            let published = published[dice.below(published.len())];
            let probe = Probe {
                from,
                to: hosts_own(dice),
                ipv6,
                protocol: if published.udp { Protocol::Udp } else { Protocol::Tcp },
                port: published.host,
            };
            return probe;
        }
    };
    let protocol = match dice.below(10) {
        0..6 => Protocol::Tcp,
        6..8 => Protocol::Udp,
        _ => Protocol::Echo,
    };
    // An echo request to :: goes by the routes for ::, as nothing else does.
    let any = to == at("::");
    let protocol = if protocol == Protocol::Echo && any { Protocol::Tcp } else { protocol };
    Probe { from, to, ipv6, protocol, port: if protocol == Protocol::Echo { 0 } else { port } }
}

/// A probe whose addresses are known.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub protocol: Protocol,
    pub target: SocketAddr,
    /// Its source port, or the identifier of its echo.
    pub port: u16,
}
