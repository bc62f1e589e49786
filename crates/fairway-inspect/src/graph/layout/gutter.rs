//! The way of a packet within the box of the host's stack: from its edge to the badges of its stops, and out again.
//!
//! The badges are in a column that no text is in. A line that would run over the badge of another stop makes a detour: to the
//! left of the column on the way in, and to the right on the way out.

use super::drawing::{Area, Point, Shape};

/// From the left edge of the box to the middle of the badges, and to texts.
pub(super) const COLUMN: i32 = 26;
pub(super) const TEXT: i32 = 52;
/// From the left edge to the lines that lead in and out.
const IN: i32 = 8;
const OUT: i32 = 43;
/// From the upper and lower edges to the lines along them.
const ALONG: i32 = 6;
/// From the middle of a badge to the end of an arrow.
pub(super) const REACH: i32 = Shape::BADGE + 4;

/// The column of badges in the box of the host's stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gutter {
    /// The box.
    pub(super) area: Area,
    /// The y coordinates of the highest and lowest badge, if there are any.
    pub(super) badges: Option<(i32, i32)>,
}

impl Gutter {
    /// The height of a line that begins or ends at that point of the edge.
    fn along(&self, edge: Point) -> i32 {
        if edge.y <= self.area.y { self.area.y + ALONG } else { self.area.bottom() - ALONG }
    }

    /// Whether there is no other badge between that point of the edge and a badge.
    fn is_next(&self, edge: Point, badge: Point) -> bool {
        let (highest, lowest) = self.badges.unwrap_or((badge.y, badge.y));
        badge.y == if edge.y <= self.area.y { highest } else { lowest }
    }

    /// From a point of the edge to the first of a packet's stops, and on to the last one.
    pub(super) fn enter(&self, edge: Point, first: Point, last: Point) -> Vec<Point> {
        let y = self.along(edge);
        if self.is_next(edge, first) && (first == last || y < first.y) {
            let end = if y < last.y { last.y - REACH } else { last.y + REACH };
            return vec![Point { x: edge.x, y }, Point { x: first.x, y }, Point { x: first.x, y: end }];
        }
        let x = self.area.x + IN;
        let mut points = vec![Point { x: edge.x, y }, Point { x, y }, Point { x, y: first.y }];
        match first == last {
            true => points.push(Point { x: first.x - REACH, y: first.y }),
            false => points.extend([first, Point { x: first.x, y: last.y - REACH }]),
        }
        points
    }

    /// From the last of a packet's stops to a point of the edge.
    pub(super) fn leave(&self, badge: Point, edge: Point) -> Vec<Point> {
        let y = self.along(edge);
        let x = if self.is_next(edge, badge) { badge.x } else { self.area.x + OUT };
        vec![badge, Point { x, y: badge.y }, Point { x, y }, Point { x: edge.x, y }]
    }

    /// From one point of the edge to another, past all badges.
    pub(super) fn cross(&self, from: Point, to: Point) -> Vec<Point> {
        let x = self.area.x + OUT;
        let (enters, leaves) = (self.along(from), self.along(to));
        let points = [(from.x, enters), (x, enters), (x, leaves), (to.x, leaves)];
        points.map(|(x, y)| Point { x, y }).to_vec()
    }
}
