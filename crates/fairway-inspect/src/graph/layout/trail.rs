//! The paths of packets along the wires, and the numbered badges of their stops.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::drawing::{Drawing, Point, Shape, WireKind};
use super::gutter::{Gutter, REACH};
use crate::graph::picture::Picture;
use crate::graph::walk::{Leg, Spot};

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

/// Successive stops of a packet at one spot.
struct Halt {
    spot: Spot,
    /// The first and the last badge.
    first: Point,
    last: Point,
}

/// A line that is drawn without a break.
#[derive(Default)]
struct Line {
    wires: Vec<(Spot, Spot)>,
    points: Vec<Point>,
}

/// The wires that a packet may take, gathered while elements get their positions.
pub(super) struct Trail {
    /// Whether the picture has a walk.
    walked: bool,
    anchors: BTreeMap<Spot, Anchor>,
    edges: BTreeMap<Spot, Vec<(Spot, Vec<Point>)>>,
    /// The lower ends of what is joined to other places.
    feet: BTreeMap<Spot, Point>,
    /// The column of badges in the host's stack.
    gutter: Option<Gutter>,
}

impl Trail {
    pub(super) fn new(picture: &Picture) -> Self {
        let walked = picture.walk.is_some();
        Self { walked, anchors: BTreeMap::new(), edges: BTreeMap::new(), feet: BTreeMap::new(), gutter: None }
    }

    pub(super) fn gutter(&mut self, gutter: Gutter) {
        self.gutter = Some(gutter);
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

    /// The points of wires that follow one another, from a halt to the next one.
    fn points(&self, way: &[Wire<'_>], from: &Halt, to: &Halt) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for (number, (one, other, wire)) in way.iter().enumerate() {
            let (Some(begin), Some(end)) = (wire.first(), wire.last()) else { continue };
            if let (Spot::Host, Some(gutter)) = (one, self.gutter) {
                points.extend(match points.last() {
                    None => gutter.leave(from.last, *begin),
                    Some(before) => gutter.cross(*before, *begin),
                });
            }
            points.extend_from_slice(wire);
            if let (Spot::Host, Some(gutter), true) = (other, self.gutter, number + 1 == way.len()) {
                points.extend(gutter.enter(*end, to.first, to.last));
            }
        }
        points
    }

    /// The lines of a packet's way. Along bridges a line goes on.
    fn lines(&self, halts: &[Halt]) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut goes_on = false;
        for pair in halts.windows(2) {
            let Some(way) = self.route(pair[0].spot, pair[1].spot) else {
                goes_on = false;
                continue;
            };
            if !goes_on {
                lines.push(Line::default());
            }
            if let Some(line) = lines.last_mut() {
                line.wires.extend(way.iter().map(|(one, other, _)| (*one, *other)));
                line.points.extend(self.points(&way, &pair[0], &pair[1]));
            }
            goes_on = matches!(pair[1].spot, Spot::Network(_));
        }
        if let (true, Some(halt), Some(line)) = (goes_on, halts.last(), lines.last_mut()) {
            // A packet that ends on a bridge ends at the badge there.
            line.points.extend(line.points.last().map(|it| Point { x: halt.first.x - REACH, y: it.y }));
        }
        lines
    }

    /// The places of the badges of a walk, in the order of the stops: none where the spot is not drawn.
    fn badges(&self, legs: &[Leg]) -> Vec<Vec<Option<Point>>> {
        let mut taken: BTreeMap<Spot, i32> = BTreeMap::new();
        let mut badge = |spot: Spot| {
            let anchor = self.anchors.get(&spot)?;
            let number = taken.entry(spot).or_default();
            let (x, y) = (anchor.first.x + *number * anchor.across, anchor.first.y + *number * anchor.down);
            *number += 1;
            Some(Point { x, y })
        };
        legs.iter().map(|leg| leg.stops.iter().map(|stop| badge(stop.spot)).collect()).collect()
    }

    /// Draws the walk of a picture.
    pub(super) fn draw(&self, drawing: &mut Drawing, picture: &Picture) {
        let Some(walk) = &picture.walk else { return };
        let badges = self.badges(&walk.legs);
        let mut used: BTreeMap<(Spot, Spot), i32> = BTreeMap::new();
        for (leg, badges) in walk.legs.iter().zip(&badges) {
            let stops = leg.stops.iter().zip(badges).filter_map(|(stop, badge)| Some((stop.spot, (*badge)?)));
            for line in self.lines(&halts(stops)) {
                let uses = line.wires.iter().map(|(one, other)| {
                    let uses = used.entry(wire(*one, *other)).or_default();
                    *uses += 1;
                    *uses - 1
                });
                let uses = uses.max().unwrap_or_default();
                // To one side, then to the other, then further out.
                let shift = if uses % 2 == 1 { (uses + 1) / 2 } else { -(uses / 2) } * APART;
                let points = line.points.iter().map(|it| Point { x: it.x + shift, y: it.y + shift });
                drawing.wire(WireKind::Trail(leg.kind), without_repeats(points));
            }
        }
        let stops = walk.legs.iter().flat_map(|leg| &leg.stops).zip(badges.into_iter().flatten());
        for (stop, badge) in stops {
            let Some(at) = badge else { continue };
            let hint = format!("{}: {}", stop.place, stop.lines.join("\n"));
            drawing.shapes.push(Shape::Badge { badge: stop.badge, at, number: stop.number, hint });
        }
    }
}

/// The stops with their badges, those that follow one another at one spot together.
fn halts(stops: impl Iterator<Item = (Spot, Point)>) -> Vec<Halt> {
    let mut halts: Vec<Halt> = Vec::new();
    for (spot, badge) in stops {
        match halts.last_mut() {
            Some(halt) if halt.spot == spot => halt.last = badge,
            _ => halts.push(Halt { spot, first: badge, last: badge }),
        }
    }
    halts
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
