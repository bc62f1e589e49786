//! Checks whether the kernel has all needed features, by using them in a temporary network namespace.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use fairway_core::object::RulesetSwitches;
use fairway_core::object::{BridgeLink, Difference, Key, Object, VethLink};
use fairway_core::policy::iptables::{self, DirectAccess, NetworkRules};
use fairway_core::policy::ruleset;
use fairway_kernel::conntrack::Conntrack;
use fairway_kernel::iptables::{Flavour, Programs};
use fairway_kernel::nftables::{Transaction, Writer};
use fairway_kernel::route::Links;
use fairway_kernel::{namespace, system};
use fairway_model::{Backend, EndpointId, MacAddress, NetworkId, Settings};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::{ApplyError, EngineError};

const BRIDGE: &str = "probe";

/// Tries everything that a network with one sandbox needs.
///
/// # Errors
/// [`EngineError::Kernel`] with what is missing.
pub fn check(settings: &Settings, flavour: Option<Flavour>) -> Result<(), EngineError> {
    check_rights()?;
    let settings = settings.clone();
    let tries = move || try_all().and_then(|()| try_iptables(&settings, flavour));
    let probe = std::thread::Builder::new().name("requirements".to_owned()).spawn(tries);
    let tried = probe.map_err(EngineError::Thread)?.join();
    tried.unwrap_or_else(|_| Err(lacks("a thread that lives", "it has panicked")))
}

/// The capabilities that the daemon needs, by capabilities(7).
const RIGHTS: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")];

/// Refuses to go on without capabilities, which would look like a kernel that lacks everything.
fn check_rights() -> Result<(), EngineError> {
    let held = rustix::thread::capabilities(None).map_err(|errno| lacks("capabilities", errno))?.effective;
    let missing: Vec<&str> =
        RIGHTS.iter().filter(|(right, _)| !held.contains(*right)).map(|(_, name)| *name).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(EngineError::Privilege { missing: missing.join(" and ") }),
    }
}

fn lacks(what: &'static str, reason: impl ToString) -> EngineError {
    EngineError::Kernel { what, reason: reason.to_string() }
}

/// Tries the features in the order in which they build on each other.
fn try_all() -> Result<(), EngineError> {
    system::unshare(UnshareFlags::NEWNET)
        .map_err(|errno| lacks("network namespaces (CONFIG_NET_NS) and the right to make them", errno))?;
    let links = Links::open().map_err(|error| lacks("rtnetlink", error))?;
    links.apply_bridge(&bridge()).map_err(|error| lacks("bridges (CONFIG_BRIDGE, module bridge)", error))?;
    let here = namespace::own().map_err(|error| lacks("/proc with network namespaces", error))?;
    links
        .apply_veth(&pair(here.namespace().clone()), Some(&here))
        .map_err(|error| lacks("veth pairs (CONFIG_VETH, module veth)", error))?;
    let tables = || {
        let mut writer = Writer::open()?;
        let flags = writer.best_flags()?;
        let mut transaction = Transaction::new();
        for mut table in ruleset(&RulesetSwitches::default()) {
            table.flags = flags;
            transaction.create(&table);
        }
        writer.commit(transaction)
    };
    tables().map_err(|error| {
        lacks(
            "nf_tables for inet and bridge with nat, masq, fib, socket and ct (CONFIG_NF_TABLES, CONFIG_NFT_*)",
            error,
        )
    })?;
    Conntrack::open()
        .and_then(|conntrack| conntrack.flows(&HashSet::new()))
        .map_err(|error| lacks("connection tracking by netlink (CONFIG_NF_CT_NETLINK)", error))?;
    Ok(())
}

/// Tries the matches and targets of all rules with the iptables backend.
fn try_iptables(settings: &Settings, flavour: Option<Flavour>) -> Result<(), EngineError> {
    for ipv4 in [true, false] {
        if settings.firewall_backend(ipv4) != Some(Backend::Iptables) {
            continue;
        }
        let programs = Programs::open(flavour).map_err(ApplyError::from)?;
        let switches = RulesetSwitches { relay_user: settings.relay_user, ..RulesetSwitches::default() };
        let mut host = iptables::host(ipv4, &switches);
        host.rules.extend(iptables::network(
            ipv4,
            &NetworkRules {
                bridge: BRIDGE,
                subnet: None,
                icc: false,
                internal: false,
                isolation: Default::default(),
                masquerade: true,
                source: None,
                entry: DirectAccess::default(),
                switches: &switches,
            },
        ));
        host.rules.push(iptables::hairpin(match ipv4 {
            true => Ipv4Addr::LOCALHOST.into(),
            false => Ipv6Addr::LOCALHOST.into(),
        }));
        let chains = host.chains.into_iter().map(|chain| (Key::Chain(chain), Object::Chain));
        let rules = host.rules.into_iter().map(|rules| {
            let text = rules.text();
            (Key::Rules(rules.chain, text), Object::Rules(rules.place))
        });
        let new = chains.chain(rules).collect();
        let users = format!("*filter\n-N {}\nCOMMIT\n", fairway_core::object::iptables::USER);
        let script = iptables::script(ipv4, &Difference { added: new, ..Difference::default() }, None);
        for text in [Some(users), script].into_iter().flatten() {
            programs.restore(ipv4, &text, |_| {}).map_err(|error| {
                lacks("what iptables needs: raw, filter, nat, conntrack, addrtype, owner (CONFIG_IP_NF_*, CONFIG_NETFILTER_XT_*)", error)
            })?;
        }
    }
    Ok(())
}

fn bridge() -> BridgeLink {
    BridgeLink {
        name: BRIDGE.to_owned(),
        network: NetworkId::new([1; 32]),
        mac: MacAddress::from_random([1; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        route_localnet: false,
        ipv6: false,
        parent: None,
        adopted: false,
    }
}

fn pair(namespace: fairway_model::Namespace) -> VethLink {
    VethLink {
        host_interface: "probe0".to_owned(),
        endpoint: EndpointId::new([1; 32]),
        bridge: BRIDGE.to_owned(),
        namespace: Some(namespace),
        interface: "probe1".to_owned(),
        mac: MacAddress::from_random([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        hairpin: false,
        sysctls: Vec::new(),
        advertising: Default::default(),
        alternative_name: None,
    }
}
