use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::object::Key;
use crate::object::{ElementKey, SetName};
use crate::plan::{Plan, plan};
use crate::world::tests::{addresses, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, World};
use fairway_model::Owner;
use fairway_model::SubnetRequest;

fn network(name: &str, options: &[(&str, &str)]) -> Command {
    Command::CreateNetwork(CreateNetwork {
        name: name.to_owned(),
        enable_ipv6: Some(true),
        subnets: vec![SubnetRequest::default()],
        options: options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        ..CreateNetwork::default()
    })
}

/// The ports of a sandbox with its link-local address at each, in the order in which it joined.
fn ports(world: &World, name: &str) -> Vec<(String, IpAddr)> {
    let id = world.find_sandbox(name).unwrap().id;
    let given = world.endpoints_of_sandbox(id).into_iter().filter_map(|it| it.allocation.as_ref());
    given.map(|it| (it.host_interface.clone(), it.mac.link_local().into())).collect()
}

fn has(plan: &Plan, key: ElementKey) -> bool {
    plan.object(&Key::Element(key.set, key.bytes.clone())).is_some()
}

#[test]
fn each_port_owns_all_addresses_of_its_sandbox_and_none_of_others() {
    for options in
        [&[][..], &[("fairway.guard", "strict"), ("com.docker.network.bridge.enable_icc", "false")]]
    {
        let (mut world, mut rng) = world();
        let join = ["one", "two"].map(|name| (name, Default::default()));
        run(
            &mut world,
            &mut rng,
            [
                network("one", options),
                network("two", options),
                sandbox("a", &join, Default::default()),
                sandbox("b", &join[..1], Default::default()),
                start("a"),
                start("b"),
            ],
        );
        let plan = plan(&world);
        let own = addresses(&world, "a");
        assert_eq!(own.len(), 4);
        for (port, link_local) in ports(&world, "a") {
            let kept = own.iter().chain([&link_local]);
            assert!(kept.clone().all(|address| has(&plan, ElementKey::port_ip(&port, *address))), "{port}");
            assert!(kept.clone().all(|address| has(&plan, ElementKey::assigned_ip(*address))), "{port}");
            for (other, other_local) in ports(&world, "b") {
                assert!(!has(&plan, ElementKey::port_ip(&port, other_local)));
                assert!(!kept.clone().any(|address| has(&plan, ElementKey::port_ip(&other, *address))));
            }
        }
        // A link-local address means something on its own link alone.
        let [(first, _), (_, second_local)] = &ports(&world, "a")[..] else { panic!("two ports") };
        assert!(!has(&plan, ElementKey::port_ip(first, *second_local)));
    }
}

#[test]
fn who_joins_touches_its_own_sandbox_alone() {
    let (mut world, mut rng) = world();
    let join = [("one", Default::default())];
    run(&mut world, &mut rng, [network("one", &[]), network("two", &[])]);
    for name in ["a", "b", "c"] {
        run(&mut world, &mut rng, [sandbox(name, &join, Default::default()), start(name)]);
    }
    let connect =
        Command::Connect { network: "two".to_owned(), sandbox: "a".to_owned(), request: Default::default() };
    let change = world.apply(connect, 1, &mut rng).unwrap();
    let id = world.find_sandbox("a").unwrap().id;
    let own: BTreeSet<Owner> = world
        .endpoints_of_sandbox(id)
        .into_iter()
        .map(|endpoint| Owner::Endpoint(endpoint.id))
        .chain([Owner::Sandbox(id), Owner::Publications(id), Owner::Links(id)])
        .collect();
    assert!(change.owners.is_subset(&own), "{:?}", change.owners);
}

#[test]
fn the_gateway_s_link_local_address_is_its_own() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("one", &[])]);
    let plan = plan(&world);
    let bridge = plan.objects().find_map(|(_, object)| match object {
        crate::object::Object::Bridge(bridge) if bridge.ipv6 => Some(bridge.mac),
        _ => None,
    });
    let key = ElementKey::assigned_ip(bridge.unwrap().link_local().into());
    assert_eq!(key.set, SetName::AssignedIps6);
    assert!(has(&plan, key));
}
