//! What clients of a quiet sandbox notice of a neighbor whose published ports are flooded, through the proxy.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::Lab;

use crate::figures::Table;
use crate::stage::{Stage, request};
use crate::{Failure, load};

/// What [`request`] publishes first.
const PORT: u16 = 1000;
const QUIET: u16 = 8080;
const NOISY: u16 = 9080;
/// How many connections a flood keeps: more than the relay may carry.
const KEPT: usize = 6000;
const CONNECTIONS: usize = 2000;

/// Floods until it is stopped.
type Flood<'a> = dyn Fn(&AtomicBool) + Sync + 'a;

/// Opens one more and keeps it until so many others came.
fn flood<T>(stop: &AtomicBool, open: impl Fn() -> std::io::Result<T>) {
    let mut kept = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        // One that fails is one of too many.
        if let Ok(one) = open() {
            kept.push_back(one);
        }
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

fn flow(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"x", target)?;
    Ok(socket)
}

/// New connections and new UDP flows, alone and during a flood of each.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "fair", &["--iptables=false"])?;
    for (name, port) in stage.namespaces("fair", 2)?.iter().zip([QUIET, NOISY]) {
        let mut request = request(name, "bridge", port, 1);
        let bindings = &mut request.container.host_config.port_bindings;
        let udp = bindings.get(&format!("{PORT}/tcp")).cloned().unwrap_or_default();
        bindings.insert(format!("{PORT}/udp"), udp);
        stage.client()?.attach(&request)?;
        let place = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{name}"))?;
        let (listener, datagrams) = place.run_in(|| -> std::io::Result<_> {
            Ok((TcpListener::bind(("0.0.0.0", PORT))?, UdpSocket::bind(("0.0.0.0", PORT))?))
        })??;
        load::serve(&listener, 4)?;
        load::serve_datagrams(datagrams)?;
    }
    let [quiet, noisy] = [QUIET, NOISY].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let columns = ["", "connect p50 ms", "p99 ms", "datagram p50 ms", "p99 ms"];
    let table = Table::new("A quiet sandbox through the proxy while its neighbor is flooded", &columns);
    let connections = |stop: &AtomicBool| flood(stop, || TcpStream::connect(noisy));
    let flows = |stop: &AtomicBool| flood(stop, || flow(noisy));
    let floods: [(&str, Option<&Flood<'_>>); 3] =
        [("no flood", None), ("idle connections", Some(&connections)), ("UDP flows", Some(&flows))];
    for (what, flood) in floods {
        let stop = AtomicBool::new(false);
        let measured = stage.host.run_in(|| {
            std::thread::scope(|scope| {
                if let Some(flood) = flood {
                    scope.spawn(|| flood(&stop));
                    std::thread::sleep(load::WARMING);
                }
                let connects = load::connections(quiet, CONNECTIONS, 1);
                let datagrams = load::datagrams(quiet, CONNECTIONS);
                stop.store(true, Ordering::Relaxed);
                Ok::<_, Failure>((connects?.1, datagrams?))
            })
        })??;
        table.row([what.to_owned()].into_iter().chain(measured.0.cells()).chain(measured.1.cells()));
    }
    Ok(())
}
