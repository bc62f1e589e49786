//! Pictures of worlds.

mod anything;
mod collapsed;
mod large_fixture;
mod legible;
mod shown;
mod walks;

use std::path::Path;

use proptest::prelude::*;

use super::{Collapse, Format, Picture, Walk, draw, layout};
use crate::explain::Query;
use crate::topology::planned;
use fairway_core::plan::plan;
use fairway_core::world::World;
use fairway_core::world::histories::{Step, TestWorld, step};
use fairway_model::Rng;
use fairway_walk::{Branches, Proxy, walk_connection};
use legible::assert_legible;
use shown::{assert_all_is_shown, assert_well_formed};

/// What holds for every picture.
fn assert_good(picture: &Picture) {
    let drawing = layout(picture);
    assert_legible(&drawing);
    assert_all_is_shown(picture, &drawing);
    assert_well_formed(&drawing, &draw(picture, Format::Svg));
    for format in [Format::Dot, Format::Mermaid] {
        shown::assert_named(picture, format, &draw(picture, format));
    }
}

/// The walk of a question, if it makes sense in a World.
fn walked(world: &World, mut picture: Picture, from: &str, to: &str) -> Option<Picture> {
    let plan = plan(world);
    let topology = planned(world, &plan, large_fixture::host());
    let resolved = Query::parse(world, &plan, from, to).ok()?.resolve(world, &topology).ok()?;
    let connection = walk_connection(&topology, resolved.origin, resolved.tuple, Proxy::default());
    picture.walk =
        Some(Walk::new(&picture, format!("{from} asks {to}"), &topology, &Branches::only(connection), None));
    Some(picture)
}

fn after(steps: &[Step]) -> World {
    let mut rng = Rng::new(7);
    let mut test_world = TestWorld::new(&mut rng);
    for step in steps {
        // A refused command changes nothing.
        drop(test_world.apply(step, &mut rng));
    }
    test_world.world().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_people_do_is_drawn_whole(
        steps in prop::collection::vec(step(), 1..60), from in 0..5, to in 0..5, port in 0..2,
    ) {
        let world = after(&steps);
        let picture = Picture::new(&world, &plan(&world), &large_fixture::host(), &[]);
        for network in world.networks().filter(|it| !["host", "none"].contains(&it.name.as_str())) {
            prop_assert_eq!(picture.networks.iter().filter(|it| it.name == network.name).count(), 1);
        }
        for sandbox in world.sandboxes() {
            prop_assert_eq!(picture.sandboxes.iter().filter(|it| it.name == sandbox.name).count(), 1);
        }
        assert_good(&picture);
        let to = if port == 0 { format!("box{to}:80") } else { "10.10.50.99:8001".to_owned() };
        for from in [format!("box{from}"), "lan".to_owned(), "host".to_owned()] {
            if let Some(walked) = walked(&world, picture.clone(), &from, &to) {
                assert_good(&walked);
            }
        }
    }

    #[test]
    fn whatever_it_is_called_is_drawn_legibly(picture in anything::picture()) {
        assert_good(&picture);
    }
}

/// The width of a picture for its height.
fn ratio(picture: &Picture) -> f64 {
    let drawing = layout(picture);
    f64::from(drawing.width) / f64::from(drawing.height)
}

#[test]
fn three_thirty_and_three_hundred_sandboxes_fit_a_screen() {
    let hosts = [
        large_fixture::shop(),
        large_fixture::quarter(),
        large_fixture::city(300, 300),
        large_fixture::city(300, 30),
        large_fixture::city(300, 3),
        large_fixture::city(1000, 25),
    ];
    for host in hosts {
        let picture = host.picture();
        assert_good(&picture);
        let ratio = ratio(&picture);
        assert!((1.0..2.4).contains(&ratio), "{} sandboxes: {ratio}", picture.sandboxes.len());
    }
}

/// Names with special characters are escaped in each format.
#[test]
fn names_do_not_end_texts() {
    let mut picture = large_fixture::shop().picture();
    picture.sandboxes[1].name = "a\"b\\N<c>&#35;`d`\ne".to_owned();
    let svg = draw(&picture, Format::Svg);
    assert!(svg.contains(">a&quot;b\\N&lt;c&gt;&amp;#35;`d`\ne</text>"), "{svg}");
    let dot = draw(&picture, Format::Dot);
    assert!(dot.contains(r#"[label="a\"b\\N<c>&#35;`d` e"]"#), "{dot}");
    let mermaid = draw(&picture, Format::Mermaid);
    assert!(mermaid.contains("(\"a#34;b#92;N#60;c#62;#38;#35;35#59;#96;d#96;\u{fffd}e\")"), "{mermaid}");
}

#[test]
fn a_small_world_in_all_formats() {
    let picture = large_fixture::shop().picture();
    insta::assert_snapshot!("shop_dot", draw(&picture, Format::Dot));
    insta::assert_snapshot!("shop_mermaid", draw(&picture, Format::Mermaid));
}

#[test]
fn a_walk_in_words_formats() {
    let picture = large_fixture::shop().walked("job", "web:80");
    insta::assert_snapshot!("walk_dot", draw(&picture, Format::Dot));
    insta::assert_snapshot!("walk_mermaid", draw(&picture, Format::Mermaid));
}

/// The pictures of the documentation are what the program draws. Made anew by
/// `DRAW=1 cargo test -p fairway-inspect pictures_of_the_documentation`.
#[test]
fn the_pictures_of_the_documentation_are_drawn_by_the_program() {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let shop = large_fixture::shop();
    let pictures = [
        ("graph.svg", shop.picture()),
        ("graph-path.svg", shop.walked("lan", "10.10.50.99:8080")),
        ("graph-drop.svg", shop.walked("job", "web:80")),
    ];
    for (name, picture) in pictures {
        let path = documents.join(name);
        let drawn = draw(&picture, Format::Svg);
        if std::env::var_os("DRAW").is_some() {
            std::fs::write(&path, &drawn).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == drawn,
            "docs/reference/{name} is not what the program draws: DRAW=1 cargo test -p fairway-inspect pictures_of_the_documentation"
        );
    }
}

/// Pictures of all sizes, to be looked at: `DRAW_INTO=directory cargo test -p fairway-inspect pictures_to_look_at -- --ignored`.
#[test]
#[ignore = "it writes files for people to look at"]
fn pictures_to_look_at() {
    let directory = std::env::var_os("DRAW_INTO").expect("DRAW_INTO says where to");
    let write = |name: &str, picture: &Picture| {
        for format in Format::ALL {
            std::fs::write(Path::new(&directory).join(format!("{name}.{format}")), draw(picture, format))
                .unwrap();
        }
    };
    let (shop, quarter) = (large_fixture::shop(), large_fixture::quarter());
    write("shop", &shop.picture());
    write("shop-proxied", &shop.walked("job", "10.10.50.99:8080"));
    write("shop-dropped", &shop.walked("job", "web:80"));
    write("shop-in", &shop.walked("lan", "10.10.50.99:8080"));
    write("shop-out", &shop.walked("web", "lan:8080"));
    write("shop-joined", &shop.walked("api", "db:80"));
    write("quarter", &quarter.picture());
    write("quarter-walked", &quarter.walked("db-replica", "db:80"));
    let mut named = quarter.walked("job", "web-1:80");
    let sandboxes = named.sandboxes.iter_mut().map(|sandbox| &mut sandbox.name);
    for (name, odd) in sandboxes.zip(anything::ODD_NAMES.iter().cycle()) {
        *name = (*odd).to_owned();
    }
    write("named-oddly", &named);
    write("city-10", &large_fixture::city(300, 30).picture());
    write("city-1", &large_fixture::city(300, 300).picture());
    write("city-100", &large_fixture::city(300, 3).picture());
    write("city-1000", &large_fixture::city(1000, 25).picture());
    let mut collapsed = large_fixture::city(300, 30).walked("box-028", "box-031:80");
    collapsed.collapse(Collapse::Large);
    write("city-collapsed", &collapsed);
    write("city-walked", &large_fixture::city(300, 30).walked("box-028", "10.10.50.99:20290"));
}
