//! The host ports of containers by the processes that listen at them. The container's ports are in podman's database and in
//! the firewall.
//!
//! For a container of root, podman binds the ports, so that no other program can, and hands them to conmon.

use std::collections::BTreeSet;

use fairway_kernel::socket_table::{self, Entry, LISTENING, UNCONNECTED};
use fairway_model::{Namespace, PortRange, Protocol};

use crate::container::PublishedPort;
use crate::process_list;
use crate::reader::Reader;

/// The host ports at which a process listens. Its own table may be another: rootlessport moves some of its threads to the
/// namespace of the container.
pub(super) fn of(reader: &mut Reader<'_>, pid: u32) -> Vec<PublishedPort> {
    let sockets: BTreeSet<String> = reader.links(&format!("/proc/{pid}/fd")).into_iter().collect();
    if !sockets.iter().any(|target| target.starts_with("socket:")) {
        return Vec::new();
    }
    let mut ports = Vec::new();
    for (table, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let Some(text) = reader.text(&format!("/proc/self/net/{table}")) else { continue };
        let is_held = |it: &Entry| {
            [LISTENING, UNCONNECTED].contains(&it.state)
                && it.port != 0
                && sockets.contains(&format!("socket:[{}]", it.inode))
        };
        ports.extend(socket_table::parse(&text).filter(is_held).map(|it| PublishedPort {
            protocol,
            host_address: it.address,
            host_ports: PortRange::single(it.port),
            container_port: None,
        }));
    }
    ports
}

/// The host ports of a rootless container: a `rootlessport` listens at them, and its child in the container's namespace
/// connects to the container.
pub(super) fn of_rootlessport(reader: &mut Reader<'_>, container: &Namespace) -> Vec<PublishedPort> {
    let listeners: Vec<u32> =
        reader.host.processes.iter().filter(|it| it.name == "rootlessport").map(|it| it.pid).collect();
    let mut ports = Vec::new();
    for pid in listeners {
        let inside = process_list::children(&reader.host.root, pid).into_iter().any(|child| {
            let namespace = reader.namespace(child);
            namespace.is_some_and(|it| it.identity() == container.identity())
        });
        if inside {
            ports.extend(of(reader, pid));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 26262865 1 0 100 0 0 10 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 26262866 1 0 100 0 0 10 0
   2: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0
   3: 00000000:1F93 0200000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 26262865 1 0 100 0 0 10 0
   x\n";

    #[test]
    fn ports_that_conmon_holds_are_found() {
        let fixture = Fixture::new();
        fixture.link("/proc/9/fd/5", "socket:[26262865]").link("/proc/9/fd/6", "socket:[26262866]");
        fixture.link("/proc/9/fd/0", "/dev/null").file("/proc/self/net/tcp", TABLE);
        let ports = std::cell::RefCell::default();
        let (_, notes) = fixture.read(|reader| {
            *ports.borrow_mut() = of(reader, 9);
            Vec::new()
        });
        let texts: Vec<String> = ports.borrow().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.0.0.0:8080/tcp", "127.0.0.1:8081/tcp"]);
        assert_eq!(notes, []);
    }

    #[test]
    fn ports_of_rootless_containers_are_those_of_the_process_with_a_child_inside() {
        let fixture = Fixture::new();
        fixture.process(9, 1, "rootlessport").file("/proc/9/task/9/children", "10").process(
            10,
            9,
            "rootlessport",
        );
        fixture.link("/proc/9/fd/5", "socket:[26262865]").file("/proc/self/net/tcp6", TABLE6);
        // That one has no child that could be seen.
        fixture.process(19, 1, "rootlessport").link("/proc/19/fd/5", "socket:[26262865]");
        let own = fairway_kernel::namespace::identity("/proc/self/ns/net").unwrap();
        let found = |inode| {
            let namespace = Namespace { inode, ..own.clone() };
            let ports = std::cell::RefCell::default();
            fixture.read(|reader| {
                *ports.borrow_mut() = of_rootlessport(reader, &namespace);
                Vec::new()
            });
            ports.into_inner().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(own.inode), ["[::]:8080/tcp"]);
        assert_eq!(found(own.inode + 1), Vec::<String>::new());
    }

    const TABLE6: &str = "  sl  local_address rem_address st ...
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 26262865 1 0\n";
}
