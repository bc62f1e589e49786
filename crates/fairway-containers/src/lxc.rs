//! LXC: the directories of its containers, and the processes that watch the running ones.

use std::collections::BTreeMap;

use crate::container::{Attachment, Container, Engine, Mode, State};
use crate::reader::Reader;
use crate::{process_list, users};

/// Where LXC keeps its containers by default.
const DIRECTORY: &str = "/var/lib/lxc";

/// Lists the containers of LXC, and the running ones of LXD and Incus.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let users = users::list(reader);
    let titles = reader.host.processes.iter().filter_map(|it| Some((monitored(it.arguments.first()?)?, it)));
    // No user can say anything of the containers of another one.
    let mut found: BTreeMap<(u32, String, String), Option<u32>> = titles
        .map(|((path, name), process)| ((process.user, path.to_owned(), name.to_owned()), Some(process.pid)))
        .collect();
    for name in reader.names(DIRECTORY) {
        found.entry((0, DIRECTORY.to_owned(), name)).or_default();
    }
    let mut containers = Vec::new();
    for ((user, path, name), monitor) in found {
        let config = reader.text(&format!("{path}/{name}/config"));
        if config.is_none() && monitor.is_none() {
            continue;
        }
        let engine = Engine::Lxc { user: users::scope(&users, user) };
        let mut container = Container::new(engine, vec![name], String::new());
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
