use crate::object::Object;
use crate::plan::fragment;
use crate::world::tests::{refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, World};
use fairway_model::{EndpointRequest, Owner};

fn network(name: &str, driver: &str, options: &[(&str, &str)]) -> Command {
    Command::CreateNetwork(CreateNetwork {
        name: name.to_owned(),
        driver: driver.to_owned(),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..CreateNetwork::default()
    })
}

fn join(network: &str, name: &str) -> [(String, EndpointRequest); 1] {
    let options = [("fairway.host_interface".to_owned(), name.to_owned())];
    [(network.to_owned(), EndpointRequest { driver_options: options.into(), ..Default::default() })]
}

fn named(sandbox_name: &str, network: &str, name: &str) -> Command {
    let [(network, request)] = join(network, name);
    sandbox(sandbox_name, &[(&network[..], request)], Default::default())
}

fn names(world: &World) -> Vec<Option<String>> {
    let fragments = world.endpoints().map(|endpoint| fragment(world, Owner::Endpoint(endpoint.id)));
    let links = fragments.flat_map(|it| it.into_values()).filter_map(|object| match object {
        Object::Veth(link) => Some(link.alternative_name),
        _ => None,
    });
    links.collect()
}

#[test]
fn the_end_on_the_host_has_the_name_of_one_running_endpoint() {
    let (mut world, mut rng) = world();
    let bridge = [("com.docker.network.bridge.name", "app0")];
    run(&mut world, &mut rng, [network("app", "bridge", &bridge), network("pair", "ptp", &[])]);
    run(&mut world, &mut rng, [named("one", "app", "web0"), named("two", "app", "web0"), start("one")]);
    assert_eq!(names(&world), [Some("web0".to_owned())]);
    let refusal = refused(&mut world, &mut rng, start("two"));
    assert!(refusal.ends_with("fairway.host_interface=web0: the interface of container one has that name"));
    let stop = Command::StopSandbox { sandbox: "one".to_owned(), exit: 0.into(), process: None };
    run(&mut world, &mut rng, [stop, start("two"), named("three", "app", "app0")]);
    let refusal = refused(&mut world, &mut rng, start("three"));
    assert!(refusal.ends_with("the bridge of network app has that name"), "{refusal}");
    let refusal = refused(&mut world, &mut rng, named("four", "pair", "web1"));
    assert!(refusal.contains("with the driver ptp a container has no interface on the host"), "{refusal}");
    for name in ["fw0123", "a b", "", "averylongname123"] {
        let refusal = refused(&mut world, &mut rng, named("four", "app", name));
        assert!(refusal.starts_with("invalid option fairway.host_interface="), "{refusal}");
    }
}
