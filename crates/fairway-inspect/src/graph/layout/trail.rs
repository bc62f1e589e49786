//! The paths of packets along the wires, and the numbered badges of their stops.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::drawing::{Drawing, Point, Shape, WireKind};
use crate::graph::picture::Picture;
use crate::graph::walk::Spot;

/// How far two trails on one wire are apart.
const APART: i32 = 4;

/// Where the badges of a spot are: the first, and how far each one is from the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) first: Point,
    pub(super) across: i32,
    pub(super) down: i32,
}

/// A wire from one spot to another.
type Wire<'a> = (Spot, Spot, &'a [Point]);

/// The wires that a packet may take, gathered while elements get their positions.
pub(super) struct Trail {
    /// Whether the picture has a walk.
    walked: bool,
    anchors: BTreeMap<Spot, Anchor>,
    edges: BTreeMap<Spot, Vec<(Spot, Vec<Point>)>>,
    /// The lower ends of what is joined to other places.
    feet: BTreeMap<Spot, Point>,
}

impl Trail {
    pub(super) fn new(picture: &Picture) -> Self {
        let walked = picture.walk.is_some();
        Self { walked, anchors: BTreeMap::new(), edges: BTreeMap::new(), feet: BTreeMap::new() }
    }

    pub(super) fn anchor(&mut self, spot: Spot, anchor: Anchor) {
        self.anchors.insert(spot, anchor);
    }

    pub(super) fn foot(&mut self, spot: Spot, at: Point) {
        self.feet.insert(spot, at);
    }

    pub(super) fn foot_of(&self, spot: Spot) -> Option<Point> {
        self.feet.get(&spot).copied()
    }

    /// Adds a wire between two spots, both ways.
    pub(super) fn edge(&mut self, from: Spot, to: Spot, points: Vec<Point>) {
        if self.walked {
            let back = points.iter().rev().copied().collect();
            self.edges.entry(from).or_default().push((to, points));
            self.edges.entry(to).or_default().push((from, back));
        }
    }

    /// The fewest wires from one spot to another, and the spots between.
    fn route(&self, from: Spot, to: Spot) -> Option<Vec<Wire<'_>>> {
        let mut came: BTreeMap<Spot, (Spot, &[Point])> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        let mut seen = BTreeSet::from([from]);
        while let Some(spot) = queue.pop_front() {
            for (next, points) in self.edges.get(&spot).into_iter().flatten() {
                if seen.insert(*next) {
                    came.insert(*next, (spot, points));
                    queue.push_back(*next);
                }
            }
        }
        let mut way = Vec::new();
        let mut at = to;
        while at != from {
            let (before, points) = came.get(&at)?;
            way.push((*before, at, *points));
            at = *before;
        }
        way.reverse();
        Some(way)
    }

    /// The wires that lead from spot to spot, in lines that are drawn without a break: along bridges it goes on.
    fn ways(&self, spots: &[Spot]) -> Vec<Vec<Wire<'_>>> {
        let mut ways: Vec<Vec<Wire<'_>>> = Vec::new();
        let mut goes_on = false;
        for pair in spots.windows(2).filter(|pair| pair[0] != pair[1]) {
            let Some(way) = self.route(pair[0], pair[1]) else {
                goes_on = false;
                continue;
            };
            match ways.last_mut() {
                Some(last) if goes_on => last.extend(way),
                _ => ways.push(way),
            }
            goes_on = matches!(pair[1], Spot::Network(_));
        }
        ways
    }

    /// Draws the walk of a picture.
    pub(super) fn draw(&self, drawing: &mut Drawing, picture: &Picture) {
        let Some(walk) = &picture.walk else { return };
        let mut used: BTreeMap<(Spot, Spot), i32> = BTreeMap::new();
        for leg in &walk.legs {
            let drawn: Vec<Spot> = leg
                .stops
                .iter()
                .map(|stop| stop.spot)
                .filter(|spot| self.anchors.contains_key(spot))
                .collect();
            for way in self.ways(&drawn) {
                let uses = way.iter().map(|(one, other, _)| {
                    let uses = used.entry(wire(*one, *other)).or_default();
                    *uses += 1;
                    *uses - 1
                });
                let uses = uses.max().unwrap_or_default();
                // To one side, then to the other, then further out.
                let shift = if uses % 2 == 1 { (uses + 1) / 2 } else { -(uses / 2) } * APART;
                let points = way.iter().flat_map(|(_, _, points)| points.iter());
                let points = points.map(|point| Point { x: point.x + shift, y: point.y + shift });
                drawing.wire(WireKind::Trail(leg.kind), without_repeats(points));
            }
        }
        let mut taken: BTreeMap<Spot, i32> = BTreeMap::new();
        for stop in walk.legs.iter().flat_map(|leg| &leg.stops) {
            let Some(anchor) = self.anchors.get(&stop.spot) else { continue };
            let number = taken.entry(stop.spot).or_default();
            let at = Point {
                x: anchor.first.x + *number * anchor.across,
                y: anchor.first.y + *number * anchor.down,
            };
            *number += 1;
            let hint = format!("{}: {}", stop.place, stop.lines.join("\n"));
            drawing.shapes.push(Shape::Badge { badge: stop.badge, at, number: stop.number, hint });
        }
    }
}

/// What two spots are joined by: networks share the wire to the stack.
fn wire(one: Spot, other: Spot) -> (Spot, Spot) {
    match (one.min(other), one.max(other)) {
        (Spot::Network(_), Spot::Host) => (Spot::Host, Spot::Host),
        ends => ends,
    }
}

fn without_repeats(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        let turns = |kept: &[Point]| match kept {
            [.., one, two] => !((one.x == two.x && two.x == point.x) || (one.y == two.y && two.y == point.y)),
            _ => true,
        };
        if kept.last() == Some(&point) {
            continue;
        }
        if !turns(&kept) {
            kept.pop();
        }
        kept.push(point);
    }
    kept
}
