use fairway_model::{EndpointRequest, SubnetRequest};

use crate::world::tests::{network, refused, run, sandbox, world};
use crate::world::{Command, CreateNetwork};

fn with(name: &str, change: &dyn Fn(&mut CreateNetwork)) -> Command {
    let mut request = CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() };
    change(&mut request);
    Command::CreateNetwork(request)
}

fn base(request: &mut CreateNetwork) {
    request.config_only = true;
    request.internal = true;
    request.options.insert("com.docker.network.driver.mtu".to_owned(), "1400".to_owned());
    request.labels.insert("tier".to_owned(), "front".to_owned());
    request.ipam_options.insert("zone".to_owned(), "a".to_owned());
    request.subnets = vec![SubnetRequest { subnet: "10.1.0.0/24".parse().ok(), ..SubnetRequest::default() }];
}

fn from(name: &str) -> impl Fn(&mut CreateNetwork) {
    let name = name.to_owned();
    move |request| request.config_from = Some(name.clone())
}

#[test]
fn a_network_gets_the_configuration_that_it_names() {
    let (mut world, mut rng) = world();
    // The subnet of a configuration is free until a network has it.
    run(&mut world, &mut rng, [with("base", &base), network("other", Some("10.1.0.0/24"))]);
    run(&mut world, &mut rng, [Command::RemoveNetwork { network: "other".to_owned() }]);
    run(&mut world, &mut rng, [with("app", &from("base"))]);
    let app = world.find_network("app").unwrap();
    assert_eq!(app.subnets[0].subnet.to_string(), "10.1.0.0/24");
    assert!(app.internal && app.mtu == Some(1400) && app.labels["tier"] == "front");
    assert_eq!((app.ipam_options["zone"].as_str(), app.config_from.as_deref()), ("a", Some("base")));
    let base = world.find_network("base").unwrap();
    assert!(base.configuration.is_some() && base.bridge.is_empty() && base.subnets.is_empty());
    assert_eq!(base.driver.to_string(), "null");
}

#[test]
fn what_a_configuration_cannot_be_is_refused() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [with("base", &base), network("plain", None), with("app", &from("base"))]);
    let labelled = |request: &mut CreateNetwork| {
        from("base")(request);
        request.labels.insert("a".to_owned(), "b".to_owned());
    };
    let both = |request: &mut CreateNetwork| {
        base(request);
        from("base")(request);
    };
    let join = [("base", EndpointRequest::default())];
    let connect = Command::Connect {
        network: "base".to_owned(),
        sandbox: "a".to_owned(),
        request: EndpointRequest::default(),
    };
    run(&mut world, &mut rng, [sandbox("a", &[("plain", EndpointRequest::default())], Default::default())]);
    for (command, reason) in [
        (with("x", &from("plain")), "network plain is no configuration network"),
        (with("x", &from("nothing")), "network nothing not found"),
        (with("x", &labelled), "drop its own options"),
        (with("x", &both), "cannot depend on another configuration network"),
        (sandbox("b", &join, Default::default()), "create one with --config-from base"),
        (connect, "create one with --config-from base"),
        (
            Command::RemoveNetwork { network: "base".to_owned() },
            "in use by network app: remove that one first",
        ),
    ] {
        let refusal = refused(&mut world, &mut rng, command);
        assert!(refusal.contains(reason), "{refusal}");
    }
    let remove = |name: &str| Command::RemoveNetwork { network: name.to_owned() };
    run(&mut world, &mut rng, [remove("app"), remove("base")]);
}
