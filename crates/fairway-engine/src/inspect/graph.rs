//! The host's networks as a picture.

use fairway_core::world::Refusal;
use fairway_inspect::graph::{Picture, Walk};
use fairway_kernel::survey;
use thiserror::Error;

use crate::{Engine, ExplainError, State};

/// Why nothing can be drawn.
#[derive(Debug, Error)]
pub enum GraphError {
    /// There is no network of that name.
    #[error(transparent)]
    Network(#[from] Refusal),
    /// The host cannot be read, or the question makes no sense.
    #[error(transparent)]
    Explain(#[from] ExplainError),
}

impl Engine {
    /// The networks of those names, or all, and where a packet goes from one to another, as [`Engine::explain`] has
    /// it.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, GraphError> {
        let outline = || survey::outline("host");
        let host = self.workers.run(self.workers.initial(), outline).map_err(ExplainError::from)?;
        let host = host.map_err(ExplainError::from)?;
        let mut picture = {
            let State { world, plan, .. } = &*self.state();
            let found = networks.iter().map(|name| world.find_network(name).map(|network| network.id));
            let only: Vec<_> = found.collect::<Result<_, _>>()?;
            Picture::new(world, plan, &host.namespace, &only)
        };
        if let Some((from, to)) = path {
            let explained = self.explain(from, to, false)?;
            let question = format!("{from} asks {to}");
            picture.walk = Some(Walk::new(&picture, question, &explained.connection, explained.advice));
        }
        Ok(picture)
    }
}
