//! Draws a host's networks, their reachability, and the walk of a packet, as SVG, DOT or Mermaid.
//!
//! A [`Picture`] holds the networks. [`layout`] gives each element a position; [`draw`] writes the text.

mod dot;
mod element;
mod layout;
mod mermaid;
mod node;
mod picture;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod tracer;
mod walk;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use element::{Element, elements};
pub use layout::{Area, BoxKind, Drawing, Endpoint, Point, Shape, WireKind, layout, layout_without_story};
pub use picture::{
    Collapse, Mark, Meaning, Member, Network, Picture, Port, Sandbox, Traffic, UnknownCollapse, Uplink, Way,
};
pub use text::Style;
pub use walk::{Badge, Leg, LegKind, Spot, Stop, Walk};

/// The output format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SVG 1.1 with a style sheet, complete in itself.
    Svg,
    /// DOT, the language of Graphviz.
    Dot,
    /// A Mermaid flowchart.
    Mermaid,
    /// The picture's contents as JSON, for programs that draw it themselves.
    Json,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Svg, Self::Dot, Self::Mermaid, Self::Json];

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Dot => "text/vnd.graphviz",
            Self::Mermaid => "text/vnd.mermaid",
            Self::Json => "application/json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Svg => "svg",
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
            Self::Json => "json",
        })
    }
}

/// The error of an unknown format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown format {0:?}: use svg, dot, mermaid or json")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|it| it.to_string() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// Writes a picture in a format.
pub fn draw(picture: &Picture, format: Format) -> String {
    match format {
        Format::Svg => svg::write(&layout(picture)),
        Format::Dot => dot::write(picture),
        Format::Mermaid => mermaid::write(picture),
        // It is made of texts and numbers, which JSON can always hold.
        Format::Json => serde_json::to_string(picture).unwrap_or_default(),
    }
}

/// The style sheet of the classes of [`Element`], for light and dark.
pub fn style_sheet() -> String {
    svg::style::both()
}
