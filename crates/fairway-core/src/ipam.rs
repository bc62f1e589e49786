//! Which subnet a network gets, and which address an endpoint.

use thiserror::Error;

use crate::world::RefusalKind;

/// Why no subnet or address can be given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IpamError {
    /// Each pool meets something.
    #[error("all predefined address pools have been fully subnetted: {0}")]
    Exhausted(String),
}

impl IpamError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> RefusalKind {
        RefusalKind::Forbidden
    }
}
