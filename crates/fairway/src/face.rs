//! Faces: interfaces for other programs. Each is a thin program that another one starts for one call, and that asks the
//! daemon.

pub mod daemon;
