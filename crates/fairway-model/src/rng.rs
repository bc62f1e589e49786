//! The random number generator that decisions take as an argument.

use crate::{EndpointId, NetworkId, SandboxId};

/// A deterministic random number generator (SplitMix64). The daemon seeds it with random bytes, tests with a
/// constant. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next random number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random number below `bound`, which must not be 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }

    /// A random identifier of a network.
    pub fn network_id(&mut self) -> NetworkId {
        NetworkId::new(self.bytes())
    }

    /// A random identifier of a sandbox.
    pub fn sandbox_id(&mut self) -> SandboxId {
        SandboxId::new(self.bytes())
    }

    /// A random identifier of an endpoint.
    pub fn endpoint_id(&mut self) -> EndpointId {
        EndpointId::new(self.bytes())
    }
}
