//! A name server that is not ours: it gives one address for every name, and counts the questions.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairway_lab::{Lab, Place};

use crate::harness::{LAN, Stage};

/// Where a sandbox asks.
pub const RESOLVER: &str = "127.0.0.11:53";
/// What servers of tests answer.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 1);
/// The same of another server.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);

/// How long the relay waits for an answer of all servers of a sandbox.
pub const ALL_SERVERS: Duration = Duration::from_secs(4);

/// Has the host ask these servers.
pub fn set_servers(stage: &Stage, servers: &[&str]) {
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    stage.host.run_in(|| std::fs::write("/etc/resolv.conf", text).unwrap()).unwrap();
}

/// A stage whose host asks a server on the LAN.
pub fn stage(lab: &Lab) -> (Stage, Upstream) {
    let mut stage = Stage::before_daemon(lab);
    let upstream = Upstream::start(&stage.lan, LAN, FIRST);
    set_servers(&stage, &[LAN]);
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    (stage, upstream)
}

/// A running server; it ends with the lab.
pub struct Upstream {
    asked: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Upstream {
    /// Listens at an address of a place, by UDP and TCP. A link-local one of IPv6 has its link's number after it.
    pub fn start(place: &Place, at: &str, everything_is: Ipv4Addr) -> Upstream {
        let (udp, tcp) = place
            .run_in(|| {
                let at = if at.contains(':') { format!("[{at}]:53") } else { format!("{at}:53") };
                let at: SocketAddr = at.parse().unwrap();
                (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap())
            })
            .unwrap();
        let asked: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                count.lock().unwrap().push(peer);
                // The one who asked may be gone.
                let _ = udp.send_to(&answer(&buffer[..length], everything_is), peer);
            }
        });
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = tcp.accept() {
                let mut length = [0; 2];
                let Ok(()) = stream.read_exact(&mut length) else { continue };
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                let Ok(()) = stream.read_exact(&mut question) else { continue };
                count.lock().unwrap().push(peer);
                let answer = answer(&question, everything_is);
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        });
        Upstream { asked }
    }

    /// How many questions came so far.
    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The addresses that questions came from, each once.
    pub fn askers(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.asked.lock().unwrap().iter().map(SocketAddr::ip).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The question with one A record of a lifetime of zero after it (RFC 1035, 4.1).
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let name_length = question[12..].iter().position(|byte| *byte == 0).unwrap();
    let mut answer = question[..12 + name_length + 5].to_vec();
    // A response, recursion available, no error; one question, one answer, nothing else.
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
    answer.extend_from_slice(&address.octets());
    answer
}
