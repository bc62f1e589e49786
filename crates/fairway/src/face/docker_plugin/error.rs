//! Why a request of dockerd is refused. dockerd shows the text to its user behind the name of the call.

use fairway_api::Failure;
use thiserror::Error;

/// Why a request is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The path is no call of the protocol that the plugin answers.
    #[error("the plugin has no method {0}: it implements NetworkDriver and IpamDriver of the scope local")]
    Method(String),
    /// The body is too long, or its sender is gone.
    #[error("cannot read the body of {method}: {reason}")]
    Body {
        /// The call.
        method: String,
        /// What is wrong.
        reason: String,
    },
    /// The body is no JSON of the call.
    #[error("cannot read the body of {method}: {source}")]
    Json {
        /// The call.
        method: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A value of the request makes no sense.
    #[error("invalid {what} {value:?}: {expected} is expected")]
    Value {
        /// What the value is.
        what: &'static str,
        /// The value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// An option is not what the call takes.
    #[error("cannot use option {name}: {reason}")]
    Option {
        /// The name of the option.
        name: String,
        /// The reason and the way out.
        reason: String,
    },
    /// The engine allocated nothing.
    #[error("cannot allocate {0}: the daemon is ending: try again")]
    NotAllocated(&'static str),
    /// The daemon has lost the network, as with another data root.
    #[error(
        "the daemon does not know network {0}: its data root is another one, or was deleted: remove the network (docker network rm) and create it again"
    )]
    UnknownNetwork(String),
    /// An endpoint cannot be remembered until it joins.
    #[error("cannot create the endpoint: cannot write its file in the exec root: {0}")]
    Remember(#[source] std::io::Error),
    /// The endpoint was never created, or its file is gone.
    #[error(
        "cannot join endpoint {0}: the daemon does not know it, or knows it no more: start the container again"
    )]
    NotCreated(String),
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] Failure),
}
