//! What DOT and Mermaid have in common: everything is a node with a name.

use super::picture::{Member, Picture};
use super::walk::{Badge, LegKind, Spot};

/// The name of the node that stands for a spot.
fn name(picture: &Picture, spot: Spot) -> Option<String> {
    Some(match spot {
        Spot::Member(network, member) => {
            format!("sandbox{}", picture.networks.get(network)?.members.get(member)?.sandbox)
        }
        Spot::Network(number) => format!("network{number}"),
        Spot::Host => "host".to_owned(),
        Spot::Uplink(number) => format!("uplink{number}"),
        Spot::Beyond(number) => format!("beyond{number}"),
        Spot::Elsewhere => return None,
    })
}

/// The members of a network that are drawn each, with their places.
pub(super) fn drawn_members(picture: &Picture, network: usize) -> impl Iterator<Item = (usize, &Member)> {
    let members = picture.networks[network].members.iter().enumerate();
    members.filter(move |(place, _)| picture.is_drawn((network, *place)))
}

/// Those of them whose sandboxes have their node there: each has one.
pub(super) fn main_members(picture: &Picture, network: usize) -> impl Iterator<Item = (usize, &Member)> {
    drawn_members(picture, network)
        .filter(move |(place, it)| picture.main_place(it.sandbox) == Some((network, *place)))
}

/// What a walk does at the nodes of a picture.
pub(super) struct Walked {
    /// Nodes with the numbers of their stops, and the last event of the packet there.
    stops: Vec<(String, Vec<usize>, Badge)>,
    /// Which node follows which.
    pub(super) legs: Vec<(String, String, LegKind)>,
}

impl Walked {
    pub(super) fn new(picture: &Picture) -> Self {
        let mut walked = Self { stops: Vec::new(), legs: Vec::new() };
        for leg in picture.walk.iter().flat_map(|walk| &walk.legs) {
            let mut before: Option<String> = None;
            for stop in &leg.stops {
                let Some(node) = name(picture, stop.spot) else { continue };
                if let Some(before) = before.filter(|before| *before != node) {
                    walked.legs.push((before, node.clone(), leg.kind));
                }
                match walked.stops.iter_mut().find(|(known, ..)| *known == node) {
                    Some((_, numbers, badge)) => {
                        numbers.push(stop.number);
                        // A change of addresses is more important than a pass.
                        *badge = if stop.badge == Badge::Passes { *badge } else { stop.badge };
                    }
                    None => walked.stops.push((node.clone(), vec![stop.number], stop.badge)),
                }
                before = Some(node);
            }
        }
        walked
    }

    /// The numbers of the stops at a node, as a line of its label.
    pub(super) fn numbers(&self, node: &str) -> Option<String> {
        let (_, numbers, _) = self.stops.iter().find(|(known, ..)| known == node)?;
        Some(numbers.iter().map(|number| format!("({number})")).collect::<Vec<_>>().join(" "))
    }

    /// The nodes of the walk, and the packet's main event at each.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, Badge)> {
        self.stops.iter().map(|(node, _, badge)| (node.as_str(), *badge))
    }
}

/// The walk of a picture as lines of text: the result, and the events at each stop.
pub(super) fn story(picture: &Picture, in_full: bool) -> Vec<String> {
    let Some(walk) = &picture.walk else { return Vec::new() };
    let mut lines = vec![walk.sentence.clone()];
    lines.extend(walk.advice.as_ref().map(|advice| format!("What would help: {advice}")));
    for stop in walk.legs.iter().flat_map(|leg| &leg.stops) {
        let head = format!("({}) {}", stop.number, stop.place);
        match (in_full, &stop.lines[..]) {
            (true, [first, others @ ..]) => {
                lines.push(format!("{head}: {first}"));
                lines.extend(others.iter().map(|line| format!("      {line}")));
            }
            (..) => lines.push(format!("{head}: {}", stop.in_short())),
        }
    }
    lines
}
