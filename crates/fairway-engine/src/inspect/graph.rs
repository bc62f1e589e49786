//! Draws the networks of the host.

use fairway_core::world::Refusal;
use fairway_inspect::graph::{Picture, Traffic, Walk};
use fairway_kernel::survey;
use thiserror::Error;

use super::Inspector;
use super::explain::{ExplainError, Explanation};
use crate::commit::state::Snapshot;

/// Why a graph cannot be drawn.
#[derive(Debug, Error)]
pub enum GraphError {
    /// No network has the name.
    #[error(transparent)]
    Network(#[from] Refusal),
    /// The host cannot be read, or the query is invalid.
    #[error(transparent)]
    Explain(#[from] ExplainError),
}

impl Inspector {
    /// Draws the networks of those names, or all, and the path of a packet as `explain` finds it.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, GraphError> {
        let outline = || survey::outline("host");
        let host =
            self.applier.workers.run(self.applier.workers.initial(), outline).map_err(ExplainError::from)?;
        let host = host.map_err(ExplainError::from)?;
        let mut picture = {
            let Snapshot { world, plan } = &self.committer.snapshot();
            let found = networks.iter().map(|name| world.find_network(name).map(|network| network.id));
            let only: Vec<_> = found.collect::<Result<_, _>>()?;
            Picture::new(world, plan, &host.namespace, &only)
        };
        self.add_traffic(&mut picture);
        if let Some((from, to)) = path {
            let explained = self.explain(from, to, false)?;
            let question = format!("{from} asks {to}");
            let Explanation { branches, topology, advice, .. } = explained;
            picture.walk = Some(Walk::new(&picture, question, &topology, &branches, advice));
        }
        Ok(picture)
    }

    /// Adds the counters of the networks. Without them the picture is as good.
    fn add_traffic(&self, picture: &mut Picture) {
        let counted = match self.network_traffic() {
            Ok(counted) => counted,
            Err(error) => {
                tracing::warn!(%error, "failed to read the counters of networks for a picture: {error}");
                return;
            }
        };
        self.committer.read(|world| {
            for network in &mut picture.networks {
                let id = world.find_network(&network.name).map(|it| it.id).ok();
                network.traffic = id
                    .and_then(|id| counted.get(&id))
                    .map(|it| Traffic { bytes_in: it.inward.bytes, bytes_out: it.outward.bytes });
            }
        });
    }
}
