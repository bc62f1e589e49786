//! The kinds of refusal.

/// The kind of a refusal; decides the HTTP status and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is invalid (400).
    Invalid,
    /// The request is not allowed (403).
    Forbidden,
    /// An object that the request names does not exist (404).
    NotFound,
    /// The request conflicts with an existing object (409).
    Conflict,
}
