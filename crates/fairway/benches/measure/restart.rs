//! How long a daemon takes to start again with what a former one left.

use std::time::Instant;

use fairway_lab::Lab;

use crate::Failure;
use crate::figures::{Table, milliseconds};
use crate::stage::{Stage, request_ipv4};

/// Two bridges of 500: one bridge has 1,023 ports.
const NETWORKS: [&str; 2] = ["first", "second"];
const EACH: usize = 500;
/// 10,000 ports in all.
const PORTS: u16 = 10;
const FIRST: u16 = 20_000;
const ROUNDS: usize = 3;

/// With 1,000 sandboxes and 10,000 published ports: the daemon alone is killed, or the relay too.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let columns = ["", "answers reads ms", "ready ms"];
    let table = Table::new("Restart, ms, with 1,000 sandboxes and 10,000 published ports", &columns);
    let mut stage = Stage::new(lab, "restarting", &[])?;
    let mut client = stage.client()?;
    let mut first = FIRST;
    for network in NETWORKS {
        stage.network(network)?;
        for name in stage.namespaces(network, EACH)? {
            client.attach(&request_ipv4(&name, network, first, PORTS))?;
            first += PORTS;
        }
    }
    let held = stage.holdings()?;
    for (what, with_relay) in [("the relay goes on", false), ("the relay is killed too", true)] {
        for _ in 0..ROUNDS {
            stage.kill(with_relay)?;
            let begun = Instant::now();
            stage.launch()?;
            stage.until(|client| client.networks(&Default::default()).map(drop))?;
            let readable = begun.elapsed();
            stage.until(|client| client.ping())?;
            let ready = begun.elapsed();
            if stage.holdings()? != held {
                return Err(format!("something was lost: {}", stage.log()?).into());
            }
            let cells = [readable, ready].map(|time| milliseconds(time.as_secs_f64() * 1e3));
            table.row([what.to_owned()].into_iter().chain(cells));
        }
    }
    Ok(())
}
