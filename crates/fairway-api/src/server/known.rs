//! Finding the container of a request.

use fairway_model::{RefusalKind, Sandbox};

use super::look;
use crate::engine_api::{EngineApi, Failure};

/// The container of this name or id.
pub(super) fn find(engine: &dyn EngineApi, id: &str) -> Result<Sandbox, Failure> {
    look(engine, |world| Ok(world.find_sandbox(id)?.clone()))
}

/// Refuses a container that does not run.
pub(super) fn check_running(sandbox: &Sandbox) -> Result<(), Failure> {
    match sandbox.running() {
        true => Ok(()),
        false => {
            Err(Failure::new(RefusalKind::Conflict, format!("container {} is not running", sandbox.name)))
        }
    }
}
