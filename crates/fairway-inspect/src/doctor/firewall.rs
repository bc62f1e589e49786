//! What firewalls of others do to what is Fairway's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::addressing::{DEFAULT_BRIDGE_ELSEWHERE, renew};
use super::{Ill, Level, LinkSeen, Observations, few};
use crate::conflict::{Cause, FirewallConflict, ForeignTable, Owner, Path};
use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_ruleset::{Family, Policy};

/// Where Docker has others put their rules.
const DOCKER_USER: &str = "DOCKER-USER";

/// What one place drops: the firewall_conflicts that differ in what they drop alone, and the bridges of the networks.
struct Drop<'a> {
    first: &'a FirewallConflict,
    paths: BTreeSet<Path>,
    networks: BTreeSet<&'a str>,
}

/// Obstacles by the chain and by what in it drops. That a firewall keeps some ports of the host from others is what it
/// is for.
fn drops(seen: &Observations) -> Vec<Drop<'_>> {
    let mut places: BTreeMap<_, Drop<'_>> = BTreeMap::new();
    let is_usual = |it: &FirewallConflict| it.path == Path::ToHost && !it.certain;
    for (conflict, networks) in seen.firewall_conflicts.iter().filter(|(conflict, _)| !is_usual(conflict)) {
        let FirewallConflict { family, table, chain, cause, legacy, certain, .. } = conflict;
        let place = (family.to_string(), table, chain, *cause, *legacy, *certain);
        let drop = places.entry(place).or_insert_with(|| Drop {
            first: conflict,
            paths: BTreeSet::new(),
            networks: BTreeSet::new(),
        });
        drop.paths.insert(conflict.path);
        drop.networks.extend(networks.iter().map(String::as_str));
    }
    places.into_values().collect()
}

fn is_forwarded(path: Path) -> bool {
    matches!(path, Path::Outward | Path::Published | Path::Within)
}

fn is_policy(drop: &Drop<'_>) -> bool {
    drop.first.cause == Cause::Policy && drop.paths.iter().any(|path| is_forwarded(*path))
}

/// Policies of DROP in the way of what is forwarded.
pub(super) fn policies(world: &World, seen: &Observations) -> Vec<Ill> {
    drops(seen).iter().filter(|drop| is_policy(drop)).map(|drop| ill(world, seen, drop)).collect()
}

/// All else that drops. What may drop and may not is told once for each table: firewalls are full of it.
pub(super) fn rules(world: &World, seen: &Observations) -> Vec<Ill> {
    let drops = drops(seen);
    let (certain, perhaps): (Vec<_>, Vec<_>) =
        drops.iter().filter(|drop| !is_policy(drop)).partition(|drop| drop.first.certain);
    let mut tables: BTreeMap<String, Vec<&Drop<'_>>> = BTreeMap::new();
    for drop in perhaps {
        tables.entry(place(drop.first)).or_default().push(drop);
    }
    let perhaps = tables.into_iter().map(|(table, drops)| {
        let parts = drops.iter().map(|drop| format!("chain {}, {}", drop.first.chain, part(drop.first)));
        let paths: BTreeSet<Path> = drops.iter().flat_map(|drop| drop.paths.iter().copied()).collect();
        let what = paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ");
        Ill::note(
            format!("{table} may drop some of {what}: {}", few(parts)),
            "it depends on ports, addresses or states; explain tells it of one packet",
        )
        .mend("fairway explain FROM TO:PORT")
    });
    certain.into_iter().map(|drop| ill(world, seen, drop)).chain(perhaps).collect()
}

/// A table, and whose it is.
fn place(conflict: &FirewallConflict) -> String {
    let FirewallConflict { family, table, owner, legacy, .. } = conflict;
    format!("{owner}: {}table {family} {table}", if *legacy { "legacy " } else { "" })
}

/// What of a chain drops.
fn part(conflict: &FirewallConflict) -> String {
    match conflict.cause {
        Cause::Policy => "its policy".to_owned(),
        Cause::Rule(number) if conflict.legacy => format!("rule {number}"),
        Cause::Rule(handle) => format!("the rule with handle {handle}"),
    }
}

fn ill(world: &World, seen: &Observations, drop: &Drop<'_>) -> Ill {
    let Drop { first, paths, networks } = drop;
    let verb = if first.certain { "drops" } else { "may drop" };
    let what = paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ");
    let shown = format!(
        "{}, chain {}: {} {verb} {what} (networks {})",
        place(first),
        first.chain,
        part(first),
        few(networks.iter().copied())
    );
    let only_host = paths.iter().all(|path| *path == Path::ToHost);
    let level = if first.certain && !only_host { Level::Problem } else { Level::Warning };
    let why = match is_policy(drop) {
        true => {
            "a packet has to pass all tables: that Fairway accepts it does not help. With \
             --firewall-integration the daemon does this by itself, and follows networks"
        }
        false => "a packet has to pass all tables: that Fairway accepts it does not help",
    };
    let networks = networks.iter().filter_map(|name| world.find_network(name).ok());
    let bridges: Vec<_> = networks.map(|network| quote(&network.bridge)).collect();
    Ill::new(level, shown, why).mend(mend(seen, drop, &bridges))
}

/// What lets through no more than what comes from our bridges or goes there; our own tables still decide of that.
fn mend(seen: &Observations, drop: &Drop<'_>, bridges: &[Cow<'_, str>]) -> String {
    let has = |path: Path| drop.paths.contains(&path);
    let forwarded = drop.paths.iter().any(|path| is_forwarded(*path));
    let mut commands = Vec::new();
    for bridge in bridges {
        let both = match drop.first.owner {
            Owner::Firewalld => {
                commands.push(format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}"));
                continue;
            }
            Owner::Ufw => {
                let route = ["in", "out"].map(|side| format!("ufw route allow {side} on {bridge}"));
                commands.extend(route.into_iter().filter(|_| forwarded));
                commands.extend(has(Path::ToHost).then(|| format!("ufw allow in on {bridge}")));
                continue;
            }
            _ => [forwarded || has(Path::ToHost), forwarded || has(Path::FromHost)],
        };
        let sides = ["-i", "-o"].into_iter().zip(both).filter(|(_, wanted)| *wanted);
        commands.extend(sides.map(|(side, _)| {
            let key = if side == "-i" { "iifname" } else { "oifname" };
            accept(seen, drop.first, &format!("{side} {bridge}"), &format!("{key} {bridge}"))
        }));
    }
    let asks = has(Path::Questions) && !matches!(drop.first.owner, Owner::Firewalld | Owner::Ufw);
    commands.extend(asks.then(|| accept(seen, drop.first, "-p udp --dport 53", "udp dport 53")));
    if drop.first.owner == Owner::Firewalld {
        commands.push("firewall-cmd --reload".to_owned());
    }
    commands.join(" && ")
}

/// The command for a rule that accepts something, in the words of iptables and in those of nft, before what drops it.
fn accept(seen: &Observations, drop: &FirewallConflict, words: &str, nft: &str) -> String {
    let FirewallConflict { family, table, chain, legacy, .. } = drop;
    let tables = seen.tables.iter().filter(|it| it.legacy == *legacy && it.table.family == *family);
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
        let chain = quote(chain);
        return format!("{program} -I {chain} {words} -j ACCEPT");
    }
    let position = match drop.cause {
        Cause::Rule(handle) => format!("position {handle} "),
        Cause::Policy => String::new(),
    };
    format!("nft insert rule {family} {} {} {position}{nft} accept", quote(table), quote(chain))
}

/// Whether a table says anything.
fn is_used(foreign: &ForeignTable) -> bool {
    let drops = |policy: Policy| policy == Policy::Drop;
    foreign
        .table
        .chains
        .iter()
        .any(|chain| !chain.rules.is_empty() || chain.base.as_ref().is_some_and(|base| drops(base.policy)))
}

/// Rules of both kinds of iptables.
pub(super) fn both_kinds(_: &World, seen: &Observations) -> Vec<Ill> {
    let used = |legacy: bool, family: Family| {
        let tables = seen.tables.iter().filter(move |it| it.legacy == legacy && it.table.family == family);
        tables
            .filter(|it| it.is_iptables() && is_used(it))
            .map(|it| it.table.name.as_str())
            .collect::<Vec<_>>()
    };
    let mut ills = Vec::new();
    for (family, program) in [(Family::Ip, "iptables"), (Family::Ip6, "ip6tables")] {
        let (legacy, new) = (used(true, family), used(false, family));
        if legacy.is_empty() || new.is_empty() {
            continue;
        }
        // What the daemon has there it would put there again.
        let ours = seen.tables.iter().any(|it| it.legacy && it.table.family == family && it.has_ours());
        let chains =
            ["INPUT", "FORWARD", "OUTPUT"].map(|chain| format!("{program}-legacy -P {chain} ACCEPT"));
        ills.push(
            Ill::warning(
                format!(
                    "there are rules of legacy {program} ({}) and of {program}-nft ({})",
                    few(legacy),
                    few(new)
                ),
                "a packet has to pass both, and each program shows one of them only: what one accepts the other drops",
            )
            .mend(match ours {
                true => "fairway daemon --iptables-flavour=nft".to_owned(),
                false => format!(
                    "{program}-legacy-save -t filter | {program}-nft-restore --noflush && {} && \
                     {program}-legacy -F",
                    chains.join(" && ")
                ),
            }),
        );
    }
    ills
}

/// Docker's own bridges where networks of ours are.
pub(super) fn docker(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut ills = Vec::new();
    for link in seen.links.iter().filter(|link| is_dockers(world, link)) {
        for address in &link.addresses {
            let met = world.networks().filter(|network| {
                let subnets = &mut network.subnets.iter();
                subnets.any(|it| it.subnet.contains(&address.addr()) || address.contains(&it.subnet))
            });
            ills.extend(met.map(|network| {
                Ill::problem(
                    format!("Docker's {} has {address}, which meets network {}", link.name, network.name),
                    "one of the two cannot be reached: the host has one route for both",
                )
                .mend_if(renew(world, network, None, ""), DEFAULT_BRIDGE_ELSEWHERE)
            }));
        }
    }
    ills
}

/// Whether a link is a bridge of Docker, podman or Kubernetes, which need to have bridged packets filtered.
pub(super) fn is_of_containers(world: &World, link: &LinkSeen) -> bool {
    let prefixes = ["podman", "cni"];
    is_dockers(world, link) || prefixes.iter().any(|prefix| link.name.starts_with(prefix))
}

/// Whether a link is a bridge that Docker made.
pub(super) fn is_dockers(world: &World, link: &LinkSeen) -> bool {
    let named = link.name == "docker0" || link.name.strip_prefix("br-").is_some_and(|id| id.len() == 12);
    let ours = link.ours || world.networks().any(|network| network.bridge == link.name);
    named && link.kind == "bridge" && !ours
}
