//! What daemon and relay hold in memory.

use fairway_lab::Lab;

use crate::Failure;
use crate::figures::Table;
use crate::stage::{Stage, request_ipv4};

const SANDBOXES: usize = 900;
const PUBLISHING: usize = 100;
const EACH: u16 = 100;

/// What a process holds, with its share of what it shares (PSS), in MiB.
pub fn proportional(pid: u32) -> Result<f64, Failure> {
    megabytes(pid, "Pss")
}

/// A field of /proc/PID/smaps_rollup in MiB.
fn megabytes(pid: u32, field: &str) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(field)).ok_or("the kernel does not report it")?;
    let kilobytes: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

/// With nothing, and with 900 sandboxes and 10,000 published ports.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "memory", &[])?;
    stage.network("names")?;
    let names = stage.namespaces("sandbox", SANDBOXES)?;
    let relay = stage.relay().ok_or("there is no relay")?;
    let table = Table::new("Memory, MiB", &["", "daemon RSS", "PSS", "relay RSS", "PSS"]);
    let row = |what: &str| -> Result<(), Failure> {
        let mut cells = vec![what.to_owned()];
        for pid in [stage.daemon(), relay] {
            cells.extend([megabytes(pid, "Rss")?, megabytes(pid, "Pss")?].map(|value| format!("{value:.1}")));
        }
        table.row(cells);
        Ok(())
    };
    row("nothing attached")?;
    let mut client = stage.client()?;
    for (number, name) in names.iter().enumerate() {
        let ports = if number < PUBLISHING { EACH } else { 0 };
        let first = 10_000 + u16::try_from(number).unwrap_or_default() * ports;
        client.attach(&request_ipv4(name, "names", first, ports))?;
    }
    row("900 sandboxes on a network with names, 10,000 published ports")
}
