//! Drawings as SVG 1.1: one text, with its own style sheet, for light and dark, without scripts or fonts of others.

pub(super) mod style;

use std::fmt::Write;

use super::element::{Element, elements};
use super::layout::{Drawing, Shape, WireKind};

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
    for element in elements(drawing) {
        draw(text, &element)?;
    }
    text.push_str("</svg>\n");
    Ok(())
}

fn draw(text: &mut String, element: &Element) -> std::fmt::Result {
    match element {
        Element::Rectangle { class, x, y, width, height, radius, hint, .. } => {
            write!(
                text,
                r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}""#
            )?;
            match hint.as_str() {
                "" => text.push_str("/>\n"),
                hint => writeln!(text, "><title>{}</title></rect>", escaped(hint))?,
            }
        }
        Element::Text { class, x, y, text: words, hint } => {
            write!(text, r#"<text class="{class}" x="{x}" y="{y}">"#)?;
            if !hint.is_empty() {
                write!(text, "<title>{}</title>", escaped(hint))?;
            }
            writeln!(text, "{}</text>", escaped(words))?;
        }
        Element::Path { class, data } => writeln!(text, r#"<path class="{class}" d="{data}"/>"#)?,
        Element::Badge { class, x, y, radius, number, hint } => {
            write!(text, r#"<g class="badge {class}">"#)?;
            if !hint.is_empty() {
                write!(text, "<title>{}</title>", escaped(hint))?;
            }
            write!(text, r#"<circle cx="{x}" cy="{y}" r="{radius}"/>"#)?;
            writeln!(text, r#"<text x="{x}" y="{}">{number}</text></g>"#, y + 4)?;
        }
    }
    Ok(())
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
