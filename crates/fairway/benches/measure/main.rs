//! What Fairway costs, measured from the outside: `cargo bench -p fairway`, all of it, or a part by
//! the beginning of its name: `cargo bench -p fairway -- attach`.
//!
//! Everything happens in labs, through the real daemon and its socket; only the store is on a real
//! disk. What the numbers mean is in `docs/benchmarks.md`.

#![allow(clippy::disallowed_methods, reason = "what is measured are programs")]

mod attach;
mod cni;
mod crowd;
mod docker;
mod explain;
mod fairness;
mod figures;
mod floor;
mod foreign;
mod heal;
mod load;
mod memory;
mod netavark;
mod networks;
mod ports;
mod proxy;
mod publish;
mod resolver;
mod restart;
mod stage;
mod upgrade;

use std::process::ExitCode;

use fairway_lab::Lab;

/// Why a measurement ended early.
type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A part that can be asked for by name.
type Part = (&'static str, fn(&Lab) -> Result<(), Failure>);

const PARTS: [Part; 16] = [
    ("attach", attach::measure),
    ("attach-ports", ports::measure),
    ("attach-at-once", crowd::measure),
    ("resolver", resolver::measure),
    ("proxy", proxy::measure),
    ("memory", memory::measure),
    ("publish", publish::measure),
    ("networks", networks::measure),
    ("explain", explain::measure),
    ("foreign", foreign::measure),
    ("restart", restart::measure),
    ("upgrade", upgrade::measure),
    ("heal", heal::measure),
    ("fairness", fairness::measure),
    ("cni", cni::measure),
    ("netavark", netavark::measure),
];

/// The part that Docker has a share in.
const SHARED: &str = "publish";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(docker::INSIDE) {
        return reported(docker::inside());
    }
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
    let beside_docker = chosen.iter().any(|(name, _)| *name == SHARED);
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
    match measured {
        // Inside the lab this is the end; the one who waited outside goes on.
        Ok(ExitCode::SUCCESS) if beside_docker && !fairway_lab::is_inside() => reported(docker::measure()),
        Ok(status) => status,
        Err(error) => reported(Err(error.into())),
    }
}

fn reported(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
