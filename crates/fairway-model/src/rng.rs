//! Randomness as an argument.

use crate::{EndpointId, NetworkId, SandboxId};

/// A deterministic source of numbers (SplitMix64), seeded by the caller: with random bytes in
/// life, with a constant in tests. Not for secrets; nothing drawn here is one.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The next 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }

    /// A network's identifier.
    pub fn network_id(&mut self) -> NetworkId {
        NetworkId::new(self.bytes())
    }

    /// A sandbox's identifier.
    pub fn sandbox_id(&mut self) -> SandboxId {
        SandboxId::new(self.bytes())
    }

    /// An endpoint's identifier.
    pub fn endpoint_id(&mut self) -> EndpointId {
        EndpointId::new(self.bytes())
    }
}
