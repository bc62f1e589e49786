//! Pictures whose networks have many sandboxes.

use super::assert_legible;
use super::large_fixture::{self, LargeFixture};
use crate::graph::{Collapse, Format, Picture, draw, layout};

/// The lines of the box that the network of a name has for several sandboxes.
fn lines(picture: &Picture, network: &str) -> Vec<String> {
    let number = picture.networks.iter().position(|it| it.name == network).unwrap();
    picture.collapsed_lines(number)
}

/// Thirty sandboxes on a network, of which three publish ports, and two on another one.
fn street() -> LargeFixture {
    let mut fixture = LargeFixture::new(fairway_model::Settings::default())
        .network("app", &["subnet=172.25.0.0/16"])
        .network("back", &[]);
    for number in 1..=30 {
        let port = format!("{}:80", 8000 + number);
        let published: &[&str] = if number % 10 == 0 { &[&port] } else { &[] };
        fixture = fixture.sandbox(&format!("web-{number}"), &["app"], published);
    }
    fixture.sandbox("db", &["back"], &[]).sandbox("api", &["back", "app"], &[])
}

fn collapsed(mut picture: Picture, collapse: Collapse) -> Picture {
    picture.collapse(collapse);
    assert_legible(&layout(&picture));
    picture
}

/// What a picture has a text for.
fn names(picture: &Picture) -> Vec<&str> {
    let drawn = |(number, _): &(usize, _)| picture.main_place(*number).is_some();
    let drawn = picture.sandboxes.iter().enumerate().filter(drawn);
    drawn.map(|(_, it)| it.name.as_str()).collect()
}

#[test]
fn many_sandboxes_are_one_box_and_those_that_publish_have_their_own() {
    let picture = collapsed(street().picture(), Collapse::Large);
    assert_eq!(lines(&picture, "app"), ["28 sandboxes", "web-1, web-2, …"]);
    assert!(lines(&picture, "back").is_empty());
    assert_eq!(names(&picture), ["api", "db", "web-10", "web-20", "web-30"]);
    for format in [Format::Svg, Format::Dot, Format::Mermaid] {
        let text = draw(&picture, format);
        assert!(text.contains("28 sandboxes") && text.contains("web-10"), "{format}: {text}");
        assert!(!text.contains(">web-2<") && !text.contains("\"web-2\""), "{format}: {text}");
    }
    assert!(draw(&picture, Format::Svg).contains("web-2, web-3"), "the names are in the tooltip");
}

#[test]
fn the_way_of_a_packet_is_drawn_through_all_its_sandboxes() {
    let picture = collapsed(street().walked("web-4", "web-5:80"), Collapse::All);
    assert_eq!(names(&picture), ["web-4", "web-5", "web-10", "web-20", "web-30"]);
    assert_eq!(lines(&picture, "app"), ["26 sandboxes", "web-1, web-2, …"]);
    assert_eq!(lines(&picture, "back"), ["2 sandboxes", "db, api"]);
}

#[test]
fn those_that_publish_are_collapsed_too_where_they_are_many() {
    let picture = collapsed(large_fixture::city(300, 150).picture(), Collapse::Large);
    assert!(
        lines(&picture, "net-00").contains(&"31 published".to_owned()),
        "{:?}",
        lines(&picture, "net-00")
    );
    let mut stopped = street().picture();
    stopped.sandboxes.iter_mut().filter(|it| it.name == "web-7").for_each(|it| it.running = false);
    stopped.collapse(Collapse::Large);
    assert!(lines(&stopped, "app").contains(&"1 stopped".to_owned()));
}

#[test]
fn nothing_is_collapsed_where_it_should_not_or_would_not_help() {
    let never = collapsed(street().picture(), Collapse::Never);
    assert_eq!(names(&never).len(), 32);
    let shop = collapsed(large_fixture::shop().picture(), Collapse::All);
    assert!(lines(&shop, "bridge").is_empty(), "one sandbox is as large as its box");
    let large = collapsed(large_fixture::quarter().picture(), Collapse::Large);
    assert_eq!(names(&large).len(), large.sandboxes.len(), "no network has more than 12");
    let drawing = layout(&collapsed(large_fixture::city(300, 30).picture(), Collapse::Large));
    assert!(drawing.width < 2100, "{}", drawing.width);
}
