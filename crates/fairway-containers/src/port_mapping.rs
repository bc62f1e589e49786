//! A port mapping as the plugins of CNI, nerdctl and netavark have it in JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::{PortRange, Protocol};
use serde_json::Value;

use crate::container::PublishedPort;
use crate::json::fields;

/// Reads a mapping: one published port for each of its protocols and host addresses. Without a host address it is for
/// all addresses of each family that the container has.
pub(crate) fn read(value: &Value, four: bool, six: bool) -> Vec<PublishedPort> {
    // CNI has hostPort, containerd HostPort, netavark host_port.
    let field = |name: &str| {
        let known = |key: &String| key.replace('_', "").eq_ignore_ascii_case(name);
        fields(value, &[]).find(|(key, _)| known(key)).map(|(_, value)| value)
    };
    let number = |name| field(name)?.as_u64()?.try_into().ok().filter(|port: &u16| *port != 0);
    let Some(first) = number("hostport") else { return Vec::new() };
    let Some(last) = first.checked_add(number("range").unwrap_or(1) - 1) else { return Vec::new() };
    let names = field("protocol").and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or("tcp");
    let given = field("hostip").and_then(Value::as_str).filter(|text| !text.is_empty());
    let addresses: Vec<IpAddr> = match given {
        Some(text) => text.parse().into_iter().collect(),
        None => {
            let every = [(four || !six, Ipv4Addr::UNSPECIFIED.into()), (six, Ipv6Addr::UNSPECIFIED.into())];
            every.into_iter().filter_map(|(has, address)| has.then_some(address)).collect()
        }
    };
    let container_port = number("containerport");
    let ports = names.split(',').filter_map(Protocol::from_name).flat_map(|protocol| {
        addresses.iter().map(move |address| PublishedPort {
            protocol,
            host_address: *address,
            host_ports: PortRange { first, last },
            container_port,
        })
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn port_mappings_are_read() {
        let texts = |value: Value, four, six| {
            read(&value, four, six).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (value, expected) in [
            (
                json!({"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}),
                "127.0.0.1:8080->80/udp",
            ),
            (json!({"hostPort": 8080, "containerPort": 80}), "0.0.0.0:8080->80/tcp [::]:8080->80/tcp"),
            (json!({"hostPort": 8080}), "0.0.0.0:8080/tcp [::]:8080/tcp"),
            (json!({"hostPort": 0, "containerPort": 80}), ""),
            (json!({"containerPort": 80}), ""),
            (json!({"hostPort": 8080, "protocol": "icmp"}), ""),
            (json!({"hostPort": 8080, "hostIP": "x"}), ""),
            (json!({"hostPort": 70000}), ""),
            (
                json!({"host_ip": "", "host_port": 9000, "container_port": 80, "protocol": "tcp,udp", "range": 3}),
                "0.0.0.0:9000-9002->80-82/tcp [::]:9000-9002->80-82/tcp 0.0.0.0:9000-9002->80-82/udp [::]:9000-9002->80-82/udp",
            ),
            (json!({"host_ip": "::", "host_port": 65535, "container_port": 80, "range": 3}), ""),
            (json!({"host_ip": "::", "host_port": 1, "range": 0}), "[::]:1/tcp"),
            (json!("x"), ""),
        ] {
            assert_eq!(texts(value.clone(), true, true), expected, "{value}");
        }
        let value = || json!({"hostPort": 1, "containerPort": 2});
        assert_eq!(texts(value(), true, false), "0.0.0.0:1->2/tcp");
        assert_eq!(texts(value(), false, true), "[::]:1->2/tcp");
        assert_eq!(texts(value(), false, false), "0.0.0.0:1->2/tcp");
    }
}
