//! Compares observed links and files with the planned ones, setting by setting.

use fairway_core::object::{BridgeLink, VethLink, dotted};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::route::{Address, Link, Mark};
use fairway_kernel::sysctl;

/// The first line in which a file of a sandbox differs from the planned one.
pub(crate) fn file_deviation(found: &str, wanted: &str) -> Option<Deviation> {
    if found == wanted {
        return None;
    }
    let (found, wanted): (Vec<&str>, Vec<&str>) = (found.lines().collect(), wanted.lines().collect());
    let place = (0..found.len().max(wanted.len())).find(|place| found.get(*place) != wanted.get(*place));
    let line = |of: &[&str]| {
        place.and_then(|place| of.get(place)).map_or("missing".to_owned(), |line| format!("{line:?}"))
    };
    let number = place.unwrap_or_default() + 1;
    Some(Deviation::new(format!("line {number}"), line(&found), line(&wanted)))
}

fn setting(path: &str, value: bool) -> Option<Deviation> {
    let value = if value { "1" } else { "0" };
    let found = sysctl::read(path).ok()?;
    Deviation::unless_equal(&format!("sysctl {}", dotted(path)), found.as_str(), value)
}

fn state(up: bool) -> Option<Deviation> {
    Deviation::unless_equal("state", if up { "up" } else { "down" }, "up")
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

fn mark(link: &Link, wanted: Mark) -> Option<Deviation> {
    let alias = || link.alias.clone().unwrap_or_else(|| "none".to_owned());
    (link.mark() != Some(wanted)).then(|| Deviation::new("alias", alias(), "Fairway's mark of this object"))
}

/// How a bridge differs from the planned one.
pub(crate) fn bridge_deviations(wanted: &BridgeLink, link: &Link, addresses: &[Address]) -> Vec<Deviation> {
    let ours = [
        mark(link, Mark::Network(wanted.network)),
        state(link.up),
        Deviation::unless_equal("MAC address", shown(link.mac), wanted.mac.to_string()),
        Deviation::unless_equal("interface", shown(link.parent()), shown(wanted.parent.as_deref())),
    ];
    let mut found: Vec<Deviation> = ours.into_iter().flatten().collect();
    // The other settings of a LAN belong to the host.
    if wanted.parent.is_some() {
        return found;
    }
    let own = addresses.iter().filter(|address| address.interface == link.index && address.scope == 0);
    let own: Vec<_> = own.map(|address| address.address).collect();
    let missing = wanted.addresses.iter().filter(|address| !own.contains(address));
    found.extend(missing.map(|address| Deviation::missing(format!("address {address}"))));
    let more = own.iter().filter(|address| !wanted.addresses.contains(address));
    found.extend(more.map(|address| Deviation::new(format!("address {address}"), "there", "none")));
    let name = &wanted.name;
    let settings = [
        Deviation::unless_equal("mtu", link.mtu, wanted.mtu),
        setting(&format!("net/ipv4/conf/{name}/route_localnet"), wanted.route_localnet),
        setting(&format!("net/ipv6/conf/{name}/disable_ipv6"), !wanted.ipv6),
    ];
    found.extend(settings.into_iter().flatten());
    found
}

/// What an adopted bridge lacks that its network needs.
pub(crate) fn adopted_deviations(wanted: &BridgeLink, link: &Link, addresses: &[Address]) -> Vec<Deviation> {
    let has = |address| addresses.iter().any(|it| it.interface == link.index && it.address == address);
    let missing = wanted.addresses.iter().filter(|address| !has(**address));
    let name = &wanted.name;
    let properties = [
        Deviation::unless_equal("kind", shown(link.kind.as_deref()), "bridge".to_owned()),
        state(link.up),
        setting(&format!("net/ipv4/conf/{name}/route_localnet"), wanted.route_localnet),
        wanted.ipv6.then(|| setting(&format!("net/ipv6/conf/{name}/disable_ipv6"), false)).flatten(),
    ];
    let missing = missing.map(|address| Deviation::missing(format!("address {address}")));
    properties.into_iter().flatten().chain(missing).collect()
}

/// How the host's end of a veth pair differs from the planned one.
pub(crate) fn veth_deviations(wanted: &VethLink, link: &Link, master: Option<&str>) -> Vec<Deviation> {
    let properties = [
        mark(link, Mark::Endpoint(wanted.endpoint)),
        state(link.up),
        Deviation::unless_equal("mtu", link.mtu, wanted.mtu),
        Deviation::unless_equal("bridge", shown(master), wanted.bridge.clone()),
        Deviation::unless_equal("hairpin", shown(link.hairpin), wanted.hairpin.to_string()),
    ];
    let unnamed = |name: &&String| !link.alternative_names.contains(name);
    let name = wanted.alternative_name.as_ref().filter(unnamed);
    let name = name.map(|name| Deviation::missing(format!("alternative name {name}")));
    properties.into_iter().flatten().chain(name).collect()
}
