//! Why packets cannot be traced.

use fairway_kernel::{namespace, nftables};
use thiserror::Error;

/// Why packets cannot be traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The kernel refuses to capture packets.
    #[error("cannot capture packets: {0}")]
    Capture(#[from] std::io::Error),
    /// The kernel refuses to trace rules.
    #[error("cannot watch rules: {0}")]
    Rules(#[from] nftables::Error),
}
