//! Macvlan: links of their own upon a link of the host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MacAddress;

/// Which frames pass between the macvlans of one parent; Docker's `macvlan_mode` (ip-link(8)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// All of them, within the host.
    #[default]
    Bridge,
    /// None, not even those that a switch sends back.
    Private,
    /// Those that a switch sends back (IEEE 802.1Qbg).
    Vepa,
    /// There is one macvlan, which has the parent's own address and gets all its frames.
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

/// What makes a network a macvlan network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macvlan {
    /// The link of the host that its sandboxes' links stand upon: the user's, or one of ours that
    /// leads nowhere.
    pub parent: String,
    /// Which frames pass between them.
    pub mode: MacvlanMode,
    /// The parent's own hardware address when the network was made, which the only sandbox of a
    /// network in the mode passthru has.
    pub mac: Option<MacAddress>,
}

impl Macvlan {
    /// What the names of parents of our own begin with; Docker's, which has dummy links there.
    pub const DUMMY_PARENT_PREFIX: &str = "dm-";

    /// Whether the parent is one of our own, made because the user named none.
    pub fn has_dummy_parent(&self) -> bool {
        self.parent.starts_with(Self::DUMMY_PARENT_PREFIX)
    }
}

/// What was seen of a link that is to be a parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParentFacts {
    /// Its hardware address, where it has one.
    pub mac: Option<MacAddress>,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
}
