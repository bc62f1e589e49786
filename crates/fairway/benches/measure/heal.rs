//! How long the daemon takes to repair what another program changed.

use std::time::{Duration, Instant};

use fairway_kernel::route::{Link, Links, Mark};
use fairway_lab::Lab;

use crate::Failure;
use crate::figures::{Table, Times};
use crate::stage::{Stage, request_ipv4};

/// Two bridges: one bridge has 1,023 ports.
const NETWORKS: [&str; 2] = ["first", "second"];
const PORTS: u16 = 10;
const FIRST: u16 = 20_000;
const ROUNDS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// How often whether a link is up again is looked at.
const GLANCE: Duration = Duration::from_micros(500);

/// A bridge port is set down, by sandboxes on the host, each with ten published ports.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let columns = ["", "p50", "p99"];
    let table = Table::new("Repair of a bridge port that is set down, ms", &columns);
    for each in [5, 500] {
        let stage = Stage::new(lab, &format!("healing{each}"), &[])?;
        let mut client = stage.client()?;
        let mut first = FIRST;
        for network in NETWORKS {
            stage.network(network)?;
            for name in stage.namespaces(&format!("{network}{each}x"), each)? {
                client.attach(&request_ipv4(&name, network, first, PORTS))?;
                first += PORTS;
            }
        }
        let times = stage.host.run_in(repairs)??;
        let what = format!("{} sandboxes, {} ports", 2 * each, 2 * each * usize::from(PORTS));
        table.row([what].into_iter().chain(times.cells()));
    }
    Ok(())
}

fn repairs() -> Result<Times, Failure> {
    let links = Links::open()?;
    let is_port = |link: &Link| matches!(link.mark(), Some(Mark::Endpoint(_)));
    let ports: Vec<Link> = links.all()?.into_iter().filter(is_port).collect();
    let mut times = Times::default();
    // An object that is repaired too often would wait.
    for port in ports.iter().cycle().take(ROUNDS) {
        links.set_down(port.index, &port.name)?;
        times.note(|| {
            let begun = Instant::now();
            while !links.find(&port.name)?.is_some_and(|link| link.up) {
                if begun.elapsed() > PATIENCE {
                    return Err(Failure::from(format!("{} is not repaired", port.name)));
                }
                std::thread::sleep(GLANCE);
            }
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(times)
}
