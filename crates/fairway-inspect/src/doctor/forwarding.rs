//! Checks of kernel settings that keep the host from forwarding packets.

use super::finding::{count, join_some, sorted};
use super::remedy::is_container_bridge;
use super::{Finding, FindingKind, LinkState, Observations};
use fairway_core::world::World;
use fairway_model::shell::{quote, set_sysctl};
use fairway_model::{Backend, Driver, Network};
use fairway_walk::Route;

const ALL_IPV4: &str = "net/ipv4/ip_forward";
const ALL_IPV6: &str = "net/ipv6/conf/all/forwarding";
const BRIDGE_NETFILTER: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
const ENABLE_BRIDGE_NETFILTER: &str =
    "sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";
/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

/// A kernel setting that keeps the host from forwarding packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardingFinding {
    /// Forwarding is disabled on the whole host.
    Disabled {
        /// The sysctl under `/proc/sys`.
        sysctl: &'static str,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The networks that need forwarding.
        networks: Vec<String>,
        /// Whether the daemon enables forwarding itself.
        automatic: bool,
    },
    /// Forwarding is disabled on the bridge of a network.
    DisabledOnBridge {
        /// The bridge.
        bridge: String,
        /// The network.
        network: String,
    },
    /// Forwarding is disabled on an interface of the host.
    DisabledOnInterface {
        /// The interface.
        interface: String,
    },
    /// Packets on foreign bridges pass the host's iptables rules.
    ForeignBridgesFiltered {
        /// The sysctls that are 1.
        sysctls: Vec<&'static str>,
        /// The foreign bridges.
        bridges: Vec<String>,
        /// Whether a firewall drops forwarded packets.
        dropped: bool,
        /// Whether bridges of other container engines rely on the setting.
        needed: bool,
    },
    /// Packets on Fairway's bridges do not pass iptables rules, although iptables is the backend.
    BridgedPacketsUnfiltered {
        /// Whether the module br_netfilter is loaded.
        module_loaded: bool,
    },
    /// Strict `rp_filter` on an interface whose sources are reached over another one.
    StrictSourceCheck {
        /// The interface.
        interface: String,
        /// The destination; none for the default route.
        destination: Option<String>,
        /// The interface of the better route.
        better: String,
    },
    /// `rp_filter` dropped packets, and it is strict on interfaces without the default route.
    SourceCheckDrops {
        /// How many packets it dropped.
        packets: u64,
        /// The interfaces where it is strict.
        interfaces: Vec<String>,
    },
    /// A forwarding host ignores router advertisements on an interface that depends on them.
    AdvertisementsIgnored {
        /// The interface.
        interface: String,
    },
}

fn forwarding_sysctl(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/forwarding")
}

fn accept_ra_sysctl(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/accept_ra")
}

fn loose_source_check(interface: &str) -> String {
    set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), 2)
}

impl ForwardingFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::Disabled { sysctl, family, networks, automatic } => Finding::error(
                "forwarding",
                format!("{sysctl} is 0: the host does not forward {family}"),
                format!(
                    "sandboxes of {} reach nothing beyond the host, and published ports work through the proxy only",
                    join_some(networks)
                ),
            )
            .fix_if(set_sysctl(sysctl, 1), *automatic),
            Self::DisabledOnBridge { bridge, network } => {
                let sysctl = forwarding_sysctl(bridge);
                Finding::error(
                    "forwarding",
                    format!("{sysctl} is 0: packets that arrive on {bridge} are not forwarded"),
                    format!("sandboxes of {network} reach nothing beyond the host over IPv4"),
                )
                .automatic_fix(set_sysctl(&sysctl, 1))
            }
            Self::DisabledOnInterface { interface } => {
                let sysctl = forwarding_sysctl(interface);
                Finding::error(
                    "forwarding",
                    format!("{sysctl} is 0: packets that arrive on {interface} are not forwarded"),
                    "connections from there to published ports without the proxy, and replies to sandboxes, are \
                     dropped",
                )
                .fix(set_sysctl(&sysctl, 1))
            }
            Self::ForeignBridgesFiltered { sysctls, bridges, dropped, needed } => {
                render_foreign_bridges(sysctls, bridges, *dropped, *needed)
            }
            Self::BridgedPacketsUnfiltered { module_loaded } => Finding::note(
                "bridge-netfilter",
                "bridged packets do not pass iptables (net.bridge.bridge-nf-call-iptables is not 1)",
                "your own rules, in FAIRWAY-USER or elsewhere, do not see packets between sandboxes of one network; \
                 Fairway's rules do not depend on it",
            )
            .fix(match module_loaded {
                true => ENABLE_BRIDGE_NETFILTER.to_owned(),
                false => format!("modprobe br_netfilter && {ENABLE_BRIDGE_NETFILTER}"),
            }),
            Self::StrictSourceCheck { interface, destination, better } => Finding::warning(
                "rp-filter",
                format!(
                    "rp_filter of {interface} is strict, and the better {} is over {better}",
                    destination.as_ref().map_or("default route".to_owned(), |it| format!("route to {it}"))
                ),
                format!("packets from there that arrive on {interface} are dropped before any firewall rule"),
            )
            .fix(loose_source_check(interface)),
            Self::SourceCheckDrops { packets, interfaces } => Finding::warning(
                "rp-filter",
                format!(
                    "rp_filter has dropped {} and is strict on {}",
                    count(usize::try_from(*packets).unwrap_or(usize::MAX), "packet"),
                    join_some(interfaces)
                ),
                "packets that arrive on another interface than the one that leads back to their source are dropped",
            )
            .fix(interfaces.iter().map(|it| loose_source_check(it)).collect::<Vec<_>>().join(" && ")),
            Self::AdvertisementsIgnored { interface } => {
                let sysctl = accept_ra_sysctl(interface);
                Finding::warning(
                    "accept-ra",
                    format!(
                        "{sysctl} is 1, the host forwards IPv6, and {interface} has addresses or routes from router \
                         advertisements"
                    ),
                    format!(
                        "a forwarding host ignores router advertisements with this setting: IPv6 on {interface} stops \
                         when the current ones expire"
                    ),
                )
                .fix(set_sysctl(&sysctl, 2))
            }
        }
    }
}

fn render_foreign_bridges(sysctls: &[&str], bridges: &[String], dropped: bool, needed: bool) -> Finding {
    let message = format!(
        "{} is 1, and the host has {}: {}",
        sysctls.join(" and "),
        count(bridges.len(), "foreign bridge"),
        join_some(bridges)
    );
    let impact = "packets on these bridges pass the host's FORWARD rules although they are not routed; machines on \
                  them may not reach each other";
    let finding = match dropped {
        true => Finding::warning("bridge-netfilter", message, impact),
        false => Finding::note("bridge-netfilter", message, impact),
    };
    finding.fix(match needed {
        true => {
            let accept = |it: &String| format!("iptables -I FORWARD -i {0} -o {0} -j ACCEPT", quote(it));
            bridges.iter().map(accept).collect::<Vec<_>>().join(" && ")
        }
        false => {
            let off = sysctls.iter().map(|path| format!("{}=0", path.replace('/', ".")));
            format!("sysctl -w {}", off.collect::<Vec<_>>().join(" "))
        }
    })
}

/// Whether the host forwards packets of a network.
fn is_forwarded(network: &Network, ipv4: bool) -> bool {
    let family = if ipv4 { network.enable_ipv4 } else { network.enable_ipv6 };
    family && !network.internal && network.driver.has_bridge() && network.driver != Driver::Lan
}

/// Reports disabled forwarding, of the host and of each interface.
pub(super) fn check_forwarding(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let mut findings = Vec::new();
    let (ipv4_on, ipv6_on) = observed.facts.forwarding;
    for (ipv4, on, sysctl) in [(true, ipv4_on, ALL_IPV4), (false, ipv6_on, ALL_IPV6)] {
        let networks = sorted(world.networks().filter(|it| is_forwarded(it, ipv4)).map(|it| it.name.clone()));
        if !on && !networks.is_empty() {
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            let automatic = world.settings().ip_forward;
            findings.push(ForwardingFinding::Disabled { sysctl, family, networks, automatic });
        }
    }
    if ipv4_on {
        findings.extend(observed.routed_links().filter_map(|link| disabled_on(world, observed, link)));
    }
    findings.into_iter().map(FindingKind::Forwarding).collect()
}

/// The kernel consults the setting of the interface that a packet arrives on; the one of `all` is only copied to it
/// when it changes.
fn disabled_on(world: &World, observed: &Observations, link: &LinkState) -> Option<ForwardingFinding> {
    let is_off = observed.number(&forwarding_sysctl(&link.name)) == Some(0);
    if !is_off || !link.addresses.iter().any(|address| address.addr().is_ipv4()) {
        return None;
    }
    match world.networks().find(|network| network.bridge == link.name) {
        Some(network) => is_forwarded(network, true).then(|| ForwardingFinding::DisabledOnBridge {
            bridge: link.name.clone(),
            network: network.name.clone(),
        }),
        None => Some(ForwardingFinding::DisabledOnInterface { interface: link.name.clone() }),
    }
}

/// Reports whether bridged packets pass IP rules: on foreign bridges they should not, for some rules they must.
pub(super) fn check_bridge_netfilter(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let sysctls: Vec<&'static str> = BRIDGE_NETFILTER
        .into_iter()
        .filter(|path| observed.number(path).is_some_and(|value| value != 0))
        .collect();
    let ours = |name: &str| world.networks().any(|network| network.bridge == name);
    let foreign = |link: &&LinkState| {
        link.kind == "bridge"
            && link.up
            && !link.ours
            && !ours(&link.name)
            && observed.ports_of(link).count() > 1
    };
    let (needing, others): (Vec<&LinkState>, Vec<&LinkState>) =
        observed.links.iter().filter(foreign).partition(|link| is_container_bridge(world, link));
    if !sysctls.is_empty() && !others.is_empty() {
        return vec![FindingKind::Forwarding(ForwardingFinding::ForeignBridgesFiltered {
            sysctls,
            bridges: others.iter().map(|link| link.name.clone()).collect(),
            dropped: observed.firewall_conflicts.keys().any(|conflict| conflict.path.is_forwarded()),
            needed: !needing.is_empty(),
        })];
    }
    let settings = world.settings();
    let iptables = observed.daemon && settings.has_firewall() && settings.backend == Backend::Iptables;
    if sysctls.len() < BRIDGE_NETFILTER.len() && iptables {
        let module_loaded = BRIDGE_NETFILTER.iter().all(|path| observed.sysctls.contains_key(*path));
        return vec![FindingKind::Forwarding(ForwardingFinding::BridgedPacketsUnfiltered { module_loaded })];
    }
    Vec::new()
}

/// Reports strict `rp_filter` where replies leave over another interface.
pub(super) fn check_source_validation(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let is_strict = |link: &&LinkState| !link.ours && observed.effective(&link.name, "rp_filter") == 1;
    let mut findings = Vec::new();
    let mut suspects = Vec::new();
    for link in observed.routed_links().filter(is_strict) {
        match better_route(observed, link) {
            Some((destination, better)) => findings.push(ForwardingFinding::StrictSourceCheck {
                interface: link.name.clone(),
                destination,
                better: better.to_owned(),
            }),
            None => suspects.push(link.name.clone()),
        }
    }
    suspects.retain(|name| Some(name) != observed.facts.default_interface.as_ref());
    if findings.is_empty() && observed.source_check_drops > 0 && !suspects.is_empty() {
        let packets = observed.source_check_drops;
        findings.push(ForwardingFinding::SourceCheckDrops { packets, interfaces: suspects });
    }
    findings.into_iter().map(FindingKind::Forwarding).collect()
}

/// A destination that a link has a route to, and the link with a better route to it. No destination is the default.
fn better_route<'a>(observed: &'a Observations, link: &LinkState) -> Option<(Option<String>, &'a str)> {
    let is_candidate =
        |it: &&Route| it.table == MAIN_TABLE && it.kind.forwards() && it.destination.addr().is_ipv4();
    let routes: Vec<&Route> = observed.routes.iter().filter(is_candidate).collect();
    let own = routes.iter().filter(|route| route.interface == link.index);
    own.into_iter().find_map(|route| {
        let better = routes.iter().find(|it| {
            it.interface != link.index && it.destination == route.destination && it.metric < route.metric
        })?;
        let other = observed.links.iter().find(|it| it.index == better.interface)?;
        let is_default = route.destination.prefix_len() == 0;
        Some(((!is_default).then(|| route.destination.to_string()), other.name.as_str()))
    })
}

/// Reports interfaces whose router advertisements are ignored: a forwarding host accepts them only if `accept_ra` is 2.
pub(super) fn check_router_advertisements(_: &World, observed: &Observations) -> Vec<FindingKind> {
    if !observed.facts.forwarding.1 {
        return Vec::new();
    }
    let ignoring = observed.routed_links().filter(|link| {
        !link.ours && link.advertised && observed.number(&accept_ra_sysctl(&link.name)) == Some(1)
    });
    ignoring
        .map(|link| ForwardingFinding::AdvertisementsIgnored { interface: link.name.clone() })
        .map(FindingKind::Forwarding)
        .collect()
}
