//! Network modes of new sandboxes.

use super::{publish, run, sandbox, world};
use crate::world::{Command, CreateSandbox, NetworkChoice};
use fairway_model::{DefaultBridge, NetworkMode, SandboxKind, SandboxOptions, Settings};

fn create(name: &str, network: NetworkChoice, options: SandboxOptions) -> Command {
    let name = Some(name.to_owned());
    Command::CreateSandbox(Box::new(CreateSandbox { name, kind: SandboxKind::Run, network, options }))
}

#[test]
fn a_sandbox_on_the_hosts_network_warns_about_published_ports() {
    let all = SandboxOptions { publish_all: true, ..SandboxOptions::default() };
    for (options, warns) in [(publish(Some(8080), 80), true), (all, true), (SandboxOptions::default(), false)]
    {
        let (mut world, mut rng) = world();
        let change = world.apply(create("web", NetworkChoice::Host, options), 1, &mut rng).unwrap();
        let expected = "Published ports are discarded when using host network mode";
        assert_eq!(change.warnings, if warns { vec![expected] } else { vec![] });
        assert_eq!(world.find_sandbox("web").unwrap().mode, NetworkMode::Host);
    }
}

#[test]
fn a_container_mode_follows_the_mode_of_its_target() {
    let (mut world, mut rng) = world();
    let own = |name: &str, network| create(name, network, SandboxOptions::default());
    let commands = [
        own("host", NetworkChoice::Host),
        own("none", NetworkChoice::None),
        own("private", NetworkChoice::Networks(Vec::new())),
    ];
    run(&mut world, &mut rng, commands);
    let id = |name: &str| world.find_sandbox(name).unwrap().id;
    let (none, private) = (id("none"), id("private"));
    for (target, mode) in [
        ("host", NetworkMode::Host),
        ("none", NetworkMode::Shared(none)),
        ("private", NetworkMode::Shared(private)),
    ] {
        let mut world = world.clone();
        run(&mut world, &mut rng, [own("guest", NetworkChoice::Container(target.to_owned()))]);
        assert_eq!(world.find_sandbox("guest").unwrap().mode, mode, "{target}");
    }
}

#[test]
fn without_a_default_network_a_sandbox_has_none() {
    for (bridge, mode, endpoints) in
        [(DefaultBridge::Managed, NetworkMode::Private, 1), (DefaultBridge::Disabled, NetworkMode::None, 0)]
    {
        let (mut world, mut rng) = world();
        let settings = Settings { bridge, ..Settings::default() };
        let configure = Command::Configure { settings: Box::new(settings), host: Box::default() };
        run(&mut world, &mut rng, [configure, sandbox("web", &[], Default::default())]);
        assert_eq!(world.find_sandbox("web").unwrap().mode, mode);
        assert_eq!(world.endpoints().count(), endpoints);
    }
}

/// The warnings about unknown options of endpoints come with the sandbox.
#[test]
fn warnings_about_options_of_endpoints_are_those_of_the_command() {
    let (mut world, mut rng) = world();
    let request = fairway_model::EndpointRequest {
        driver_options: [("fairway.odd".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let change =
        world.apply(sandbox("web", &[("bridge", request)], Default::default()), 1, &mut rng).unwrap();
    assert_eq!(change.warnings, ["the option fairway.odd is unknown and has no effect"]);
}
