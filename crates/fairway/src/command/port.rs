//! Published ports: `fairway port`, and how lists show them.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use fairway_api::Client;
use fairway_api::types::{PortMap, PortSummary};

use super::error::CommandError;
use super::print::print;

/// Which port to show.
#[derive(Debug, Args)]
pub(super) struct PortOptions {
    /// Sandbox
    container: String,
    /// Port of the sandbox [default: all]
    #[arg(value_name = "PRIVATE_PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl PortOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let ports = client.container(&self.container)?.network_settings.ports;
        print(&match &self.port {
            None => all(&ports),
            Some(port) => one(&ports, port).ok_or_else(|| CommandError::NotPublished {
                port: with_protocol(port),
                name: self.container.clone(),
            })?,
        })?;
        Ok(0)
    }
}

fn with_protocol(port: &str) -> String {
    match port.split_once('/') {
        Some((port, protocol)) => format!("{port}/{}", protocol.to_ascii_lowercase()),
        None => format!("{port}/tcp"),
    }
}

fn one(ports: &PortMap, port: &str) -> Option<String> {
    let bindings = ports.get(&with_protocol(port))?.as_ref().filter(|it| !it.is_empty())?;
    Some(bindings.iter().map(|it| format!("{}\n", joined(&it.host_ip, &it.host_port))).collect())
}

/// Each port and where it is published, a line each.
pub(super) fn all(ports: &PortMap) -> String {
    let mut sorted: Vec<_> = ports.iter().filter_map(|(port, it)| Some((port, it.as_ref()?))).collect();
    let number = |port: &str| port.split('/').next().and_then(|it| it.parse::<u16>().ok());
    sorted.sort_by_key(|(port, _)| (number(port), (*port).clone()));
    let line = |port: &str, address: &str, host: &str| format!("{port} -> {}\n", joined(address, host));
    sorted
        .iter()
        .flat_map(|(port, bindings)| bindings.iter().map(move |it| line(port, &it.host_ip, &it.host_port)))
        .collect()
}

/// An address and port, with brackets around an IPv6 address.
pub(super) fn joined(address: &str, port: &str) -> String {
    match (address.parse::<IpAddr>(), port.parse()) {
        // Routed: no port of the host leads there.
        _ if port.is_empty() => "the container's own address (routed)".to_owned(),
        (Ok(address), Ok(port)) => SocketAddr::new(address, port).to_string(),
        _ => format!("{address}:{port}"),
    }
}

/// Ports that follow one another, on the host and in the sandbox alike.
struct Run {
    address: String,
    protocol: String,
    private: (u16, u16),
    /// Zeroes when they are only exposed.
    public: (u16, u16),
}

impl Run {
    fn takes(&mut self, port: &PortSummary) -> bool {
        let next = |last: u16, port: u16| last.checked_add(1) == Some(port);
        let follows = self.address == port.ip
            && self.protocol == port.kind
            && next(self.private.1, port.private_port)
            && match self.public.1 {
                0 => port.public_port == 0,
                last => next(last, port.public_port),
            };
        if follows {
            self.private.1 = port.private_port;
            self.public.1 = port.public_port;
        }
        follows
    }

    fn text(&self) -> String {
        let range = |(first, last): (u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let private = format!("{}/{}", range(self.private), self.protocol);
        if self.public.0 == 0 {
            return private;
        }
        let address = match self.address.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.address.clone(),
        };
        format!("{address}:{}->{private}", range(self.public))
    }
}

/// The ports of a sandbox in one line, as `docker ps` has them: those whose number is the same on
/// both sides first, runs of ports as ranges. Unlike Docker's, so are runs that lead to others.
pub(super) fn displayed(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    let changed = |port: &PortSummary| port.public_port != 0 && port.public_port != port.private_port;
    sorted.sort_by_key(|it| (changed(it), it.kind.clone(), it.private_port, it.ip.clone(), it.public_port));
    let mut runs: Vec<Run> = Vec::new();
    for port in sorted {
        if runs.iter_mut().any(|run| run.takes(port)) {
            continue;
        }
        runs.push(Run {
            address: port.ip.clone(),
            protocol: port.kind.clone(),
            private: (port.private_port, port.private_port),
            public: (port.public_port, port.public_port),
        });
    }
    runs.iter().map(Run::text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use fairway_api::types::PortBinding;

    use super::*;

    fn port(ip: &str, public_port: u16, private_port: u16, kind: &str) -> PortSummary {
        PortSummary { ip: ip.to_owned(), private_port, public_port, kind: kind.to_owned() }
    }

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        let cases: [(&[PortSummary], &str); 7] = [
            (&[], ""),
            (&[port("", 0, 80, "tcp")], "80/tcp"),
            (
                &[port("0.0.0.0", 8080, 80, "tcp"), port("::", 8080, 80, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                &[
                    port("0.0.0.0", 80, 80, "tcp"),
                    port("0.0.0.0", 81, 81, "tcp"),
                    port("0.0.0.0", 83, 83, "tcp"),
                ],
                "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:83->83/tcp",
            ),
            (
                &[port("127.0.0.1", 9001, 91, "udp"), port("127.0.0.1", 9000, 90, "udp")],
                "127.0.0.1:9000-9001->90-91/udp",
            ),
            (
                &[port("0.0.0.0", 9001, 90, "tcp"), port("0.0.0.0", 9000, 91, "tcp")],
                "0.0.0.0:9001->90/tcp, 0.0.0.0:9000->91/tcp",
            ),
            (
                &[
                    port("0.0.0.0", 8080, 70, "tcp"),
                    port("0.0.0.0", 80, 80, "tcp"),
                    port("", 0, 65535, "tcp"),
                ],
                "0.0.0.0:80->80/tcp, 65535/tcp, 0.0.0.0:8080->70/tcp",
            ),
        ];
        for (ports, expected) in cases {
            assert_eq!(displayed(ports), expected);
        }
    }

    #[test]
    fn a_port_is_printed_alone_or_with_the_others() {
        let binding = |host_ip: &str, host_port: &str| PortBinding {
            host_ip: host_ip.to_owned(),
            host_port: host_port.to_owned(),
        };
        let ports = PortMap::from([
            ("443/tcp".to_owned(), Some(vec![binding("0.0.0.0", "8443")])),
            ("80/tcp".to_owned(), Some(vec![binding("0.0.0.0", "8080"), binding("::", "8080")])),
            ("90/tcp".to_owned(), None),
        ]);
        assert_eq!(all(&ports), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n443/tcp -> 0.0.0.0:8443\n");
        assert_eq!(one(&ports, "80").as_deref(), Some("0.0.0.0:8080\n[::]:8080\n"));
        assert_eq!(one(&ports, "443/TCP").as_deref(), Some("0.0.0.0:8443\n"));
        for absent in ["90", "80/udp", "81"] {
            assert_eq!(one(&ports, absent), None, "{absent}");
        }
    }
}
