//! Networks and published ports of podman's containers, where other programs than podman can read them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::{PortRange, Protocol};
use serde_json::Value;

use crate::cni::Results;
use crate::container::{Attachment, PublishedPort};
use crate::json::{list, parsed, text};
use crate::port_mapping;
use crate::reader::Reader;

/// Reads the networks and ports of the containers of root and of users, by the identifiers of the containers: the files
/// of netavark for its firewall rules (1.10 and newer), and those of aardvark-dns for networks with names.
pub(super) fn read(reader: &mut Reader<'_>, users: &BTreeSet<u32>) -> Results {
    let mut networks = Results::new();
    for user in users {
        let directory = match user {
            0 => "/run/containers/networks".to_owned(),
            _ => format!("/run/user/{user}/containers/networks"),
        };
        let ports = format!("{directory}/firewall/ports");
        for name in reader.names(&ports) {
            let Some(value) = reader.json(&format!("{ports}/{name}")) else { continue };
            match forwarding(&value) {
                Ok((id, attachment, ports)) => add(&mut networks, id, attachment, ports),
                Err(reason) => reader.broken(&format!("{ports}/{name}"), reason),
            }
        }
        let resolver = format!("{directory}/aardvark-dns");
        for name in reader.names(&resolver).into_iter().filter(|name| name != "aardvark.pid") {
            let Some(text) = reader.text(&format!("{resolver}/{name}")) else { continue };
            // The file of a network without a way out is marked so.
            let network = name.trim_end_matches("%int");
            containers(network, &text)
                .into_iter()
                .for_each(|(id, it)| add(&mut networks, id, it, Vec::new()));
        }
    }
    networks
}

/// Adds what one file says. Both kinds of files have the addresses; those of the resolver have all of them.
fn add(networks: &mut Results, id: String, attachment: Attachment, ports: Vec<PublishedPort>) {
    let attached = networks.entry(id).or_default();
    attached.ports.extend(ports);
    match attached.attachments.iter_mut().find(|it| it.network == attachment.network) {
        Some(known) => *known = attachment,
        None => attached.attachments.push(attachment),
    }
}

/// Reads a file of netavark on one container in one network.
fn forwarding(value: &Value) -> Result<(String, Attachment, Vec<PublishedPort>), &'static str> {
    let id = text(value, &["container_id"]).ok_or("there is no container_id")?;
    let network = text(value, &["network_name"]).ok_or("there is no network_name")?;
    let (four, six) = (parsed(value, &["container_ip_v4"]), parsed(value, &["container_ip_v6"]));
    let mappings = list(value, &["port_mappings"]);
    let ports = mappings.flat_map(|it| port_mapping::read(it, four.is_some(), six.is_some())).collect();
    let addresses = [four, six].into_iter().flatten().collect();
    let attachment = Attachment { network: network.to_owned(), interface: None, addresses, mac: None };
    Ok((id.to_owned(), attachment, ports))
}

/// Reads a file of aardvark-dns: the addresses of the resolver, then a line for each container with its identifier, its
/// IPv4 and its IPv6 addresses, and its names. Fields are separated by single spaces and may be empty.
fn containers(network: &str, text: &str) -> Vec<(String, Attachment)> {
    let container = |line: &str| {
        let mut fields = line.split(' ');
        let id = fields.next().filter(|id| !id.is_empty())?;
        let addresses = fields.take(2).flat_map(|field| field.split(','));
        let addresses: Vec<IpAddr> = addresses.filter_map(|address| address.parse().ok()).collect();
        (!addresses.is_empty()).then(|| {
            let attachment =
                Attachment { network: network.to_owned(), interface: None, addresses, mac: None };
            (id.to_owned(), attachment)
        })
    };
    text.lines().skip(1).filter_map(container).collect()
}

/// The host ports that a conmon holds: podman of root binds them, so that no other program can, and hands them over.
/// The container's ports are in podman's database and in the firewall only.
pub(super) fn held_ports(reader: &mut Reader<'_>, conmon: u32) -> Vec<PublishedPort> {
    let sockets: BTreeSet<String> = reader.links(&format!("/proc/{conmon}/fd")).into_iter().collect();
    if !sockets.iter().any(|target| target.starts_with("socket:")) {
        return Vec::new();
    }
    let mut ports = Vec::new();
    for (table, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let Some(text) = reader.text(&format!("/proc/{conmon}/net/{table}")) else { continue };
        let held = text.lines().skip(1).filter_map(socket).filter(|(.., inode)| sockets.contains(inode));
        ports.extend(held.map(|(host_address, port, _)| PublishedPort {
            protocol,
            host_address,
            host_ports: PortRange::single(port),
            container_port: None,
        }));
    }
    ports
}

/// Address, port and inode in a line of a socket table (proc(5), `/proc/net/tcp`).
fn socket(line: &str) -> Option<(IpAddr, u16, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port != 0)?;
    Some((read_address(address)?, port, format!("socket:[{}]", fields.get(9)?)))
}

/// An address in a socket table: words of 32 bits in the machine's order, in hexadecimal digits.
fn read_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut octets = [0; 16];
    for (number, four) in octets.chunks_mut(4).enumerate() {
        four.copy_from_slice(&word(number * 8)?);
    }
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[test]
    fn files_of_aardvark_are_read() {
        let text = "10.89.0.1,fd00::1\n\
                    b9ef 10.89.0.2  web,b9ef61d8ab79\n\
                    aaaa 10.89.0.3,10.89.0.4 fd00::3 db\n\
                    cccc  fd00::5 six 10.0.0.53\n\
                    dddd  \n\
                    \n\
                    eeee x y\n";
        let found = containers("app", text);
        let lines: Vec<String> = found
            .iter()
            .map(|(id, it)| {
                let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
                format!("{id} {} {}", it.network, addresses.join(","))
            })
            .collect();
        assert_eq!(lines, ["b9ef app 10.89.0.2", "aaaa app 10.89.0.3,10.89.0.4,fd00::3", "cccc app fd00::5"]);
        assert_eq!(containers("app", ""), []);
    }

    #[test]
    fn files_of_netavark_are_read() {
        let value = serde_json::json!({
            "container_id": "aaaa", "network_name": "app", "network_hash_name": "1d8f", "dns_port": 53,
            "container_ip_v4": "10.89.0.2", "subnet_v4": "10.89.0.0/24", "container_ip_v6": null, "dns_server_ips": [],
            "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 2}]
        });
        let (id, attachment, ports) = forwarding(&value).unwrap();
        assert_eq!((id.as_str(), attachment.network.as_str()), ("aaaa", "app"));
        assert_eq!(attachment.addresses, ["10.89.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["0.0.0.0:8080-8081->80-81/tcp"]
        );
        for (key, reason) in
            [("container_id", "there is no container_id"), ("network_name", "there is no network_name")]
        {
            let mut broken = value.clone();
            broken[key] = Value::Null;
            assert_eq!(forwarding(&broken).unwrap_err(), reason);
        }
        let mut none = value;
        none["port_mappings"] = Value::Null;
        none["container_ip_v4"] = "x".into();
        let (_, attachment, ports) = forwarding(&none).unwrap();
        assert_eq!((attachment.addresses, ports), (Vec::new(), Vec::new()));
    }

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 26262865 1 0 100 0 0 10 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 26262866 1 0 100 0 0 10 0
   2: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0
   x\n";

    #[test]
    fn ports_that_conmon_holds_are_found() {
        let fixture = Fixture::new();
        fixture.link("/proc/9/fd/5", "socket:[26262865]").link("/proc/9/fd/6", "socket:[26262866]");
        fixture.link("/proc/9/fd/0", "/dev/null").file("/proc/9/net/tcp", TABLE);
        let ports = std::cell::RefCell::default();
        let (_, notes) = fixture.read(|reader| {
            *ports.borrow_mut() = held_ports(reader, 9);
            Vec::new()
        });
        let texts: Vec<String> = ports.borrow().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.0.0.0:8080/tcp", "127.0.0.1:8081/tcp"]);
        assert_eq!(notes, []);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(read_address("0100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(read_address("00000000000000000000000001000000"), Some("::1".parse().unwrap()));
        for broken in ["", "0A0B", "0100007G", "0000000000000000000000000100000", "ééééé"] {
            assert_eq!(read_address(broken), None, "{broken}");
        }
    }
}
