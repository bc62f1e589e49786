//! Where the page's data comes from.

use std::time::Duration;

use fairway_containers::Container;
use fairway_inspect::doctor::Finding;
use fairway_inspect::graph::Picture;
use fairway_inspect::trace::TraceMessage;
use thiserror::Error;

use crate::content::Answer;

/// The kind of a failure; decides its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The question makes no sense on this host.
    Refused,
    /// What is asked cannot be read now.
    Unavailable,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// The message for the user.
    pub message: String,
}

/// Where the page's data comes from. All methods may block; several are called at once.
pub trait Source: Send + Sync + 'static {
    /// The picture of all networks.
    ///
    /// # Errors
    /// The host cannot be read.
    fn picture(&self) -> Result<Picture, Failure>;

    /// The way of a packet.
    ///
    /// # Errors
    /// An end does not exist, or the host cannot be read.
    fn explain(&self, from: &str, to: &str) -> Result<Answer, Failure>;

    /// All containers of the host, and whether packets from and to each can be explained.
    ///
    /// # Errors
    /// The host cannot be read.
    fn containers(&self) -> Result<Vec<(Container, bool)>, Failure>;

    /// What `doctor` finds.
    ///
    /// # Errors
    /// The host cannot be read.
    fn findings(&self) -> Result<Vec<Finding>, Failure>;

    /// Traces packets, and calls `show` with each message until it returns false. It is called at least every second.
    ///
    /// # Errors
    /// An end does not exist, or packets cannot be captured.
    fn trace(
        &self,
        from: Option<String>,
        to: Option<String>,
        show: &mut dyn FnMut(TraceMessage) -> bool,
    ) -> Result<(), Failure>;

    /// Waits until something may have changed, at most for `patience`.
    fn wait_for_change(&self, patience: Duration);

    /// A number that is another one when something of the picture or of the containers has changed.
    fn fingerprint(&self) -> u64;
}
