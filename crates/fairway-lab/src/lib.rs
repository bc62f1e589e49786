//! Labs: throw-away sets of network namespaces that play hosts on LANs.

pub mod dns;
mod enter;
mod error;
mod forbidden;
pub mod frame;
mod lab;
pub mod leftovers;
mod mounts;
mod place;
mod probe;
mod process;
mod tap;
mod wire;

pub use enter::{enter, is_inside, main, run};
pub use error::LabError;
pub use forbidden::Cause;
pub use lab::{Host, Lab, Lan, SCRATCH};
pub use place::Place;
pub use probe::{
    DatagramFlow, Fault, Outcome, Question, Reply, Server, Transfer, TransferReport, ask, ask_datagram,
    serve_datagrams, serve_echo, serve_tcp,
};
pub use process::Process;
pub use tap::{Capture, FrameSender};
