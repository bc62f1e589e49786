//! What is printed of a difference.

use super::*;

#[test]
fn all_that_differs_is_named() {
    let mut present = fresh(Vec::new());
    let before = "
networks: {front: {driver_opts: {com.docker.network.driver.mtu: 1300}}}
sandboxes: {web: {expose: [90], dns: [10.0.0.1], networks: []}}
";
    let after = "
networks: {front: {internal: true}}
sandboxes: {web: {expose: [91], labels: [a=b], networks: []}}
";
    apply(&mut present, before, false);
    insta::assert_snapshot!(apply(&mut present, after, false), @"
    change sandbox web: labels: none -> a=b; dns: 10.0.0.1 -> none; expose: 90/tcp -> 91/tcp (detached)
    change network front: internal: false -> true; com.docker.network.driver.mtu: 1300 -> none (removed and created again)
    change sandbox web: labels: none -> a=b; dns: 10.0.0.1 -> none; expose: 90/tcp -> 91/tcp (attached again)
    ");
    assert_eq!(apply(&mut present, after, false), "");
}

#[test]
fn another_network_of_the_file_is_named_by_its_key() {
    let file =
        declared("{name: shop, networks: {common: {config_only: true}, front: {config_from: common}}}");
    let front = file.networks.iter().find(|network| network.name == "shop_front").unwrap();
    assert_eq!(front.config_from.as_ref().unwrap().network, "shop_common");
}
