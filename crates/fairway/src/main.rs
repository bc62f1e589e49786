//! The `fairway` program.

use std::process::ExitCode;

use fairway::{command, demo, process, relay};

fn main() -> ExitCode {
    // First, while there is one thread only: what this program was started by itself as.
    if let Some(code) = process::stage(std::env::args_os(), command::report) {
        return ExitCode::from(u8::try_from(code).unwrap_or(125));
    }
    if let Some(code) = demo::stage(std::env::args_os()) {
        return code;
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
    command::main(std::env::args_os())
}
