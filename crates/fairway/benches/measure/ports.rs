//! Attach and detach of one sandbox, by the ports that it publishes.

use fairway_lab::Lab;

use crate::Failure;
use crate::attach::{COLUMNS, cells, rounds};
use crate::figures::Table;
use crate::floor::Floor;
use crate::stage::{Stage, request, request_ipv4};

const FIRST: u16 = 40_000;
const HOLDERS: u16 = 100;
const EACH: u16 = 100;

/// With 0 to 1,000 ports, the proxy on and off, and with 10,000 ports of others.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let table = Table::new("Attach and detach, ms, by published ports", &COLUMNS);
    for (proxy, flag) in [("on", "--userland-proxy=true"), ("off", "--userland-proxy=false")] {
        let stage = Stage::new(lab, &format!("proxy-{proxy}"), &[flag])?;
        let spare = stage.namespaces("spare", 8)?;
        let mut client = stage.client()?;
        for count in [0, 1, 100, 1000] {
            let rounds_of = if count < 1000 { 60 } else { 30 };
            let times =
                rounds(&mut client, rounds_of, |round| request(&spare[round % 8], "bridge", FIRST, count))?;
            table.row(cells(format!("{count} ports, proxy {proxy}"), &times));
        }
        for (holder, name) in (0..HOLDERS).zip(stage.namespaces("holder", usize::from(HOLDERS))?) {
            client.attach(&request_ipv4(&name, "bridge", 10_000 + holder * EACH, EACH))?;
        }
        for count in [1, 100] {
            let times = rounds(&mut client, 60, |round| request(&spare[round % 8], "bridge", FIRST, count))?;
            table.row(cells(format!("{count} ports, 10,000 of others, proxy {proxy}"), &times));
        }
    }
    if let Some(mut floor) = Floor::find(lab, "ports-floor")? {
        floor.fill(1)?;
        for count in [0, 1, 100, 1000] {
            table.row(cells(
                format!("{count} ports, floor: two ip -batch and one nft -f"),
                &floor.rounds(30, count)?,
            ));
        }
    }
    Ok(())
}
