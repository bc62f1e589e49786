//! Measures commits of an attach's records, and the start: `cargo run --release --example commit_latency [DIRECTORY]`.

use std::error::Error;
use std::time::{Duration, Instant};

use fairway_store::{Change, Store, Ticket};

/// The records of one attach: sandbox, endpoint and counters.
fn attach(number: usize) -> Change {
    let key = |kind: &str| format!("{kind}/{:064x}", number * 104_729);
    let records = [(key("sandbox"), 1400), (key("endpoint"), 900), ("journal".to_owned(), 120)];
    Change { put: records.map(|(key, size)| (key, vec![b'x'; size])).into(), delete: Vec::new() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let path = std::path::Path::new(&directory).join("commit-latency");
    let store = Store::open(&path, Duration::ZERO)?;
    for number in 0..1000 {
        store.commit(attach(number))?;
    }
    let mut times = Vec::new();
    for number in 0..2000 {
        let start = Instant::now();
        store.commit(attach(number % 1000))?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("one after the other: p50 {:?}, p99 {:?}, longest {:?}", times[1000], times[1980], times[1999]);

    let start = Instant::now();
    let tickets: Vec<Ticket> = (0..500).map(|number| store.submit(attach(number))).collect();
    tickets.iter().try_for_each(Ticket::wait)?;
    println!("500 at once: {:?} in all", start.elapsed());

    drop(store);
    let start = Instant::now();
    let records = Store::open(&path, Duration::ZERO)?.load();
    println!("open and load {} records: {:?}", records.len(), start.elapsed());
    Ok(Store::delete(&path)?)
}
