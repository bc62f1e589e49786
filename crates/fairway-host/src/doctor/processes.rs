//! The docker-proxy processes of the host.

use std::fs;
use std::net::SocketAddr;

use fairway_inspect::doctor::DockerProxy;
use fairway_model::Protocol;

use crate::socket_owner::{command_line, docker_proxy_option};

/// The docker-proxy processes in the network namespace of the calling thread.
pub fn docker_proxies() -> Vec<DockerProxy> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let proxies = pids.filter_map(|pid| docker_proxy(pid, &command_line(pid)));
    proxies.filter(|it| fs::read_link(format!("/proc/{}/ns/net", it.pid)).ok() == own).collect()
}

/// A docker-proxy by its command line.
fn docker_proxy(pid: u32, arguments: &[String]) -> Option<DockerProxy> {
    let value = |name: &str| docker_proxy_option(arguments, name);
    let end = |address: &str, port: &str| {
        Some(SocketAddr::new(value(address)?.parse().ok()?, value(port)?.parse().ok()?))
    };
    Some(DockerProxy {
        pid,
        protocol: Protocol::from_name(value("proto")?)?,
        host: end("host-ip", "host-port")?,
        container: end("container-ip", "container-port")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &str) -> Option<DockerProxy> {
        docker_proxy(7, &command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn both_ends_are_in_the_command_line() {
        let found = read(
            "/usr/bin/docker-proxy -proto udp -host-ip 0.0.0.0 -host-port 53 -container-ip 172.17.0.2 -container-port 5353",
        );
        let wanted = DockerProxy {
            pid: 7,
            protocol: Protocol::Udp,
            host: "0.0.0.0:53".parse().unwrap(),
            container: "172.17.0.2:5353".parse().unwrap(),
        };
        assert_eq!(found, Some(wanted));
        assert_eq!(read("docker-proxy -proto tcp"), None);
        assert_eq!(read("sleep -proto tcp"), None);
        assert_eq!(read(""), None);
    }
}
