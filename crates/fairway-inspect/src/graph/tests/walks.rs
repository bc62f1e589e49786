//! The places and marks of the stops of walks.

use super::large_fixture::{self, LargeFixture};
use crate::graph::{
    Area, Badge, BoxKind, Drawing, LegKind, Picture, Point, Shape, Spot, Way, WireKind, layout,
};

/// The stops of a walk: place and main event.
fn stops(picture: &Picture, leg: usize) -> Vec<(String, Badge)> {
    let stops = &picture.walk.as_ref().unwrap().legs[leg].stops;
    stops.iter().map(|stop| (stop.place.clone(), stop.badge)).collect()
}

fn places(expected: &[(&str, Badge)]) -> Vec<(String, Badge)> {
    expected.iter().map(|(place, badge)| ((*place).to_owned(), *badge)).collect()
}

#[test]
fn a_published_port_is_rewritten_on_the_host_and_delivered_inside() {
    use Badge::{Delivered, Passes, Rewritten};
    let picture = large_fixture::shop().walked("lan", "10.10.50.99:8080");
    let expected = [
        ("behind eth0", Passes),
        ("eth0", Passes),
        ("host", Passes),
        ("host", Rewritten),
        ("host", Passes),
        ("network app", Passes),
        ("web", Delivered),
    ];
    assert_eq!(stops(&picture, 0), places(&expected));
    let walk = picture.walk.unwrap();
    assert_eq!((walk.legs.len(), walk.answered), (1, Some(true)));
}

#[test]
fn a_packet_between_neighbors_stays_on_the_bridge_despite_br_netfilter() {
    use Badge::{Delivered, Passes};
    let picture = large_fixture::shop().walked("api", "db:80");
    let expected = [("api", Passes), ("api on back", Passes), ("network back", Passes), ("db", Delivered)];
    assert_eq!(stops(&picture, 0), places(&expected));
    let hooks = &picture.walk.as_ref().unwrap().legs[0].stops[2].lines;
    assert!(hooks.iter().any(|line| line.contains("same network")), "{hooks:?}");
}

#[test]
fn a_drop_is_where_the_rule_is() {
    use Badge::{Lost, Passes};
    let picture = large_fixture::shop().walked("job", "web:80");
    let expected = [("job", Passes), ("network bridge", Passes), ("host", Lost)];
    assert_eq!(stops(&picture, 0), places(&expected));
    let walk = picture.walk.unwrap();
    assert_eq!(walk.answered, Some(false));
    assert!(walk.sentence.contains("not published"), "{}", walk.sentence);
}

/// The lines of the packets' ways, without the sample of the legend.
fn trails(drawing: &Drawing) -> Vec<&[Point]> {
    let of = |shape| match shape {
        &Shape::Wire { kind: WireKind::Trail(_), ref points } => Some(points.as_slice()),
        _ => None,
    };
    let lowest = areas(drawing, BoxKind::Host)[0].bottom();
    drawing.shapes.iter().filter_map(of).filter(|points| points[0].y < lowest).collect()
}

fn areas(drawing: &Drawing, wanted: BoxKind) -> Vec<Area> {
    let of =
        |shape: &Shape| matches!(shape, Shape::Box { kind, .. } if *kind == wanted).then(|| shape.area());
    drawing.shapes.iter().filter_map(of).collect()
}

/// The middle of the highest badge with that number: the legend and the walk in words are below.
fn badge(drawing: &Drawing, wanted: usize) -> Point {
    let of = |shape: &Shape| match shape {
        Shape::Badge { number, at, .. } if *number == wanted => Some(*at),
        _ => None,
    };
    drawing.shapes.iter().filter_map(of).min_by_key(|it| it.y).unwrap()
}

/// Whether a line ends at the edge of a badge.
fn ends_at(points: &[Point], badge: Point) -> bool {
    let end = points.last().unwrap();
    (end.x - badge.x).abs() + (end.y - badge.y).abs() <= Shape::BADGE + 6
}

#[test]
fn the_line_of_a_dropped_packet_ends_at_its_badge_and_passes_no_other_network() {
    let drawing = layout(&large_fixture::shop().walked("job", "web:80"));
    let lines = trails(&drawing);
    assert_eq!(lines.len(), 1);
    assert!(ends_at(lines[0], badge(&drawing, 3)), "{lines:?}");
    let stack = areas(&drawing, BoxKind::Stack)[0];
    let passed = areas(&drawing, BoxKind::Card).into_iter().filter(|card| {
        // Below the stack, in the column of the card.
        lines[0].iter().any(|it| it.y > stack.bottom() && (card.x..card.right()).contains(&it.x))
    });
    assert_eq!(passed.count(), 1, "only the card of the packet's own network");
}

#[test]
fn a_line_to_a_badge_runs_over_no_other_badge() {
    // The relay's connection begins at a badge below the one where the client's packet ends.
    let drawing = layout(&large_fixture::shop().walked("job", "10.10.50.99:8080"));
    let lines = trails(&drawing);
    assert_eq!(lines.len(), 2);
    assert!(ends_at(lines[0], badge(&drawing, 3)), "{lines:?}");
    let other = badge(&drawing, 4);
    let over = lines[0].windows(2).any(|pair| {
        let within = |from: i32, to: i32, it: i32| {
            (from.min(to) - Shape::BADGE..=from.max(to) + Shape::BADGE).contains(&it)
        };
        within(pair[0].x, pair[1].x, other.x) && within(pair[0].y, pair[1].y, other.y)
    });
    assert!(!over, "{lines:?}");
}

#[test]
fn names_with_numbers_are_in_the_order_of_the_numbers() {
    let mut fixture = LargeFixture::new(fairway_model::Settings::default());
    for number in [10, 4, 1] {
        let network = format!("net-{number}");
        fixture = fixture.network(&network, &[]);
        for member in [10, 4] {
            fixture = fixture.sandbox(&format!("svc-{number}-{member}"), &[&network], &[]);
        }
    }
    let picture = fixture.picture();
    let networks: Vec<&str> = picture.networks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(networks, ["net-1", "net-4", "net-10", "bridge"], "those without a sandbox last");
    let members: Vec<&str> =
        picture.networks[1].members.iter().map(|it| picture.sandboxes[it.sandbox].name.as_str()).collect();
    assert_eq!(members, ["svc-4-4", "svc-4-10"]);
}

#[test]
fn the_proxys_own_connection_is_drawn() {
    use Badge::{Delivered, Passes};
    let picture = large_fixture::shop().walked("job", "10.10.50.99:8080");
    assert_eq!(
        stops(&picture, 0),
        places(&[("job", Passes), ("network bridge", Passes), ("host", Delivered)])
    );
    assert_eq!(stops(&picture, 1), places(&[("host", Passes), ("network app", Passes), ("web", Delivered)]));
    let numbers: Vec<usize> =
        picture.walk.unwrap().legs.iter().flat_map(|leg| &leg.stops).map(|stop| stop.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn outgoing_packets_end_behind_the_uplink_with_their_translated_address() {
    use Badge::{Passes, Rewritten, Unknown};
    let picture = large_fixture::shop().walked("web", "lan:8080");
    let expected = [
        ("web", Passes),
        ("network app", Passes),
        ("host", Passes),
        ("host", Rewritten),
        ("eth0", Passes),
        ("behind eth0", Unknown),
    ];
    assert_eq!(stops(&picture, 0), places(&expected));
    assert_eq!(picture.walk.unwrap().legs[0].stops.last().unwrap().spot, Spot::Beyond(0));
}

#[test]
fn a_lost_reply_is_drawn() {
    let shop = large_fixture::shop();
    let mut topology = shop.topology();
    // A process in web removed the default route.
    let web = topology.namespaces.iter_mut().find(|namespace| namespace.name == "web").unwrap();
    web.routes.retain(|route| route.gateway.is_none());
    let picture = shop.walked_through(&topology, "lan", "10.10.50.99:8080");
    let walk = picture.walk.as_ref().unwrap();
    let kinds: Vec<LegKind> = walk.legs.iter().map(|leg| leg.kind).collect();
    assert_eq!(kinds, [LegKind::Asks, LegKind::Answers]);
    assert_eq!(stops(&picture, 1), places(&[("web", Badge::Lost)]));
    assert!(walk.sentence.contains("no route to 10.10.50.1"), "{}", walk.sentence);
    super::assert_good(&picture);
}

#[test]
fn a_picture_of_one_network_shows_other_networks_of_its_sandboxes() {
    let picture = large_fixture::shop().part(&["back"]);
    let names: Vec<&str> = picture.sandboxes.iter().map(|sandbox| sandbox.name.as_str()).collect();
    assert_eq!(names, ["api", "db"]);
    assert_eq!(picture.networks.len(), 1);
    assert_eq!(picture.sandboxes[0].notes, ["also on app"]);
    assert!(picture.networks[0].members.iter().all(|member| member.home));
}

#[test]
fn connections_of_networks_to_the_host_are_shown() {
    let picture = large_fixture::quarter().picture();
    let network = |name: &str| picture.networks.iter().find(|it| it.name == name).unwrap();
    let way = |name: &str| network(name).way;
    assert_eq!(way("app"), Some(Way::Nat));
    assert_eq!(way("back"), Some(Way::HostOnly));
    assert_eq!(way("open"), Some(Way::Open));
    assert_eq!(way("hills"), Some(Way::Open));
    assert_eq!(way("wire"), None, "past the host");
    assert_eq!(way("pair"), None);
    let upon = |name: &str| network(name).uplink.map(|it| picture.uplinks[it].name.as_str());
    assert_eq!((upon("wire"), upon("yard"), upon("app")), (Some("eth0"), Some("eth1"), None));
    let eth1 = picture.uplinks.iter().find(|it| it.name == "eth1").unwrap();
    assert!(eth1.taken && eth1.addresses.is_empty(), "its addresses are its bridge's");
    assert_eq!(network("yard").gateways, ["192.168.7.9"]);
    assert!(!network("tenants").together && network("app").together);
    let word = |name: &str| network(name).marks.iter().map(|mark| mark.word.as_str()).collect::<Vec<_>>();
    assert_eq!(word("back"), ["internal"]);
    assert_eq!(word("tenants"), ["icc off"]);
    assert_eq!(word("open"), ["routed"]);
    assert_eq!(word("hills"), ["peer 172.31.2.0/24 via 10.10.50.98"]);
}

#[test]
fn an_isolated_network_is_joined_to_nothing_and_two_families_may_differ() {
    let mode = |family: &str, mode: &str| format!("com.docker.network.bridge.gateway_mode_{family}={mode}");
    let shut = mode("ipv4", "isolated");
    let mixed = mode("ipv6", "routed");
    let picture = LargeFixture::new(fairway_model::Settings::default())
        .network("shut", &["internal", &shut])
        .network("mixed", &["ipv6", &mixed])
        .picture();
    let network = |name: &str| picture.networks.iter().find(|it| it.name == name).unwrap();
    assert_eq!(network("shut").way, None);
    assert!(network("shut").gateways.is_empty());
    let words: Vec<&str> = network("mixed").marks.iter().map(|mark| mark.word.as_str()).collect();
    assert_eq!(words, ["IPv6 routed"]);
}
