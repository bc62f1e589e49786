//! Finds the process that has a socket, and where a proxy of another engine forwards to.

use std::net::{IpAddr, SocketAddr};

use fairway_kernel::port_holder;
use fairway_walk::Listener;

/// Names the process that has a socket, and the target if it is a proxy.
pub fn identify(listener: &mut Listener) {
    let inode = listener.owner.strip_prefix(Listener::UNNAMED).and_then(|inode| inode.parse().ok());
    let Some(holder) = inode.and_then(port_holder::of_socket) else { return };
    let command = std::fs::read(format!("/proc/{}/cmdline", holder.pid)).unwrap_or_default();
    let arguments: Vec<String> =
        command.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    listener.owner = holder.to_string();
    listener.proxy = docker_proxy_target(&arguments);
}

/// The target of a docker-proxy, from its command line: `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080
/// -container-ip 172.17.0.2 -container-port 80` (cmd/docker-proxy of moby).
fn docker_proxy_target(arguments: &[String]) -> Option<SocketAddr> {
    let (program, options) = arguments.split_first()?;
    if program.rsplit('/').next() != Some("docker-proxy") {
        return None;
    }
    let value = |name: &str| {
        let is = |word: &String| word.trim_start_matches('-') == name;
        let place = options.iter().position(is)?;
        options.get(place + 1)
    };
    let address: IpAddr = value("container-ip")?.parse().ok()?;
    Some(SocketAddr::new(address, value("container-port")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
