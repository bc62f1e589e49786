//! Commits to the store that its argument names, from four threads, until it is killed: the program of `killed.rs`.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use fairway_store::{Change, Store, StoreError};

fn main() -> Result<(), StoreError> {
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let store = Store::open(path, Duration::from_secs(5))?;
    let submitted = Mutex::new(0_u64);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(|| commit_for_ever(&store, &submitted))).collect();
        let ended = writers.into_iter().filter_map(|writer| writer.join().ok());
        ended.filter_map(Result::err).next().map_or(Ok(()), Err)
    })
}

/// Submits in the order of the numbers, and says which are acknowledged.
fn commit_for_ever(store: &Store, submitted: &Mutex<u64>) -> Result<Infallible, StoreError> {
    loop {
        let (number, ticket) = {
            let mut number = submitted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *number += 1;
            let put = vec![(format!("{number:08}"), vec![7; 80_000])];
            (*number, store.submit(Change { put, delete: Vec::new() }))
        };
        ticket.wait()?;
        println!("acknowledged {number}");
    }
}
