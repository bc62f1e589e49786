//! Random histories of commands, for property tests.

mod command;
mod step;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use fairway_model::{HostFacts, HostRoute, Rng, Settings};

use super::{Change, Command, Context, Draft, Record, RecordKey, Refusal, Undecided, World};
use values::{OWN_BRIDGE, lend};

pub use step::{DriverChoice, Step, step};

/// A World with the records that a store would hold of it.
pub struct TestWorld {
    world: World,
    settings: Settings,
    host: HostFacts,
    records: BTreeMap<RecordKey, Record>,
}

impl TestWorld {
    /// Creates a World with the predefined networks.
    pub fn new(rng: &mut Rng) -> Self {
        let own = |address: &str| HostRoute {
            destination: address.parse().expect("an address"),
            interface: OWN_BRIDGE.to_owned(),
        };
        let host = HostFacts {
            mtu: Some(1500),
            router_advertisements: ["eth0".to_owned()].into(),
            bridges: vec![OWN_BRIDGE.to_owned()],
            addresses: vec![own("192.0.2.1/24"), own("fd02::1/64")],
            ..HostFacts::default()
        };
        let mut new =
            Self { world: World::default(), settings: Settings::default(), host, records: BTreeMap::new() };
        let change = new.world.apply(new.configure(), 0, rng).expect("an empty host has free subnets");
        new.store(&change.records);
        new
    }

    /// The World.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The command that configures the daemon with the present settings and host.
    pub fn configure(&self) -> Command {
        Command::Configure { settings: Box::new(self.settings.clone()), host: Box::new(self.host.clone()) }
    }

    /// Stores the records of `keys`.
    pub fn store(&mut self, keys: &BTreeSet<RecordKey>) {
        for key in keys {
            match self.world.record(*key) {
                Some(record) => self.records.insert(*key, record),
                None => self.records.remove(key),
            };
        }
    }

    /// The World that its records are read back as.
    pub fn reload(&self) -> World {
        World::from_records(self.records.values().cloned())
    }

    /// Applies a step, with the leases that it needs.
    pub fn apply(&mut self, step: &Step, rng: &mut Rng) -> Result<Change, Refusal> {
        let before = (self.settings.clone(), self.host.clone());
        let command = self.command(step);
        let mut leases = Vec::new();
        let outcome = loop {
            let mut context = Context { leases: &leases, ..Context::new(1, rng) };
            match self.world.decide(command.clone(), &mut context) {
                Err(Undecided::LeaseNeeded(request)) => {
                    leases.push((request.network.clone(), lend(&self.world, *request)))
                }
                Err(Undecided::Refused(refusal)) => break Err(refusal),
                Ok(Draft { world, change }) => {
                    self.world = world;
                    break Ok(change);
                }
            }
        };
        if outcome.is_err() {
            (self.settings, self.host) = before;
        }
        outcome
    }
}
