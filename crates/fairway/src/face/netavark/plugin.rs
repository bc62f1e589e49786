//! Drivers that are programs of their own: netavark's plugins.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Serialize;

use super::error::NetavarkError;
use super::reply::{Failure, Status};
use super::request::{Container, Endpoint, NamedEndpoint, Network, PortMapping};
use crate::face::program;

/// What a plugin reads at `setup` and `teardown`.
#[derive(Debug, Serialize)]
struct Input<'a> {
    container_id: &'a str,
    container_name: &'a str,
    port_mappings: Option<&'a [PortMapping]>,
    network: &'a Network,
    network_options: &'a Endpoint,
}

/// The program of a driver in the first of the directories that has it.
pub(super) fn find(directories: &[PathBuf], driver: &str) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    directories.iter().map(|directory| directory.join(driver)).find(is_program)
}

/// Has a plugin set up a network of a container.
pub(super) fn setup(
    program: &Path,
    namespace: &str,
    container: &Container,
    named: &NamedEndpoint,
    network: &Network,
) -> Result<Status, NetavarkError> {
    let output = run(program, &["setup", namespace], &input(container, named, network))?;
    serde_json::from_slice(&output).map_err(|error| failed(program, error))
}

/// Has a plugin tear down a network of a container.
pub(super) fn teardown(
    program: &Path,
    namespace: &str,
    container: &Container,
    named: &NamedEndpoint,
    network: &Network,
) -> Result<(), NetavarkError> {
    run(program, &["teardown", namespace], &input(container, named, network)).map(drop)
}

/// Has a plugin complete and check a new network.
pub(super) fn create(program: &Path, network: &Network) -> Result<Network, NetavarkError> {
    let output = run(program, &["create"], network)?;
    serde_json::from_slice(&output).map_err(|error| failed(program, error))
}

fn input<'a>(container: &'a Container, named: &'a NamedEndpoint, network: &'a Network) -> Input<'a> {
    Input {
        container_id: &container.container_id,
        container_name: &container.container_name,
        port_mappings: container.port_mappings.as_deref(),
        network,
        network_options: &named.endpoint,
    }
}

fn failed(program: &Path, reason: impl ToString) -> NetavarkError {
    let plugin = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    NetavarkError::Plugin { plugin, reason: reason.to_string() }
}

#[expect(clippy::disallowed_methods, reason = "plugins are programs by netavark's protocol")]
fn run(program: &Path, arguments: &[&str], input: &impl Serialize) -> Result<Vec<u8>, NetavarkError> {
    let text = serde_json::to_vec(input)?;
    let ran = program::run(Command::new(program).args(arguments), &text);
    let Output { status, stdout, .. } = ran.map_err(|error| failed(program, error))?;
    match status.code() {
        Some(0) => Ok(stdout),
        Some(code) => Err(failed(
            program,
            match serde_json::from_slice::<Failure>(&stdout) {
                Ok(failure) => format!("exit code {code}, message: {}", failure.error),
                Err(error) => format!("exit code {code}, parse error: {error}"),
            },
        )),
        None => Err(failed(program, "killed by signal")),
    }
}
