//! The endpoints that dockerd has created and that have not joined yet. They are files, so that a daemon that is replaced
//! between the two requests of a container's start knows them: dockerd does not say again what it chose.

use std::io;
use std::path::{Path, PathBuf};

use fairway_model::{EndpointId, EndpointRequest};

/// Their directory in the exec root.
const DIRECTORY: &str = "docker-endpoints";

/// The endpoints that have not joined yet.
#[derive(Debug)]
pub struct Created {
    directory: PathBuf,
}

impl Created {
    /// Those of an exec root.
    pub fn under(exec_root: &Path) -> Self {
        Self { directory: exec_root.join(DIRECTORY) }
    }

    fn path(&self, id: EndpointId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// Remembers an endpoint.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert(&self, id: EndpointId, endpoint: &EndpointRequest) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        std::fs::write(self.path(id), serde_json::to_vec(endpoint)?)
    }

    /// Forgets an endpoint, and returns it; none if it is not known.
    pub fn take(&self, id: EndpointId) -> Option<EndpointRequest> {
        let path = self.path(id);
        let text = std::fs::read(&path).ok()?;
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "failed to delete {}: {error}", path.display());
        }
        serde_json::from_slice(&text).ok()
    }

    /// Forgets all.
    pub fn clear(&self) {
        match std::fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "failed to delete {}: {error}", self.directory.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_known_to_the_next_daemon_until_it_joins() {
        let root = tempfile::tempdir().unwrap();
        let (id, other) = (EndpointId::new([1; 32]), EndpointId::new([2; 32]));
        let endpoint = EndpointRequest { ipv4: Some([10, 0, 0, 2].into()), ..EndpointRequest::default() };
        Created::under(root.path()).insert(id, &endpoint).unwrap();
        let next = Created::under(root.path());
        assert_eq!(next.take(other), None);
        assert_eq!(next.take(id), Some(endpoint.clone()));
        assert_eq!(next.take(id), None, "it has joined");
        next.insert(id, &endpoint).unwrap();
        std::fs::write(next.path(other), "{").unwrap();
        assert_eq!(next.take(other), None, "its writer was killed");
        next.clear();
        next.clear();
        assert_eq!((next.take(id), std::fs::read_dir(root.path()).unwrap().count()), (None, 0));
    }
}
