//! Macvlan networks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MacAddress;

/// The mode of macvlan links, as in Docker's option `macvlan_mode`: which frames pass between the macvlans of one
/// parent (ip-link(8)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// All frames pass, within the host.
    #[default]
    Bridge,
    /// No frames pass, not even reflected by a switch.
    Private,
    /// Frames pass that a switch reflects (IEEE 802.1Qbg).
    Vepa,
    /// The parent has one macvlan, which has the parent's MAC address and receives all its frames.
    Passthru,
}

impl fmt::Display for MacvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
        })
    }
}

impl FromStr for MacvlanMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let modes = [Self::Bridge, Self::Private, Self::Vepa, Self::Passthru];
        modes.into_iter().find(|mode| mode.to_string() == text).ok_or(())
    }
}

/// The macvlan settings of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macvlan {
    /// The parent interface: an interface of the host, or a dummy link that Fairway creates.
    pub parent: String,
    /// The mode of the network's macvlans.
    pub mode: MacvlanMode,
    /// In passthru mode the MAC address of the parent at creation, which the only endpoint has; else none.
    pub mac: Option<MacAddress>,
}

impl Macvlan {
    /// The prefix of the names of dummy parents, as in Docker.
    pub const DUMMY_PARENT_PREFIX: &str = "dm-";

    /// Whether the parent is a dummy link that Fairway creates, since the user named no parent.
    pub fn has_dummy_parent(&self) -> bool {
        self.parent.starts_with(Self::DUMMY_PARENT_PREFIX)
    }
}

/// The observed state of an interface that is to be a macvlan parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParentFacts {
    /// The MAC address, if the interface has one.
    pub mac: Option<MacAddress>,
    /// The MTU in bytes, if it is known.
    pub mtu: Option<u32>,
    /// Whether the interface is loopback.
    pub loopback: bool,
    /// The bridge or bond that the interface is a port of.
    pub master: Option<String>,
}
