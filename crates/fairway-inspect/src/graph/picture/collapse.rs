//! Which sandboxes of a network are drawn as one box.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Member, Picture};
use crate::graph::walk::Spot;

/// With more sandboxes than that on a network, some are drawn as one box.
const MANY: usize = 12;
/// Fewer than that are drawn each.
const FEW: usize = 2;
/// So many of them are named in their box.
const NAMED: usize = 2;

/// Which networks are collapsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Collapse {
    /// Those with more than 12 sandboxes.
    #[default]
    Large,
    /// All.
    All,
    /// None.
    Never,
}

impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Large => "large",
            Self::All => "all",
            Self::Never => "never",
        })
    }
}

/// The error of an unknown choice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown choice of networks to collapse {0:?}: use large, all or never")]
pub struct UnknownCollapse(String);

impl FromStr for Collapse {
    type Err = UnknownCollapse;

    fn from_str(text: &str) -> Result<Self, UnknownCollapse> {
        let all = [Self::Large, Self::All, Self::Never];
        all.into_iter().find(|it| it.to_string() == text).ok_or_else(|| UnknownCollapse(text.to_owned()))
    }
}

impl Picture {
    /// Chooses the sandboxes that are drawn as one box of their network. Drawn each are those that the walk comes to, and
    /// those that publish ports, unless these are many too.
    pub fn collapse(&mut self, collapse: Collapse) {
        let least = match collapse {
            Collapse::Large => MANY,
            Collapse::All => 0,
            Collapse::Never => usize::MAX,
        };
        let stops = self.walk.iter().flat_map(|walk| &walk.legs).flat_map(|leg| &leg.stops);
        let walked: Vec<usize> = stops
            .filter_map(|stop| match stop.spot {
                Spot::Member(network, member) => Some(self.networks[network].members[member].sandbox),
                _ => None,
            })
            .collect();
        for network in &mut self.networks {
            let publishes = |it: &Member| it.home && !self.sandboxes[it.sandbox].ports.is_empty();
            let publishers = network.members.iter().filter(|it| publishes(it)).count();
            let is_shown =
                |it: &Member| walked.contains(&it.sandbox) || (publishers <= MANY && publishes(it));
            let hidden = (0..network.members.len()).filter(|number| !is_shown(&network.members[*number]));
            network.collapsed = match network.members.len() > least {
                true => hidden.collect(),
                false => Vec::new(),
            };
            if network.collapsed.len() < FEW {
                network.collapsed.clear();
            }
        }
    }

    /// Whether a place of a sandbox has a box of its own.
    pub fn is_drawn(&self, (network, member): (usize, usize)) -> bool {
        self.networks.get(network).is_some_and(|it| !it.collapsed.contains(&member))
    }

    /// Where the box of a sandbox is that says all of it, by the numbers of the network and the member.
    pub fn main_place(&self, sandbox: usize) -> Option<(usize, usize)> {
        self.sandboxes.get(sandbox)?.places.iter().copied().find(|it| self.is_drawn(*it))
    }

    /// What the box of the sandboxes says that a network has collapsed: a title, and remarks.
    pub fn collapsed_lines(&self, network: usize) -> Vec<String> {
        let Some(network) = self.networks.get(network) else { return Vec::new() };
        let hidden = || {
            let members = network.collapsed.iter().map(|it| &network.members[*it]);
            members.map(|member| (member, &self.sandboxes[member.sandbox]))
        };
        let count = hidden().count();
        if count == 0 {
            return Vec::new();
        }
        let mut names: Vec<&str> = hidden().take(NAMED).map(|(_, it)| it.name.as_str()).collect();
        names.extend((count > NAMED).then_some("…"));
        let mut lines = vec![format!("{count} sandboxes"), names.join(", ")];
        let publish = hidden().filter(|(member, it)| member.home && !it.ports.is_empty()).count();
        let stopped = hidden().filter(|(_, it)| !it.running).count();
        let remarks = [(publish, "published"), (stopped, "stopped")];
        lines.extend(remarks.iter().filter(|it| it.0 > 0).map(|(count, word)| format!("{count} {word}")));
        lines
    }

    /// The names of the sandboxes that a network has collapsed.
    pub fn collapsed_names(&self, network: usize) -> Vec<&str> {
        let Some(network) = self.networks.get(network) else { return Vec::new() };
        let name = |it: &usize| self.sandboxes[network.members[*it].sandbox].name.as_str();
        network.collapsed.iter().map(name).collect()
    }
}
