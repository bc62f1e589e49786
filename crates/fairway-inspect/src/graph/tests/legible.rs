//! What makes a picture legible.

use crate::graph::{Area, BoxKind, Drawing, Shape, WireKind};

/// Pairs of areas that overlap, found by a sweep from above.
fn overlapping<T>(mut areas: Vec<(Area, T)>) -> Vec<(T, T)>
where
    T: Copy,
{
    areas.sort_by_key(|(area, _)| area.y);
    let mut found = Vec::new();
    for (number, (area, one)) in areas.iter().enumerate() {
        let near = areas[number + 1..].iter().take_while(|(other, _)| other.y < area.bottom());
        found.extend(near.filter(|(other, _)| area.overlaps(*other)).map(|(_, other)| (*one, *other)));
    }
    found
}

fn boxes(drawing: &Drawing, wanted: impl Fn(BoxKind) -> bool) -> Vec<(Area, &Shape)> {
    let kinds = drawing.shapes.iter().filter(|shape| match shape {
        Shape::Box { kind, .. } => wanted(*kind),
        _ => false,
    });
    kinds.map(|shape| (shape.area(), shape)).collect()
}

fn is_sandbox(kind: BoxKind) -> bool {
    matches!(kind, BoxKind::Sandbox | BoxKind::Stopped | BoxKind::Again | BoxKind::Collapsed)
}

pub fn assert_legible(drawing: &Drawing) {
    let whole = Area { x: 0, y: 0, width: drawing.width, height: drawing.height };
    for shape in &drawing.shapes {
        assert!(whole.contains(shape.area()), "{shape:?} is out of {whole:?}");
    }
    let written = |shape: &&Shape| matches!(shape, Shape::Text { .. } | Shape::Badge { .. });
    let written: Vec<(Area, &Shape)> =
        drawing.shapes.iter().filter(written).map(|shape| (shape.area(), shape)).collect();
    assert_none("texts overlap", overlapping(written.clone()));
    let outer = |kind| matches!(kind, BoxKind::Card | BoxKind::Stack | BoxKind::Uplink | BoxKind::Beyond);
    assert_none("boxes overlap", overlapping(boxes(drawing, outer)));
    let inner = |kind| is_sandbox(kind) || matches!(kind, BoxKind::Bridge | BoxKind::Mark(_));
    assert_none("boxes overlap", overlapping(boxes(drawing, inner)));
    assert_texts_are_inside(drawing, &written);
    assert_sandboxes_are_inside(drawing);
    assert_wires_pass(drawing);
}

fn assert_none(what: &str, found: Vec<(&Shape, &Shape)>) {
    assert!(found.is_empty(), "{what}: {:#?} of {}", found[0], found.len());
}

/// No text sticks out of a box.
fn assert_texts_are_inside(drawing: &Drawing, written: &[(Area, &Shape)]) {
    for (frame, shape) in boxes(drawing, |kind| kind != BoxKind::Host) {
        for (area, text) in written.iter().filter(|(_, it)| matches!(it, Shape::Text { .. })) {
            let well = !frame.overlaps(*area) || frame.contains(*area);
            assert!(well, "{text:?} sticks out of {shape:?}");
        }
    }
}

fn assert_sandboxes_are_inside(drawing: &Drawing) {
    let cards = boxes(drawing, |kind| kind == BoxKind::Card);
    let host = boxes(drawing, |kind| kind == BoxKind::Host);
    for (area, card) in &cards {
        assert!(host[0].0.contains(*area), "{card:?} is out of the host");
    }
    let lowest = host[0].0.bottom();
    for (area, shape) in boxes(drawing, is_sandbox).into_iter().filter(|(area, _)| area.y < lowest) {
        assert!(cards.iter().any(|(card, _)| card.contains(area)), "{shape:?} is in no card");
    }
}

/// No wire runs through a sandbox, and none but a packet's way through a text.
fn assert_wires_pass(drawing: &Drawing) {
    let texts: Vec<Area> =
        drawing.shapes.iter().filter(|shape| matches!(shape, Shape::Text { .. })).map(Shape::area).collect();
    let sandboxes: Vec<Area> = boxes(drawing, is_sandbox).into_iter().map(|(area, _)| area).collect();
    for shape in &drawing.shapes {
        let Shape::Wire { kind, points } = shape else { continue };
        for pair in points.windows(2) {
            let (x, y) = (pair[0].x.min(pair[1].x), pair[0].y.min(pair[1].y));
            let (width, height) = ((pair[0].x - pair[1].x).abs(), (pair[0].y - pair[1].y).abs());
            assert!(width == 0 || height == 0, "{shape:?} is slanting");
            let line = Area { x, y, width: width.max(1), height: height.max(1) };
            let through = |it: &&Area| it.overlaps(line);
            if !matches!(kind, WireKind::Trail(_)) {
                assert_eq!(texts.iter().find(through), None, "{shape:?} runs through a text");
                let edge = |it: &&Area| {
                    let inside =
                        Area { x: it.x + 1, y: it.y + 1, width: it.width - 2, height: it.height - 2 };
                    inside.overlaps(line)
                };
                assert_eq!(sandboxes.iter().find(edge), None, "{shape:?} runs through a sandbox");
            }
        }
    }
}
