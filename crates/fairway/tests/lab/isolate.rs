//! Which networks reach one another, `fairway.isolate`.

use fairway_lab::{Lab, Outcome, Place, Question, serve_tcp};

use crate::harness::{HOST, HOST6, Sandbox, Stage, refusal};
use crate::modes::patience;

on_each_backend! {
    networks_reach_one_another_unless_they_are_isolated;
}

/// Networks with their isolation; none is the default.
const NETWORKS: [(&str, Option<&str>); 5] = [
    ("open", Some("false")),
    ("wide", Some("false")),
    ("apart", Some("true")),
    ("aside", Some("true")),
    ("shut", None),
];

/// Whether packets pass from one to another: unless one of them is strict, or both are isolated.
fn passes(one: Option<&str>, other: Option<&str>) -> bool {
    !matches!((one, other), (None, _) | (_, None) | (Some("true"), Some("true")))
}

fn answers(place: &Place, target: &str, expected: bool) -> bool {
    let outcome = Question::to(target).unwrap().within(patience(expected)).tcp(place).unwrap();
    matches!(outcome, Outcome::Answered { .. })
}

fn networks_reach_one_another_unless_they_are_isolated(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    let sandboxes: Vec<Sandbox> = NETWORKS
        .iter()
        .map(|(name, isolation)| {
            let ask = |network: &mut fairway_api::types::NetworkCreate| {
                network.enable_ipv6 = Some(true);
                let option = isolation.map(|value| ("fairway.isolate".to_owned(), value.to_owned()));
                network.options = option.into_iter().collect();
            };
            stage.create_network(name, ask).unwrap();
            stage.sandbox(&format!("in-{name}"), &[name], &[])
        })
        .collect();
    let inner = stage.create_network("inner", |network| {
        network.internal = true;
        network.options = [("fairway.isolate".to_owned(), "false".to_owned())].into();
    });
    inner.unwrap();
    let inner = stage.sandbox("in-inner", &["inner"], &[]);
    let _servers: Vec<_> =
        sandboxes.iter().chain([&inner]).map(|it| serve_tcp(it, "[::]:80").unwrap()).collect();
    for _ in 0..2 {
        for (from, (one, isolation)) in sandboxes.iter().zip(NETWORKS) {
            for (to, (other, theirs)) in
                sandboxes.iter().zip(NETWORKS).filter(|(_, (other, _))| *other != one)
            {
                let expected = passes(isolation, theirs);
                for target in [format!("{}:80", to.address(other)), format!("[{}]:80", to.address6(other))] {
                    assert_eq!(answers(from, &target, expected), expected, "from {one} to {other}: {target}");
                    let explained = stage.client().explain(&format!("in-{one}"), &target, false).unwrap();
                    let shown = (explained.answered, explained.planned);
                    assert_eq!(
                        shown,
                        (Some(expected), None),
                        "from {one} to {other}: {}",
                        explained.sentence
                    );
                }
            }
        }
        stage.daemon.restart(&[]);
    }
    // Nothing else is open: not from outside, and internal networks are as they were.
    let open = &sandboxes[0];
    stage.lan.route("172.16.0.0/12", HOST).unwrap();
    stage.lan.route("fd00::/8", HOST6).unwrap();
    assert!(!answers(&stage.lan, &format!("{}:80", open.address("open")), false));
    assert!(!answers(&stage.lan, &format!("[{}]:80", open.address6("open")), false));
    assert!(!answers(open, &format!("{}:80", inner.address("inner")), false));
    assert!(!answers(&inner, &format!("{}:80", open.address("open")), false));

    let advice = |from: &str, to: &Sandbox, network: &str| {
        let target = format!("{}:80", to.address(network));
        stage.client().explain(from, &target, false).unwrap().advice.unwrap()
    };
    let said = advice("in-open", &sandboxes[4], "shut");
    assert!(said.contains("make the network shut again with -o fairway.isolate=false"), "{said}");
    assert!(!advice("in-shut", &inner, "inner").contains("isolate"));
    let error = stage.create_network("net", |network| {
        network.driver = "macvlan".to_owned();
        network.options = [("fairway.isolate".to_owned(), "true".to_owned())].into();
    });
    assert!(refusal(error).contains("it is an option of the driver bridge, not of macvlan"));
}
