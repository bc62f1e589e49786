//! What the `fairway` program is made of, so that its tests can use it too.

pub mod process;
