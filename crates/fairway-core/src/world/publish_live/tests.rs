//! What is published of a sandbox that exists already.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::world::{Change, Command, Context, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_model::Rng;
use fairway_model::parse;
use fairway_model::{
    EndpointRequest, Namespace, PortRange, Protocol, PublishRequest, SandboxKind, SandboxOptions,
    UnpublishRequest,
};

struct TestWorld {
    world: World,
    rng: Rng,
}

impl TestWorld {
    fn new() -> Self {
        let mut world = Self { world: World::default(), rng: Rng::new(1) };
        world.apply(Command::Configure { settings: Box::default(), host: Box::default() }).unwrap();
        world
    }

    fn apply(&mut self, command: Command) -> Result<Change, String> {
        self.world.apply(command, 1, &mut self.rng).map_err(|refusal| refusal.to_string())
    }

    fn create(&mut self, name: &str, network: NetworkChoice, options: SandboxOptions) {
        let name = Some(name.to_owned());
        let create = CreateSandbox { name, kind: SandboxKind::Run, network, options };
        self.apply(Command::CreateSandbox(Box::new(create))).unwrap();
    }

    fn try_start(&mut self, name: &str) -> Result<Change, String> {
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 });
        let sandbox = name.to_owned();
        self.apply(Command::StartSandbox { sandbox, process: None, namespace })
    }

    fn start(&mut self, name: &str) {
        self.try_start(name).unwrap();
    }

    fn stop(&mut self, name: &str) {
        self.apply(Command::StopSandbox { sandbox: name.to_owned(), exit: 0.into(), process: None }).unwrap();
    }

    fn runs(&mut self, name: &str, publish: &[&str]) {
        self.create(name, NetworkChoice::Networks(Vec::new()), options(publish));
        self.start(name);
    }

    fn publish(&mut self, name: &str, ports: &[&str]) -> Result<Change, String> {
        let (sandbox, requests) = (name.to_owned(), options(ports).publish);
        self.apply(Command::Publish { sandbox, requests })
    }

    fn unpublish(&mut self, name: &str, ports: &[&str]) -> Result<Change, String> {
        let requests = ports.iter().map(|text| parse::unpublish(text).unwrap()).collect();
        self.apply(Command::Unpublish { sandbox: name.to_owned(), requests })
    }

    /// Each published port: `0.0.0.0:8080->80/tcp`.
    fn published(&self, name: &str) -> BTreeSet<String> {
        let publications = &self.world.find_sandbox(name).unwrap().publications;
        let texts = publications.iter().flat_map(|publication| {
            let (address, protocol) = (publication.host_address, publication.protocol);
            publication.pairs().map(move |(host, port)| format!("{address}:{host}->{port}/{protocol}"))
        });
        let texts: Vec<String> = texts.collect();
        let set: BTreeSet<String> = texts.iter().cloned().collect();
        assert_eq!(set.len(), texts.len(), "nothing is published twice: {texts:?}");
        set
    }

    fn published_after_restart(&mut self, name: &str) -> BTreeSet<String> {
        self.stop(name);
        assert!(self.published(name).is_empty());
        self.start(name);
        self.published(name)
    }
}

fn options(publish: &[&str]) -> SandboxOptions {
    let publish = publish.iter().flat_map(|text| parse::publish(text).unwrap()).collect();
    SandboxOptions { publish, ..SandboxOptions::default() }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn consecutive_host_and_container_ports_are_one_range() {
    use super::{Binding, runs};
    let address: IpAddr = "0.0.0.0".parse().unwrap();
    let ranges = |ports: &[(Option<u16>, u16)]| {
        let binding = |(host_port, container_port): &(Option<u16>, u16)| Binding {
            address,
            host_port: *host_port,
            container_port: *container_port,
        };
        let mut bindings: Vec<Binding> = ports.iter().map(binding).collect();
        let elsewhere = Binding { address: "::".parse().unwrap(), host_port: None, container_port: 1 };
        bindings.insert(0, elsewhere);
        let text = |(host, container): (Option<PortRange>, PortRange)| {
            format!("{}->{container}", host.map_or("any".to_owned(), |host| host.to_string()))
        };
        runs(&bindings, address).into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(ranges(&[(Some(8080), 80), (Some(8081), 81), (Some(8082), 82)]), ["8080-8082->80-82"]);
    assert_eq!(ranges(&[(Some(8080), 80), (Some(8081), 90)]), ["8080->80", "8081->90"]);
    assert_eq!(ranges(&[(Some(8080), 80), (Some(9000), 81)]), ["8080->80", "9000->81"]);
    assert_eq!(ranges(&[(None, 80), (None, 81), (None, 83)]), ["any->80-81", "any->83"]);
    assert_eq!(ranges(&[(Some(8080), 80), (None, 81)]), ["8080->80", "any->81"]);
    assert_eq!(ranges(&[(None, 80), (Some(8081), 81)]), ["any->80", "8081->81"]);
    assert_eq!(ranges(&[]), [""; 0]);
}

#[test]
fn a_repeated_request_is_one_publication_or_a_conflict() {
    let mut world = TestWorld::new();
    let all = set(&["0.0.0.0:8080->80/tcp", ":::8080->80/tcp"]);
    for (name, asked) in [("a", ["8080:80", "[::]:8080:80"]), ("b", ["[::]:8080:80", "8080:80"])] {
        world.runs(name, &asked);
        assert_eq!(world.published(name), all, "{asked:?}");
        assert_eq!(world.published_after_restart(name), all, "{asked:?}");
        world.stop(name);
    }
    let conflict = |address: &str, other: &str| {
        format!(
            "Bind for {address}:8080 failed: port is already allocated: the same container asks for 8080/tcp at {other} too: leave one of them out"
        )
    };
    for (asked, expected) in [
        (["8080:80", "8080:81"], conflict("0.0.0.0", "0.0.0.0")),
        (["8080:80", "[::]:8080:81"], conflict("::", "::")),
        (["127.0.0.1:8080:80", "8080:80"], conflict("0.0.0.0", "127.0.0.1")),
        (["8080-8081:80-81", "[::1]:8080:81"], conflict("::1", "::")),
    ] {
        world.create("c", NetworkChoice::Networks(Vec::new()), options(&asked));
        assert_eq!(world.try_start("c").unwrap_err(), expected, "{asked:?}");
        world.apply(Command::RemoveSandbox { sandbox: "c".to_owned() }).unwrap();
    }
}

#[test]
fn published_and_unpublished_ports_outlast_a_restart() {
    let mut world = TestWorld::new();
    world.runs("web", &["8080:80"]);
    let change = world.publish("web", &["127.0.0.1:8081:81", "53:53/udp"]).unwrap();
    assert_eq!(change.published.len(), 3, "what was there before is not among them");
    let all = set(&[
        "0.0.0.0:8080->80/tcp",
        ":::8080->80/tcp",
        "127.0.0.1:8081->81/tcp",
        "0.0.0.0:53->53/udp",
        ":::53->53/udp",
    ]);
    assert_eq!(world.published("web"), all);
    assert_eq!(world.published_after_restart("web"), all);
    world.unpublish("web", &["8080", "53:53/udp"]).unwrap();
    let left = set(&["127.0.0.1:8081->81/tcp"]);
    assert_eq!(world.published("web"), left);
    assert_eq!(world.published_after_restart("web"), left);
    // Others may have it now.
    world.runs("other", &["8080:80"]);
}

#[test]
fn a_part_of_a_range_or_one_family_can_be_unpublished() {
    let mut world = TestWorld::new();
    world.runs("web", &["8000-8003:80-83"]);
    world.unpublish("web", &["8001-8002", "0.0.0.0:8003"]).unwrap();
    let left = set(&["0.0.0.0:8000->80/tcp", ":::8000->80/tcp", ":::8003->83/tcp"]);
    assert_eq!(world.published("web"), left);
    assert_eq!(world.published_after_restart("web"), left);
}

#[test]
fn a_random_port_is_unpublished_by_its_host_port_or_container_port() {
    let mut world = TestWorld::new();
    world.runs("web", &["80", "80", "81"]);
    let port = world.world.find_sandbox("web").unwrap().publications[0].host_ports.first;
    world.unpublish("web", &[&port.to_string()]).unwrap();
    assert_eq!(world.published("web").len(), 4);
    world.unpublish("web", &["0:80"]).unwrap();
    let left = world.published("web");
    assert!(left.len() == 2 && left.iter().all(|text| text.ends_with("->81/tcp")), "{left:?}");
    assert_eq!(world.published_after_restart("web").len(), 2);
    world.stop("web");
    world.unpublish("web", &["0:81"]).unwrap();
    world.start("web");
    assert!(world.published("web").is_empty());
}

#[test]
fn each_port_of_publish_all_can_be_unpublished() {
    for (gone, kept) in [(80, 81), (81, 80)] {
        let mut world = TestWorld::new();
        let exposed = [80, 81].map(|port| (port, Protocol::Tcp)).into();
        let options = SandboxOptions { publish_all: true, exposed, ..SandboxOptions::default() };
        world.create("web", NetworkChoice::Networks(Vec::new()), options);
        world.start("web");
        world.publish("web", &["8080:90"]).unwrap();
        assert_eq!(world.published("web").len(), 6);
        world.unpublish("web", &[&format!("0:{gone}")]).unwrap();
        assert_eq!(world.published("web").len(), 4);
        let after = world.published_after_restart("web");
        assert!(after.len() == 4 && after.contains("0.0.0.0:8080->90/tcp"), "{after:?}");
        assert_eq!(after.iter().filter(|it| it.ends_with(&format!("->{kept}/tcp"))).count(), 2, "{after:?}");
        // An explicit request goes alone.
        world.unpublish("web", &["8080:90"]).unwrap();
        assert_eq!(world.published_after_restart("web").len(), 2);
    }
}

/// An explicit request goes, and `--publish-all` stays: a port that is exposed later would be published too.
#[test]
fn publish_all_outlives_an_explicit_request() {
    let mut world = TestWorld::new();
    let exposed = [80, 81].map(|port| (port, Protocol::Tcp)).into();
    let options = SandboxOptions { publish_all: true, exposed, ..options(&["8080:90"]) };
    world.create("web", NetworkChoice::Networks(Vec::new()), options);
    world.start("web");
    world.unpublish("web", &["8080:90"]).unwrap();
    let options = &world.world.find_sandbox("web").unwrap().options;
    assert!(options.publish_all && options.publish.is_empty(), "{options:?}");
    assert_eq!(world.published_after_restart("web").len(), 4);
}

#[test]
fn ports_of_a_stopped_sandbox_change_at_its_next_start() {
    let mut world = TestWorld::new();
    world.runs("web", &["8080:80"]);
    world.stop("web");
    world.publish("web", &["8081:81"]).unwrap();
    world.unpublish("web", &["[::]:8080"]).unwrap();
    let text = world.publish("web", &["127.0.0.1:8081:1"]).unwrap_err();
    assert_eq!(
        text,
        "Bind for 127.0.0.1:8081 failed: port is already allocated: container web publishes 8081/tcp"
    );
    assert!(world.published("web").is_empty());
    world.start("web");
    assert_eq!(
        world.published("web"),
        set(&["0.0.0.0:8080->80/tcp", "0.0.0.0:8081->81/tcp", ":::8081->81/tcp"])
    );
}

#[test]
fn ports_without_a_gateway_network_are_kept_with_a_warning() {
    let mut world = TestWorld::new();
    let inside = CreateNetwork { name: "in".to_owned(), internal: true, ..CreateNetwork::default() };
    world.apply(Command::CreateNetwork(inside)).unwrap();
    let networks = vec![("in".to_owned(), EndpointRequest::default())];
    world.create("web", NetworkChoice::Networks(networks), SandboxOptions::default());
    world.start("web");
    let warnings = world.publish("web", &["8080:80"]).unwrap().warnings;
    assert_eq!(warnings, ["Published ports of web are discarded: it is on internal networks only"]);
    assert!(world.published("web").is_empty());
    let (network, sandbox) = ("bridge".to_owned(), "web".to_owned());
    world.apply(Command::Connect { network, sandbox, request: EndpointRequest::default() }).unwrap();
    assert_eq!(world.published("web").len(), 2);
}

#[test]
fn refusals_name_the_holder_and_the_published_ports() {
    let mut world = TestWorld::new();
    world.runs("web", &["8080:80", "127.0.0.1:9000-9002:90-92/udp"]);
    world.runs("other", &["7070:70"]);
    world.create("of_host", NetworkChoice::Host, SandboxOptions::default());
    world.create("guest", NetworkChoice::Container("web".to_owned()), SandboxOptions::default());
    let before = world.world.clone();
    let held = "failed: port is already allocated: container";
    for (outcome, text) in [
        (
            world.publish("web", &["1:1", "7070:1"]),
            format!("Bind for 0.0.0.0:7070 {held} other publishes 7070/tcp"),
        ),
        (world.publish("web", &["8080:1"]), format!("Bind for 0.0.0.0:8080 {held} web publishes 8080/tcp")),
        (
            world.publish("of_host", &["1:1"]),
            "cannot publish ports of container of_host: it uses the host's own network: its ports are reached without publishing".to_owned(),
        ),
        (
            world.publish("guest", &["1:1"]),
            "cannot publish ports of container guest: it shares the network of container web: publish them there".to_owned(),
        ),
        (
            world.unpublish("web", &["8080", "8081:80"]),
            "No public port '8081:80/tcp' published for web: it publishes 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:9000-9002->90-92/udp".to_owned(),
        ),
        (world.unpublish("other", &["7070:80"]), "No public port '7070:80/tcp' published for other: it publishes 0.0.0.0:7070->70/tcp, [::]:7070->70/tcp".to_owned()),
        (world.unpublish("unknown", &["1"]), "No such container: unknown".to_owned()),
        (
            world.apply(Command::Publish {
                sandbox: "web".to_owned(),
                requests: vec![PublishRequest {
                    host_address: None,
                    host_ports: None,
                    container_ports: PortRange { first: 0, last: 0 },
                    protocol: Protocol::Tcp,
                }],
            }),
            "invalid port range 0-0: ports go from 1 to 65535, the lower one first".to_owned(),
        ),
    ] {
        assert_eq!(outcome.unwrap_err(), text);
    }
    assert!(before.sandboxes().eq(world.world.sandboxes()), "a refusal changes nothing");
}

#[test]
fn a_free_port_is_chosen_among_taken_ones() {
    let mut world = TestWorld::new();
    world.runs("web", &["8000:80"]);
    let requests = parse::publish("8000-8002:80").unwrap();
    let mut publish = || {
        let command = Command::Publish { sandbox: "web".to_owned(), requests: requests.clone() };
        let mut context = Context { avoided_ports: &[8001], ..Context::new(1, &mut world.rng) };
        let draft = world.world.decide(command, &mut context).map_err(|refusal| refusal.to_string())?;
        world.world = draft.world;
        Ok(draft.change)
    };
    assert_eq!(publish().map(|change| change.published[0].host_ports), Ok(PortRange::single(8002)));
    assert_eq!(publish(), Err("all tcp host ports of 8000-8002 are in use".to_owned()));
}

#[test]
fn ten_thousand_ports_are_one_record_until_one_in_the_middle_is_unpublished() {
    let mut world = TestWorld::new();
    world.runs("web", &[]);
    world.publish("web", &["20000-29999:20000-29999"]).unwrap();
    world.unpublish("web", &["25000"]).unwrap();
    let publications = &world.world.find_sandbox("web").unwrap().publications;
    assert_eq!(publications.len(), 4);
    assert_eq!(world.published_after_restart("web").len(), 2 * 9999);
}

fn changes() -> impl Strategy<Value = Vec<(bool, u8, u16, u16, u16)>> {
    prop::collection::vec((any::<bool>(), 0..4_u8, 8000..8006_u16, 0..4_u16, 0..3_u16), 1..12)
}

proptest! {
    /// Whatever came and went, a restart finds what was there before it.
    #[test]
    fn a_restart_keeps_published_ports(steps in changes()) {
        let mut world = TestWorld::new();
        world.runs("web", &["8002-8003:2-3"]);
        for (add, address, first, more, shift) in steps {
            let host_address: Option<IpAddr> = match address {
                0 => Some(IpAddr::from([127, 0, 0, 1])),
                1 => Some("::".parse().expect("an address")),
                _ => None,
            };
            let host = PortRange { first, last: first + more };
            let container = PortRange { first: first - 8000 + shift, last: first - 8000 + shift + more };
            let (sandbox, protocol) = ("web".to_owned(), Protocol::Tcp);
            let command = if add {
                let request =
                    PublishRequest { host_address, host_ports: Some(host), container_ports: container, protocol };
                Command::Publish { sandbox, requests: vec![request] }
            } else {
                let container_ports = Some(container).filter(|_| shift > 0);
                let request =
                    UnpublishRequest { host_address, host_ports: Some(host), container_ports, protocol };
                Command::Unpublish { sandbox, requests: vec![request] }
            };
            // It may be refused: then it changes nothing.
            drop(world.apply(command));
            let now = world.published("web");
            prop_assert_eq!(world.published_after_restart("web"), now);
        }
    }
}
