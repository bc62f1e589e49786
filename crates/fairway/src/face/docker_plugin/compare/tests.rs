use fairway_core::world::{CreateNetwork, JoinEndpoint};
use fairway_model::{EndpointRequest, Namespace, Rng, Settings, SubnetRequest};

use super::*;
use crate::face::docker_plugin::describe::labels;

const SECOND: i64 = 1_000_000_000;

fn network() -> NetworkId {
    NetworkId::new([1; 32])
}

fn endpoint(number: u8) -> EndpointId {
    EndpointId::new([number; 32])
}

fn sandbox(number: u8) -> SandboxId {
    SandboxId::new([number; 32])
}

struct Test(World, Rng);

impl Test {
    /// A World with a network and two containers on it, made in the first second.
    fn new() -> Self {
        let mut test = Self(World::default(), Rng::new(1));
        test.run(Command::Configure { settings: Box::new(Settings::default()), host: Box::default() });
        test.run(Command::CreateNetwork(CreateNetwork {
            id: Some(network()),
            name: "docker-010101010101".to_owned(),
            subnets: vec![SubnetRequest { subnet: "10.1.0.0/24".parse().ok(), ..SubnetRequest::default() }],
            labels: labels(),
            ..CreateNetwork::default()
        }));
        for number in [8, 9] {
            test.run(Command::JoinEndpoint(Box::new(JoinEndpoint {
                id: endpoint(number),
                network: network(),
                sandbox: sandbox(number),
                name: format!("docker-{number}"),
                labels: labels(),
                request: EndpointRequest::default(),
            })));
        }
        test
    }

    fn run(&mut self, command: Command) {
        self.0.apply(command, SECOND, &mut self.1).unwrap();
    }

    /// Compares at a second, and does what follows.
    fn compare(&mut self, answers: Answers, second: i64) -> Consequences {
        let found = compare(&self.0, &Answers { asked: second * SECOND, ..answers });
        found.commands.iter().for_each(|command| self.run(command.clone()));
        found
    }

    fn locate(&mut self, number: u8, name: &str) {
        self.run(Command::IdentifySandbox {
            sandbox: sandbox(number),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            process: None,
            namespace: Some(Namespace { path: String::new(), device: 1, inode: number.into() }),
        });
    }
}

/// A dockerd with a network "app" and these endpoints, each with the name of its container; or without the network.
fn daemon(id: &str, endpoints: Option<&[(u8, &str)]>) -> DockerDaemon {
    let listed = |(number, name): &(u8, &str)| DockerEndpoint {
        id: endpoint(*number).to_string(),
        container: Some((format!("container-{number}"), (*name).to_owned())),
        addresses: Vec::new(),
    };
    let network = endpoints.map(|endpoints| DockerNetwork {
        id: network().to_string(),
        name: "app".to_owned(),
        driver: "fairway".to_owned(),
        ipam_driver: "default".to_owned(),
        subnets: Vec::new(),
        reserved: Vec::new(),
        endpoints: endpoints.iter().map(listed).collect(),
    });
    DockerDaemon {
        socket: format!("/run/{id}.sock"),
        id: id.to_owned(),
        networks: network.into_iter().collect(),
    }
}

fn answers(daemons: &[DockerDaemon]) -> Answers {
    Answers { daemons: daemons.to_vec(), ..Answers::default() }
}

#[test]
fn names_become_known_and_containers_are_to_be_located_once() {
    let mut test = Test::new();
    let both = answers(&[daemon("a", Some(&[(8, "web"), (9, "db")]))]);
    let found = test.compare(both, 2);
    assert_eq!(test.0.network(network()).unwrap().name, "app");
    let expected = Unlocated {
        sandbox: sandbox(8),
        socket: "/run/a.sock".to_owned(),
        container: "container-8".to_owned(),
        name: "web".to_owned(),
    };
    assert_eq!((found.unlocated.len(), &found.unlocated[0]), (2, &expected));
    test.locate(8, "web");
    test.locate(9, "db");
    let same = answers(&[daemon("a", Some(&[(8, "web"), (9, "db")]))]);
    assert_eq!(test.compare(same, 2), Consequences::default());
    // docker rename
    test.compare(answers(&[daemon("a", Some(&[(8, "www"), (9, "db")]))]), 2);
    assert_eq!(test.0.sandbox(sandbox(8)).unwrap().name, "www");
}

#[test]
fn an_endpoint_that_dockerd_does_not_list_is_removed_when_it_is_settled() {
    let mut test = Test::new();
    let one = || answers(&[daemon("a", Some(&[(8, "web")]))]);
    test.compare(one(), 5);
    assert!(test.0.endpoint(endpoint(9)).is_some(), "dockerd lists it a moment later");
    test.compare(Answers { joining: [endpoint(9)].into(), ..one() }, 60);
    assert!(test.0.endpoint(endpoint(9)).is_some(), "it is about to join");
    test.compare(Answers { clock_was_set: true, ..one() }, 60);
    assert!(test.0.endpoint(endpoint(9)).is_some(), "its age is not known");
    test.compare(one(), 60);
    assert!(test.0.endpoint(endpoint(9)).is_none() && test.0.endpoint(endpoint(8)).is_some());
}

#[test]
fn what_is_dated_later_is_from_before_the_clock_was_set_back() {
    let mut test = Test::new();
    test.compare(answers(&[daemon("a", Some(&[(8, "web")]))]), -3600);
    assert!(test.0.endpoint(endpoint(9)).is_none() && test.0.endpoint(endpoint(8)).is_some());
}

#[test]
fn a_network_is_removed_only_if_its_own_dockerd_says_so() {
    let mut test = Test::new();
    let gone = |id: &str| daemon(id, None);
    let exists = |test: &Test| test.0.network(network()).is_some();
    // Its dockerd is not known: all have to answer.
    for unsure in [Answers::default(), Answers { incomplete: true, ..answers(&[gone("a")]) }] {
        test.compare(unsure, 60);
        assert!(exists(&test));
    }
    test.compare(answers(&[gone("a")]), 5);
    assert!(exists(&test), "dockerd lists it a moment later");
    test.compare(answers(&[daemon("a", Some(&[(8, "web"), (9, "db")]))]), 60);
    test.compare(answers(&[gone("b")]), 60);
    assert!(exists(&test), "another dockerd does not know");
    test.compare(Answers { incomplete: true, ..answers(&[gone("a"), gone("b")]) }, 60);
    assert!(!exists(&test) && test.0.endpoints().next().is_none());
}

#[test]
fn pools_and_addresses_are_freed_when_their_dockerd_does_not_have_them() {
    let mut test = Test::new();
    let pool: IpNet = "10.9.0.0/24".parse().unwrap();
    let address = |gateway| Command::RequestAddress { pool, address: None, gateway };
    test.run(Command::RequestPool { subnet: Some(pool), range: None, ipv6: false });
    for gateway in [true, false, false, false] {
        test.run(address(gateway));
    }
    let with_pool = || {
        let mut daemon = daemon("a", Some(&[(8, "web"), (9, "db")]));
        let network = &mut daemon.networks[0];
        (network.ipam_driver, network.subnets) = (NAME.to_owned(), vec![pool]);
        network.reserved = vec!["10.9.0.2".parse().unwrap()];
        network.endpoints[0].addresses = vec!["10.9.0.4".parse().unwrap()];
        answers(&[daemon])
    };
    let left = |test: &Test| test.0.pool_addresses().map(|it| it.address.to_string()).collect::<Vec<_>>();
    test.compare(with_pool(), 5);
    assert_eq!(left(&test).len(), 4, "dockerd lists it a moment later");
    test.compare(with_pool(), 60);
    assert_eq!(left(&test), ["10.9.0.1", "10.9.0.2", "10.9.0.4"]);
    test.compare(answers(&[daemon("b", None)]), 60);
    assert_eq!(test.0.pools().count(), 1, "another dockerd does not know");
    test.compare(answers(&[daemon("a", Some(&[(8, "web"), (9, "db")]))]), 60);
    assert_eq!(test.0.pools().count(), 0);
}

#[test]
fn networks_of_fairway_are_none_of_docker() {
    let mut test = Test::new();
    test.run(Command::CreateNetwork(CreateNetwork { name: "own".to_owned(), ..CreateNetwork::default() }));
    test.compare(answers(&[daemon("a", None)]), 60);
    assert!(test.0.find_network("own").is_ok());
}
