//! The World: what users asked for, and what was decided for them.

mod command;
mod refusal;

pub use command::{Command, CreateNetwork, CreateSandbox, NetworkChoice, SubnetRequest};
pub use refusal::{Refusal, RefusalKind};
