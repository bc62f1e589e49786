//! Names: questions a second that the relay answers on one core, of sandboxes and forwarded; what other programs
//! make of the same; what a neighbor's flood costs; descriptors and memory.

mod others;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairway_api::types::EndpointSettings;
use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::{Lab, Place};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::figures::{Table, Times};
use crate::memory::proportional;
use crate::stage::{NEIGHBOUR, Stage, request};
use crate::{Failure, load};

const LENGTH: Duration = Duration::from_secs(4);
const SANDBOXES: usize = 200;
/// So many names has each sandbox, and all have 10,000.
const NAMES_EACH: usize = 50;
const FEW: usize = 100;
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

fn core(number: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(number);
    set
}

/// All of it; what needs programs that are not installed is left out.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "resolver", &["--dns", NEIGHBOUR])?;
    serve_everything(&stage.neighbour, SocketAddr::new(NEIGHBOUR.parse()?, 53))?;
    stage.network("names")?;
    let sandboxes = stage.namespaces("sandbox", SANDBOXES)?;
    let relay = stage.relay().ok_or("there is no relay")?;
    let before = [holds(relay)?, holds(stage.daemon())?];
    attach(&stage, &sandboxes)?;
    print_holdings(&stage, relay, before)?;
    sched_setaffinity(Pid::from_raw(relay.cast_signed()), &core(0))?;
    let places = sandboxes.iter().map(|name| stage.host.sandbox(format!("{NAMED_DIRECTORY}/{name}")));
    let places: Vec<Place> = places.collect::<Result<_, _>>()?;
    // Before all sandboxes ask at once: after that the host has hardly a port left to masquerade new flows by.
    print_floods(&places)?;
    print_rates(&places)?;
    others::measure(&stage, &places[0])
}

/// The aliases of all sandboxes, those of the first first.
fn alias(number: usize) -> String {
    format!("name{}", number % (SANDBOXES * NAMES_EACH))
}

/// A name by number.
type Name = fn(usize) -> String;

/// A name that was not asked for before.
fn foreign(number: usize) -> String {
    static RUNS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    if number == 0 {
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
    format!("n{number}.r{}.example.org", RUNS.load(Ordering::Relaxed))
}

fn attach(stage: &Stage, sandboxes: &[String]) -> Result<(), Failure> {
    let mut client = stage.client()?;
    for (number, name) in sandboxes.iter().enumerate() {
        let mut request = request(name, "names", 0, 0);
        let aliases = (0..NAMES_EACH).map(|place| alias(number * NAMES_EACH + place)).collect();
        let settings = EndpointSettings { aliases: Some(aliases), ..Default::default() };
        request.container.networking_config.endpoints_config =
            [("names".to_owned(), settings)].into_iter().collect();
        client.attach(&request)?;
    }
    Ok(())
}

/// Answers every question with one address that may not be remembered, on a thread that lives as long as the lab.
fn serve_everything(place: &Place, at: SocketAddr) -> Result<(), Failure> {
    let socket = place.run_in(|| UdpSocket::bind(at))??;
    std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
        // With what serves it, for the relay has a core of its own.
        let _ = sched_setaffinity(None, &core(1));
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Some(name) = buffer[12..length].iter().position(|byte| *byte == 0) else { continue };
            let mut answer = buffer[..12 + name + 5].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
            // An asker that is gone is no loss.
            let _ = socket.send_to(&answer, from);
        }
    })?;
    Ok(())
}

/// Descriptors, and MiB (PSS).
fn holds(pid: u32) -> Result<(usize, f64), Failure> {
    Ok((std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(), proportional(pid)?))
}

fn print_holdings(stage: &Stage, relay: u32, before: [(usize, f64); 2]) -> Result<(), Failure> {
    let table =
        Table::new("For each of 200 sandboxes with names, 50 names each", &["", "descriptors", "KiB of PSS"]);
    for (what, pid, before) in [("relay", relay, before[0]), ("daemon", stage.daemon(), before[1])] {
        let after = holds(pid)?;
        let descriptors = (after.0 as f64 - before.0 as f64) / SANDBOXES as f64;
        let memory = (after.1 - before.1) * 1024.0 / SANDBOXES as f64;
        table.row([what.to_owned(), format!("{descriptors:.1}"), format!("{memory:.1}")]);
    }
    Ok(())
}

/// Askers, so many in each of these sandboxes.
fn askers(places: &[Place], each: usize) -> Result<Vec<UdpSocket>, Failure> {
    let mut all = Vec::new();
    for place in places {
        all.extend(place.run_in(|| load::askers(SERVER, each))??);
    }
    Ok(all)
}

/// Asks on a core of its own.
fn ask(sockets: Vec<UdpSocket>, name: Name) -> Result<Times, Failure> {
    let worker = std::thread::spawn(move || {
        sched_setaffinity(None, &core(1))?;
        load::ask(sockets, name, LENGTH)
    });
    worker.join().map_err(|_| "the client panicked")?
}

fn print_rates(places: &[Place]) -> Result<(), Failure> {
    let table = Table::new(
        "Names, relay on one core, clients and name server on another",
        &["", "questions/s", "p50 ms", "p99 ms"],
    );
    let few: Name = |number| alias(number % FEW);
    for (what, name) in [("100 names", few), ("10,000 names", alias), ("forwarded", foreign)] {
        for (sandboxes, each) in [(1, 1), (1, 20), (SANDBOXES, 1)] {
            let times = ask(askers(&places[..sandboxes], each)?, name)?;
            let rate = times.len() as f64 / LENGTH.as_secs_f64();
            let what = format!("{what}, {sandboxes} sandboxes, {} at a time", sandboxes * each);
            table.row([what, format!("{rate:.0}")].into_iter().chain(times.cells()));
        }
    }
    Ok(())
}

/// What one sandbox waits while its neighbor asks as fast as it can without waiting for answers.
fn print_floods(places: &[Place]) -> Result<(), Failure> {
    let table = Table::new(
        "A quiet sandbox, one question at a time, while its neighbor floods the resolver",
        &["", "questions/s", "p50 ms", "p99 ms"],
    );
    let floods: [(&str, Option<Name>); 3] =
        [("no flood", None), ("names of sandboxes", Some(alias)), ("forwarded names", Some(foreign))];
    for (flood, flooding) in floods {
        for (what, name) in [("local", alias as Name), ("forwarded", foreign)] {
            let quiet = askers(&places[1..2], 1)?;
            let flooder = askers(&places[..1], 1)?.remove(0);
            flooder.set_nonblocking(true)?;
            let over = AtomicBool::new(false);
            let times = std::thread::scope(|scope| {
                scope.spawn(|| {
                    for number in (0_usize..).take_while(|_| !over.load(Ordering::Relaxed)) {
                        let Some(flooding) = flooding else { return };
                        let name = flooding(number + 1);
                        // What does not fit into the socket's buffer is lost, and so it should be.
                        let _ = flooder.send(&load::question((number & 0xffff) as u16, &name));
                        while flooder.recv(&mut [0; 512]).is_ok() {}
                    }
                });
                let times = ask(quiet, name);
                over.store(true, Ordering::Relaxed);
                times
            });
            let what = format!("{what}; neighbor: {flood}");
            match times {
                Ok(times) => {
                    let rate = times.len() as f64 / LENGTH.as_secs_f64();
                    table.row([what, format!("{rate:.0}")].into_iter().chain(times.cells()));
                }
                // The kernel drops what no queue has space for, also of the quiet one.
                Err(_) => table.row([what, "one failed".to_owned()]),
            }
        }
    }
    Ok(())
}
