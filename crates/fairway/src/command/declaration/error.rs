//! Why a declaration cannot be read or applied.

use std::io;

use thiserror::Error;

/// Why a declaration cannot be read or applied.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(in crate::command) enum DeclareError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("cannot read {path}: {source}")]
    Text { path: String, source: TextError },
    #[error("cannot prune: the standard input has no name to know what it created by: add name: NAME")]
    Unnamed,
    #[error("cannot apply {path}: nothing was changed:\n{}", lines(refusals))]
    Refused { path: String, refusals: Vec<Refusal> },
    #[error("cannot read the published ports of sandbox {sandbox}: {reason}")]
    Ports { sandbox: String, reason: String },
    #[error("cannot write the declaration: {0}")]
    Write(#[source] serde_saphyr::SerializeError),
}

/// Why a text is no declaration.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(in crate::command) enum TextError {
    #[error("{place}unknown key {key:?}{near}: the keys here are {known}")]
    Key { place: String, key: String, near: String, known: String },
    #[error("{0}")]
    Yaml(String),
}

/// Why a declaration is not applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(in crate::command) enum Refusal {
    #[error("cannot change network {network}: {reason}: {users}: disconnect these first")]
    InUse { network: String, reason: String, users: String },
    #[error("cannot remove network {network}: {users}: disconnect these first, or declare the network")]
    Wanted { network: String, users: String },
    #[error("cannot find network {0}, which is declared external: create it, or declare it without external")]
    NoExternal(String),
    #[error("cannot declare network {0}: it is predefined: declare it with external: true")]
    Predefined(String),
    #[error("cannot declare network default: it needs the name of a project: add name: NAME to the file")]
    Default,
    #[error("cannot find driver {driver:?} of network {network}{near}: it can be {drivers}")]
    Driver { network: String, driver: String, near: String, drivers: String },
    #[error("cannot declare network {0} twice: give one of them another name")]
    Twice(String),
    #[error("cannot declare sandbox {0} twice: give one of them another name")]
    SandboxTwice(String),
    #[error("cannot connect {owner} to network {network}: it is not in networks{near}")]
    NoNetwork { owner: String, network: String, near: String },
    #[error("cannot change sandbox {sandbox}: it was {kind}: declare its networks and ports in services")]
    Kind { sandbox: String, kind: String },
    #[error(
        "cannot connect sandbox {sandbox}: it has no networks of its own in mode {mode}: run it with --network"
    )]
    Mode { sandbox: String, mode: String },
    #[error(
        "cannot use the namespace of sandbox {sandbox}: {path}: a path such as /run/netns/web, or a name of ip netns is expected"
    )]
    Namespace { sandbox: String, path: String },
    #[error("cannot read {what} {name}: {reason}")]
    Value { what: &'static str, name: String, reason: String },
    #[error("cannot {action}: {reason}")]
    Step { action: String, reason: String },
}

impl Refusal {
    /// A value that the API's own parser refuses.
    pub(super) fn value(what: &'static str, name: &str, failure: fairway_api::Failure) -> Self {
        // The API's list of errors is below a line that only says that there are some.
        let reason = failure.message.split_once(":\n").map_or(failure.message.as_str(), |(_, list)| list);
        Self::Value { what, name: name.to_owned(), reason: reason.replace('\n', "; ") }
    }
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("  {refusal}")).collect::<Vec<_>>().join("\n")
}
