//! Checks of foreign firewalls and of Docker on the same host.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::finding::join_some;
use super::remedy::{is_docker_bridge, move_network};
use super::{Finding, FindingKind, Fix, Observations, Severity};
use crate::conflict::{Cause, FirewallConflict, ForeignTable, Owner, Path};
use fairway_core::world::World;
use fairway_model::address_range::overlap;
use fairway_model::shell::quote;
use fairway_ruleset::{Family, Policy};

/// The chain in which Docker expects rules of other programs.
const DOCKER_USER: &str = "DOCKER-USER";

/// A foreign firewall that drops packets, or a conflict with Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallFinding {
    /// A chain policy or a rule drops, or may drop, packets of Fairway's networks.
    Drops {
        /// The chain, and the policy or the rule.
        conflict: FirewallConflict,
        /// The kinds of packets that it drops.
        paths: BTreeSet<Path>,
        /// The networks that they belong to.
        networks: BTreeSet<String>,
        /// The command that accepts them.
        fix: String,
    },
    /// Rules of one table may drop packets, depending on their ports, addresses or state.
    MayDrop {
        /// The rules, all of one table.
        conflicts: Vec<FirewallConflict>,
        /// The kinds of packets that they may drop.
        paths: BTreeSet<Path>,
    },
    /// The host has rules of both iptables-legacy and iptables-nft.
    TwoBackends {
        /// `iptables` or `ip6tables`.
        program: &'static str,
        /// The tables of the legacy backend.
        legacy: Vec<String>,
        /// The tables of the nf_tables backend.
        nft: Vec<String>,
        /// Whether the legacy tables have chains of Fairway's.
        ours: bool,
    },
    /// A bridge of Docker's has an address in a network's subnet, or the other way round.
    DockerOverlaps {
        /// Docker's bridge.
        bridge: String,
        /// Its address.
        address: IpNet,
        /// The network.
        network: String,
        /// The command that gives the network another subnet, if there is one.
        fix: Option<String>,
    },
}

/// Whether a chain policy drops forwarded packets.
fn is_forward_policy(conflict: &FirewallConflict, paths: &BTreeSet<Path>) -> bool {
    conflict.cause == Cause::Policy && paths.iter().any(|path| path.is_forwarded())
}

/// A table with its owner.
fn table_name(conflict: &FirewallConflict) -> String {
    let FirewallConflict { family, table, owner, legacy, .. } = conflict;
    format!("{owner}: {}table {family} {table}", if *legacy { "legacy " } else { "" })
}

/// The policy or the rule.
fn cause(conflict: &FirewallConflict) -> String {
    match conflict.cause {
        Cause::Policy => "its policy".to_owned(),
        Cause::Rule(number) if conflict.legacy => format!("rule {number}"),
        Cause::Rule(handle) => format!("the rule with handle {handle}"),
    }
}

fn list_paths(paths: &BTreeSet<Path>) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")
}

impl FirewallFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::Drops { conflict, paths, networks, fix } => {
                let message = format!(
                    "{}, chain {}: {} {} {} (networks {})",
                    table_name(conflict),
                    conflict.chain,
                    cause(conflict),
                    if conflict.certain { "drops" } else { "may drop" },
                    list_paths(paths),
                    join_some(networks)
                );
                let is_policy = is_forward_policy(conflict, paths);
                let impact = match is_policy {
                    true => {
                        "a packet has to pass every table: Fairway's accept rule does not overrule this one. With \
                         --firewall-integration the daemon adds the rules itself and keeps them up to date"
                    }
                    false => "a packet has to pass every table: Fairway's accept rule does not overrule this one",
                };
                let only_host = paths.iter().all(|path| *path == Path::ToHost);
                let severity =
                    if conflict.certain && !only_host { Severity::Error } else { Severity::Warning };
                let id = if is_policy { "forward-policy" } else { "firewall" };
                Finding::new(id, severity, message, impact).fix(fix)
            }
            Self::MayDrop { conflicts, paths } => {
                let table = conflicts.first().map(table_name).unwrap_or_default();
                let causes = conflicts.iter().map(|it| format!("chain {}, {}", it.chain, cause(it)));
                Finding::note(
                    "firewall",
                    format!("{table} may drop some of {}: {}", list_paths(paths), join_some(causes)),
                    "it depends on ports, addresses or connection state; explain shows the result for one packet",
                )
                .fix("fairway explain FROM TO:PORT")
            }
            Self::TwoBackends { program, legacy, nft, ours } => Finding::warning(
                "two-firewalls",
                format!(
                    "the host has rules of legacy {program} ({}) and of {program}-nft ({})",
                    join_some(legacy),
                    join_some(nft)
                ),
                "a packet has to pass both, and each program shows its own rules only: what one accepts, the other may \
                 drop",
            )
            .fix(match ours {
                // The daemon would restore its own rules in the legacy tables.
                true => "fairway daemon --iptables-flavour=nft".to_owned(),
                false => move_to_nft(program),
            }),
            Self::DockerOverlaps { bridge, address, network, fix } => Finding {
                fix: fix.clone().map(Fix::by_user),
                ..Finding::error(
                "docker",
                format!("Docker's bridge {bridge} has {address}, which overlaps network {network}"),
                "one of the two cannot be reached: the host has one route for both",
            )},
        }
    }
}

/// The command that moves the rules of the legacy backend to the nf_tables backend.
fn move_to_nft(program: &str) -> String {
    let accept = ["INPUT", "FORWARD", "OUTPUT"].map(|chain| format!("{program}-legacy -P {chain} ACCEPT"));
    format!(
        "{program}-legacy-save -t filter | {program}-nft-restore --noflush && {} && {program}-legacy -F",
        accept.join(" && ")
    )
}

/// What one policy or rule drops.
struct Drop<'a> {
    conflict: &'a FirewallConflict,
    paths: BTreeSet<Path>,
    networks: BTreeSet<String>,
}

/// Groups the conflicts by chain and rule. Rules that may drop packets to the host itself are left out: a firewall that
/// protects some ports of the host works as intended.
fn drops(observed: &Observations) -> Vec<Drop<'_>> {
    let mut places: BTreeMap<_, Drop<'_>> = BTreeMap::new();
    let is_usual = |it: &FirewallConflict| it.path == Path::ToHost && !it.certain;
    for (conflict, networks) in observed.firewall_conflicts.iter().filter(|(conflict, _)| !is_usual(conflict))
    {
        let FirewallConflict { family, table, chain, cause, legacy, certain, .. } = conflict;
        let place = (family.to_string(), table, chain, *cause, *legacy, *certain);
        let drop = places.entry(place).or_insert_with(|| Drop {
            conflict,
            paths: BTreeSet::new(),
            networks: BTreeSet::new(),
        });
        drop.paths.insert(conflict.path);
        drop.networks.extend(networks.iter().cloned());
    }
    places.into_values().collect()
}

fn finding(world: &World, observed: &Observations, drop: Drop<'_>) -> FindingKind {
    let fix = accept_command(world, observed, &drop);
    let Drop { conflict, paths, networks } = drop;
    FindingKind::Firewall(FirewallFinding::Drops { conflict: conflict.clone(), paths, networks, fix })
}

/// Reports chain policies that drop forwarded packets.
pub(super) fn check_policies(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let policies = drops(observed).into_iter().filter(|drop| is_forward_policy(drop.conflict, &drop.paths));
    policies.map(|drop| finding(world, observed, drop)).collect()
}

/// Reports everything else that drops packets; what only may drop is one finding for each table, since firewalls have
/// many such rules.
pub(super) fn check_rules(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let (certain, possible): (Vec<_>, Vec<_>) = drops(observed)
        .into_iter()
        .filter(|drop| !is_forward_policy(drop.conflict, &drop.paths))
        .partition(|drop| drop.conflict.certain);
    let mut tables: BTreeMap<String, (Vec<FirewallConflict>, BTreeSet<Path>)> = BTreeMap::new();
    for drop in possible {
        let (conflicts, paths) = tables.entry(table_name(drop.conflict)).or_default();
        conflicts.push(drop.conflict.clone());
        paths.extend(drop.paths);
    }
    let certain = certain.into_iter().map(|drop| finding(world, observed, drop));
    let possible = tables
        .into_values()
        .map(|(conflicts, paths)| FindingKind::Firewall(FirewallFinding::MayDrop { conflicts, paths }));
    certain.chain(possible).collect()
}

/// The command that accepts what comes from Fairway's bridges or goes there; Fairway's own tables still filter it.
fn accept_command(world: &World, observed: &Observations, drop: &Drop<'_>) -> String {
    let networks = drop.networks.iter().filter_map(|name| world.find_network(name).ok());
    let bridges: Vec<Cow<'_, str>> = networks.map(|network| quote(&network.bridge)).collect();
    let has = |path: Path| drop.paths.contains(&path);
    let forwarded = drop.paths.iter().any(|path| path.is_forwarded());
    match drop.conflict.owner {
        Owner::Firewalld => {
            let trust = bridges
                .iter()
                .map(|it| format!("firewall-cmd --permanent --zone=trusted --add-interface={it}"));
            let reload = "firewall-cmd --reload".to_owned();
            trust.chain([reload]).collect::<Vec<_>>().join(" && ")
        }
        Owner::Ufw => {
            let allow = bridges.iter().flat_map(|bridge| {
                let route = ["in", "out"].map(|side| format!("ufw route allow {side} on {bridge}"));
                let host = has(Path::ToHost).then(|| format!("ufw allow in on {bridge}"));
                route.into_iter().filter(move |_| forwarded).chain(host)
            });
            allow.collect::<Vec<_>>().join(" && ")
        }
        _ => {
            let sides = [
                ("-i", "iifname", forwarded || has(Path::ToHost)),
                ("-o", "oifname", forwarded || has(Path::FromHost)),
            ];
            let accept = |iptables: &str, nft: &str| accept_rule(observed, drop.conflict, iptables, nft);
            let of_bridges = bridges.iter().flat_map(|bridge| {
                let wanted = sides.into_iter().filter(|(_, _, wanted)| *wanted);
                wanted.map(move |(flag, key, _)| (format!("{flag} {bridge}"), format!("{key} {bridge}")))
            });
            let dns =
                has(Path::Questions).then(|| ("-p udp --dport 53".to_owned(), "udp dport 53".to_owned()));
            let rules = of_bridges.chain(dns).map(|(iptables, nft)| accept(&iptables, &nft));
            rules.collect::<Vec<_>>().join(" && ")
        }
    }
}

/// The command that inserts an accepting rule before the one that drops. The match is given in iptables' and in nft's
/// syntax.
fn accept_rule(observed: &Observations, drop: &FirewallConflict, iptables: &str, nft: &str) -> String {
    let FirewallConflict { family, table, chain, legacy, .. } = drop;
    let tables = observed.tables.iter().filter(|it| it.legacy == *legacy && it.table.family == *family);
    let foreign = tables.into_iter().find(|it| it.table.name == *table);
    if foreign.is_some_and(ForeignTable::is_iptables) {
        let program = match (family, legacy) {
            (Family::Ip6, true) => "ip6tables-legacy",
            (Family::Ip6, false) => "ip6tables-nft",
            (_, true) => "iptables-legacy",
            (_, false) => "iptables-nft",
        };
        let docker = foreign.filter(|_| drop.owner == Owner::Docker && chain == "FORWARD");
        let chain = docker.and_then(|it| it.table.chain(DOCKER_USER)).map_or(chain.as_str(), |it| &it.name);
        return format!("{program} -I {} {iptables} -j ACCEPT", quote(chain));
    }
    let position = match drop.cause {
        Cause::Rule(handle) => format!("position {handle} "),
        Cause::Policy => String::new(),
    };
    format!("nft insert rule {family} {} {} {position}{nft} accept", quote(table), quote(chain))
}

/// Whether a table filters anything.
fn is_used(foreign: &ForeignTable) -> bool {
    let drops = |policy: Policy| policy == Policy::Drop;
    foreign
        .table
        .chains
        .iter()
        .any(|chain| !chain.rules.is_empty() || chain.base.as_ref().is_some_and(|base| drops(base.policy)))
}

/// Reports rules of both iptables-legacy and iptables-nft.
pub(super) fn check_two_backends(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let of_family = |legacy: bool, family: Family| {
        observed.tables.iter().filter(move |it| it.legacy == legacy && it.table.family == family)
    };
    let used = |legacy: bool, family: Family| -> Vec<String> {
        let tables = of_family(legacy, family).filter(|it| it.is_iptables() && is_used(it));
        tables.map(|it| it.table.name.clone()).collect()
    };
    let findings = [(Family::Ip, "iptables"), (Family::Ip6, "ip6tables")].map(|(family, program)| {
        let (legacy, nft) = (used(true, family), used(false, family));
        let ours = of_family(true, family).any(ForeignTable::has_ours);
        (!legacy.is_empty() && !nft.is_empty())
            .then_some(FindingKind::Firewall(FirewallFinding::TwoBackends { program, legacy, nft, ours }))
    });
    findings.into_iter().flatten().collect()
}

/// Reports bridges of Docker's that overlap a network.
pub(super) fn check_docker(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let mut findings = Vec::new();
    for link in observed.links.iter().filter(|link| is_docker_bridge(world, link)) {
        for address in &link.addresses {
            let overlapping = world.networks().filter(|network| {
                let mut subnets = network.subnets.iter().map(|it| it.subnet);
                subnets.any(|it| overlap(it, *address) && world.host_routes_to(network, it.addr().is_ipv4()))
            });
            findings.extend(overlapping.map(|network| {
                FindingKind::Firewall(FirewallFinding::DockerOverlaps {
                    bridge: link.name.clone(),
                    address: *address,
                    network: network.name.clone(),
                    fix: move_network(world, network, address.addr().is_ipv4()),
                })
            }));
        }
    }
    findings
}
