//! Layout of a picture: boxes, texts, wires and badges with their positions in pixels.
//!
//! The host is a frame. Its interfaces sit on the upper edge, below them its stack, and below that the networks in
//! shelves, each a card with its sandboxes in rows. Wires run in the gaps between: from the stack to the first shelf, and to
//! the others along the left edge, from
//! interfaces that networks are upon along the right one, and between the places of a sandbox below the shelves.

mod card;
mod drawing;
mod gutter;
mod host;
mod legend;
mod placed;
mod shelf;
mod story;
mod trail;
mod wiring;

use super::picture::Picture;
use super::text::{Style, width};
use card::Card;
pub use drawing::{Area, BoxKind, Drawing, Endpoint, Point, Shape, WireKind};
use host::Top;
use shelf::Shelves;
use trail::Trail;
use wiring::Wiring;

/// The free space around everything.
const MARGIN: i32 = 24;
/// Between the frame of the host and what is in it.
const INSET: i32 = 20;

/// Gives everything in a picture a place.
pub fn layout(picture: &Picture) -> Drawing {
    let (mut drawing, after) = placed(picture);
    let space = drawing.width - 2 * MARGIN;
    let end = story::place(&mut drawing, picture, after, space);
    drawing.height = end + MARGIN;
    drawing
}

/// Like [`layout`], without the walk in words: for a page that has them in another place.
pub fn layout_without_story(picture: &Picture) -> Drawing {
    placed(picture).0
}

/// Everything but the walk in words, and where that begins.
fn placed(picture: &Picture) -> (Drawing, i32) {
    let cards: Vec<Card<'_>> = (0..picture.networks.len()).map(|number| Card::new(picture, number)).collect();
    let wiring = Wiring::new(picture);
    let top = Top::new(picture, wiring.tracks());
    let least = top.width().max(if picture.walk.is_some() { 720 } else { 520 });
    let shelves = Shelves::choose(&cards, &wiring, least);
    let mut drawing = Drawing::default();
    let trunk = if shelves.rows().len() > 1 { wiring.left() } else { 0 };
    // The left edge of the stack and of the cards.
    let left = MARGIN + INSET + trunk;
    let inner = shelves.width().max(least);
    let frame_width = trunk + inner + wiring.right(shelves.rows()) + 2 * INSET;
    let title = match &picture.walk {
        Some(walk) => format!("{}: {}", picture.host, walk.question),
        None => format!("Networks of {}", picture.host),
    };
    drawing.text(Style::Title, Point { x: MARGIN, y: MARGIN + Style::Title.ascent() }, &title, frame_width);
    let mut trail = Trail::new(picture);
    let below = top.place(&mut drawing, &mut trail, MARGIN + Style::Title.line() + 10, left, inner);
    let placed = shelves.place(&cards, left, below.stack_bottom);
    let bottom = placed.bottom + INSET / 2;
    let frame = Area { x: MARGIN, y: below.frame_top, width: frame_width, height: bottom - below.frame_top };
    drawing.behind(BoxKind::Host, frame, 14);
    wiring.place(&mut drawing, &mut trail, &below, (&cards, &placed), left + inner);
    for (card, spot) in cards.iter().zip(&placed.cards) {
        card.place(&mut drawing, &mut trail, spot);
    }
    wiring.join(&mut drawing, &mut trail, &placed, left + inner);
    let after = legend::place(&mut drawing, picture, frame.bottom() + 14, frame_width);
    trail.draw(&mut drawing, picture);
    drawing.width = frame_width + 2 * MARGIN;
    drawing.height = after + MARGIN;
    drawing.title = title;
    (drawing, after)
}

/// The widest of texts.
fn widest<'a>(style: Style, texts: impl IntoIterator<Item = &'a str>) -> i32 {
    texts.into_iter().map(|text| width(style, text)).max().unwrap_or_default()
}
