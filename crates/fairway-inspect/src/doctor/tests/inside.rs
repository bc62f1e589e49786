//! Sandboxes whose inside was changed.

use super::*;

fn changed(differences: Vec<Deviation>) -> Patient {
    let mut patient = Patient::new();
    let namespace = "/run/netns/p".to_owned();
    patient.seen.inside = vec![Inside { sandbox: "p".to_owned(), namespace, differences }];
    patient
}

#[test]
fn what_was_changed_is_set_right_and_nothing_else() {
    let down = Deviation::new("eth0", "down", "up").with_fix("ip link set dev eth0 up");
    let route = Deviation::new("default route", "via 172.18.0.9 dev eth0", "via 172.18.0.1 dev eth0");
    let route = route.with_fix("ip route replace default via 172.18.0.1 dev eth0");
    let seen = "p: eth0 is down, expected up; default route is via 172.18.0.9 dev eth0, expected via 172.18.0.1 dev eth0";
    let mend = "nsenter --net=/run/netns/p ip link set dev eth0 up && nsenter --net=/run/netns/p ip route replace default via 172.18.0.1 dev eth0";
    changed(vec![down, route]).assert("inside", Level::Warning, seen, mend);
}

#[test]
fn only_what_has_lost_its_interface_is_connected_anew() {
    let patient = changed(vec![Deviation::missing("interface eth0"), Deviation::missing("default route")]);
    let seen = "p: interface eth0 is missing; default route is missing";
    let mend = "fairway network disconnect web p && fairway network connect web p";
    patient.assert("inside", Level::Warning, seen, mend);
}

#[test]
fn rules_of_the_resolver_are_made_again_on_demand() {
    let (level, seen, mend, own) = changed(vec![Deviation::missing(RESOLVER_TABLE)]).only("inside");
    assert_eq!((level, mend.as_str(), own), (Level::Warning, FIX, true));
    assert_eq!(seen, format!("p: {RESOLVER_TABLE} is missing"));
}
