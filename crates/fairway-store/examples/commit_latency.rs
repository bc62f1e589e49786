//! Measures commits of a World's size: `cargo run --release --example commit_latency [DIRECTORY]`.

use std::error::Error;
use std::time::{Duration, Instant};

use fairway_store::{Change, Store};

fn change(number: usize) -> Change {
    let record = |kind: &str| (format!("{kind}/{:064x}", number * 104_729), vec![b'x'; 1000]);
    Change { put: vec![record("sandbox"), record("endpoint")], delete: Vec::new() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let path = std::path::Path::new(&directory).join("commit-latency.redb");
    let start = Instant::now();
    let store = Store::open(&path, Duration::ZERO)?;
    println!("open: {:?}", start.elapsed());

    let mut times = Vec::new();
    for number in 0..2000 {
        let start = Instant::now();
        store.commit(change(number))?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("one after the other: p50 {:?}, p99 {:?}", times[1000], times[1980]);

    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..500)
            .map(|number| {
                scope.spawn({
                    let store = &store;
                    move || store.commit(change(2000 + number))
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    println!("500 at once, thread starts included: {:?} in all", start.elapsed());

    let start = Instant::now();
    println!("load: {} records in {:?}", store.load()?.len(), start.elapsed());
    drop(store);
    let start = Instant::now();
    drop(Store::open(&path, Duration::ZERO)?);
    println!("open again: {:?}", start.elapsed());
    std::fs::remove_file(path)?;
    Ok(())
}
