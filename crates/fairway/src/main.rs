//! The `fairway` program.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fairway::daemon::{self, DaemonArguments};
use fairway::relay;

#[derive(Parser)]
struct Arguments {
    #[arg(short = 'H', long, global = true, env = "FAIRWAY_HOST")]
    host: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Daemon(DaemonArguments),
}

fn main() -> ExitCode {
    if let Some(code) = fairway::process::stage(std::env::args_os(), |_, _| {}) {
        return ExitCode::from(code as u8);
    }
    if std::env::args().nth(1).as_deref() == Some(relay::SUBCOMMAND) {
        return match relay::main(std::env::args().nth(2).as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("fairway: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("info").init();
    let outcome = match arguments.command {
        Command::Daemon(mut daemon) => {
            daemon.socket = arguments.host;
            daemon::main(daemon)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fairway: {error}");
            ExitCode::FAILURE
        }
    }
}
