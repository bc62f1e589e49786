//! Attach and detach of one sandbox, by what exists already.

use std::time::Duration;

use fairway_api::Client;
use fairway_api::types::AttachRequest;
use fairway_lab::Lab;

use crate::Failure;
use crate::figures::{Table, Times};
use crate::floor::Floor;
use crate::stage::{Stage, request};

const ROUNDS: usize = 100;
/// A deleted link keeps the kernel busy for 15 to 30 ms after the reply.
const PAUSE: Duration = Duration::from_millis(50);

/// The columns that belong to one row of attaching and detaching.
pub const COLUMNS: [&str; 5] = ["", "attach p50", "p99", "detach p50", "p99"];

/// Attaches and detaches one after the other, with pauses in which the kernel comes to rest.
pub fn rounds(
    client: &mut Client,
    rounds: usize,
    requests: impl Fn(usize) -> AttachRequest,
) -> Result<[Times; 2], Failure> {
    let (mut attach, mut detach) = (Times::default(), Times::default());
    for round in 0..rounds {
        let request = requests(round);
        attach.note(|| client.attach(&request))?;
        std::thread::sleep(Duration::from_millis(5));
        detach.note(|| client.detach(&request.name))?;
        std::thread::sleep(PAUSE);
    }
    Ok([attach, detach])
}

/// A row of two times.
pub fn cells(what: String, [attach, detach]: &[Times; 2]) -> Vec<String> {
    [what].into_iter().chain(attach.cells()).chain(detach.cells()).collect()
}

/// With 1, 100 and 900 endpoints present.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "growth", &[])?;
    stage.network("names")?;
    let present = stage.namespaces("present", 900)?;
    let spare = stage.namespaces("spare", 8)?;
    let mut floor = Floor::find(lab, "growth-floor")?;
    let mut client = stage.client()?;
    let table = Table::new("Attach and detach, ms, by endpoints present", &COLUMNS);
    let mut attached = 0;
    for count in [1, 100, 900] {
        for name in &present[attached..count] {
            client.attach(&request(name, "bridge", 0, 0))?;
        }
        attached = count;
        for (network, what) in [("bridge", "default bridge"), ("names", "network with names")] {
            let times = rounds(&mut client, ROUNDS, |round| request(&spare[round % 8], network, 0, 0))?;
            table.row(cells(format!("{count} present, {what}"), &times));
        }
        if let Some(floor) = &mut floor {
            floor.fill(count)?;
            table.row(cells(
                format!("{count} present, floor: two ip -batch and one nft -f"),
                &floor.rounds(ROUNDS / 2, 0)?,
            ));
        }
    }
    Ok(())
}
