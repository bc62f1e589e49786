//! Whether a picture has all elements, and whether its format is valid.

use crate::graph::{Drawing, Format, Picture, Shape};

/// All texts, whole.
fn texts(drawing: &Drawing) -> Vec<&str> {
    let found = drawing.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { text, whole, .. } => Some(whole.as_deref().unwrap_or(text)),
        _ => None,
    });
    found.collect()
}

pub fn assert_all_is_shown(picture: &Picture, drawing: &Drawing) {
    let texts = texts(drawing);
    let exactly = |wanted: &str| assert!(texts.contains(&wanted), "{wanted:?} is not shown");
    for network in &picture.networks {
        exactly(&network.name);
        network.lines().for_each(|line| exactly(&line));
        network.marks.iter().for_each(|mark| exactly(&mark.word));
        network.members.iter().flat_map(|member| &member.addresses).for_each(|address| exactly(address));
    }
    for sandbox in &picture.sandboxes {
        exactly(&sandbox.name);
        for port in &sandbox.ports {
            let wanted = port.text();
            assert!(texts.iter().any(|text| text.contains(&wanted)), "{wanted} is not shown");
        }
    }
    for uplink in &picture.uplinks {
        exactly(&uplink.name);
        uplink.addresses.iter().for_each(|address| exactly(address));
    }
    let badges: Vec<usize> = drawing
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            Shape::Badge { number, .. } => Some(*number),
            _ => None,
        })
        .collect();
    if let Some(walk) = &picture.walk {
        for stop in walk.legs.iter().flat_map(|leg| &leg.stops) {
            assert!(badges.contains(&stop.number), "{stop:?} has no badge");
            let words = texts.join(" ");
            for line in &stop.lines {
                for word in line.split(' ') {
                    assert!(words.contains(word), "{word:?} of {line:?} is not shown");
                }
            }
        }
    }
}

/// Checks that an SVG is XML with all texts of the picture, without scripts or references to other files.
pub fn assert_well_formed(drawing: &Drawing, svg: &str) {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}\n{svg}"));
    let read: Vec<String> = document
        .descendants()
        .filter(|node| node.has_tag_name("text") && !node.parent().is_some_and(|it| it.has_tag_name("g")))
        .map(|node| node.children().filter(|it| it.is_text()).filter_map(|it| it.text()).collect())
        .collect();
    let drawn: Vec<String> = drawing
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            Shape::Text { text, .. } => Some(plain(text)),
            _ => None,
        })
        .collect();
    assert_eq!(read, drawn);
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let known = ["svg", "title", "style", "defs", "marker", "rect", "text", "path", "g", "circle"];
        assert!(known.contains(&node.tag_name().name()), "{node:?}");
        for attribute in node.attributes() {
            assert!(!attribute.name().starts_with("on") && attribute.name() != "href", "{attribute:?}");
        }
    }
    assert!(!svg.contains("@import") && !svg.contains("url(http"));
    // Many programs that show SVG have no variables of CSS, and draw black.
    assert!(!svg.contains("var("));
}

/// As XML 1.0 can hold it.
fn plain(text: &str) -> String {
    let held = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(held).collect()
}

/// Checks that each element has a node, and that names do not end texts early.
pub fn assert_named(picture: &Picture, format: Format, text: &str) {
    for (number, network) in picture.networks.iter().enumerate() {
        let node = if network.bridge.is_some() || format == Format::Dot { "network" } else { "card" };
        assert!(text.contains(&format!("{node}{number}")), "{format}: {} is not there\n{text}", network.name);
    }
    for (number, sandbox) in picture.sandboxes.iter().enumerate().filter(|(_, it)| !it.places.is_empty()) {
        assert!(
            text.contains(&format!("sandbox{number}")),
            "{format}: {} is not there\n{text}",
            sandbox.name
        );
    }
    for line in text.lines() {
        let mut open = false;
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if format == Format::Dot => drop(letters.next()),
                '"' => open = !open,
                _ => {}
            }
        }
        assert!(!open, "{format}: a text does not end: {line}");
    }
}
