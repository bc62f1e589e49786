//! What Fairway costs, measured from the outside: `cargo bench -p fairway`, all of it, or a part by
//! the beginning of its name: `cargo bench -p fairway -- attach`.
//!
//! Everything happens in labs, through the real daemon and its socket; only the store is on a real
//! disk. What the numbers mean is in `docs/benchmarks.md`.

mod attach;
mod crowd;
mod figures;
mod floor;
mod load;
mod memory;
mod ports;
mod proxy;
mod resolver;
mod stage;

use std::process::ExitCode;

use fairway_lab::Lab;

/// Why a measurement ended early.
type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A part that can be asked for by name.
type Part = (&'static str, fn(&Lab) -> Result<(), Failure>);

const PARTS: [Part; 6] = [
    ("attach", attach::measure),
    ("attach-ports", ports::measure),
    ("attach-at-once", crowd::measure),
    ("resolver", resolver::measure),
    ("proxy", proxy::measure),
    ("memory", memory::measure),
];

fn main() -> ExitCode {
    // Cargo adds flags of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let chosen: Vec<Part> = PARTS
        .into_iter()
        .filter(|(name, _)| asked.is_empty() || asked.iter().any(|word| name.starts_with(word.as_str())))
        .collect();
    if chosen.is_empty() {
        eprintln!("there is no such part; there are: {}", PARTS.map(|(name, _)| name).join(" "));
        return ExitCode::FAILURE;
    }
    let measured = fairway_lab::main(|lab| {
        figures::print_machine();
        for (name, measure) in chosen {
            if let Err(error) = measure(lab) {
                eprintln!("{name} cannot be measured: {error}");
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    });
    measured.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
