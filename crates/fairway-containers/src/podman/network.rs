//! Networks and published ports of podman's containers, where other programs than podman can read them.

use std::net::IpAddr;

use serde_json::Value;

use crate::cni::Results;
use crate::container::{Attachment, PublishedPort};
use crate::json::{list, parsed, text};
use crate::port_mapping;
use crate::reader::Reader;

/// Reads the networks and ports of a user's containers, by the identifiers of the containers: the files of netavark for
/// its firewall rules (1.10 and newer), and those of aardvark-dns for networks with names.
pub(super) fn read(reader: &mut Reader<'_>, user: u32) -> Results {
    let mut networks = Results::new();
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
        containers(network, &text).into_iter().for_each(|(id, it)| add(&mut networks, id, it, Vec::new()));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
