//! Draws the networks of all engines on this host.

use fairway_inspect::graph::{Picture, Walk};

use crate::error::HostError;
use crate::explain::Explanation;
use crate::host::Host;

impl Host {
    /// Draws the networks of those names, or all, and the path of a packet as `explain` finds it.
    ///
    /// # Errors
    /// As [`Host::explain`].
    pub fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, HostError> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut picture = Picture::of_engines(name, &self.topology, &self.known(), networks);
        if let Some((from, to)) = path {
            let Explanation { branches, mut topology, advice, .. } = self.explain(from, to)?;
            Picture::mark_namespaces(&mut topology);
            let question = format!("{from} asks {to}");
            picture.walk = Some(Walk::new(&picture, question, &topology, &branches, advice));
        }
        Ok(picture)
    }
}
