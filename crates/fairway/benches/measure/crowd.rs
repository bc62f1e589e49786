//! Many attaches, then many detaches, at once.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use fairway_api::{Client, ClientError};
use fairway_lab::Lab;

use crate::Failure;
use crate::figures::{Table, Times, milliseconds};
use crate::stage::{Holdings, Stage, request};

/// What deleting the links of 500 sandboxes may take after the last reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does something with each name at once; brings the time from the first begin to the last end for
/// each of them, and the single times.
fn at_once(
    stage: &Stage,
    names: &[String],
    work: impl Fn(&mut Client, usize, &str) -> Result<(), ClientError> + Sync,
) -> Result<(Duration, Times), Failure> {
    let start = Barrier::new(names.len() + 1);
    std::thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let mut workers = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let mut client = stage.client()?;
            client.ping()?;
            workers.push(scope.spawn(move || {
                start.wait();
                let begun = Instant::now();
                work(&mut client, number, name).map(|()| begun.elapsed())
            }));
        }
        start.wait();
        let begun = Instant::now();
        let mut times = Vec::new();
        for worker in workers {
            times.push(worker.join().map_err(|_| "a client panicked")??);
        }
        Ok((begun.elapsed(), times.into_iter().collect()))
    })
}

fn wait_for(stage: &Stage, before: &Holdings) -> Result<Duration, Failure> {
    let begun = Instant::now();
    loop {
        let now = stage.holdings()?;
        if now == *before {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("something is left: {now:?} instead of {before:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// 32 and 500 sandboxes, with one published port each.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "crowd", &[])?;
    stage.network("names")?;
    let names = stage.namespaces("sandbox", 500)?;
    // The first attach of all makes threads and connections; it is nobody's.
    stage.client()?.attach(&request(&names[0], "bridge", 0, 0))?;
    stage.client()?.detach(&names[0])?;
    std::thread::sleep(Duration::from_secs(1));
    let before = stage.holdings()?;
    let table = Table::new(
        "At once, one published port each: ms for each, and for the one that waits",
        &["", "each", "p50", "p99"],
    );
    let row = |what: String, count: usize, (whole, times): &(Duration, Times)| {
        let each = milliseconds(whole.as_secs_f64() * 1e3 / count as f64);
        table.row([what, each].into_iter().chain(times.cells()));
    };
    for network in ["bridge", "names"] {
        for count in [32, 500] {
            let names = &names[..count];
            let attached = at_once(&stage, names, |client, number, name| {
                let port = 20_000 + u16::try_from(number).unwrap_or_default();
                client.attach(&request(name, network, port, 1)).map(drop)
            })?;
            row(format!("attach {count}, network {network}"), count, &attached);
            let held = stage.holdings()?;
            if held.links < before.links + count || held.daemon_sockets < before.daemon_sockets + count {
                return Err(format!("not all are attached: {held:?}, and {before:?} before").into());
            }
            std::thread::sleep(Duration::from_millis(500));
            let detached = at_once(&stage, names, |client, _, name| client.detach(name))?;
            row(format!("detach {count}, network {network}"), count, &detached);
            let swept = wait_for(&stage, &before)?;
            println!("(no failure; {before:?} as before, seen after another {swept:.0?})");
        }
    }
    Ok(())
}
