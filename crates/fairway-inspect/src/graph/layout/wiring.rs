//! The wires between the host's stack, its interfaces, and the networks, and between the places of a sandbox.

use super::card::{ATTACH, Card};
use super::drawing::{Area, Drawing, Point, WireKind};
use super::host::Below;
use super::placed::PlacedShelves;
use super::trail::Trail;
use super::{INSET, MARGIN};
use crate::graph::picture::{Picture, Way};
use crate::graph::walk::Spot;

/// The distance between two parallel wires.
const TRACK: i32 = 9;
/// From the left edge of the stack to the wire that leads down to the shelves: past its rounded corner.
const TRUNK: i32 = 12;
/// How far the way of a packet is from the wire that it has in common with networks where the packet is not.
const ASIDE: i32 = 5;
/// With more sandboxes on several networks, wires between their places would only confuse.
const MOST_NETS: usize = 16;

/// The places of a sandbox that is on several networks.
struct Net {
    places: Vec<(usize, usize)>,
}

/// Which wires there are.
pub(super) struct Wiring {
    /// The interfaces that networks are upon.
    parents: Vec<usize>,
    nets: Vec<Net>,
    /// How each network is joined: to the stack, and to an interface.
    networks: Vec<(Option<Way>, Option<usize>)>,
}

impl Wiring {
    pub(super) fn new(picture: &Picture) -> Self {
        let mut parents: Vec<usize> = picture.networks.iter().filter_map(|network| network.uplink).collect();
        parents.sort_unstable();
        parents.dedup();
        let drawn = picture
            .sandboxes
            .iter()
            .map(|sandbox| sandbox.places.iter().copied().filter(|it| picture.is_drawn(*it)).collect());
        let nets = drawn.map(|places| Net { places });
        let mut nets: Vec<Net> = nets.filter(|net| net.places.len() > 1).collect();
        if nets.len() > MOST_NETS {
            nets.clear();
        }
        let networks = picture.networks.iter().map(|it| (it.way, it.uplink)).collect();
        Self { parents, nets, networks }
    }

    /// The height of the wires between the interfaces and the stack.
    pub(super) fn tracks(&self) -> i32 {
        self.parents.len() as i32 * TRACK
    }

    /// The width of the wires on the left, which lead to all shelves but the first.
    pub(super) fn left(&self) -> i32 {
        if self.networks.iter().any(|(way, _)| way.is_some()) { 2 * TRUNK } else { 0 }
    }

    /// The width of the wires on the right of these shelves.
    pub(super) fn right(&self, shelves: &[Vec<usize>]) -> i32 {
        let nets = self.nets.iter().filter(|net| net.is_on_several(shelves.iter().map(Vec::as_slice)));
        match self.parents.len() + nets.count() {
            0 => 0,
            wires => wires as i32 * TRACK + 6,
        }
    }

    /// The height of the wires above a shelf of these networks.
    pub(super) fn above(&self, shelf: &[usize]) -> i32 {
        let upon = self.parents.iter().filter(|it| self.is_upon(shelf, **it)).count() as i32;
        18 + upon * TRACK
    }

    /// The height of the wires below a shelf of these networks.
    pub(super) fn below(&self, shelf: &[usize]) -> i32 {
        let nets = self.nets.iter().filter(|net| net.is_in(shelf)).count() as i32;
        if nets == 0 { 0 } else { 8 + nets * TRACK }
    }

    fn is_upon(&self, shelf: &[usize], uplink: usize) -> bool {
        shelf.iter().any(|network| self.networks[*network].1 == Some(uplink))
    }

    /// Draws everything that runs between cards.
    pub(super) fn place(
        &self,
        drawing: &mut Drawing,
        trail: &mut Trail,
        below: &Below,
        (cards, shelves): (&[Card<'_>], &PlacedShelves),
        right: i32,
    ) {
        let bars: Vec<Option<Area>> =
            cards.iter().zip(&shelves.cards).map(|(card, placed)| card.bar(placed.area)).collect();
        self.to_stack(drawing, trail, below, (shelves, &bars));
        self.to_interfaces(drawing, trail, below, (shelves, &bars), right);
    }

    fn to_stack(
        &self,
        drawing: &mut Drawing,
        trail: &mut Trail,
        below: &Below,
        (shelves, bars): (&PlacedShelves, &[Option<Area>]),
    ) {
        let trunk = MARGIN + INSET + TRUNK;
        let top = Point { x: trunk, y: below.stack_bottom };
        for (number, shelf) in shelves.shelves.iter().enumerate() {
            let joined =
                shelf.networks.iter().filter_map(|network| Some((*network, self.networks[*network].0?)));
            let ends: Vec<(usize, Way, i32)> =
                joined.map(|(network, way)| (network, way, shelves.cards[network].area.x + ATTACH)).collect();
            let Some(last) = ends.iter().map(|(.., x)| *x).max() else { continue };
            let corner = Point { x: trunk, y: shelf.branch };
            if number > 0 {
                drawing.wire(WireKind::Way(Way::Own), vec![top, corner, Point { x: last, y: shelf.branch }]);
            }
            for (network, way, x) in ends {
                let area = shelves.cards[network].area;
                let above = Point { x, y: if number == 0 { top.y } else { shelf.branch } };
                drawing.wire(WireKind::Way(way), vec![above, Point { x, y: area.y }]);
                let bar = Point { x, y: bars[network].map_or(area.y, Area::bottom) };
                let way = match number {
                    0 => vec![bar, above],
                    _ => {
                        let (x, y) = (trunk - ASIDE, shelf.branch - ASIDE);
                        vec![bar, Point { x: bar.x, y }, Point { x, y }, Point { x, y: top.y }]
                    }
                };
                trail.edge(Spot::Network(network), Spot::Host, way);
            }
        }
    }

    fn to_interfaces(
        &self,
        drawing: &mut Drawing,
        trail: &mut Trail,
        below: &Below,
        (shelves, bars): (&PlacedShelves, &[Option<Area>]),
        right: i32,
    ) {
        for (track, uplink) in self.parents.iter().enumerate() {
            let track = track as i32;
            let area = below.uplinks[*uplink];
            let out = Point { x: area.middle() + 16, y: area.bottom() };
            let across = area.bottom() + 8 + track * TRACK;
            let trunk = right + 8 + track * TRACK;
            let start = [out, Point { x: out.x, y: across }, Point { x: trunk, y: across }];
            for shelf in &shelves.shelves {
                let upon = self.parents.iter().take_while(|it| *it != uplink);
                let level = 1 + upon.filter(|it| self.is_upon(&shelf.networks, **it)).count() as i32;
                let branch = shelf.branch + level * TRACK;
                let mine = shelf.networks.iter().filter(|it| self.networks[**it].1 == Some(*uplink));
                for network in mine {
                    let card = shelves.cards[*network].area;
                    let x = card.right() - ATTACH;
                    let mut way = start.to_vec();
                    way.extend([Point { x: trunk, y: branch }, Point { x, y: branch }]);
                    let mut whole = way.clone();
                    whole.push(Point { x, y: bars[*network].map_or(card.y, Area::bottom) });
                    way.push(Point { x, y: card.y });
                    drawing.wire(WireKind::Link, way);
                    trail.edge(Spot::Uplink(*uplink), Spot::Network(*network), whole);
                }
            }
        }
    }

    /// Draws what joins the places of sandboxes, after these have found theirs.
    pub(super) fn join(&self, drawing: &mut Drawing, trail: &mut Trail, shelves: &PlacedShelves, right: i32) {
        let mut track = self.parents.len() as i32;
        for (number, net) in self.nets.iter().enumerate() {
            let side = right + 8 + track * TRACK;
            if net.is_on_several(shelves.shelves.iter().map(|it| it.networks.as_slice())) {
                track += 1;
            }
            // Those places from which a wire can lead down.
            let feet: Vec<(usize, Spot, Point)> = net
                .places
                .iter()
                .filter_map(|(network, member)| {
                    let spot = Spot::Member(*network, *member);
                    let shelf = shelves.shelves.iter().position(|it| it.networks.contains(network))?;
                    Some((shelf, spot, trail.foot_of(spot)?))
                })
                .collect();
            for pair in feet.windows(2) {
                let [(one_shelf, one, from), (other_shelf, other, to)] = pair else { continue };
                let level = |shelf: usize| {
                    let shelf = &shelves.shelves[shelf];
                    let before = self.nets[..number].iter().filter(|it| it.is_in(&shelf.networks)).count();
                    shelf.gutter + 8 + before as i32 * TRACK
                };
                let (down, up) = (level(*one_shelf), level(*other_shelf));
                let mut points = vec![*from, Point { x: from.x, y: down }];
                if one_shelf != other_shelf {
                    points.extend([Point { x: side, y: down }, Point { x: side, y: up }]);
                }
                points.extend([Point { x: to.x, y: up }, *to]);
                drawing.wire(WireKind::Again, points.clone());
                trail.edge(*one, *other, points);
            }
        }
    }
}

impl Net {
    fn is_on_several<'s>(&self, shelves: impl Iterator<Item = &'s [usize]>) -> bool {
        shelves.filter(|shelf| self.is_in(shelf)).count() > 1
    }

    fn is_in(&self, shelf: &[usize]) -> bool {
        self.places.iter().any(|(network, _)| shelf.contains(network))
    }
}
