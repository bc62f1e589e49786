//! Finds the process that has a socket, and where a proxy of another engine forwards to.

use std::net::{IpAddr, SocketAddr};

use fairway_containers::{Container, Engine, PublishedPort};
use fairway_kernel::port_holder;
use fairway_walk::Listener;

/// The name of the process of Fairway's relay.
const RELAY: &str = "fairway";
/// The name of the process that forwards ports of podman's rootless containers.
const ROOTLESS_PROXY: &str = "rootlessport";

/// Names the process that has a socket, and the target if it is a proxy.
pub fn identify(listener: &mut Listener, containers: &[Container]) {
    let inode = listener.owner.strip_prefix(Listener::UNNAMED).and_then(|inode| inode.parse().ok());
    let Some(holder) = inode.and_then(port_holder::of_socket) else { return };
    let arguments = command_line(holder.pid);
    listener.owner = holder.to_string();
    listener.proxy = docker_proxy_target(&arguments);
    match holder.name.as_str() {
        // The relay, whose targets the daemon knows alone.
        RELAY => {
            let of_relay = |it: &&Container| it.engine == Engine::Fairway;
            listener.proxy = published(containers.iter().filter(of_relay), listener)
                .and_then(|(container, port)| Some(SocketAddr::new(container.addresses().next()?, port)));
        }
        // Its connection begins in another namespace, of the user's containers.
        ROOTLESS_PROXY => {
            if let Some((container, port)) = published(containers.iter(), listener) {
                let name = container.qualified();
                listener.owner.push_str(&format!(", which forwards it to port {port} of {name}"));
            }
        }
        _ => {}
    }
}

/// The container to which a socket's port is published, and the port there.
fn published<'c>(
    mut containers: impl Iterator<Item = &'c Container>,
    listener: &Listener,
) -> Option<(&'c Container, u16)> {
    let leads = |it: &PublishedPort| {
        let here = it.host_address.is_unspecified() || it.host_address == listener.address;
        let same = it.protocol.number() == listener.protocol && it.host_ports.contains(listener.port);
        let offset = listener.port.checked_sub(it.host_ports.first)?;
        it.container_port?.checked_add(offset).filter(|_| here && same)
    };
    containers.find_map(|container| Some((container, container.ports.iter().find_map(leads)?)))
}

/// The target of a docker-proxy, from its command line: `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080
/// -container-ip 172.17.0.2 -container-port 80` (cmd/docker-proxy of moby).
fn docker_proxy_target(arguments: &[String]) -> Option<SocketAddr> {
    let value = |name: &str| docker_proxy_option(arguments, name);
    let address: IpAddr = value("container-ip")?.parse().ok()?;
    Some(SocketAddr::new(address, value("container-port")?.parse().ok()?))
}

/// The value of an option in the command line of a docker-proxy; none if it is another program.
pub fn docker_proxy_option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let (program, options) = arguments.split_first()?;
    if program.rsplit('/').next() != Some("docker-proxy") {
        return None;
    }
    let is = |word: &String| word.trim_start_matches('-') == name;
    let place = options.iter().position(is)?;
    options.get(place + 1).map(String::as_str)
}

/// The words of the command line of a process; none if it has ended.
pub fn command_line(process: u32) -> Vec<String> {
    let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_model::{PortRange, Protocol};

    fn target(command: &str) -> Option<String> {
        let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        docker_proxy_target(&arguments).map(|it| it.to_string())
    }

    #[test]
    fn the_target_of_a_docker_proxy_is_in_its_command_line() {
        let ipv4 = "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80";
        assert_eq!(target(ipv4).as_deref(), Some("172.17.0.2:80"));
        let ipv6 = "docker-proxy -proto udp -host-ip :: -host-port 53 -container-ip fd00::2 -container-port 53 -use-listen-fd";
        assert_eq!(target(ipv6).as_deref(), Some("[fd00::2]:53"));
    }

    #[test]
    fn other_programs_and_broken_commands_have_no_target() {
        for command in [
            "",
            "nginx -container-ip 172.17.0.2 -container-port 80",
            "docker-proxy -proto tcp",
            "docker-proxy -container-ip 172.17.0.2 -container-port",
            "docker-proxy -container-ip web -container-port 80",
        ] {
            assert_eq!(target(command), None, "{command}");
        }
    }

    #[test]
    fn the_container_of_a_published_port_is_found_by_address_port_and_protocol() {
        let port = |host_address: &str, first, last, inside| PublishedPort {
            protocol: Protocol::Tcp,
            host_address: host_address.parse().unwrap(),
            host_ports: PortRange { first, last },
            container_port: Some(inside),
        };
        let container = |name: &str, ports| {
            let mut container = Container::new(Engine::Fairway, vec![name.to_owned()], String::new());
            container.ports = ports;
            container
        };
        let all = [
            container("web", vec![port("127.0.0.1", 8080, 8080, 80)]),
            container("many", vec![port("0.0.0.0", 9000, 9009, 100)]),
        ];
        let listener = |protocol, address: &str, port| Listener {
            protocol,
            address: address.parse().unwrap(),
            port,
            both_families: false,
            interface: None,
            held: false,
            owner: String::new(),
            proxy: None,
        };
        let found = |listener: &Listener| {
            published(all.iter(), listener).map(|(it, port)| format!("{} {port}", it.name()))
        };
        assert_eq!(found(&listener(6, "127.0.0.1", 8080)).as_deref(), Some("web 80"));
        assert_eq!(found(&listener(6, "10.0.0.1", 8080)), None);
        assert_eq!(found(&listener(6, "0.0.0.0", 9003)).as_deref(), Some("many 103"));
        assert_eq!(found(&listener(17, "0.0.0.0", 9003)), None);
        assert_eq!(found(&listener(6, "0.0.0.0", 9010)), None);
    }
}
