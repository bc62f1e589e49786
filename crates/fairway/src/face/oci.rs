//! `fairway oci-hook`: a hook of OCI runtimes (runc, crun), which connects the containers of bundles without an engine.
//!
//! The runtime starts the hook for `createRuntime` (or `prestart`) and `poststop`, and writes the container's state to its
//! standard input. What the container gets is in annotations of its configuration.

mod configuration;
mod error;
mod request;
mod state;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use fairway_api::ClientError;
use fairway_kernel::namespace;

use super::daemon::{self, Place};
use configuration::Configuration;
use error::OciError;
use state::{Phase, State};

/// The name of the program as a hook.
pub const NAME: &str = "fairway-oci-hook";
/// The subcommand for the same.
pub const SUBCOMMAND: &str = "oci-hook";

/// The directory of a daemon that cannot be at the system's place.
const DIRECTORY: &str = "/run/oci";

/// What [`HOOKS`] has in place of the path of this program.
pub const HOOKS_PROGRAM: &str = "PROGRAM";
/// The hooks for `config.json` of a bundle.
pub const HOOKS: &str = r#"  "hooks": {
    "createRuntime": [{"path": "PROGRAM", "args": ["fairway", "oci-hook", "createRuntime"]}],
    "poststop": [{"path": "PROGRAM", "args": ["fairway", "oci-hook", "poststop"]}]
  }"#;

/// Does what the runtime asks. The first argument is the program's name, the second the phase, if it is given.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match answer(arguments.get(1..).unwrap_or_default()) {
        Ok(notes) => {
            notes.iter().for_each(|note| print(note));
            ExitCode::SUCCESS
        }
        Err(error) => {
            print(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the standard error, which runtimes show or log.
fn print(text: &str) {
    // A runtime that does not read has no use for the text.
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
}

/// Obeys one call. Returns what the user should know.
fn answer(arguments: &[OsString]) -> Result<Vec<String>, OciError> {
    let named = Phase::of_arguments(arguments)?;
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text).map_err(OciError::Input)?;
    let state = State::read(&text)?;
    match named.map_or_else(|| state.phase(), Ok)? {
        Phase::Connect => connect(&state),
        Phase::Disconnect => disconnect(&state).map(|()| Vec::new()),
    }
}

/// Connects the container.
fn connect(state: &State) -> Result<Vec<String>, OciError> {
    let path = state.namespace()?;
    let container = namespace::identity(&path).map_err(OciError::Namespace)?;
    let own = namespace::own().map_err(OciError::Namespace)?;
    if container.identity() == own.namespace().identity() {
        return Ok(vec![format!(
            "container {} is in the network namespace of its runtime: it is left alone",
            state.id
        )]);
    }
    let configuration = Configuration::read(&state.configuration()?)?;
    let request = request::join(&state.id, &path, &configuration);
    let attached = daemon::join(&Place::of_caller(DIRECTORY), &request, &request::leave(&state.id))
        .map_err(|error| configuration.explain(error))?;
    Ok(attached.warnings)
}

/// Disconnects the container, if it is connected.
fn disconnect(state: &State) -> Result<(), OciError> {
    let leave = request::leave(&state.id);
    daemon::ask_if_any(&Place::of_caller(DIRECTORY), |client| match client.leave(&leave) {
        // Its id is that of a container of Fairway's own, which no hook connected.
        Err(ClientError::Refused { status: 409, .. }) => Ok(()),
        left => left,
    })?;
    Ok(())
}

/// Parses any bytes as the state of a container; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    // A bundle would be read.
    if let Ok(state) = State::read(bytes)
        && let Ok(annotations) = (State { bundle: Default::default(), ..state }).configuration()
    {
        let _ = Configuration::read(&annotations);
    }
}
