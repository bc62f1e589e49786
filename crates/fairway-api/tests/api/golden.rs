//! Worlds as JSON: what Docker's own programs will read.

use fairway_api::filter::Filters;
use fairway_api::{SandboxFiles, encode};
use serde::Serialize;

use crate::small_world::{NOW, world};

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn files() -> SandboxFiles {
    SandboxFiles {
        resolv_conf: "/run/fairway/c1/resolv.conf".into(),
        hosts: "/run/fairway/c1/hosts".into(),
        hostname: "/run/fairway/c1/hostname".into(),
        root: String::new(),
        log: String::new(),
    }
}

#[test]
fn a_network_inspected() {
    let world = world();
    insta::assert_snapshot!(json(&encode::inspect_network(&world, world.find_network("web").unwrap())));
}

#[test]
fn networks_listed() {
    insta::assert_snapshot!(json(&encode::list_networks(&world(), &Filters::default()).unwrap()));
}

#[test]
fn a_running_sandbox_inspected() {
    let world = world();
    let sandbox = world.find_sandbox("front").unwrap();
    insta::assert_snapshot!(json(&encode::inspect_container(&world, sandbox, files())));
}

#[test]
fn a_stopped_sandbox_inspected() {
    let world = world();
    let sandbox = world.find_sandbox("old").unwrap();
    insta::assert_snapshot!(json(&encode::inspect_container(&world, sandbox, SandboxFiles::default())));
}

#[test]
fn an_endpoint_with_all_that_can_be_asked() {
    let world = world();
    let sandbox = world.find_sandbox("db").unwrap();
    let attached = encode::attached(&world, sandbox, files(), vec!["a warning".into()]);
    insta::assert_snapshot!(json(&attached));
}

#[test]
fn sandboxes_listed() {
    let listed = encode::list_containers(&world(), true, &Filters::default(), NOW).unwrap();
    insta::assert_snapshot!(json(&listed));
}

#[test]
fn filters_choose_networks() {
    let names = |name: &str, value: &str| {
        let networks = encode::list_networks(&world(), &Filters::default().with(name, value)).unwrap();
        networks.into_iter().map(|network| network.name).collect::<Vec<_>>()
    };
    assert_eq!(names("type", "custom"), ["web"]);
    assert_eq!(names("type", "builtin"), ["bridge", "host"]);
    assert_eq!(names("driver", "host"), ["host"]);
    assert_eq!(names("label", "tier=front"), ["web"]);
    assert_eq!(names("label", "tier=back"), Vec::<String>::new());
    assert_eq!(names("id", "b0b0"), ["web"]);
    assert_eq!(names("name", "^b"), ["bridge"]);
    assert_eq!(names("dangling", "true"), Vec::<String>::new());
    assert_eq!(names("dangling", "false"), ["bridge", "host", "web"]);
    let error = encode::list_networks(&world(), &Filters::default().with("status", "up")).unwrap_err();
    assert_eq!(error.to_string(), "invalid filter 'status'");
}

#[test]
fn filters_choose_sandboxes() {
    let names = |all: bool, name: &str, value: &str| {
        let filters = Filters::default().with(name, value);
        let listed = encode::list_containers(&world(), all, &filters, NOW).unwrap();
        listed.into_iter().flat_map(|it| it.names).collect::<Vec<_>>()
    };
    assert_eq!(names(false, "name", ""), ["/net", "/db", "/front"]);
    assert_eq!(names(true, "name", ""), ["/net", "/old", "/db", "/front"]);
    assert_eq!(names(false, "status", "exited"), ["/old"]);
    assert_eq!(names(false, "exited", "3"), ["/old"]);
    assert_eq!(names(false, "exited", "0"), Vec::<String>::new());
    assert_eq!(names(true, "network", "web"), ["/old", "/db", "/front"]);
    assert_eq!(names(true, "network", "a0a0"), ["/front"]);
    assert_eq!(names(true, "name", "^/front$"), ["/front"]);
    assert_eq!(names(true, "label", "app=shop"), ["/front"]);
    let filters = Filters::default().with("status", "asleep");
    let error = encode::list_containers(&world(), true, &filters, NOW).unwrap_err();
    assert_eq!(error.to_string(), "invalid filter 'status=asleep'");
}
