//! Runs fuzz targets: `cargo run -p fairway-fuzz -- [SECONDS] [TARGET...]`, 10 seconds for each by default.
//!
//! An input that makes a target panic is written to `fuzz/artifacts/TARGET`.

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fairway_fuzz::{TARGETS, Target, corpus, mutate};
use fairway_model::Rng;

/// How many inputs are tried before the clock is looked at.
const BATCH: u64 = 100;

fn main() -> ExitCode {
    let (seconds, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.parse::<u64>().is_ok());
    let seconds = seconds.first().and_then(|text| text.parse().ok()).unwrap_or(10);
    if let Some(unknown) = names.iter().find(|name| fairway_fuzz::find(name).is_none()) {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("there is no target {unknown}: there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let is_meant = |target: &&Target| names.is_empty() || names.iter().any(|name| name == target.name);
    let failed =
        TARGETS.iter().filter(is_meant).filter(|target| !holds(target, Duration::from_secs(seconds)));
    ExitCode::from(u8::from(failed.count() > 0))
}

/// Runs a target for some time; returns whether it never panicked.
fn holds(target: &Target, time: Duration) -> bool {
    let inputs = match corpus(target.name) {
        Ok(inputs) => inputs,
        Err(error) => {
            eprintln!("{}: cannot read its corpus: {error}", target.name);
            return false;
        }
    };
    let bytes: Vec<&[u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
    let seed = std::process::id().into();
    let (mut rng, start, mut count) = (Rng::new(seed), Instant::now(), 0);
    while start.elapsed() < time {
        for _ in 0..BATCH {
            let input = mutate(&bytes, &mut rng);
            if catch_unwind(|| (target.run)(&input)).is_err() {
                return report(target.name, &input);
            }
        }
        count += BATCH;
    }
    println!("{}: {count} inputs", target.name);
    true
}

/// Keeps an input that made a target panic.
fn report(target: &str, input: &[u8]) -> bool {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/artifacts").join(target);
    let file = directory.join("panic");
    match std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => eprintln!("{target}: panicked: the input is in {}", file.display()),
        Err(error) => eprintln!("{target}: panicked; cannot write {}: {error}: {input:?}", file.display()),
    }
    false
}
