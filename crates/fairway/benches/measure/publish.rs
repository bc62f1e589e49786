//! What publishing many ports of one sandbox costs, and what the last of them costs a client.

use std::net::{SocketAddr, TcpListener};

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::{Lab, Place};

use crate::figures::{Table, Times, milliseconds};
use crate::memory::proportional;
use crate::stage::{FIRST_CONTAINER_PORT, HOST, Stage, request_ipv4};
use crate::{Failure, load};

/// How many ports of one sandbox are published.
pub const COUNTS: [u16; 4] = [1, 100, 1000, 10_000];
/// The columns of a row.
pub const COLUMNS: [&str; 6] = ["", "publish", "take away", "MiB", "connect us", "p99"];
/// The first host port.
pub const FIRST: u16 = 20_000;
const CONNECTIONS: usize = 3000;

/// How often a number of ports is published.
pub fn rounds_of(count: u16) -> usize {
    match count {
        0..=100 => 20,
        101..=1000 => 8,
        _ => 3,
    }
}

/// The times of new connections from `client` to the published port `port`, which leads to one of `sandbox`: each
/// is made, asks a byte, gets one, and ends.
pub fn connect(client: &Place, sandbox: &Place, port: u16, container_port: u16) -> Result<Times, Failure> {
    let listener = sandbox.run_in(|| TcpListener::bind(("0.0.0.0", container_port)))??;
    load::serve(&listener, 1)?;
    let target = SocketAddr::new(HOST.parse()?, port);
    let (_, times) = client.run_in(|| load::connections(target, CONNECTIONS, 1))??;
    Ok(times)
}

/// What the last port costs: memory in MiB, and the times of new connections through it.
pub type Last = (f64, Times);

/// A row: times to publish and to take away in milliseconds, memory, and times of new connections in microseconds.
pub fn cells(what: String, publish: &Times, remove: &Times, last: Option<&Last>) -> Vec<String> {
    let times = [publish, remove].map(|times| milliseconds(times.percentile(50)));
    let last = match last {
        Some((memory, connects)) => {
            let microseconds = |hundredths| format!("{:.0}", connects.percentile(hundredths) * 1e3);
            [format!("{memory:.1}"), microseconds(50), microseconds(99)]
        }
        None => [const { String::new() }; 3],
    };
    [what].into_iter().chain(times).chain(last).collect()
}

/// Both backends, with the proxy and without.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let table = Table::new("Ports of one sandbox: attach and detach ms, memory of all processes", &COLUMNS);
    for backend in ["nftables", "iptables"] {
        for proxy in [true, false] {
            let flags = [format!("--firewall-backend={backend}"), format!("--userland-proxy={proxy}")];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let what = format!("{backend}, proxy {}", if proxy { "on" } else { "off" });
            let stage = Stage::new(lab, &format!("{backend}-{proxy}"), &flags)?;
            // The first attach of all makes threads and connections; it is nobody's.
            let spare = stage.namespaces("first", 1)?;
            stage.client()?.attach(&request_ipv4(&spare[0], "bridge", 0, 0))?;
            for count in COUNTS {
                table.row(row(&stage, format!("{what}, {count} ports"), count)?);
            }
        }
    }
    Ok(())
}

fn row(stage: &Stage, what: String, count: u16) -> Result<Vec<String>, Failure> {
    let mut client = stage.client()?;
    let names = stage.namespaces(&format!("publishing{count}-"), rounds_of(count))?;
    let (mut publish, mut remove) = (Times::default(), Times::default());
    let mut measured = None;
    for (number, name) in names.iter().enumerate() {
        let request = request_ipv4(name, "bridge", FIRST, count);
        publish.note(|| client.attach(&request))?;
        if number + 1 == names.len() {
            let relay = stage.relay().ok_or("the relay is gone")?;
            let memory = proportional(stage.daemon())? + proportional(relay)?;
            let sandbox = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{name}"))?;
            let last = count - 1;
            let connects = connect(&stage.neighbour, &sandbox, FIRST + last, FIRST_CONTAINER_PORT + last)?;
            measured = Some((memory, connects));
        }
        remove.note(|| client.detach(name))?;
    }
    Ok(cells(what, &publish, &remove, measured.as_ref()))
}
