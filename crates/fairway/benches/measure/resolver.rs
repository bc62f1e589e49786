//! Names: questions a second that the relay answers on one core.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::Lab;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::figures::{Table, milliseconds};
use crate::stage::{Stage, request};
use crate::{Failure, load};

const LENGTH: Duration = Duration::from_secs(4);

fn core(number: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(number);
    set
}

/// With 100 and 900 names, one client and twenty.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "resolver", &[])?;
    stage.network("names")?;
    let names = stage.namespaces("sandbox", 900)?;
    let mut client = stage.client()?;
    let relay = stage.relay().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or("there is no relay")?;
    sched_setaffinity(Some(relay), &core(0))?;
    let place = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{}", names[0]))?;
    let server = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 11), 53));
    let table = Table::new(
        "Names of sandboxes, relay on one core, clients on another",
        &["", "questions/s", "p50 ms", "p99 ms"],
    );
    let mut attached = 0;
    for count in [100, 900] {
        for name in &names[attached..count] {
            client.attach(&request(name, "names", 0, 0))?;
        }
        attached = count;
        for clients in [1, 20] {
            let times = place.run_in(|| -> Result<_, Failure> {
                sched_setaffinity(None, &core(1))?;
                load::ask(server, &names[..count], clients, LENGTH)
            })??;
            let rate = times.len() as f64 / LENGTH.as_secs_f64();
            let cells = [50, 99].map(|hundredths| milliseconds(times.percentile(hundredths)));
            let what = format!("{count} names, {clients} at a time");
            table.row([what, format!("{rate:.0}")].into_iter().chain(cells));
        }
    }
    Ok(())
}
