//! The legend of a picture: the meaning of its lines and frames.

use super::MARGIN;
use super::drawing::{Area, BoxKind, Drawing, Point, Shape, WireKind};
use crate::graph::picture::{Picture, Way};
use crate::graph::text::{Style, width};
use crate::graph::walk::{Badge, LegKind};

const LINE: i32 = 22;
/// The sample of a line or a frame.
const SAMPLE: i32 = 28;
const GAP: i32 = 22;

/// What stands before the words.
enum Sample {
    Wire(WireKind),
    Box(BoxKind),
    Mark(BoxKind, String),
    Port,
    Badge(Badge, usize),
}

impl Sample {
    fn width(&self) -> i32 {
        match self {
            Self::Wire(_) | Self::Box(_) => SAMPLE,
            Self::Mark(_, word) => width(Style::Mark, word) + 14,
            Self::Port => width(Style::Port, PORT),
            Self::Badge(..) => 2 * Shape::BADGE,
        }
    }
}

const PORT: &str = "*:8080 → 80/tcp";

fn way(way: Way) -> Option<&'static str> {
    Some(match way {
        Way::Nat => "leaves with the host's address; let in is what is published",
        Way::Open => "its addresses are seen as they are",
        Way::HostOnly => "the host alone reaches it",
        Way::Own => return None,
    })
}

fn items(picture: &Picture, drawing: &Drawing) -> Vec<(Sample, String)> {
    let drawn =
        |kind| drawing.shapes.iter().any(|it| matches!(it, Shape::Wire { kind: own, .. } if *own == kind));
    let boxed =
        |kind| drawing.shapes.iter().any(|it| matches!(it, Shape::Box { kind: own, .. } if *own == kind));
    let mut items = Vec::new();
    for kind in [Way::Nat, Way::Open, Way::HostOnly] {
        if let (true, Some(words)) = (drawn(WireKind::Way(kind)), way(kind)) {
            items.push((Sample::Wire(WireKind::Way(kind)), words.to_owned()));
        }
    }
    let wires = [
        (WireKind::Link, "on the LAN itself, past the host"),
        (WireKind::Apart, "kept apart from its neighbors"),
        (WireKind::Again, "one sandbox, on several networks"),
        (WireKind::Trail(LegKind::Asks), "the packet"),
        (WireKind::Trail(LegKind::Answers), "the reply"),
    ];
    let walked = |kind| {
        let legs = picture.walk.iter().flat_map(|walk| &walk.legs);
        legs.into_iter().any(|leg| WireKind::Trail(leg.kind) == kind)
    };
    let wires = wires.into_iter().filter(|(kind, _)| drawn(*kind) || walked(*kind));
    items.extend(wires.map(|(kind, words)| (Sample::Wire(kind), words.to_owned())));
    items.extend(badges(picture));
    let boxes = [
        (BoxKind::Again, "a further place of a sandbox"),
        (BoxKind::Stopped, "does not run"),
        (BoxKind::Collapsed, "several sandboxes; expand to draw each"),
    ];
    let boxes = boxes.into_iter().filter(|(kind, _)| boxed(*kind));
    items.extend(boxes.map(|(kind, words)| (Sample::Box(kind), words.to_owned())));
    if picture.sandboxes.iter().any(|sandbox| !sandbox.ports.is_empty()) {
        let words = "published: the host's address and port, and the sandbox's; * is all addresses";
        items.push((Sample::Port, words.to_owned()));
    }
    let mut marks: Vec<_> = picture.networks.iter().flat_map(|network| &network.marks).collect();
    marks.sort();
    marks.dedup_by(|one, other| one.sentence == other.sentence);
    let marks = marks
        .into_iter()
        .map(|mark| (Sample::Mark(BoxKind::Mark(mark.meaning), mark.word.clone()), mark.sentence.clone()));
    items.extend(marks);
    items
}

/// The kinds of stops that a walk has, each by the number of its first one.
fn badges(picture: &Picture) -> Vec<(Sample, String)> {
    let kinds = [
        (Badge::Rewritten, "its addresses are rewritten"),
        (Badge::Delivered, "a program gets it"),
        (Badge::Lost, "it comes no further"),
        (Badge::Unknown, "from here on nothing is known"),
    ];
    let stops = || picture.walk.iter().flat_map(|walk| &walk.legs).flat_map(|leg| &leg.stops);
    let item = |(badge, words): (Badge, &str)| {
        let first = stops().find(|stop| stop.badge == badge)?;
        Some((Sample::Badge(badge, first.number), words.to_owned()))
    };
    kinds.into_iter().filter_map(item).collect()
}

/// Places it below `top` and says where it ends.
pub(super) fn place(drawing: &mut Drawing, picture: &Picture, top: i32, space: i32) -> i32 {
    let (mut x, mut y) = (0, top);
    let items = items(picture, drawing);
    let any = !items.is_empty();
    for (sample, words) in items {
        let before = sample.width().min(space / 2) + 8;
        let wide = (before + width(Style::Note, &words)).min(space);
        if x > 0 && x + wide > space {
            x = 0;
            y += LINE;
        }
        let left = MARGIN + x;
        let middle = y + LINE / 2;
        match sample {
            Sample::Wire(kind) => {
                drawing.wire(kind, vec![Point { x: left, y: middle }, Point { x: left + SAMPLE, y: middle }]);
            }
            Sample::Box(kind) => {
                let area = Area { x: left, y: middle - 7, width: SAMPLE, height: 14 };
                drawing.boxed(kind, area, 4, "");
            }
            Sample::Mark(kind, word) => {
                let area = Area { x: left, y: middle - 8, width: before - 8, height: 16 };
                drawing.boxed(kind, area, 8, "");
                drawing.text(Style::Mark, Point { x: left + 7, y: middle + 4 }, &word, before - 22);
            }
            Sample::Badge(badge, number) => {
                let at = Point { x: left + Shape::BADGE, y: middle };
                drawing.shapes.push(Shape::Badge { badge, at, number, hint: String::new() });
            }
            Sample::Port => {
                drawing.text(Style::Port, Point { x: left, y: middle + 4 }, PORT, before - 8);
            }
        }
        let at = Point { x: left + before, y: middle + 4 };
        drawing.text(Style::Note, at, &words, space - before);
        x += wide + GAP;
    }
    if any { y + LINE + 6 } else { y }
}
