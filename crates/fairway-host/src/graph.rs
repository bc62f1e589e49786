//! Draws the networks of all engines on this host.

use fairway_inspect::graph::{Picture, Walk};

use crate::error::HostError;
use crate::explain::Explanation;
use crate::host::Host;

impl Host {
    /// Draws the networks of those names, or all.
    pub fn picture(&self, networks: &[&str]) -> Picture {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Picture::of_engines(name, &self.topology, &self.known(), networks)
    }

    /// Draws the networks of those names, or all, and the path of a packet as `explain` finds it.
    ///
    /// # Errors
    /// There is no such network, or as [`Host::explain`].
    pub fn graph(self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, HostError> {
        let picture = self.picture(networks);
        let is_drawn = |name: &&&str| picture.networks.iter().any(|network| network.name == **name);
        if let Some(missing) = networks.iter().find(|name| !is_drawn(name)) {
            return Err(HostError::NoNetwork((*missing).to_owned()));
        }
        match path {
            Some((from, to)) => Ok(self.explain(from, to)?.drawn(picture, from, to)),
            None => Ok(picture),
        }
    }
}

impl Explanation {
    /// The picture with the path of the packet, which was asked for by these ends.
    pub fn drawn(mut self, mut picture: Picture, from: &str, to: &str) -> Picture {
        Picture::mark_namespaces(&mut self.topology);
        let question = format!("{from} asks {to}");
        picture.walk = Some(Walk::new(&picture, question, &self.topology, &self.branches, self.advice));
        picture
    }
}
