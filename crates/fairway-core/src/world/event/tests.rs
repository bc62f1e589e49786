use super::*;
use crate::world::{CreateNetwork, CreateSandbox, NetworkChoice};
use fairway_model::Rng;
use fairway_model::{
    EndpointRequest, HostFacts, Namespace, PortRange, ProcessIdentity, Protocol, PublishRequest, SandboxKind,
    SandboxOptions, Settings, UnpublishRequest,
};

/// A World, with the events of each command.
struct EventLog {
    world: World,
    rng: Rng,
}

impl EventLog {
    fn apply(&mut self, command: Command) -> Vec<String> {
        let before = EventRecorder::before(&self.world, &command);
        let change = self.world.apply(command, 1, &mut self.rng).unwrap();
        let line = |event: Event| {
            let attributes = event.attributes.iter().filter(|(name, _)| *name != "container");
            let attributes: Vec<_> = attributes.map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {} {}", event.subject.text(), event.action, attributes.join(", "))
        };
        before.events(&self.world, &change).into_iter().map(line).collect()
    }
}

fn started() -> EventLog {
    let mut log = EventLog { world: World::default(), rng: Rng::new(1) };
    let configure = Command::Configure { settings: Box::default(), host: Box::new(HostFacts::default()) };
    assert_eq!(Settings::default(), *Box::<Settings>::default());
    assert!(log.apply(configure).is_empty());
    log
}

fn create(kind: SandboxKind, networks: &[&str]) -> Box<CreateSandbox> {
    let asked = networks.iter().map(|name| ((*name).to_owned(), EndpointRequest::default()));
    Box::new(CreateSandbox {
        name: Some("web".to_owned()),
        kind,
        network: NetworkChoice::Networks(asked.collect()),
        options: SandboxOptions::default(),
    })
}

fn namespace() -> Option<Namespace> {
    Some(Namespace { path: "/proc/100/ns/net".to_owned(), device: 4, inode: 9 })
}

#[test]
fn each_step_of_a_sandbox_has_its_events() {
    let mut log = started();
    let web = || "web".to_owned();
    let network = Command::CreateNetwork(CreateNetwork { name: "app".to_owned(), ..Default::default() });
    assert_eq!(log.apply(network), ["network create name=app, type=bridge"]);
    let made = log.apply(Command::CreateSandbox(create(SandboxKind::Run, &["bridge"])));
    assert_eq!(made, ["container create name=web"]);
    let start = Command::StartSandbox {
        sandbox: web(),
        process: Some(ProcessIdentity { pid: 100, start_time: 1 }),
        namespace: namespace(),
    };
    assert_eq!(log.apply(start), ["network connect name=bridge, type=bridge", "container start name=web"]);
    let connect =
        Command::Connect { network: "app".to_owned(), sandbox: web(), request: EndpointRequest::default() };
    assert_eq!(log.apply(connect), ["network connect name=app, type=bridge"]);
    let publish = Command::Publish {
        sandbox: web(),
        requests: vec![PublishRequest {
            host_address: Some([127, 0, 0, 1].into()),
            host_ports: Some(PortRange { first: 8080, last: 8081 }),
            container_ports: PortRange { first: 80, last: 81 },
            protocol: Protocol::Tcp,
        }],
    };
    let ports = "name=web, ports=127.0.0.1:8080->80/tcp, 127.0.0.1:8081->81/tcp";
    assert_eq!(log.apply(publish), [format!("container publish {ports}")]);
    let unpublish = Command::Unpublish {
        sandbox: web(),
        requests: vec![UnpublishRequest {
            host_address: None,
            host_ports: Some(PortRange { first: 8080, last: 8081 }),
            container_ports: None,
            protocol: Protocol::Tcp,
        }],
    };
    assert_eq!(log.apply(unpublish), [format!("container unpublish {ports}")]);
    let stop = Command::StopSandbox { sandbox: web(), exit: 7.into(), process: None };
    let ended = log.apply(stop);
    assert_eq!(ended[0], "container die exitCode=7, name=web");
    assert_eq!(ended.iter().filter(|line| line.starts_with("network disconnect")).count(), 2);
    assert_eq!(log.apply(Command::RemoveSandbox { sandbox: web() }), ["container destroy name=web"]);
    let remove = Command::RemoveNetwork { network: "app".to_owned() };
    assert_eq!(log.apply(remove), ["network destroy name=app, type=bridge"]);
}

#[test]
fn an_attached_sandbox_is_created_and_destroyed_at_once() {
    let mut log = started();
    let attach = Command::Attach {
        create: create(SandboxKind::Attached, &["bridge"]),
        process: None,
        namespace: namespace(),
    };
    let came = log.apply(attach);
    assert_eq!(came.len(), 3, "{came:?}");
    assert!(came[0].starts_with("container create") && came[2].starts_with("container start"));
    let went = log.apply(Command::StopSandbox { sandbox: "web".to_owned(), exit: 0.into(), process: None });
    assert!(went[0].starts_with("container die") && went[2].starts_with("container destroy"), "{went:?}");
}

#[test]
fn an_event_lists_the_first_of_many_changed_ports() {
    let mut log = started();
    let attach = Command::Attach {
        create: create(SandboxKind::Attached, &["bridge"]),
        process: None,
        namespace: namespace(),
    };
    log.apply(attach);
    let range = |first, last| PortRange { first, last };
    let request = PublishRequest {
        host_address: Some([127, 0, 0, 1].into()),
        host_ports: Some(range(1, 1000)),
        container_ports: range(1, 1000),
        protocol: Protocol::Tcp,
    };
    let publish = Command::Publish { sandbox: "web".to_owned(), requests: vec![request] };
    let published = log.apply(publish);
    assert!(published[0].ends_with(", 127.0.0.1:64->64/tcp and 936 more"), "{published:?}");
    let request = UnpublishRequest {
        host_address: None,
        host_ports: Some(range(500, 500)),
        container_ports: None,
        protocol: Protocol::Tcp,
    };
    let unpublished = log.apply(Command::Unpublish { sandbox: "web".to_owned(), requests: vec![request] });
    assert_eq!(unpublished, ["container unpublish name=web, ports=127.0.0.1:500->500/tcp"]);
}

#[test]
fn an_event_names_the_process_that_requested_it() {
    let event = || Event::of_daemon("reload", "host", &[]);
    assert_eq!(event().requested_by(None), event());
    let labelled = Event::of_daemon("reload", "host", &[("fairway.uid", "7".to_owned())]);
    assert_eq!(labelled.requested_by(None), event(), "a label is no proof");
    let named = event().requested_by(Some(Requester { uid: 1000, pid: 7 })).attributes;
    assert_eq!((named["fairway.uid"].as_str(), named["fairway.pid"].as_str()), ("1000", "7"));
}
