//! Drawings as SVG 1.1: one text, with its own style sheet, for light and dark, without scripts or fonts of others.

mod style;

use std::fmt::Write;

use super::layout::{BoxKind, Drawing, Point, Shape, WireKind};
use super::picture::{Meaning, Way};
use super::text::Style;
use super::walk::{Badge, LegKind};

/// How much of a corner of a wire is rounded, at most.
const ROUND: i32 = 6;

/// Writes a drawing down.
pub fn write(drawing: &Drawing) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = whole(&mut text, drawing);
    text
}

fn whole(text: &mut String, drawing: &Drawing) -> std::fmt::Result {
    let Drawing { width, height, title, shapes } = drawing;
    writeln!(
        text,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" xml:space="preserve">"#
    )?;
    writeln!(text, "<title>{}</title>", escaped(title))?;
    writeln!(text, "<style>{}</style>", style::sheet())?;
    writeln!(text, "<style>{}</style>", style::dark_sheet())?;
    if shapes.iter().any(|shape| matches!(shape, Shape::Wire { kind: WireKind::Trail(_), .. })) {
        text.push_str(style::ARROWS);
    }
    writeln!(text, r#"<rect class="ground" width="{width}" height="{height}"/>"#)?;
    for shape in shapes {
        draw(text, shape)?;
    }
    text.push_str("</svg>\n");
    Ok(())
}

fn draw(text: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Box { kind, area, radius, hint } => {
            let (x, y, width, height) = (area.x, area.y, area.width, area.height);
            let class = box_class(*kind);
            write!(
                text,
                r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}""#
            )?;
            match hint.as_str() {
                "" => text.push_str("/>\n"),
                hint => writeln!(text, "><title>{}</title></rect>", escaped(hint))?,
            }
        }
        Shape::Text { style, at, text: words, whole } => {
            write!(text, r#"<text class="{}" x="{}" y="{}">"#, text_class(*style), at.x, at.y)?;
            if let Some(whole) = whole {
                write!(text, "<title>{}</title>", escaped(whole))?;
            }
            writeln!(text, "{}</text>", escaped(words))?;
        }
        Shape::Wire { kind, points } => {
            writeln!(text, r#"<path class="{}" d="{}"/>"#, wire_class(*kind), rounded(points))?;
        }
        Shape::Badge { badge, at, number, hint } => {
            let class = badge_class(*badge);
            write!(text, r#"<g class="badge {class}">"#)?;
            if !hint.is_empty() {
                write!(text, "<title>{}</title>", escaped(hint))?;
            }
            write!(text, r#"<circle cx="{}" cy="{}" r="{}"/>"#, at.x, at.y, Shape::BADGE)?;
            writeln!(text, r#"<text x="{}" y="{}">{number}</text></g>"#, at.x, at.y + 4)?;
        }
    }
    Ok(())
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
        BoxKind::Mark(Meaning::Apart) => "mark apart",
        BoxKind::Mark(Meaning::Open) => "mark open",
        BoxKind::Mark(Meaning::Plain) => "mark",
    }
}

fn text_class(style: Style) -> &'static str {
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

/// A text as XML has it. What XML 1.0 cannot hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}
