//! Containers of other engines as sandboxes.

use fairway_model::SandboxId;
use sha2::{Digest, Sha256};

/// The label of a sandbox with the id that its engine gave the container.
pub const CONTAINER_LABEL: &str = "io.fairway.container";

/// The sandbox of an engine's container: of the same id, if that has 64 hexadecimal digits, as those of podman, Docker and
/// containerd's CRI plugin have. Any other id is hashed together with the engine's name.
pub fn sandbox_id(engine: &str, container: &str) -> SandboxId {
    container.parse().unwrap_or_else(|_| {
        let digest = Sha256::new().chain_update(engine).chain_update([0]).chain_update(container).finalize();
        SandboxId::new(digest.into())
    })
}

/// The first digits of an id of 64, by which people know such a container; none of another id.
pub fn short(container: &str) -> Option<String> {
    container.parse::<SandboxId>().ok().map(|id| id.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_64_digits_stays_and_any_other_is_hashed_with_the_engine() {
        let long = "ab".repeat(32);
        assert_eq!(sandbox_id("podman", &long).to_string(), long);
        let short = sandbox_id("cni", "default-c1");
        assert_eq!(short, sandbox_id("cni", "default-c1"));
        assert_ne!(short, sandbox_id("podman", "default-c1"));
        assert_ne!(short, sandbox_id("cni", "default-c2"));
    }
}
