//! The walk in words, below the picture.

use super::MARGIN;
use super::drawing::{Drawing, Point, Shape};
use crate::graph::picture::Picture;
use crate::graph::text::{Style, width, wrap};

/// From the left to the words behind a badge.
const INDENT: i32 = 28;
const GAP: i32 = 6;

struct Story<'a> {
    drawing: &'a mut Drawing,
    y: i32,
    space: i32,
}

impl Story<'_> {
    fn wrapped(&mut self, style: Style, indent: i32, text: &str) {
        let space = self.space - indent;
        for line in wrap(style, text, space) {
            let at = Point { x: MARGIN + indent, y: self.y + style.ascent() };
            self.drawing.text(style, at, &line, space);
            self.y += style.line();
        }
    }
}

/// Places it below `top` and says where it ends.
pub(super) fn place(drawing: &mut Drawing, picture: &Picture, top: i32, space: i32) -> i32 {
    let Some(walk) = &picture.walk else { return top };
    let mut story = Story { drawing, y: top + GAP, space };
    let style = match walk.answered {
        Some(true) => Style::Answered,
        Some(false) => Style::Failed,
        None => Style::Sentence,
    };
    story.wrapped(style, 0, &walk.sentence);
    if let Some(advice) = &walk.advice {
        story.wrapped(Style::Note, 0, &format!("What would help: {advice}"));
    }
    let places = walk.legs.iter().flat_map(|leg| &leg.stops).map(|stop| width(Style::Name, &stop.place));
    let place = places.max().unwrap_or_default().min(160);
    for leg in &walk.legs {
        story.y += GAP;
        story.wrapped(Style::Note, 0, &leg.title);
        for stop in &leg.stops {
            story.y += 4;
            let at = Point { x: MARGIN + Shape::BADGE, y: story.y + 8 };
            let (badge, number) = (stop.badge, stop.number);
            story.drawing.shapes.push(Shape::Badge { badge, at, number, hint: String::new() });
            let at = Point { x: MARGIN + INDENT, y: story.y + Style::Name.ascent() };
            story.drawing.text(Style::Name, at, &stop.place, place);
            for line in &stop.lines {
                story.wrapped(Style::Step, INDENT + place + 12, line);
            }
            story.y = story.y.max(at.y + Style::Name.descent() + 2);
        }
    }
    story.y
}
