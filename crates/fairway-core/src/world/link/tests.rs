use super::super::{Change, Command, CreateSandbox, NetworkChoice, World};
use super::*;
use crate::object::Key;
use crate::object::SetName;
use crate::plan::fragment;
use crate::world::Undecided;
use fairway_model::Rng;
use fairway_model::{Namespace, PortRange, PublishRequest, SandboxKind, SandboxOptions, Settings};

struct Scene {
    world: World,
    rng: Rng,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { world: World::default(), rng: Rng::new(3) };
        scene.configure(false);
        scene
    }

    fn take(&mut self, command: Command) -> Result<Change, Undecided> {
        self.world.apply(command, 1, &mut self.rng)
    }

    fn configure(&mut self, icc: bool) {
        let settings = Box::new(Settings { icc, ..Settings::default() });
        self.take(Command::Configure { settings, host: Box::default() }).unwrap();
    }

    fn create(
        &mut self,
        name: &str,
        links: &[(&str, &str)],
        options: SandboxOptions,
    ) -> Result<Change, Undecided> {
        let links = links.iter().map(|(target, alias)| ((*target).to_owned(), (*alias).to_owned())).collect();
        let request = EndpointRequest { links, ..EndpointRequest::default() };
        self.take(Command::CreateSandbox(Box::new(CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Run,
            network: NetworkChoice::Networks(vec![("bridge".to_owned(), request)]),
            options,
        })))
    }

    fn start(&mut self, name: &str) -> Result<Change, Undecided> {
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 });
        let sandbox = name.to_owned();
        self.take(Command::StartSandbox { sandbox, process: None, namespace })
    }

    fn stop(&mut self, name: &str) -> Change {
        self.take(Command::StopSandbox { sandbox: name.to_owned(), exit: 0.into(), process: None }).unwrap()
    }

    fn id(&self, name: &str) -> SandboxId {
        self.world.find_sandbox(name).unwrap().id
    }

    /// How many elements the links of a sandbox have in each set.
    fn elements(&self, name: &str) -> [usize; 2] {
        let fragment = fragment(&self.world, Owner::Links(self.id(name)));
        [SetName::LinkedPorts, SetName::Links4].map(|wanted| {
            fragment.keys().filter(|key| matches!(key, Key::Element(set, _) if *set == wanted)).count()
        })
    }

    /// `db`, which exposes a port, publishes another, and runs; and `lk`, which links to it and runs.
    fn linked() -> Self {
        let mut scene = Self::new();
        let options = SandboxOptions {
            exposed: vec![(80, Protocol::Tcp)],
            publish: vec![PublishRequest {
                host_address: None,
                host_ports: Some(PortRange::single(9000)),
                container_ports: PortRange::single(81),
                protocol: Protocol::Tcp,
            }],
            environment: ["PASS=x=y", "HOME=/root", "GONE"].map(str::to_owned).to_vec(),
            ..SandboxOptions::default()
        };
        scene.create("db", &[], options).unwrap();
        scene.create("lk", &[("db", "the-db")], SandboxOptions::default()).unwrap();
        scene.start("db").unwrap();
        scene.start("lk").unwrap();
        scene
    }
}

/// The variables that Docker 20.10 was seen to set.
#[test]
fn the_environment_is_dockers() {
    let scene = Scene::linked();
    let source = scene.world.find_sandbox("lk").unwrap();
    let expected = [
        "THE_DB_PORT=tcp://172.17.0.2:80",
        "THE_DB_PORT_80_TCP=tcp://172.17.0.2:80",
        "THE_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "THE_DB_PORT_80_TCP_PORT=80",
        "THE_DB_PORT_80_TCP_PROTO=tcp",
        "THE_DB_PORT_81_TCP=tcp://172.17.0.2:81",
        "THE_DB_PORT_81_TCP_ADDR=172.17.0.2",
        "THE_DB_PORT_81_TCP_PORT=81",
        "THE_DB_PORT_81_TCP_PROTO=tcp",
        "THE_DB_NAME=/lk/the-db",
        "THE_DB_ENV_PASS=x=y",
    ];
    assert_eq!(scene.world.link_environment(source), expected);
}

#[test]
fn elements_are_there_while_both_run_and_icc_is_off() {
    let mut scene = Scene::linked();
    assert_eq!(scene.elements("lk"), [2, 2]);
    let change = scene.stop("db");
    let lk = scene.id("lk");
    // Who stops takes the links to it along, and its line in the other's hosts file.
    assert!(change.owners.contains(&Owner::Links(lk)) && change.owners.contains(&Owner::Sandbox(lk)));
    assert_eq!(scene.elements("lk"), [0, 0]);
    assert!(scene.start("db").unwrap().owners.contains(&Owner::Links(lk)));
    assert_eq!(scene.elements("lk"), [2, 2]);
    scene.configure(true);
    assert_eq!(scene.elements("lk"), [0, 0]);
    scene.configure(false);
    scene.stop("lk");
    assert_eq!(scene.elements("lk"), [0, 0]);
}

#[test]
fn a_link_target_must_run_and_is_bound_by_id() {
    let mut scene = Scene::linked();
    scene.stop("lk");
    scene.stop("db");
    let refusal = scene.start("lk").unwrap_err().to_string();
    assert_eq!(refusal, "Cannot link to a non running container: /db AS /lk/the-db");
    scene.take(Command::RemoveSandbox { sandbox: "db".to_owned() }).unwrap();
    scene
        .create("db", &[], SandboxOptions { exposed: vec![(80, Protocol::Tcp)], ..Default::default() })
        .unwrap();
    scene.start("db").unwrap();
    scene.start("lk").unwrap();
    assert_eq!(scene.elements("lk"), [0, 0]);
    assert!(scene.world.links(scene.id("lk")).is_empty());
    let refusal = scene.create("x", &[("nosuch", "y")], SandboxOptions::default()).unwrap_err();
    assert_eq!(refusal.to_string(), "could not get container for nosuch: No such container: nosuch");
}

#[test]
fn a_link_is_removed_by_its_alias_and_both_ends_stay() {
    let mut scene = Scene::linked();
    let unlink = |alias: &str| Command::Unlink { sandbox: "lk".to_owned(), alias: alias.to_owned() };
    assert_eq!(scene.take(unlink("db")).unwrap_err().to_string(), "No such link: lk/db");
    let change = scene.take(unlink("the-db")).unwrap();
    let lk = scene.id("lk");
    // Its hosts file and what the firewall lets through follow.
    assert!(change.owners.contains(&Owner::Links(lk)) && change.owners.contains(&Owner::Sandbox(lk)));
    assert_eq!(scene.elements("lk"), [0, 0]);
    assert!(scene.world.links(lk).is_empty());
    assert!(scene.world.find_sandbox("db").unwrap().running());
    // What the former target does touches it no more.
    assert!(!scene.stop("db").owners.contains(&Owner::Links(lk)));
    scene.stop("lk");
    scene.start("lk").unwrap();
}
