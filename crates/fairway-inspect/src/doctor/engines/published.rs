//! Checks of published ports that are open to more hosts than their user believes, or need a helper.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fairway_model::Protocol;
use fairway_model::shell::quote;
use fairway_ruleset::{Chain, ChainKind, Hook, Table};

use super::observations::{EngineContainer, EngineObservations};
use super::rule::{Outcome, RuleFacts};
use crate::doctor::Finding;
use crate::doctor::finding::join_some;
use crate::explain::{EngineWords, KnownPort};

const LOOPBACK: &str = "lo";

/// The published ports of running containers of other engines.
fn published(observed: &EngineObservations) -> impl Iterator<Item = (&EngineContainer, &KnownPort)> {
    let containers = observed.containers.iter();
    let running = containers.filter(|it| it.running && it.known.engine != EngineWords::Fairway);
    running.flat_map(|container| container.known.ports.iter().map(move |port| (container, port)))
}

/// A container's published ports in words: `docker:web (8080/tcp)`.
fn listed<'a>(ports: impl IntoIterator<Item = (&'a EngineContainer, &'a KnownPort)>) -> String {
    let mut of_containers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (container, port) in ports {
        let ports = of_containers.entry(&container.name).or_default();
        let text = format!("{}/{}", port.host_ports, port.protocol);
        if !ports.contains(&text) {
            ports.push(text);
        }
    }
    join_some(of_containers.into_iter().map(|(name, ports)| format!("{name} ({})", join_some(ports))))
}

/// The firewall whose user decides by ports of the host: its name, and the chains of its user's rules.
struct UserFirewall {
    name: &'static str,
    accepting: Vec<RuleFacts>,
}

impl UserFirewall {
    /// The active one, if it closes ports that its user has not opened.
    fn of(tables: &[Table]) -> Option<Self> {
        let all = || tables.iter().flat_map(|it| &it.chains);
        // The zones' chains are called so with nftables and with iptables.
        let of_zone = |it: &&Chain| {
            let is_input = ["filter_IN_", "IN_"].iter().any(|prefix| it.name.starts_with(prefix));
            is_input && it.name.ends_with("_allow")
        };
        let has_zones = all().any(|it| ["filter_INPUT_ZONES", "INPUT_ZONES"].contains(&it.name.as_str()));
        let (name, chains): (_, Vec<&Chain>) = match (is_ufw_on(tables), has_zones) {
            (true, _) => ("ufw", all().filter(|it| it.name == "ufw-user-input").collect()),
            (false, true) => ("firewalld", all().filter(of_zone).collect()),
            (false, false) => return None,
        };
        let rules = chains.into_iter().flat_map(|it| &it.rules).map(RuleFacts::of);
        Some(Self { name, accepting: rules.filter(|it| it.outcome == Outcome::Accept).collect() })
    }

    /// Whether its user opened a port: a rule accepts it, or all ports.
    fn opens(&self, protocol: Protocol, port: u16) -> bool {
        let opens = |rule: &RuleFacts| {
            (rule.ports.is_some() || rule.protocol.is_none()) && rule.is_for(protocol.number(), port)
        };
        self.accepting.iter().any(|rule| rule.input.is_none() && opens(rule))
    }
}

/// Whether ufw is active: its chains stay when it is switched off, and are no longer jumped to.
fn is_ufw_on(tables: &[Table]) -> bool {
    let drops = |chain: &Chain| {
        chain
            .base
            .as_ref()
            .is_some_and(|base| base.hook == Hook::Input && base.policy == fairway_ruleset::Policy::Drop)
    };
    tables.iter().any(|table| table.chain("ufw-user-input").is_some() && table.chains.iter().any(drops))
}

/// Reports ports that are published on all addresses past ufw or firewalld, which have not opened them.
pub(super) fn check_firewall(observed: &EngineObservations) -> Vec<Finding> {
    let tables: Vec<Table> = observed.tables().map(|it| it.table).collect();
    let Some(firewall) = UserFirewall::of(&tables) else { return Vec::new() };
    let chains = || tables.iter().flat_map(|it| &it.chains);
    // Rules of the user for forwarded packets: what they close is not open.
    let user: Vec<RuleFacts> = chains()
        .filter(|it| it.name == "DOCKER-USER")
        .flat_map(|it| &it.rules)
        .map(RuleFacts::of)
        .filter(|it| it.outcome == Outcome::Drop)
        .collect();
    let translated: Vec<RuleFacts> = translations(&tables).map(|(_, facts)| facts).collect();
    let is_open = |(_, port): &(&EngineContainer, &KnownPort)| {
        let (protocol, first) = (port.protocol, port.host_ports.first);
        let is_translated = translated.iter().any(|it| it.is_for(protocol.number(), first));
        let is_closed = user.iter().any(|it| it.is_for(protocol.number(), first));
        port.host_address.is_unspecified()
            && port.host_address.is_ipv4()
            && is_translated
            && !is_closed
            && !firewall.opens(protocol, first)
    };
    let mut of_engines: BTreeMap<EngineWords, Vec<(&EngineContainer, &KnownPort)>> = BTreeMap::new();
    for (container, port) in published(observed).filter(is_open) {
        of_engines.entry(container.known.engine).or_default().push((container, port));
    }
    let uplink = observed.uplink().map_or_else(|| "INTERFACE".into(), |it| quote(&it.name));
    let has_user_chain = chains().any(|it| it.name == "DOCKER-USER");
    let findings = of_engines.into_iter().map(|(engine, open)| {
        let fixes = open.iter().map(|(container, port)| match engine {
            EngineWords::Docker if has_user_chain => format!(
                "iptables -I DOCKER-USER -i {uplink} -p {} -m conntrack --ctorigdstport {} --ctdir ORIGINAL -j DROP",
                port.protocol,
                port.host_ports.to_string().replace('-', ":")
            ),
            _ => publish_on_loopback(container, port),
        });
        let fix = fixes.collect::<Vec<_>>().join(" && ");
        Finding::warning(
            "published-firewall",
            format!("{} has not opened published ports of {}", firewall.name, listed(open)),
            format!(
                "these ports are open to everyone all the same: the engine translates the destination before {} sees the \
                 packet, which is then forwarded and not input",
                firewall.name
            ),
        )
        .fix(fix)
    });
    findings.collect()
}

/// The option that publishes a port on loopback alone.
fn publish_on_loopback(container: &EngineContainer, port: &KnownPort) -> String {
    let to = port.container_port.map_or_else(|| "PORT".to_owned(), |it| it.to_string());
    let program = match container.known.engine {
        EngineWords::Podman => "podman",
        EngineWords::Nerdctl => "nerdctl",
        _ => "docker",
    };
    let protocol = match port.protocol {
        Protocol::Tcp => String::new(),
        other => format!("/{other}"),
    };
    format!("{program} run -p 127.0.0.1:{}:{to}{protocol} IMAGE", port.host_ports.first)
}

/// The rules that translate destinations of packets from elsewhere, each with the name of its chain.
pub(super) fn translations(tables: &[Table]) -> impl Iterator<Item = (&str, RuleFacts)> {
    let nat = tables.iter().filter(|table| {
        let is_nat = |chain: &Chain| chain.base.as_ref().is_some_and(|base| base.kind == ChainKind::Nat);
        table.chains.iter().any(is_nat)
    });
    let chains = nat.flat_map(|table| &table.chains);
    let from_elsewhere =
        chains.filter(|it| it.base.as_ref().is_none_or(|base| base.hook == Hook::Prerouting));
    from_elsewhere.flat_map(|chain| {
        let facts = chain.rules.iter().map(RuleFacts::of);
        facts.filter(|it| matches!(it.outcome, Outcome::TranslateTo(_))).map(|it| (chain.name.as_str(), it))
    })
}

/// Reports ports that are published on a loopback address, and that hosts on the LAN reach all the same.
pub(super) fn check_loopback(observed: &EngineObservations) -> Vec<Finding> {
    let tables: Vec<Table> = observed.tables().map(|it| it.table).collect();
    let Some(uplink) = observed.uplink() else { return Vec::new() };
    let before: Vec<RuleFacts> = dropping(&tables, &[Hook::Prerouting]);
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen: Vec<(IpAddr, u16, Option<u8>)> = Vec::new();
    for (_, facts) in translations(&tables) {
        let Some(wanted) = facts.destination.as_ref().filter(|it| it.equal) else { continue };
        let address = wanted.value.addr();
        let is_loopback = address.is_loopback() && wanted.value.prefix_len() == wanted.value.max_prefix_len();
        let from_uplink = facts.input.as_ref().is_none_or(|it| it.accepts(&uplink.name));
        let Some((port, _)) = facts.ports.filter(|_| is_loopback && from_uplink) else { continue };
        if is_dropped(&before, address, facts.protocol, port)
            || seen.contains(&(address, port, facts.protocol))
        {
            continue;
        }
        seen.push((address, port, facts.protocol));
        findings.push(translated_finding(observed, address, port, &facts));
    }
    findings.extend(check_route_localnet(observed, &tables, &seen));
    findings
}

fn translated_finding(
    observed: &EngineObservations,
    address: IpAddr,
    port: u16,
    facts: &RuleFacts,
) -> Finding {
    let protocol = protocol_of(facts.protocol);
    let owner = published(observed)
        .find(|(_, it)| it.protocol == protocol && it.host_address == address && it.host_ports.contains(port))
        .map_or_else(|| "an engine".to_owned(), |(container, _)| container.name.clone());
    Finding::warning(
        "loopback-ports",
        format!("{owner} publishes {address}:{port}/{protocol}, and its DNAT rule does not ask for the input interface"),
        format!(
            "a host on the same LAN that sends packets for {address} to this host's MAC address reaches the container: \
             they are translated before the kernel refuses loopback addresses from outside. Docker 28 and later drops them"
        ),
    )
    .fix(drop_rule(address, protocol, Some(port)))
}

fn protocol_of(number: Option<u8>) -> Protocol {
    number.and_then(Protocol::from_number).unwrap_or(Protocol::Tcp)
}

/// The command that drops what comes for a loopback address from elsewhere.
fn drop_rule(address: IpAddr, protocol: Protocol, port: Option<u16>) -> String {
    let program = if address.is_ipv4() { "iptables" } else { "ip6tables" };
    let ports = port.map(|port| format!(" -p {protocol} --dport {port}")).unwrap_or_default();
    let destination = match port {
        Some(_) => address.to_string(),
        None => "127.0.0.0/8".to_owned(),
    };
    format!("{program} -t raw -I PREROUTING ! -i lo -d {destination}{ports} -j DROP")
}

/// The rules at hooks that drop, in base chains and in those that they lead to.
fn dropping(tables: &[Table], hooks: &[Hook]) -> Vec<RuleFacts> {
    let at_hook = |chain: &Chain| {
        chain.base.as_ref().is_some_and(|base| base.kind != ChainKind::Nat && hooks.contains(&base.hook))
    };
    let tables = tables.iter().filter(|table| table.chains.iter().any(at_hook));
    let chains =
        tables.flat_map(|table| &table.chains).filter(|chain| chain.base.is_none() || at_hook(chain));
    let rules = chains.flat_map(|it| &it.rules).map(RuleFacts::of);
    rules.filter(|it| it.outcome == Outcome::Drop).collect()
}

/// Whether packets from elsewhere to an address of loopback are dropped.
fn is_dropped(rules: &[RuleFacts], address: IpAddr, protocol: Option<u8>, port: u16) -> bool {
    rules.iter().any(|it| {
        let from_outside = it.input.as_ref().is_none_or(|wanted| !wanted.equal && wanted.value == LOOPBACK);
        let for_address =
            it.destination.as_ref().is_some_and(|wanted| wanted.equal && wanted.value.contains(&address));
        from_outside && for_address && it.is_for(protocol.unwrap_or_default(), port)
    })
}

/// Reports ports that a proxy serves on loopback while the uplink accepts loopback addresses.
fn check_route_localnet(
    observed: &EngineObservations,
    tables: &[Table],
    known: &[(IpAddr, u16, Option<u8>)],
) -> Option<Finding> {
    let uplink = observed.uplink().filter(|it| it.route_localnet)?;
    let rules = dropping(tables, &[Hook::Prerouting, Hook::Input]);
    let is_reached = |(_, port): &(&EngineContainer, &KnownPort)| {
        let (protocol, first) = (port.protocol.number(), port.host_ports.first);
        port.host_address.is_loopback()
            && port.host_address.is_ipv4()
            && !known.iter().any(|it| (it.0, it.1) == (port.host_address, first))
            && !is_dropped(&rules, port.host_address, Some(protocol), first)
    };
    let reached: Vec<_> = published(observed).filter(is_reached).collect();
    if reached.is_empty() {
        return None;
    }
    let finding = Finding::warning(
        "loopback-ports",
        format!(
            "route_localnet of {} is on, and {} publishes ports on loopback",
            uplink.name,
            listed(reached)
        ),
        "a host on the same LAN that sends packets for 127.0.0.1 to this host's MAC address reaches these ports, and every \
         other service on loopback",
    );
    Some(finding.fix(drop_rule(Ipv4Addr::LOCALHOST.into(), Protocol::Tcp, None)))
}

/// Protocols with addresses in their data, which conntrack understands with a helper alone: port, protocol, helper.
const HELPERS: [(u16, Protocol, &str); 4] = [
    (21, Protocol::Tcp, "ftp"),
    (69, Protocol::Udp, "tftp"),
    (1720, Protocol::Tcp, "H.323"),
    (5060, Protocol::Udp, "sip"),
];

/// Reports published ports of protocols that need a conntrack helper, where none is assigned, and helpers for everyone.
pub(super) fn check_helpers(observed: &EngineObservations) -> Vec<Finding> {
    const ID: &str = "conntrack-helpers";
    if observed.automatic_helpers == Some(true) {
        let finding = Finding::note(
            ID,
            "net.netfilter.nf_conntrack_helper is 1: every flow to a helper's port gets the helper",
            "a container can make a helper open ports of other hosts through this one, and SIP is rewritten where it \
             should not be",
        );
        return vec![finding.fix("sysctl -w net.netfilter.nf_conntrack_helper=0")];
    }
    let tables: Vec<Table> = observed.tables().map(|it| it.table).collect();
    let has_helper = |port: u16, protocol: Protocol| {
        let raw = tables.iter().filter(|it| it.name == "raw").flat_map(|it| &it.chains);
        let mut rules = raw.flat_map(|it| &it.rules);
        rules.any(|rule| RuleFacts::of(rule).ports == Some((port, port)) && protocol_is(rule, protocol))
    };
    let lacking = published(observed).filter_map(|(container, port)| {
        let (_, protocol, helper) = HELPERS.iter().find(|(number, protocol, _)| {
            port.container_port == Some(*number) && port.protocol == *protocol
        })?;
        (port.host_address.is_ipv4() && !has_helper(port.host_ports.first, *protocol))
            .then_some((container, port, *helper))
    });
    let findings = lacking.map(|(container, port, helper)| {
        let (host, protocol) = (port.host_ports.first, port.protocol);
        let module = if helper == "H.323" { "h323" } else { helper };
        let assigned = if module == "h323" { "Q.931" } else { module };
        Finding::note(
            ID,
            format!("{} publishes {helper} at {host}/{protocol}, and no rule assigns the conntrack helper", container.name),
            "connections that the protocol opens besides the first are not translated: active FTP, or media of a call, do \
             not pass",
        )
        .fix(format!(
            "modprobe nf_nat_{module} && iptables -t raw -A PREROUTING -p {protocol} --dport {host} -j CT --helper {assigned}"
        ))
    });
    findings.collect()
}

fn protocol_is(rule: &fairway_ruleset::Rule, protocol: Protocol) -> bool {
    RuleFacts::of(rule).protocol == Some(protocol.number())
}
