//! Virtual servers of IPVS.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fairway_walk::{RealServer, VirtualServer};

/// The table of the calling thread's namespace (`ip_vs_info_seq_show` in net/netfilter/ipvs/ip_vs_ctl.c).
const TABLE: &str = "/proc/thread-self/net/ip_vs";

/// The virtual servers of the namespace of the calling thread: none where the kernel has no IPVS.
pub fn virtual_servers() -> Vec<VirtualServer> {
    fs::read_to_string(TABLE).map(|text| parse(&text)).unwrap_or_default()
}

/// Services by the mark of packets are left out.
fn parse(text: &str) -> Vec<VirtualServer> {
    let mut found: Vec<VirtualServer> = Vec::new();
    // Real servers of a service that is left out belong to none.
    let mut is_within = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", address, forwarding, weight, ..] if is_within => {
                let server = socket_address(address).zip(weight.parse().ok());
                let server = server.map(|(address, weight)| RealServer {
                    address,
                    forwarding: (*forwarding).to_owned(),
                    weight,
                });
                if let Some(last) = found.last_mut() {
                    last.servers.extend(server);
                }
            }
            ["->", ..] => {}
            [protocol, address, scheduler, flags @ ..] => {
                let service = service(protocol, address, scheduler, flags);
                is_within = service.is_some();
                found.extend(service);
            }
            _ => is_within = false,
        }
    }
    found
}

fn service(protocol: &str, address: &str, scheduler: &str, flags: &[&str]) -> Option<VirtualServer> {
    let protocol = match protocol {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        _ => return None,
    };
    let address = socket_address(address)?;
    Some(VirtualServer {
        protocol,
        address: address.ip(),
        port: address.port(),
        scheduler: scheduler.to_owned(),
        persistent: flags.contains(&"persistent"),
        servers: Vec::new(),
    })
}

/// `0A60000A:0050`, or `[2001:0db8:0000:...]:0050`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address: IpAddr = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse().ok()?,
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr
  -> 0A02000A:1F90      Masq    1      0          0
  -> 0A02000B:1F90      Masq    0      2          1
FWM  00000007 wlc
  -> 0A02000C:0000      Route   1      0          0
UDP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0035 sh persistent 10800 128
  -> [fd00:0000:0000:0000:0000:0000:0000:000b]:0035      Tunnel  3      0          0
";

    #[test]
    fn services_are_read_with_their_servers() {
        let found = parse(SAMPLE);
        let lines: Vec<String> = found
            .iter()
            .map(|it| {
                let servers =
                    it.servers.iter().map(|it| format!("{} {} {}", it.address, it.forwarding, it.weight));
                let servers = servers.collect::<Vec<_>>().join(", ");
                format!(
                    "{} {} {} {} {}: {servers}",
                    it.protocol, it.address, it.port, it.scheduler, it.persistent
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "6 10.96.0.10 80 rr false: 10.2.0.10:8080 Masq 1, 10.2.0.11:8080 Masq 0",
                "17 fd00::a 53 sh true: [fd00::b]:53 Tunnel 3"
            ]
        );
        assert_eq!(parse(""), []);
    }
}
