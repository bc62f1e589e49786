//! The containers of every engine on the host, by the names that their users know.
//!
//! No daemon of Fairway is needed, and nothing is changed: the engines' own records are read. [`read`] lists all
//! containers, [`find`] finds one of them by name, and [`Survey::resolve`] also finds `pid:1234` and `netns:/path`.

#![forbid(unsafe_code)]

mod cni;
mod container;
mod containerd;
mod docker;
mod find;
mod interfaces;
mod json;
mod lxc;
mod named;
mod note;
mod nspawn;
mod oci;
mod podman;
mod port_mapping;
mod process_list;
mod reader;
mod survey;
mod task;
mod users;

#[cfg(test)]
mod testing;

pub use container::{Attachment, Container, Engine, Mode, PublishedPort, State};
pub use docker::{
    DockerDaemon, DockerEndpoint, DockerNetwork, SilentDaemon, docker_networks, docker_process,
};
pub use find::{Ambiguous, find, split};
pub use note::Note;
pub use reader::open_inside;
pub use survey::{ResolveError, Survey, namespace_of, read};
