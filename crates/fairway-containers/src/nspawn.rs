//! systemd-nspawn: machines that systemd-machined has registered, and processes of systemd-nspawn that it has not.

use std::collections::BTreeMap;

use crate::container::{Container, Engine, State};
use crate::process_list::{self, Process};
use crate::reader::Reader;

const DIRECTORY: &str = "/run/systemd/machines";

/// Lists the machines that are containers.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let mut leaders: BTreeMap<String, u32> = BTreeMap::new();
    // Links such as `unit:machine-web.scope` lead to the same files.
    let names =
        reader.names(DIRECTORY).into_iter().filter(|name| !name.contains(':') && !name.starts_with('.'));
    for name in names.collect::<Vec<_>>() {
        let path = format!("{DIRECTORY}/{name}");
        let Some(text) = reader.text(&path) else { continue };
        match leader(&text) {
            Ok(Some(pid)) if reader.host.parent(pid).is_some() => drop(leaders.insert(name, pid)),
            Ok(_) => {}
            Err(reason) => reader.broken(&path, reason),
        }
    }
    // It needs root; a process of another user only has its name.
    let is_nspawn = |it: &&Process| it.user == 0 && it.name.starts_with("systemd-nspawn");
    for process in reader.host.processes.iter().filter(is_nspawn) {
        let Some(name) = machine(process) else { continue };
        let children = process_list::children(&reader.host.root, process.pid);
        if let Some(pid) = children.first() {
            leaders.entry(name).or_insert(*pid);
        }
    }
    let mut containers = Vec::new();
    for (name, pid) in leaders {
        let mut container = Container::new(Engine::Nspawn, vec![name], String::new());
        container.state = State::Running;
        container.pid = Some(pid);
        container.namespace = reader.namespace(pid);
        containers.push(container);
    }
    containers
}

/// The first process in the record of a machine; none if the machine is not a container.
fn leader(text: &str) -> Result<Option<u32>, &'static str> {
    let value = |key: &str| {
        let values = text.lines().filter_map(|line| line.split_once('='));
        values.filter(|(found, _)| *found == key).map(|(_, value)| value.trim_matches('"')).next_back()
    };
    if value("CLASS").is_some_and(|class| class != "container") {
        return Ok(None);
    }
    value("LEADER").ok_or("there is no LEADER")?.parse().map(Some).map_err(|_| "LEADER is no process id")
}

/// The name of the machine that a systemd-nspawn runs: as given, or of its directory or image.
fn machine(process: &Process) -> Option<String> {
    let given = process.option("-M", "--machine");
    let place = || process.option("-D", "--directory").or_else(|| process.option("-i", "--image"));
    let last = |path: &str| {
        path.trim_end_matches('/').rsplit('/').next().map(|it| it.trim_end_matches(".raw").to_owned())
    };
    given.map(str::to_owned).or_else(|| last(place()?)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, lines};

    #[test]
    fn leaders_are_read() {
        for (text, expected) in [
            ("# header\nNAME=deb\nCLASS=container\nLEADER=41\n", Ok(Some(41))),
            ("LEADER=\"41\"", Ok(Some(41))),
            ("CLASS=vm\nLEADER=41", Ok(None)),
            ("CLASS=host", Ok(None)),
            ("NAME=deb", Err("there is no LEADER")),
            ("LEADER=x", Err("LEADER is no process id")),
            ("", Err("there is no LEADER")),
        ] {
            assert_eq!(leader(text), expected, "{text}");
        }
    }

    #[test]
    fn machines_are_named_as_given_or_for_their_place() {
        for (line, expected) in [
            ("systemd-nspawn -M web -D /srv/x", Some("web")),
            ("systemd-nspawn --machine=web", Some("web")),
            ("systemd-nspawn -D /srv/deb/", Some("deb")),
            ("systemd-nspawn --image=/srv/deb.raw -b", Some("deb")),
            ("systemd-nspawn -D /", None),
            ("systemd-nspawn", None),
        ] {
            let arguments = line.split(' ').map(str::to_owned).collect();
            assert_eq!(machine(&Process { arguments, ..Process::default() }).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn machines_and_unregistered_processes_are_found_once() {
        let fixture = Fixture::new();
        fixture.file("/run/systemd/machines/deb", "CLASS=container\nLEADER=41\n");
        fixture.link("/run/systemd/machines/unit:machine-deb.scope", "deb");
        fixture.file("/run/systemd/machines/gone", "LEADER=99\n").file("/run/systemd/machines/bad", "");
        fixture.process(40, 1, "systemd-nspawn -M deb").process(41, 40, "systemd");
        fixture.process(50, 1, "systemd-nspawn -D /srv/other").process(51, 50, "sh");
        fixture.process(60, 1, "systemd-nspawn -M starting");
        fixture.file("/proc/40/task/40/children", "41").file("/proc/50/task/50/children", "51 ");
        assert_eq!(lines(&fixture.read_as(1000, read).0), ["machine:deb running pid=41"]);
        let (containers, notes) = fixture.read(read);
        assert_eq!(lines(&containers), ["machine:deb running pid=41", "machine:other running pid=51"]);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].to_string(), "engine: cannot use /run/systemd/machines/bad: there is no LEADER");
    }
}
