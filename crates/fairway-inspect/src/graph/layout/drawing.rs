//! The shapes of a drawing: boxes, texts, wires, badges.

use crate::graph::text::{self, Style};
use crate::graph::walk::{Badge, LegKind};
use crate::graph::{Meaning, Way};
use serde::Serialize;

/// A point in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// From the left, in pixels.
    pub x: i32,
    /// From above, in pixels.
    pub y: i32,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Area {
    /// Its left edge.
    pub x: i32,
    /// Its upper edge.
    pub y: i32,
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
}

impl Area {
    /// Its right edge.
    pub const fn right(self) -> i32 {
        self.x + self.width
    }

    /// Its lower edge.
    pub const fn bottom(self) -> i32 {
        self.y + self.height
    }

    /// The middle between its left and right edges.
    pub const fn middle(self) -> i32 {
        self.x + self.width / 2
    }

    /// Whether it and another one have more than an edge in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }

    /// Whether another one is within it.
    pub const fn contains(self, other: Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && other.right() <= self.right()
            && other.bottom() <= self.bottom()
    }
}

/// The purpose of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoxKind {
    /// The host.
    Host,
    /// Its stack.
    Stack,
    /// An interface that leads out.
    Uplink,
    /// The subnets and routers behind an interface.
    Beyond,
    /// A network.
    Card,
    /// The bridge or parent interface of a network.
    Bridge,
    /// A sandbox.
    Sandbox,
    /// A sandbox that does not run.
    Stopped,
    /// Another endpoint of a sandbox.
    Again,
    /// Several sandboxes of a network.
    Collapsed,
    /// An option of a network.
    Mark(Meaning),
}

/// The purpose of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireKind {
    /// How a network is joined to the host's stack.
    Way(Way),
    /// The link of an interface of the host.
    Link,
    /// Between an interface and the stack.
    Uplink,
    /// Within a network whose members reach one another.
    Rail,
    /// Within one whose members do not.
    Apart,
    /// Between the places of a sandbox.
    Again,
    /// The path of a packet.
    Trail(LegKind),
}

/// An end of a packet's way: a sandbox, the host, the LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// Its name in a query of `explain`.
    pub name: String,
    /// What it is, with its addresses, in words.
    pub label: String,
}

/// A shape of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A rectangle.
    Box {
        /// The purpose.
        kind: BoxKind,
        /// The position.
        area: Area,
        /// The radius of its corners.
        radius: i32,
        /// The tooltip; may be empty.
        hint: String,
        /// The end of a packet's way that the box is, if it is one.
        endpoint: Option<Endpoint>,
    },
    /// A line of text.
    Text {
        /// How it looks.
        style: Style,
        /// Where its baseline begins.
        at: Point,
        /// The text.
        text: String,
        /// The whole of it, where it was cut.
        whole: Option<String>,
    },
    /// A line through some points.
    Wire {
        /// The purpose.
        kind: WireKind,
        /// The points.
        points: Vec<Point>,
    },
    /// A numbered disc.
    Badge {
        /// The badge of the stop.
        badge: Badge,
        /// Its middle.
        at: Point,
        /// Its number.
        number: usize,
        /// The tooltip.
        hint: String,
    },
}

impl Shape {
    /// How far a badge reaches around its middle.
    pub const BADGE: i32 = 9;

    /// What it covers, as far as that is known: the width of a text is an estimate.
    pub fn area(&self) -> Area {
        match self {
            Self::Box { area, .. } => *area,
            Self::Text { style, at, text, .. } => Area {
                x: at.x,
                y: at.y - style.ascent(),
                width: text::width(*style, text),
                height: style.ascent() + style.descent(),
            },
            Self::Wire { points, .. } => {
                let (xs, ys) = (points.iter().map(|it| it.x), points.iter().map(|it| it.y));
                let (x, y) = (xs.clone().min().unwrap_or(0), ys.clone().min().unwrap_or(0));
                Area { x, y, width: xs.max().unwrap_or(0) - x, height: ys.max().unwrap_or(0) - y }
            }
            Self::Badge { at, .. } => Area {
                x: at.x - Self::BADGE,
                y: at.y - Self::BADGE,
                width: 2 * Self::BADGE,
                height: 2 * Self::BADGE,
            },
        }
    }
}

/// A complete drawing: shapes with positions, the hindmost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drawing {
    /// The whole width.
    pub width: i32,
    /// The whole height.
    pub height: i32,
    /// The title.
    pub title: String,
    /// The shapes.
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// Adds a text, as much of it as fits into `space` pixels, and says how wide that is.
    pub(super) fn text(&mut self, style: Style, at: Point, text: &str, space: i32) -> i32 {
        let shown = text::fit(style, text, space);
        let width = text::width(style, &shown);
        let whole = (shown != text).then(|| text.to_owned());
        self.shapes.push(Shape::Text { style, at, text: shown, whole });
        width
    }

    pub(super) fn boxed(&mut self, kind: BoxKind, area: Area, radius: i32, hint: &str) {
        self.shapes.push(Shape::Box { kind, area, radius, hint: hint.to_owned(), endpoint: None });
    }

    /// Adds a box that packets come from and go to.
    pub(super) fn boxed_endpoint(&mut self, kind: BoxKind, area: Area, radius: i32, endpoint: Endpoint) {
        self.shapes.push(Shape::Box { kind, area, radius, hint: String::new(), endpoint: Some(endpoint) });
    }

    /// Adds a box behind all that is there.
    pub(super) fn behind(&mut self, kind: BoxKind, area: Area, radius: i32) {
        self.shapes.insert(0, Shape::Box { kind, area, radius, hint: String::new(), endpoint: None });
    }

    pub(super) fn wire(&mut self, kind: WireKind, points: Vec<Point>) {
        self.shapes.push(Shape::Wire { kind, points });
    }
}

impl Drawing {
    /// Adds a shortened text with the whole text as its tooltip.
    pub(super) fn text_with_tooltip(&mut self, style: Style, at: Point, text: &str, whole: &str) {
        let (text, whole) = (text.to_owned(), Some(whole.to_owned()));
        self.shapes.push(Shape::Text { style, at, text, whole });
    }
}
