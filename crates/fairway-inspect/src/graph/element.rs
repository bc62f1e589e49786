//! The elements that a drawing consists of in SVG, with the classes that the style sheet names.

use std::fmt::Write;

use serde::Serialize;

use super::layout::{BoxKind, Drawing, Endpoint, Point, Shape, WireKind};
use super::picture::{Meaning, Way};
use super::text::Style;
use super::walk::{Badge, LegKind};

/// How much of a corner of a wire is rounded, at most.
const ROUND: i32 = 6;

/// An element of SVG. Its class is one of the style sheet of pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "Kind", rename_all_fields = "PascalCase")]
#[allow(missing_docs, reason = "the fields are attributes of SVG in pixels")]
pub enum Element {
    /// A `rect`.
    Rectangle {
        class: &'static str,
        x: i32,
        y: i32,
        width: i32,
        height: i32,
        radius: i32,
        /// The tooltip; may be empty.
        hint: String,
        /// The end of a packet's way that the box is, if it is one.
        endpoint: Option<Endpoint>,
    },
    /// A line of `text`.
    Text {
        class: &'static str,
        x: i32,
        y: i32,
        text: String,
        /// The tooltip; may be empty.
        hint: String,
    },
    /// A `path`.
    Path {
        class: &'static str,
        /// The attribute `d`.
        data: String,
    },
    /// A numbered `circle`.
    Badge {
        class: &'static str,
        x: i32,
        y: i32,
        radius: i32,
        number: usize,
        /// The tooltip; may be empty.
        hint: String,
    },
}

/// The elements of a drawing, the hindmost first.
pub fn elements(drawing: &Drawing) -> Vec<Element> {
    drawing.shapes.iter().map(element).collect()
}

fn element(shape: &Shape) -> Element {
    match shape {
        Shape::Box { kind, area, radius, hint, endpoint } => Element::Rectangle {
            class: box_class(*kind),
            x: area.x,
            y: area.y,
            width: area.width,
            height: area.height,
            radius: *radius,
            hint: hint.clone(),
            endpoint: endpoint.clone(),
        },
        Shape::Text { style, at, text, whole } => Element::Text {
            class: text_class(*style),
            x: at.x,
            y: at.y,
            text: text.clone(),
            hint: whole.clone().unwrap_or_default(),
        },
        Shape::Wire { kind, points } => Element::Path { class: wire_class(*kind), data: rounded(points) },
        Shape::Badge { badge, at, number, hint } => Element::Badge {
            class: badge_class(*badge),
            x: at.x,
            y: at.y,
            radius: Shape::BADGE,
            number: *number,
            hint: hint.clone(),
        },
    }
}

/// A path through points, its corners rounded.
fn rounded(points: &[Point]) -> String {
    let mut path = String::new();
    for (number, point) in points.iter().enumerate() {
        let corner =
            number.checked_sub(1).and_then(|before| Some((points[before], *points.get(number + 1)?)));
        let _ = match corner {
            None if number == 0 => write!(path, "M{} {}", point.x, point.y),
            None => write!(path, "L{} {}", point.x, point.y),
            Some((before, after)) => {
                let (from, to) = (towards(*point, before), towards(*point, after));
                write!(path, "L{} {}Q{} {} {} {}", from.x, from.y, point.x, point.y, to.x, to.y)
            }
        };
    }
    path
}

/// The point that is a little from `corner` on the way to `end`: at most half of it.
fn towards(corner: Point, end: Point) -> Point {
    let step = |from: i32, to: i32| from + ((to - from) / 2).clamp(-ROUND, ROUND);
    Point { x: step(corner.x, end.x), y: step(corner.y, end.y) }
}

fn box_class(kind: BoxKind) -> &'static str {
    match kind {
        BoxKind::Host => "host",
        BoxKind::Stack => "stack",
        BoxKind::Uplink => "uplink",
        BoxKind::Beyond => "beyond",
        BoxKind::Card => "card",
        BoxKind::Bridge => "bridge",
        BoxKind::Sandbox => "sandbox",
        BoxKind::Stopped => "stopped",
        BoxKind::Again => "again",
        BoxKind::Collapsed => "collapsed",
        BoxKind::Mark(Meaning::Apart) => "mark apart",
        BoxKind::Mark(Meaning::Open) => "mark open",
        BoxKind::Mark(Meaning::Plain) => "mark",
    }
}

pub(super) fn text_class(style: Style) -> &'static str {
    match style {
        Style::Title => "title",
        Style::Heading => "heading",
        Style::Name => "name",
        Style::Note => "note",
        Style::Mark => "word",
        Style::Address => "address",
        Style::Port => "port",
        Style::Step => "step",
        Style::Sentence => "sentence",
        Style::Answered => "answered",
        Style::Failed => "failed",
    }
}

fn wire_class(kind: WireKind) -> &'static str {
    match kind {
        WireKind::Way(Way::Nat) => "wire nat",
        WireKind::Way(Way::Open) => "wire open",
        WireKind::Way(Way::HostOnly) => "wire only",
        WireKind::Way(Way::Own) | WireKind::Uplink => "wire",
        WireKind::Link => "wire link",
        WireKind::Rail => "wire rail",
        WireKind::Apart => "wire rail cut",
        WireKind::Again => "wire joins",
        WireKind::Trail(LegKind::Asks) => "trail",
        WireKind::Trail(LegKind::Answers) => "trail back",
    }
}

fn badge_class(badge: Badge) -> &'static str {
    match badge {
        Badge::Passes => "passes",
        Badge::Rewritten => "rewritten",
        Badge::Delivered => "delivered",
        Badge::Lost => "lost",
        Badge::Unknown => "unknown",
    }
}
