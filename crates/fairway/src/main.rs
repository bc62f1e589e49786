//! The `fairway` program.

use std::process::ExitCode;

use fairway::{command, process, relay};

fn main() -> ExitCode {
    // First, while there is one thread only: what this program was started by itself as.
    if let Some(code) = process::stage(std::env::args_os(), command::report) {
        return exit(code);
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(relay::SUBCOMMAND) {
        return match relay::main(arguments.next().as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("fairway: {error}");
                ExitCode::FAILURE
            }
        };
    }
    exit(command::main(std::env::args_os()))
}

/// The kernel keeps eight bits of an exit code.
fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}
