//! What transactions cost: `cargo run --release -p fairway-kernel --example nftables_cost`.
//!
//! It needs `CAP_SYS_ADMIN` for a network namespace of its own: root, or `unshare -Urnm`.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fairway_core::object::RulesetSwitches;
use fairway_core::policy::ruleset;
use fairway_kernel::nftables::{Transaction, Writer};
use fairway_kernel::system;
use fairway_model::Protocol;
use fairway_ruleset::resolver::resolver_table;
use fairway_ruleset::{Element, Set, Table, key};
use rustix::thread::UnshareFlags;

/// Transactions of each kind that are timed.
const ROUNDS: usize = 21;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    system::unshare(UnshareFlags::NEWNET)?;
    println!("largest transaction: {} bytes", Writer::open()?.limit());
    let tables = ruleset(&RulesetSwitches::default());
    let table = tables.into_iter().next().ok_or("no tables")?;
    for present in [0, 10_000] {
        let mut writer = Writer::open()?;
        let mut transaction = Transaction::new();
        transaction.create(&table);
        writer.commit(transaction)?;
        let ports = table.set("published4").ok_or("no map of ports")?;
        fill(&mut writer, &table, ports, present)?;
        for count in [1, 2, 1000, 2000] {
            let (add, delete) = add_and_delete(&mut writer, &table, ports, count)?;
            println!("{count:5} elements into {present:5}: {add:?} to add, {delete:?} to remove");
        }
        let started = Instant::now();
        let found = writer.reader().elements(table.family, &table.name, ports)?;
        println!("{:5} elements read: {:?}", found.len(), started.elapsed());
        let mut transaction = Transaction::new();
        transaction.delete_table(table.family, &table.name);
        writer.commit(transaction)?;
    }
    resolver()
}

fn element(number: usize) -> Result<Element> {
    let port = u16::try_from(number)?;
    let [high, low] = port.to_be_bytes();
    let target = key().ipv4(Ipv4Addr::new(172, 18, high, low)).port(80);
    Ok(Element::to_value(key().protocol(Protocol::Tcp).port(port), target)
        .with_comment("sandbox 0123456789ab"))
}

fn fill(writer: &mut Writer, table: &Table, set: &Set, count: usize) -> Result<()> {
    for start in (0..count).step_by(1000) {
        let elements = (start..start + 1000).map(element).collect::<Result<Vec<_>>>()?;
        let mut transaction = Transaction::new();
        transaction.add_elements(table, set, &elements);
        writer.commit(transaction)?;
    }
    Ok(())
}

fn add_and_delete(
    writer: &mut Writer,
    table: &Table,
    set: &Set,
    count: usize,
) -> Result<(Duration, Duration)> {
    let elements = (20_000..20_000 + count).map(element).collect::<Result<Vec<_>>>()?;
    let (mut adding, mut deleting) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut transaction = Transaction::new();
        transaction.add_elements(table, set, &elements);
        writer.commit(transaction)?;
        adding.push(started.elapsed());
        let started = Instant::now();
        let mut transaction = Transaction::new();
        transaction.destroy_elements(table, set, &elements);
        writer.commit(transaction)?;
        deleting.push(started.elapsed());
    }
    Ok((median(adding), median(deleting)))
}

fn resolver() -> Result<()> {
    let mut whole = Vec::new();
    let mut commit = Vec::new();
    for _ in 0..ROUNDS {
        let timed = std::thread::spawn(|| -> std::result::Result<_, String> {
            let text = |error: &dyn std::fmt::Display| error.to_string();
            system::unshare(UnshareFlags::NEWNET).map_err(|error| text(&error))?;
            let opened = Instant::now();
            let mut writer = Writer::open().map_err(|error| text(&error))?;
            let started = Instant::now();
            let mut transaction = Transaction::new();
            transaction.create(&resolver_table(40053, 40054));
            writer.commit(transaction).map_err(|error| text(&error))?;
            Ok((opened.elapsed(), started.elapsed()))
        });
        let (all, own) = timed.join().map_err(|_| "the thread panicked")??;
        whole.push(all);
        commit.push(own);
    }
    println!("resolver table in a new namespace: {:?}, of which {:?} commit", median(whole), median(commit));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
