//! What of the kernel, the files and the sockets follows from a World, as lines that can be compared: after a crash
//! it must be what a fresh daemon makes of the same World.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fairway_kernel::iptables::{self, Flavour, Programs};
use fairway_kernel::nftables::{Reader, Transaction, Writer};
use fairway_kernel::route::{Links, PendingDelete, RouteEntry};
use fairway_kernel::survey::listeners;
use fairway_kernel::sysctl;
use fairway_lab::Place;
use fairway_ruleset::{Family, resolver};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Stage, eventually};

const EXEC_ROOT: &str = "/run/fairway";
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
const TABLES: [(Family, &str); 2] = [(Family::Inet, "fairway"), (Family::Bridge, "fairway")];

/// Everything of a host and its sandboxes that Fairway has to do with, when a daemon that runs has let go of what left.
pub fn observe(stage: &Stage, sandboxes: &[(&str, &Place)]) -> BTreeSet<String> {
    // It waits for that; where none runs there is no answer.
    let _ = stage.client().plan_difference();
    let mut lines = stage.host.run_in(observe_host).unwrap();
    for (name, place) in sandboxes {
        let inside = place.run_in(observe_netns).unwrap();
        lines.extend(inside.into_iter().map(|line| format!("in {name}: {line}")));
    }
    lines
}

/// # Panics
/// When two observations differ; with the lines that only one has.
pub fn assert_same(what: &str, found: &BTreeSet<String>, fresh: &BTreeSet<String>) {
    let mut text = String::new();
    for line in found.difference(fresh) {
        writeln!(text, "  left over: {line}").unwrap();
    }
    for line in fresh.difference(found) {
        writeln!(text, "  missing:   {line}").unwrap();
    }
    assert!(text.is_empty(), "{what}: it is not what a fresh daemon makes of the same World:\n{text}");
}

/// Stops daemon and relay, removes all that they made, and has a new daemon make it anew from the World.
pub fn make_anew(stage: &mut Stage, flags: &[&str], sandboxes: &[(&str, &Place)]) {
    stage.daemon.kill9();
    kill_relay();
    stage.host.run_in(wipe_host).unwrap();
    for (_, place) in sandboxes {
        place
            .run_in(|| {
                destroy(&[(Family::Ip, resolver::TABLE)]);
                // Those of its links that have no end on the host.
                delete_marked();
            })
            .unwrap();
    }
    stage.daemon.launch(flags);
    stage.daemon.wait_until_ready();
}

/// The process id of the relay; none if there is none.
pub fn relay_pid() -> Option<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"relay")
    })
}

/// Kills the relay, as nothing can prevent, and waits until it is gone.
pub fn kill_relay() {
    let Some(pid) = relay_pid() else { return };
    kill(pid);
    eventually("the relay is gone", Duration::from_secs(20), || relay_pid() != Some(pid));
}

/// Kills a process, as nothing can prevent.
pub fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

/// Removes what a boot would remove, and gives forwarding back.
pub fn wipe_host() {
    destroy(&TABLES);
    wipe_rules();
    delete_marked();
    fs::remove_dir_all(EXEC_ROOT).unwrap();
    FORWARDING.iter().for_each(|path| sysctl::set(path, "0").unwrap());
}

fn delete_marked() {
    let links = Links::open().unwrap();
    let all = links.all().unwrap();
    let doomed: Vec<_> =
        all.iter().filter_map(|link| Some(PendingDelete { index: link.index, mark: link.mark()? })).collect();
    // In one group they go as fast as one. No other link of a lab is in any.
    links.delete_links(&doomed, 0xdead).unwrap();
}

/// Destroys tables whose owner is dead.
pub fn destroy(tables: &[(Family, &str)]) {
    let mut transaction = Transaction::new();
    for (family, name) in tables {
        transaction.destroy_table(*family, name);
    }
    Writer::open().unwrap().commit(transaction).unwrap();
}

fn observe_host() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (family, name) in TABLES {
        lines.extend(table(family, name));
    }
    lines.extend(rules());
    lines.extend(links(true));
    for path in FORWARDING {
        lines.insert(format!("sysctl {path} = {}", sysctl::read(path).unwrap()));
    }
    lines.extend(sockets().into_iter().map(|socket| format!("socket {socket}")));
    for root in [EXEC_ROOT, "/var/lib/fairway/logs", "/etc/netns"] {
        files(Path::new(root), &mut lines);
    }
    lines
}

fn observe_netns() -> BTreeSet<String> {
    let mut lines = links(false);
    // The resolver's ports are others each time.
    let rewriting = table(Family::Ip, resolver::TABLE).len();
    lines.insert(format!("the rewriting of questions has {rewriting} parts"));
    let resolver = sockets().into_iter().filter(|socket| socket.starts_with("127.0.0.11:")).count();
    lines.insert(format!("the resolver has {resolver} sockets"));
    lines
}

/// Which programs of iptables there may be something to ask of. Where nothing is theirs none is run.
fn programs() -> impl Iterator<Item = (bool, Programs)> {
    let chains = |family| Reader::open().unwrap().chain_names(family).unwrap();
    let all = [
        (true, Flavour::Nft, !chains(Family::Ip).is_empty()),
        (false, Flavour::Nft, !chains(Family::Ip6).is_empty()),
        (true, Flavour::Legacy, iptables::has_legacy_tables(true)),
        (false, Flavour::Legacy, iptables::has_legacy_tables(false)),
    ];
    let there = all.into_iter().filter(|(_, _, there)| *there);
    there.map(|(ipv4, flavour, _)| (ipv4, Programs::open(Some(flavour)).expect("apt-get install iptables")))
}

/// What of the rules of iptables is ours: each chain and rule.
pub fn rules() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (ipv4, programs) in programs() {
        let text = programs.save(ipv4).unwrap();
        let mut table = "";
        for line in text.lines() {
            table = line.strip_prefix('*').unwrap_or(table);
            if line.contains("FAIRWAY") {
                let line = line.split(" [").next().unwrap();
                lines.insert(format!("{} rules, ipv4 {ipv4}, {table}: {line}", programs.flavour()));
            }
        }
    }
    lines
}

/// Removes all rules of iptables.
fn wipe_rules() {
    for (ipv4, programs) in programs() {
        for table in ["raw", "filter", "nat"] {
            programs.restore(ipv4, &format!("*{table}\n-F\n-X\nCOMMIT\n"), |_| {}).unwrap();
        }
    }
}

/// A table: a line for each rule and each element.
fn table(family: Family, name: &str) -> Vec<String> {
    let Some(table) = Reader::open().unwrap().table(family, name).unwrap() else { return Vec::new() };
    let mut lines = vec![format!("table {family:?} {name} {:?}", table.flags)];
    let table = table.at_rest();
    for chain in &table.chains {
        lines.push(format!("chain {family:?} {} {chain:?}", chain.name));
    }
    for set in &table.sets {
        let elements = set.elements.iter().map(|element| format!("{element:02x?}"));
        lines.extend(elements.map(|element| format!("set {family:?} {} {element}", set.name)));
    }
    lines
}

/// Links with their addresses, default routes and routes of ours.
fn links(host: bool) -> BTreeSet<String> {
    let links = Links::open().unwrap();
    let (all, addresses, routes) =
        (links.all().unwrap(), links.addresses(0).unwrap(), links.routes().unwrap());
    let names: BTreeMap<u32, String> = all.iter().map(|link| (link.index, link.name.clone())).collect();
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();
    let mut lines = BTreeSet::new();
    for link in &all {
        // The host's end of a pair has any MAC address.
        let is_random = host && matches!(link.kind.as_deref(), Some("veth" | "ifb"));
        let mac = link.mac.filter(|_| !is_random);
        let master = link.master.map(name);
        let mut line = format!(
            "link {} {:?} mac {mac:?} mtu {} up {} port of {master:?} hairpin {:?} alias {:?} group {}",
            link.name, link.kind, link.mtu, link.up, link.hairpin, link.alias, link.group
        );
        // A pair's end on the host inherits at birth whether it hears routers; without addresses it means nothing.
        let hears = (!is_random).then_some("ipv6/conf/{}/accept_ra");
        for setting in ["ipv4/conf/{}/route_localnet", "ipv6/conf/{}/disable_ipv6"].into_iter().chain(hears) {
            let path = format!("net/{}", setting.replace("{}", &link.name));
            write!(line, " {setting} {:?}", sysctl::read(&path).ok()).unwrap();
        }
        lines.insert(line);
    }
    for address in addresses.iter().filter(|address| address.scope == 0) {
        lines.insert(format!("address {} on {}", address.address, name(address.interface)));
    }
    let is_meant = |route: &&RouteEntry| route.destination.prefix_len() == 0 || route.is_ours();
    for route in routes.iter().filter(|route| route.table == 254).filter(is_meant) {
        let RouteEntry { destination, gateway, interface, .. } = route;
        lines.insert(format!("route to {destination} by {gateway:?} on {}", name(*interface)));
    }
    lines
}

/// The sockets that wait for packets of any sender.
fn sockets() -> Vec<String> {
    let waiting = listeners().unwrap().into_iter();
    waiting.map(|it| format!("{}, protocol {}", SocketAddr::new(it.address, it.port), it.protocol)).collect()
}

fn files(path: &Path, lines: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            // That of all sandboxes comes with the first and stays.
            if !path.ends_with("sandboxes") {
                lines.insert(format!("directory {}", path.display()));
            }
            files(&path, lines);
        } else if kind.is_symlink() {
            lines.insert(format!("link {} to {:?}", path.display(), fs::read_link(&path).unwrap()));
        } else {
            let contents = fs::read_to_string(&path).unwrap_or_default();
            lines.insert(format!("file {} {contents:?}", path.display()));
        }
    }
}
