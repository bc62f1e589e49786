//! The port that an object is about, by its key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fairway_model::Protocol;

use super::iptables;
use crate::object::{Key, SetName};

/// The port of the host that the object publishes: its socket, or the translation, which a port has alone that
/// another engine holds.
pub fn published_port(key: &Key) -> Option<(Protocol, SocketAddr)> {
    match key {
        Key::Socket(protocol, at) => Some((*protocol, *at)),
        Key::Element(set, bytes) => {
            let (protocol, rest) = protocol(bytes)?;
            let (address, rest) = match set {
                SetName::Published4 => (Ipv4Addr::UNSPECIFIED.into(), rest),
                SetName::Published6 => (Ipv6Addr::UNSPECIFIED.into(), rest),
                SetName::Published4ByAddress => address::<4>(rest)?,
                SetName::Published6ByAddress => address::<16>(rest)?,
                _ => return None,
            };
            Some((protocol, SocketAddr::new(address, port(rest)?)))
        }
        Key::Rules(chain, text) => iptables::published_port(chain, text),
        _ => None,
    }
}

/// The port of a sandbox that the object lets those reach who may go straight there.
pub fn direct_port(key: &Key) -> Option<(Protocol, SocketAddr)> {
    match key {
        Key::Element(set, bytes) => {
            let (address, rest) = match set {
                SetName::DirectPorts4 => address::<4>(bytes)?,
                SetName::DirectPorts6 => address::<16>(bytes)?,
                _ => return None,
            };
            let (protocol, rest) = protocol(rest)?;
            Some((protocol, SocketAddr::new(address, port(rest)?)))
        }
        Key::Rules(chain, text) => iptables::direct_port(chain, text),
        _ => None,
    }
}

/// The first part of a raw key as a protocol, and the rest.
fn protocol(bytes: &[u8]) -> Option<(Protocol, &[u8])> {
    let ([number, ..], rest) = bytes.split_first_chunk::<4>()?;
    Some((Protocol::from_number(*number)?, rest))
}

/// The first part of a raw key as an address, and the rest.
fn address<const BYTES: usize>(bytes: &[u8]) -> Option<(IpAddr, &[u8])>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (address, rest) = bytes.split_first_chunk::<BYTES>()?;
    Some((IpAddr::from(*address), rest))
}

/// The last part of a raw key as a port.
fn port(bytes: &[u8]) -> Option<u16> {
    let [high, low, ..] = *bytes else { return None };
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ElementKey;
    use crate::object::iptables::Rules;

    #[test]
    fn a_published_port_is_known_by_each_of_its_keys() {
        for at in ["0.0.0.0:53", "10.1.2.3:53", "[::]:5353", "[fd00::1]:53"] {
            let at: SocketAddr = at.parse().unwrap();
            let to = SocketAddr::new(at.ip(), 1);
            for protocol in Protocol::ALL {
                let element = ElementKey::published(protocol, at);
                let rules: Rules = iptables::published(protocol, at, to);
                let text = rules.text();
                let keys = [
                    Key::Socket(protocol, at),
                    Key::Element(element.set, element.bytes),
                    Key::Rules(rules.chain, text),
                ];
                for key in keys {
                    assert_eq!(published_port(&key), Some((protocol, at)), "{key:?}");
                    assert_eq!(direct_port(&key), None);
                }
            }
        }
    }
}
