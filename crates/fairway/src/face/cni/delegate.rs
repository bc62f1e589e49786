//! IPAM plugins, executed as the specification has it: the same variables, and the whole configuration.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::environment::Environment;
use super::error::{Error, Reply};
use super::result::Outcome;
use crate::face::program;

/// An IPAM plugin, and what it is asked with.
#[derive(Debug)]
pub struct Plugin<'a> {
    name: &'a str,
    path: PathBuf,
    environment: &'a Environment,
    configuration: &'a [u8],
}

impl<'a> Plugin<'a> {
    /// Finds a plugin in `CNI_PATH`.
    ///
    /// # Errors
    /// [`Error::IpamProgram`] if it is not there.
    pub fn find(name: &'a str, environment: &'a Environment, configuration: &'a [u8]) -> Result<Self, Error> {
        let failed = |reason: String| Error::IpamProgram { plugin: name.to_owned(), reason };
        if name.contains('/') {
            return Err(failed("a name without a directory is expected".to_owned()));
        }
        let mut candidates = environment.path.iter().map(|directory| directory.join(name));
        match candidates.find(|path| path.is_file()) {
            Some(path) => Ok(Self { name, path, environment, configuration }),
            None => {
                let directories: Vec<_> =
                    environment.path.iter().map(|path| path.display().to_string()).collect();
                Err(failed(format!("it is not in {}", directories.join(" or "))))
            }
        }
    }

    /// Asks for addresses.
    ///
    /// # Errors
    /// The plugin fails, or its answer cannot be read.
    pub fn add(&self) -> Result<Outcome, Error> {
        let printed = self.run("ADD", &self.environment.container_id, &self.environment.interface)?;
        Outcome::read("the answer of the IPAM plugin", &printed)
    }

    /// Gives the addresses of this request's attachment back.
    ///
    /// # Errors
    /// The plugin fails.
    pub fn delete(&self) -> Result<(), Error> {
        self.delete_of(&self.environment.container_id, &self.environment.interface)
    }

    /// Gives the addresses of an attachment back.
    ///
    /// # Errors
    /// The plugin fails.
    pub fn delete_of(&self, container: &str, interface: &str) -> Result<(), Error> {
        self.run("DEL", container, interface).map(drop)
    }

    /// Has the plugin do a command that has no answer.
    ///
    /// # Errors
    /// The plugin fails.
    pub fn ask(&self, command: &str) -> Result<(), Error> {
        self.run(command, &self.environment.container_id, &self.environment.interface).map(drop)
    }

    fn run(&self, command: &str, container: &str, interface: &str) -> Result<Vec<u8>, Error> {
        let failed = |error: std::io::Error| Error::IpamProgram {
            plugin: self.name.to_owned(),
            reason: error.to_string(),
        };
        let output = self.execute(command, container, interface).map_err(failed)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let reply = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Reply {
            code: 0,
            msg: format!("{command}: {}", output.status),
            details: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
        Err(Error::Ipam { plugin: self.name.to_owned(), reply })
    }

    #[expect(clippy::disallowed_methods, reason = "an IPAM plugin is a program")]
    fn execute(&self, command: &str, container: &str, interface: &str) -> std::io::Result<Output> {
        let mut plugin = Command::new(&self.path);
        plugin.env("CNI_COMMAND", command).env("CNI_CONTAINERID", container).env("CNI_IFNAME", interface);
        if container != self.environment.container_id {
            plugin.env("CNI_NETNS", "");
        }
        program::run(plugin.stderr(Stdio::piped()), self.configuration)
    }
}
