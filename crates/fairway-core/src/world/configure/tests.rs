use crate::world::tests::{network, world};
use crate::world::{Command, CreateNetwork, RecordKey, World};
use fairway_model::{HostFacts, Owner, Rng, Settings};

fn configure(ip_forward: bool, forwarding: (bool, bool)) -> Command {
    Command::Configure {
        settings: Box::new(Settings { ip_forward, ..Settings::default() }),
        host: Box::new(HostFacts {
            forwarding,
            router_advertisements: ["eth0".to_owned()].into(),
            ..HostFacts::default()
        }),
    }
}

fn ipv6_network() -> Command {
    let Command::CreateNetwork(request) = network("six", None) else { unreachable!() };
    Command::CreateNetwork(CreateNetwork { enable_ipv6: Some(true), ..request })
}

/// Whether IPv4 and IPv6 forwarding are recorded as enabled by Fairway.
fn enabled(world: &World) -> (bool, bool) {
    let state = world.host_state();
    (state.switched_forwarding_ipv4, state.switched_forwarding_ipv6)
}

#[test]
fn forwarding_of_a_family_is_enabled_with_its_first_network() {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let change = world.apply(configure(true, (false, false)), 0, &mut rng).unwrap();
    assert_eq!(enabled(&world), (true, false), "the default bridge has IPv4");
    assert!(change.records.contains(&RecordKey::Host) && change.owners.contains(&Owner::Host));
    assert!(world.host_state().router_advertisements.is_empty());
    let change = world.apply(ipv6_network(), 0, &mut rng).unwrap();
    assert_eq!(enabled(&world), (true, true));
    assert!(change.records.contains(&RecordKey::Host) && change.owners.contains(&Owner::Host));
    assert!(world.host_state().router_advertisements.contains("eth0"));
    let change = world.apply(network("more", None), 0, &mut rng).unwrap();
    assert!(!change.records.contains(&RecordKey::Host), "nothing changed on the host");
}

#[test]
fn forwarding_that_the_host_has_is_not_recorded_as_enabled() {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    world.apply(configure(true, (true, true)), 0, &mut rng).unwrap();
    world.apply(ipv6_network(), 0, &mut rng).unwrap();
    assert_eq!(enabled(&world), (false, false));
}

#[test]
fn enabled_forwarding_stays_recorded_until_ip_forward_is_off() {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    world.apply(configure(true, (false, false)), 0, &mut rng).unwrap();
    world.apply(configure(true, (true, true)), 0, &mut rng).unwrap();
    assert_eq!(enabled(&world), (true, false), "the next daemon finds forwarding enabled");
    let change = world.apply(configure(false, (false, false)), 0, &mut rng).unwrap();
    assert_eq!(enabled(&world), (false, false));
    assert!(change.records.contains(&RecordKey::Host));
    let change = world.apply(configure(false, (false, false)), 0, &mut rng).unwrap();
    assert!(!change.records.contains(&RecordKey::Host));
}

#[test]
fn disabling_ip_forward_clears_either_family() {
    for (ipv4, ipv6) in [(true, false), (false, true)] {
        let (mut world, mut rng) = world();
        world.host_state = Default::default();
        world.host_state.router_advertisements.insert("eth0".to_owned());
        world.record_enabled_forwarding(ipv4, ipv6);
        assert_eq!(enabled(&world), (ipv4, ipv6));
        world.record_enabled_forwarding(false, false);
        assert_eq!(enabled(&world), (ipv4, ipv6), "a family stays recorded");
        world.apply(configure(false, (false, false)), 0, &mut rng).unwrap();
        assert_eq!(enabled(&world), (false, false));
        assert!(world.host_state().router_advertisements.is_empty());
    }
}
