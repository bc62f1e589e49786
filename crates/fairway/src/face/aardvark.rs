//! The face of aardvark-dns, podman's name server: netavark starts it, writes a file for each network and signals it.
//!
//! `run` starts a server in the background and returns when it is ready. The server reads the directory, binds the
//! sockets and hands both to a relay, which answers without rights.

mod error;
mod log;
mod network_file;
mod pid_file;
mod server;
mod start;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use error::AardvarkError;
use server::Options;

/// The name of the program that the face replaces.
pub const NAME: &str = "aardvark-dns";

/// The version of the interface, and of the program that has it.
const VERSION: &str = concat!("2.0.0+fairway.", env!("CARGO_PKG_VERSION"));

/// The port where none is given.
const PORT: u16 = 5533;

/// The search domain where none is given.
const SEARCH_DOMAIN: &str = ".dns.podman";

/// The name server of podman's networks, by Fairway.
#[derive(Debug, Parser)]
#[command(name = NAME, version = VERSION)]
struct Arguments {
    /// Path to configuration directory
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Host port for the servers
    #[arg(short, long, default_value_t = PORT)]
    port: u16,
    /// Search domain, which names may end with
    #[arg(short, long, default_value = SEARCH_DOMAIN)]
    filter_search_domain: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Verb {
    /// Runs the DNS server with the specified configuration directory
    Run,
    /// Displays the version as JSON
    Version,
    /// Serves in the foreground; started by `run`
    #[command(hide = true)]
    Serve,
}

/// Does what the arguments say; the first is the program's name.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is lost if the reader has closed the pipe.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let verb = arguments.verb;
    let done = match verb {
        Verb::Version => version(),
        Verb::Run => arguments.options().and_then(|options| start::start(&options)),
        Verb::Serve => arguments.options().and_then(|options| server::main(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn options(self) -> Result<Options, AardvarkError> {
        let directory = self.config.ok_or(AardvarkError::NoDirectory)?;
        Ok(Options { directory, port: self.port, search_domain: self.filter_search_domain })
    }
}

/// The version, with the keys of the original in their order. What it says of the build is empty, as in Debian.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
    build_time: &'static str,
    target: String,
}

fn version() -> Result<(), AardvarkError> {
    let environment = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let target = format!("{}-unknown-linux-{environment}", std::env::consts::ARCH);
    let version = Version { version: VERSION, commit: "", build_time: "", target };
    let failed = |source| AardvarkError::Refused { action: "print the version", source };
    let text = serde_json::to_string_pretty(&version).map_err(|error| failed(error.into()))?;
    writeln!(std::io::stdout(), "{text}").map_err(failed)
}

/// Parses any bytes as a file of a network; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = network_file::parse(&String::from_utf8_lossy(bytes));
}
