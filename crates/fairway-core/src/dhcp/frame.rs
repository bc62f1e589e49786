//! DHCP messages in Ethernet frames.

use std::net::Ipv4Addr;

use super::Message;
use fairway_model::MacAddress;

const ETHERNET_IPV4: [u8; 2] = [8, 0];
const UDP: u8 = 17;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const LINK: usize = 14;
const IP: usize = 20;
const DATAGRAM: usize = 8;

/// The Internet checksum (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|word| match word {
        [high, low, ..] => [*high, *low],
        [high] => [*high, 0],
        [] => [0, 0],
    });
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The frame of a message to a server, or to all servers.
pub(super) fn to_server(message: &Message, to: Option<(MacAddress, Ipv4Addr)>) -> Vec<u8> {
    let (mac, address) = to.unwrap_or((MacAddress([0xff; 6]), Ipv4Addr::BROADCAST));
    let payload = message.encode();
    // Messages have a few hundred bytes.
    let length = |header: usize| ((header + payload.len()) as u16).to_be_bytes();
    let mut ip = [0; IP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(IP + DATAGRAM));
    ip[8] = 64;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&message.client_address.octets());
    ip[16..20].copy_from_slice(&address.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut datagram = [0; DATAGRAM];
    datagram[..2].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    datagram[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    datagram[4..6].copy_from_slice(&length(DATAGRAM));
    let sum = checksum(&[&ip[12..], &[0, UDP], &length(DATAGRAM), &datagram, &payload]);
    // A checksum of 0 means that there is none (RFC 768).
    datagram[6..].copy_from_slice(&(if sum == 0 { u16::MAX } else { sum }).to_be_bytes());
    [&mac.0[..], &message.mac.0, &ETHERNET_IPV4, &ip, &datagram, &payload].concat()
}

/// Parses a frame: the source MAC address and the message to a client; none for other frames. Checksums are not verified:
/// network cards do, and between interfaces of one host they are not computed.
pub fn parse_frame(frame: &[u8]) -> Option<(MacAddress, Message)> {
    let ip = frame.get(LINK..)?;
    let header = usize::from(ip.first()? & 0xf) * 4;
    let is_whole = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff == 0;
    let is_ipv4 = *frame.get(12..LINK)? == ETHERNET_IPV4 && ip.first()? >> 4 == 4;
    let is_udp = is_ipv4 && header >= IP && *ip.get(9)? == UDP;
    let datagram = ip.get(header..)?;
    let ports = [SERVER_PORT.to_be_bytes(), CLIENT_PORT.to_be_bytes()].concat();
    if !is_udp || !is_whole || datagram.get(..4)? != ports {
        return None;
    }
    let sender = MacAddress(frame.get(6..12)?.try_into().ok()?);
    Some((sender, Message::decode(datagram.get(DATAGRAM..)?)?))
}
