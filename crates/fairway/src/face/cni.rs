//! `fairway cni`: a plugin of the Container Network Interface (CNI), with its own IPAM, published ports and names.

mod attachment;
mod check;
mod configuration;
mod delegate;
mod describe;
mod environment;
mod error;
mod ipam;
mod result;
mod version;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use attachment::Request;
use configuration::Configuration;
use environment::{Command, Environment};
use error::Error;
use version::Version;

use super::daemon::Place;

/// The name of the program as a plugin: the `type` in network configurations.
pub const PLUGIN: &str = "fairway-cni";
/// The hidden subcommand for the same.
pub const SUBCOMMAND: &str = "cni";

/// The directory of a daemon that cannot be at the system's place.
const DIRECTORY: &str = "/run/cni";

/// Where the network configuration is that [`CONFLIST`] is the text of.
pub const CONFLIST_PATH: &str = "/etc/cni/net.d/10-fairway.conflist";
/// A network configuration for nodes and hosts: one network with a gateway.
pub const CONFLIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "fairway",
  "plugins": [
    {
      "type": "fairway-cni",
      "isDefaultGateway": true,
      "ipMasq": true,
      "ipam": {
        "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd22::/64"}]]
      },
      "capabilities": {
        "aliases": true,
        "bandwidth": true,
        "dns": true,
        "ips": true,
        "mac": true,
        "portMappings": true
      }
    }
  ]
}
"#;

/// What is printed without `CNI_COMMAND`.
const ABOUT: &str = "fairway-cni: a CNI plugin, which container runtimes execute: see docs/reference/cni.md";

/// Answers the request in the environment and the standard input.
pub fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the protocol passes parameters in variables")]
    let variable = |name: &str| std::env::var(name).ok();
    match answer(&variable, &mut io::stdin().lock()) {
        None => {
            eprintln!("{}", about());
            ExitCode::SUCCESS
        }
        Some((printed, is_error)) => {
            // A runtime that does not read has no use for the answer.
            let _ = io::stdout().write_all(printed.as_bytes());
            if is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Answers one request. Returns what is printed to the standard output, and whether it is an error; nothing without
/// `CNI_COMMAND`.
fn answer(variable: &dyn Fn(&str) -> Option<String>, input: &mut dyn Read) -> Option<(String, bool)> {
    if variable("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        return None;
    }
    let mut version = Version::NEWEST.text().to_owned();
    Some(match obey(variable, input, &mut version) {
        Ok(Some(value)) => (value.to_string(), false),
        Ok(None) => (String::new(), false),
        Err(error) => (error.json(&version).to_string(), true),
    })
}

/// The text for a user who starts the plugin by hand.
fn about() -> String {
    let versions = Version::ALL.map(Version::text).join(", ");
    format!("{ABOUT}\nversions of the CNI specification: {versions}")
}

/// Does what is asked. `version` becomes that of the configuration as soon as it is known.
fn obey(
    variable: &dyn Fn(&str) -> Option<String>,
    input: &mut dyn Read,
    version: &mut String,
) -> Result<Option<Value>, Error> {
    let environment = Environment::read(variable)?;
    let mut text = Vec::new();
    input.read_to_end(&mut text).map_err(Error::Input)?;
    if environment.command == Command::Version {
        let versions = Version::ALL.map(Version::text);
        return Ok(Some(json!({"cniVersion": Version::NEWEST.text(), "supportedVersions": versions})));
    }
    let configuration = Configuration::read(&text)?;
    let spoken = Version::read(&configuration.cni_version)?;
    spoken.text().clone_into(version);
    let command = environment.command;
    command.check_version(spoken)?;
    let place = Place::of_caller(DIRECTORY);
    let holds_ports = attachment::holds_ports(&caller());
    let request = Request { environment, configuration, text, place, holds_ports };
    match command {
        Command::Add => request.add().map(|outcome| Some(outcome.json(spoken))),
        Command::Del => request.delete().map(|()| None),
        Command::Check => request.check().map(|()| None),
        Command::Gc => request.collect_garbage().map(|()| None),
        Command::Status => request.status().map(|()| None),
        Command::Version => Ok(None),
    }
}

/// The name of the process that executed the plugin; empty if it has ended.
fn caller() -> String {
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero());
    let path = parent.map(|parent| format!("/proc/{parent}/comm"));
    path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Parses any bytes as a network configuration; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = Configuration::read(bytes).map(|configuration| {
        let _ = configuration.aliases();
        configuration.limits()
    });
    let _ = result::Outcome::read("the result", bytes);
}

#[cfg(test)]
mod tests;
