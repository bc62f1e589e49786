//! LXC: the directories of its containers, and the processes that watch the running ones.

use std::collections::BTreeMap;

use crate::container::{Attachment, Container, Engine, Mode, State};
use crate::process_list;
use crate::reader::Reader;

/// Where LXC keeps its containers by default.
const DIRECTORY: &str = "/var/lib/lxc";

/// Lists the containers of LXC, and the running ones of LXD and Incus.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let titles =
        reader.host.processes.iter().filter_map(|it| Some((monitored(it.arguments.first()?)?, it.pid)));
    let mut monitors: BTreeMap<(String, String), u32> =
        titles.map(|((path, name), pid)| ((path.to_owned(), name.to_owned()), pid)).collect();
    let mut found: Vec<((String, String), Option<u32>)> = Vec::new();
    for name in reader.names(DIRECTORY) {
        let key = (DIRECTORY.to_owned(), name);
        let monitor = monitors.remove(&key);
        found.push((key, monitor));
    }
    found.extend(monitors.into_iter().map(|(key, monitor)| (key, Some(monitor))));
    let mut containers = Vec::new();
    for ((path, name), monitor) in found {
        let config = reader.text(&format!("{path}/{name}/config"));
        if config.is_none() && monitor.is_none() {
            continue;
        }
        let mut container = Container::new(Engine::Lxc, vec![name], String::new());
        configure(&mut container, config.as_deref().unwrap_or_default());
        let children = monitor.map(|pid| process_list::children(&reader.host.root, pid)).unwrap_or_default();
        if let Some(pid) = children.first() {
            container.state = State::Running;
            container.pid = Some(*pid);
            container.namespace = reader.namespace(*pid);
        }
        containers.push(container);
    }
    containers
}

/// The directory and name in the title of a process that watches a container: `[lxc monitor] /var/lib/lxc web`.
fn monitored(title: &str) -> Option<(&str, &str)> {
    title.strip_prefix("[lxc monitor] ")?.trim_end().rsplit_once(' ')
}

/// Reads the networks in lxc.container.conf(5).
fn configure(container: &mut Container, text: &str) {
    let mut networks: BTreeMap<u32, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let Some((number, key)) = key.trim().strip_prefix("lxc.net.").and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        networks.entry(number).or_default().entry(key).or_default().push(value.trim());
    }
    for network in networks.values() {
        let value = |key: &str| {
            network.get(key).and_then(|values| values.last()).copied().filter(|it| !it.is_empty())
        };
        match value("type") {
            Some("none") => container.mode = Mode::Host,
            Some("empty") | None => {}
            Some(kind) => {
                let addresses =
                    ["ipv4.address", "ipv6.address"].iter().filter_map(|key| network.get(key)).flatten();
                container.attachments.push(Attachment {
                    network: value("link").unwrap_or(kind).to_owned(),
                    interface: value("name").map(str::to_owned),
                    addresses: addresses.filter_map(|it| it.split('/').next()?.parse().ok()).collect(),
                    mac: value("hwaddr").and_then(|text| text.parse().ok()),
                });
            }
        }
    }
    if container.attachments.is_empty() && container.mode == Mode::Own && !networks.is_empty() {
        container.mode = Mode::None;
    }
}

#[cfg(test)]
mod tests;
