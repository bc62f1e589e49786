//! The environment variables of a CNI plugin.

use std::net::IpAddr;
use std::path::PathBuf;

use fairway_model::parse::interface_name;

use super::error::Error;
use super::version::Version;

/// What the runtime asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Attaches a container.
    Add,
    /// Detaches a container.
    Del,
    /// Compares what exists with the result of ADD.
    Check,
    /// Detaches all but the valid attachments.
    Gc,
    /// Whether containers can be attached.
    Status,
    /// The versions of the plugin.
    Version,
}

/// The variables of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; empty if the namespace is gone.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// `CNI_ARGS`.
    pub arguments: Arguments,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
}

/// The arguments in `CNI_ARGS` that have a meaning here; others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `IP`: requested addresses.
    pub addresses: Vec<IpAddr>,
    /// `MAC`: the requested MAC address; empty for none.
    pub mac: String,
    /// `K8S_POD_NAME`; empty for none.
    pub pod: String,
    /// `K8S_POD_NAMESPACE`; empty for none.
    pub pod_namespace: String,
}

impl Command {
    const ALL: [(&'static str, Self); 6] = [
        ("ADD", Self::Add),
        ("DEL", Self::Del),
        ("CHECK", Self::Check),
        ("GC", Self::Gc),
        ("STATUS", Self::Status),
        ("VERSION", Self::Version),
    ];

    /// The variables that the command takes, besides `CNI_COMMAND`.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl Command {
    /// Refuses a command that the version of the configuration does not have.
    ///
    /// # Errors
    /// [`Error::CommandTooNew`].
    pub fn check_version(self, version: Version) -> Result<(), Error> {
        let (command, since) = match self {
            Self::Check => ("CHECK", Version::V0_4_0),
            Self::Gc => ("GC", Version::V1_1_0),
            Self::Status => ("STATUS", Version::V1_1_0),
            Self::Add | Self::Del | Self::Version => return Ok(()),
        };
        if version < since {
            return Err(Error::CommandTooNew { command, since: since.text(), version: version.text() });
        }
        Ok(())
    }
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`Error::Environment`] names all that are missing, or the one that cannot be used.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let value = |name: &str| variable(name).unwrap_or_default();
        let word = value("CNI_COMMAND");
        if word.is_empty() {
            return Err(missing(&["CNI_COMMAND"]));
        }
        let found = Command::ALL.into_iter().find(|(name, _)| *name == word);
        let (_, command) = found.ok_or_else(|| Error::Environment(format!("unknown CNI_COMMAND: {word}")))?;
        let absent: Vec<_> =
            command.required().iter().filter(|name| value(name).is_empty()).copied().collect();
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        let read = Self {
            command,
            container_id: value("CNI_CONTAINERID"),
            netns: value("CNI_NETNS"),
            interface: value("CNI_IFNAME"),
            arguments: Arguments::read(&value("CNI_ARGS"))?,
            path: std::env::split_paths(&value("CNI_PATH")).collect(),
        };
        if matches!(command, Command::Add | Command::Del | Command::Check) {
            read.check_names()?;
        }
        Ok(read)
    }

    /// Checks that the namespace of the container exists.
    ///
    /// # Errors
    /// [`Error::Environment`].
    pub fn check_namespace(&self) -> Result<(), Error> {
        let invalid = |error| Error::Environment(format!("cannot use CNI_NETNS {:?}: {error}", self.netns));
        std::fs::metadata(&self.netns).map(drop).map_err(invalid)
    }

    fn check_names(&self) -> Result<(), Error> {
        if !is_identifier(&self.container_id) {
            let text = format!("invalid characters in CNI_CONTAINERID {:?}", self.container_id);
            return Err(Error::Environment(text));
        }
        let invalid = |error| Error::Environment(format!("invalid CNI_IFNAME: {error}"));
        interface_name(&self.interface).map(drop).map_err(invalid)
    }
}

/// Whether a text is a name by the specification: a letter or digit, then also `_`, `.` and `-`.
pub(super) fn is_identifier(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(rest)
}

fn missing(names: &[&str]) -> Error {
    Error::Environment(format!("required env variables [{}] missing", names.join(",")))
}

impl Arguments {
    fn read(text: &str) -> Result<Self, Error> {
        let mut read = Self::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::Environment(format!(
                    "invalid CNI_ARGS pair {pair:?}: NAME=VALUE is expected"
                )));
            };
            match name {
                "IP" => read.addresses = addresses(value)?,
                "MAC" => read.mac = value.to_owned(),
                "K8S_POD_NAME" => read.pod = value.to_owned(),
                "K8S_POD_NAMESPACE" => read.pod_namespace = value.to_owned(),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// Addresses separated by commas, with prefix lengths or without.
fn addresses(text: &str) -> Result<Vec<IpAddr>, Error> {
    let read = |text: &str| {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        let invalid =
            |_| Error::Environment(format!("invalid IP {text:?} in CNI_ARGS: an address is expected"));
        address.parse().map_err(invalid)
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(read).collect()
}
