//! `fairway apply` and `fairway export`: networks and sandboxes as one file declares them.

mod apply;
mod export;
mod send;

pub(super) use apply::ApplyOptions;
pub(super) use export::ExportOptions;
