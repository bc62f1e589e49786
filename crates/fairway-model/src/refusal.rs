//! The kinds of refusal.

/// What kind of refusal it is: decides the HTTP status and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request makes no sense (400).
    Invalid,
    /// It is not allowed (403).
    Forbidden,
    /// What it names does not exist (404).
    NotFound,
    /// Something else has what it wants (409).
    Conflict,
}
