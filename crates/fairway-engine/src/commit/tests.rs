//! A store and a host in memory, for tests of what commits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::Duration;

use fairway_core::object::{Difference, Fragment, Key};
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, Record, World};
use fairway_model::{
    EndpointRequest, HostFacts, Lease, LeaseRequest, Namespace, Protocol, PublishRequest, Rng, SandboxKind,
    SandboxOptions, Settings,
};
use fairway_store::{Change, StoreError};

use crate::apply::Desired;
use crate::commit::effects::Effects;
use crate::commit::store::{Receipt, RecordStore};
use crate::error::{FailureReason, Subject, Unapplied};
use crate::port_sockets::{BindError, BindReason, sockets};
use crate::{ApplyError, ApplyErrors, EngineError};

pub type Disk = BTreeMap<String, Vec<u8>>;

/// A store in memory that commits when it is waited for, all that was submitted until then at once.
pub struct FakeStore {
    inner: Mutex<Inner>,
    /// The numbers of the commits that fail, counted from zero.
    failing: Box<dyn Fn(usize) -> bool + Send + Sync>,
    itself: Weak<FakeStore>,
}

#[derive(Default)]
struct Inner {
    submitted: u64,
    commits: usize,
    waiting: Vec<(Change, Arc<FakeReceipt>)>,
    disk: Disk,
    /// The disk after each commit: where a crash may leave it.
    history: Vec<Disk>,
    /// The keys of all records that were ever on the disk.
    ever: BTreeSet<String>,
    /// From a failure until the caller has taken back what failed.
    refuses: bool,
}

pub struct FakeReceipt {
    number: u64,
    store: Weak<FakeStore>,
    outcome: OnceLock<Result<(), StoreError>>,
}

pub fn full_disk() -> StoreError {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    StoreError::Write { path: "/fake".into(), source: Arc::new(source) }
}

impl FakeStore {
    pub fn new(failing: impl Fn(usize) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            inner: Mutex::default(),
            failing: Box::new(failing),
            itself: itself.clone(),
        })
    }

    /// Writes all that was submitted, or nothing of it.
    pub fn commit(&self) {
        let mut inner = self.inner.lock().unwrap();
        let fails = (self.failing)(inner.commits);
        inner.commits += 1;
        let waiting = std::mem::take(&mut inner.waiting);
        inner.refuses |= fails;
        for (change, receipt) in waiting {
            if !fails {
                change.delete.iter().for_each(|key| drop(inner.disk.remove(key)));
                inner.disk.extend(change.put);
            }
            receipt.outcome.set(if fails { Err(full_disk()) } else { Ok(()) }).unwrap();
        }
        let disk = inner.disk.clone();
        inner.ever.extend(disk.keys().cloned());
        inner.history.push(disk);
    }

    /// Starts with the records of a World.
    pub fn fill(&self, world: &World, keys: impl IntoIterator<Item = fairway_core::world::RecordKey>) {
        let mut inner = self.inner.lock().unwrap();
        for key in keys {
            let record = world.record(key).unwrap();
            inner.disk.insert(key.text(), crate::commit::records::encode(key, &record).unwrap());
        }
    }

    pub fn disk(&self) -> Disk {
        self.inner.lock().unwrap().disk.clone()
    }

    /// Whether a record was ever on the disk.
    pub fn had(&self, key: &str) -> bool {
        self.inner.lock().unwrap().ever.contains(key)
    }

    pub fn history(&self) -> Vec<Disk> {
        self.inner.lock().unwrap().history.clone()
    }
}

/// The World that a daemon reads from a disk.
pub fn world_on(disk: &Disk) -> World {
    World::from_records(disk.values().map(|bytes| serde_json::from_slice::<Record>(bytes).unwrap()))
}

impl RecordStore for FakeStore {
    fn submit(&self, change: Change) -> Arc<dyn Receipt> {
        let mut inner = self.inner.lock().unwrap();
        inner.submitted += 1;
        let (number, store) = (inner.submitted, self.itself.clone());
        let receipt = Arc::new(FakeReceipt { number, store, outcome: OnceLock::new() });
        match inner.refuses {
            true => receipt.outcome.set(Err(full_disk())).unwrap(),
            false => inner.waiting.push((change, Arc::clone(&receipt))),
        }
        receipt
    }

    fn resume(&self) {
        self.inner.lock().unwrap().refuses = false;
    }
}

impl Receipt for FakeReceipt {
    fn number(&self) -> u64 {
        self.number
    }

    fn outcome(&self) -> Option<Result<(), StoreError>> {
        self.outcome.get().cloned()
    }

    fn wait(&self) -> Result<(), StoreError> {
        loop {
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            // Others may join the commit.
            std::thread::yield_now();
            self.store.upgrade().unwrap().commit();
        }
    }
}

/// A host in memory.
#[derive(Default)]
pub struct FakeHost {
    pub kernel: Mutex<Fragment>,
    pub bound: Mutex<BTreeSet<Key>>,
    /// The ports of other programs.
    pub taken: BTreeSet<u16>,
    /// Which differences cannot be applied, by their number.
    pub failing: Option<Box<dyn Fn(usize) -> bool + Send + Sync>>,
    pub applied: AtomicUsize,
    pub reconciles: AtomicUsize,
    /// Commands that bind ports wait here while it is closed.
    pub gate: Gate,
    /// How long a command prepares, so that others come in between.
    pub delay: Duration,
}

/// Holds threads up while it is closed.
#[derive(Default)]
pub struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub fn close(&self) {
        *self.0.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.0.lock().unwrap() = false;
        self.1.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.0.lock().unwrap();
        while *closed {
            closed = self.1.wait(closed).unwrap();
        }
    }
}

impl FakeHost {
    pub fn objects(&self) -> Fragment {
        self.kernel.lock().unwrap().clone()
    }

    pub fn ports(&self) -> BTreeSet<Key> {
        self.bound.lock().unwrap().clone()
    }

    pub fn set(&self, objects: Fragment) {
        *self.kernel.lock().unwrap() = objects;
    }
}

impl Effects for FakeHost {
    fn now(&self) -> i64 {
        1
    }

    fn prepare(&self, difference: &Difference, _: &World) -> Result<(), EngineError> {
        self.gate.pass();
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        let wanted: Vec<_> = sockets(difference).map(|(protocol, address, _)| (protocol, address)).collect();
        match wanted.iter().find(|(_, address)| self.taken.contains(&address.port())) {
            Some(&(protocol, address)) => {
                Err(BindError { address, protocol, reason: BindReason::InUse }.into())
            }
            None => {
                let keys = wanted.into_iter().map(|(protocol, address)| Key::Socket(protocol, address));
                self.bound.lock().unwrap().extend(keys);
                Ok(())
            }
        }
    }

    fn give_back(&self, unwanted: &[(Protocol, SocketAddr)]) {
        let mut bound = self.bound.lock().unwrap();
        unwanted.iter().for_each(|(protocol, at)| {
            bound.remove(&Key::Socket(*protocol, *at));
        });
    }

    fn apply(&self, difference: &Arc<Difference>, _: &dyn Desired) -> Result<(), ApplyErrors> {
        let number = self.applied.fetch_add(1, Ordering::SeqCst);
        if self.failing.as_ref().is_some_and(|fails| fails(number)) {
            let reason = ApplyError::from(fairway_kernel::sysctl::Error::Missing("net/fake".into()));
            let unapplied = Unapplied { subject: Subject::Firewall, reason: FailureReason::Error(reason) };
            return Err(ApplyErrors(vec![unapplied]));
        }
        let mut kernel = self.kernel.lock().unwrap();
        for key in difference.removed.keys() {
            kernel.remove(key);
            self.bound.lock().unwrap().remove(key);
        }
        let wanted = difference.wanted().map(|(key, object)| (key.clone(), object.clone()));
        kernel.extend(wanted);
        Ok(())
    }

    fn reconcile_soon(&self) {
        self.reconciles.fetch_add(1, Ordering::SeqCst);
    }

    fn name_holder(&self, error: BindError) -> BindError {
        error
    }

    fn lease(&self, request: &LeaseRequest) -> Result<Lease, EngineError> {
        unreachable!("no network of these tests has a DHCP server: {request:?}")
    }

    fn release(&self, _: &str, _: &Lease) {}

    fn decline(&self, _: &str, _: &Lease) {}
}

/// A World with the predefined networks.
pub fn world() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let host = HostFacts { ephemeral_ports: Some((40_000, 40_063)), ..HostFacts::default() };
    let configure = Command::Configure { settings: Box::default(), host: Box::new(host) };
    world.apply(configure, 0, &mut rng).unwrap();
    (world, rng)
}

pub fn configure(settings: Settings) -> Command {
    Command::Configure { settings: Box::new(settings), host: Box::default() }
}

pub fn create(name: &str) -> Command {
    Command::CreateNetwork(CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() })
}

pub fn remove(network: &str) -> Command {
    Command::RemoveNetwork { network: network.to_owned() }
}

/// Creates and starts a sandbox on a network; it publishes port 80, at a host port or at a random one.
pub fn attach(name: &str, network: &str, publish: Option<Option<u16>>) -> Command {
    let request = |host: Option<u16>| PublishRequest {
        host_address: None,
        host_ports: host.map(fairway_model::PortRange::single),
        container_ports: fairway_model::PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    let create = CreateSandbox {
        name: Some(name.to_owned()),
        kind: SandboxKind::Attached,
        network: NetworkChoice::Networks(vec![(network.to_owned(), EndpointRequest::default())]),
        options: SandboxOptions {
            publish: publish.into_iter().map(request).collect(),
            ..SandboxOptions::default()
        },
    };
    let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 });
    Command::Attach { create: Box::new(create), process: None, namespace }
}

pub fn connect(network: &str, sandbox: &str) -> Command {
    let (network, sandbox) = (network.to_owned(), sandbox.to_owned());
    Command::Connect { network, sandbox, request: EndpointRequest::default() }
}

pub fn disconnect(network: &str, sandbox: &str) -> Command {
    Command::Disconnect { network: network.to_owned(), sandbox: sandbox.to_owned() }
}

pub fn stop(sandbox: &str) -> Command {
    Command::StopSandbox { sandbox: sandbox.to_owned(), exit: 0.into(), process: None }
}
