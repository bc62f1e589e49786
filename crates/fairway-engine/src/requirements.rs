//! Whether the kernel has what is needed: tried, in a network namespace that is gone afterwards.

use std::collections::HashSet;

use fairway_core::model::{EndpointId, MacAddress, NetworkId};
use fairway_core::plan::{BridgeLink, VethLink};
use fairway_core::policy::{RulesetSwitches, ruleset};
use fairway_kernel::conntrack::Conntrack;
use fairway_kernel::nftables::{Transaction, Writer};
use fairway_kernel::route::Links;
use fairway_kernel::{namespace, system};
use rustix::thread::UnshareFlags;

use crate::EngineError;

const BRIDGE: &str = "probe";

/// Tries everything that a network with one sandbox takes.
///
/// # Errors
/// [`EngineError::Kernel`] with what is missing.
pub fn check() -> Result<(), EngineError> {
    let probe = std::thread::Builder::new().name("requirements".to_owned()).spawn(try_all);
    let tried = probe.map_err(EngineError::Thread)?.join();
    tried.unwrap_or_else(|_| Err(lacks("a thread that lives", "it has panicked")))
}

fn lacks(what: &'static str, reason: impl ToString) -> EngineError {
    EngineError::Kernel { what, reason: reason.to_string() }
}

/// What it tries first is what the next one builds on.
fn try_all() -> Result<(), EngineError> {
    system::unshare(UnshareFlags::NEWNET)
        .map_err(|errno| lacks("network namespaces (CONFIG_NET_NS) and the right to make them", errno))?;
    let links = Links::open().map_err(|error| lacks("rtnetlink", error))?;
    links.apply_bridge(&bridge()).map_err(|error| lacks("bridges (CONFIG_BRIDGE, module bridge)", error))?;
    let here = namespace::own().map_err(|error| lacks("/proc with network namespaces", error))?;
    links
        .apply_veth(&pair(here.namespace().clone()), &here)
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
    }
}

fn pair(namespace: fairway_core::model::Namespace) -> VethLink {
    VethLink {
        host_interface: "probe0".to_owned(),
        endpoint: EndpointId::new([1; 32]),
        bridge: BRIDGE.to_owned(),
        namespace,
        interface: "probe1".to_owned(),
        mac: MacAddress::from_random([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        hairpin: false,
    }
}
