//! What a client knows of its networks and sandboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use fairway_api::ClientError;
use fairway_api::types::EndpointSettings;
use fairway_lab::Place;
use fairway_model::Rng;

use crate::harness::{Stage, ports, request};

/// How many networks and how many sandboxes a client has at most.
const NETWORKS: u64 = 2;
const SANDBOXES: u64 = 2;
/// How many host ports each client has.
const PORTS: u64 = 4;
const DRIVERS: [&str; 4] = ["bridge", "routed", "macvlan", "ptp"];

/// A sandbox: its networks and its published host ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Attached {
    networks: BTreeSet<String>,
    ports: BTreeSet<u16>,
}

/// The states that an object may have: one, or two after a command without a reply.
#[derive(Debug, Clone)]
struct Known<T>(Vec<Option<T>>);

impl<T: Clone + PartialEq> Known<T> {
    /// The state before a command.
    fn now(&self) -> Option<T> {
        self.0.first().cloned().flatten()
    }

    /// Takes over what became of a command.
    fn settle(&mut self, wanted: Option<T>, outcome: &Result<(), ClientError>) {
        match outcome {
            Ok(()) => self.0 = vec![wanted],
            // A refusal changes nothing.
            Err(ClientError::Refused { .. }) => {}
            Err(_) => self.0.push(wanted),
        }
    }
}

/// A client with objects of its own.
pub struct Owner {
    number: u64,
    rng: Rng,
    networks: BTreeMap<String, Known<()>>,
    sandboxes: BTreeMap<String, Known<Attached>>,
    /// How many commands were acknowledged.
    pub acknowledged: usize,
}

impl Owner {
    pub fn new(number: u64, seed: u64) -> Self {
        let names = |kind: &str, count: u64| {
            (0..count).map(move |it| format!("{kind}{number}-{it}")).collect::<Vec<_>>()
        };
        let networks = names("n", NETWORKS).into_iter().map(|name| (name, Known(vec![None]))).collect();
        let sandboxes = names("s", SANDBOXES).into_iter().map(|name| (name, Known(vec![None]))).collect();
        Self { number, rng: Rng::new(seed), networks, sandboxes, acknowledged: 0 }
    }

    /// Sends random commands until there are enough, or a reply is missing.
    pub fn work(&mut self, stage: &Stage, enough: &AtomicBool) {
        while !enough.load(Ordering::Acquire) {
            if self.step(stage).is_some_and(|error| !matches!(error, ClientError::Refused { .. })) {
                return;
            }
        }
    }

    /// Sends a random command; returns why it failed.
    fn step(&mut self, stage: &Stage) -> Option<ClientError> {
        let network = format!("n{}-{}", self.number, self.rng.below(NETWORKS));
        let sandbox = format!("s{}-{}", self.number, self.rng.below(SANDBOXES));
        let port = (8000 + 100 * self.number + self.rng.below(PORTS)) as u16;
        let choice = self.rng.below(8);
        let outcome = match choice {
            0 => self.create_network(stage, &network),
            1 => {
                let outcome = stage.client().remove_network(&network);
                self.networks.get_mut(&network)?.settle(None, &outcome);
                outcome
            }
            _ => self.change_sandbox(stage, choice, &sandbox, &network, port),
        };
        self.acknowledged += usize::from(outcome.is_ok());
        outcome.err()
    }

    fn create_network(&mut self, stage: &Stage, network: &str) -> Result<(), ClientError> {
        let driver = DRIVERS[self.rng.below(DRIVERS.len() as u64) as usize];
        let ipv6 = self.rng.below(2) == 0 && driver == "bridge";
        let outcome = stage.create_network(network, |request| {
            request.driver = driver.to_owned();
            request.enable_ipv6 = Some(ipv6);
        });
        let outcome = outcome.map(drop);
        if let Some(known) = self.networks.get_mut(network) {
            // A network that exists is refused.
            known.settle(Some(()), &outcome);
        }
        outcome
    }

    fn change_sandbox(
        &mut self,
        stage: &Stage,
        choice: u64,
        sandbox: &str,
        network: &str,
        port: u16,
    ) -> Result<(), ClientError> {
        let Some(known) = self.sandboxes.get_mut(sandbox) else { return Ok(()) };
        let mut wanted = known.now().unwrap_or_default();
        let publish = format!("{port}:80");
        let (wanted, outcome) = match choice {
            2 | 3 => {
                let fresh = Attached { networks: [network.to_owned()].into(), ports: [port].into() };
                let outcome = stage.attach(sandbox, request(&[network], &[&publish])).map(drop);
                (Some(fresh), outcome)
            }
            4 => (None, stage.client().detach(sandbox)),
            5 => {
                wanted.networks.insert(network.to_owned());
                (Some(wanted), stage.connect(network, sandbox, EndpointSettings::default()))
            }
            6 => {
                wanted.networks.remove(network);
                (Some(wanted), stage.disconnect(network, sandbox))
            }
            _ if wanted.ports.contains(&port) => {
                wanted.ports.remove(&port);
                (Some(wanted), stage.client().unpublish(sandbox, ports(&[&publish])).map(drop))
            }
            _ => {
                wanted.ports.insert(port);
                (Some(wanted), stage.client().publish(sandbox, ports(&[&publish])).map(drop))
            }
        };
        known.settle(wanted, &outcome);
        outcome
    }

    /// Compares what is there with what was acknowledged, and knows that from then on.
    pub fn check(&mut self, stage: &Stage, what: &str) {
        let mut client = stage.client();
        for (name, known) in &mut self.networks {
            let found = client.network(name).is_ok().then_some(());
            assert!(known.0.contains(&found), "{what}: network {name} is {found:?}, and not of {known:?}");
            known.0 = vec![found];
        }
        for (name, known) in &mut self.sandboxes {
            let found = client.container(name).ok().map(|container| {
                let bindings = container.host_config.port_bindings.into_values().flatten().flatten();
                Attached {
                    networks: container.network_settings.networks.into_keys().collect(),
                    ports: bindings.filter_map(|binding| binding.host_port.parse().ok()).collect(),
                }
            });
            assert!(known.0.contains(&found), "{what}: sandbox {name} is {found:?}, and not of {known:?}");
            known.0 = vec![found];
        }
    }

    /// The namespaces of the sandboxes that there are.
    pub fn places(&self, stage: &Stage) -> Vec<(String, Place)> {
        let attached = self.sandboxes.iter().filter(|(_, known)| known.now().is_some());
        let place = |name: &String| stage.host.sandbox(format!("/run/netns/{name}")).unwrap();
        attached.map(|(name, _)| (name.clone(), place(name))).collect()
    }

    /// Removes all that is there.
    pub fn leave(&mut self, stage: &Stage) {
        let mut client = stage.client();
        for (name, known) in &mut self.sandboxes {
            if known.now().is_some() {
                client.detach(name).unwrap();
            }
        }
        for (name, known) in &mut self.networks {
            if known.now().is_some() {
                client.remove_network(name).unwrap();
            }
        }
    }
}
