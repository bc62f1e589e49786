use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice};
use fairway_model::{Rng, SandboxKind, Settings};
use fairway_store::{Change, StoreError};

use super::*;
use crate::store::{check_store, dump_store, remove_record};

/// A World with the network `web` and a sandbox on it.
fn world() -> World {
    let mut world = World::default();
    let mut rng = Rng::new(1);
    let configure = Command::Configure { settings: Box::new(Settings::default()), host: Box::default() };
    let network = CreateNetwork { name: "web".to_owned(), ..CreateNetwork::default() };
    let sandbox = CreateSandbox {
        name: Some("p".to_owned()),
        kind: SandboxKind::Attached,
        network: NetworkChoice::Networks([("web".to_owned(), Default::default())].into()),
        options: Default::default(),
    };
    for command in [configure, Command::CreateNetwork(network), Command::CreateSandbox(Box::new(sandbox))] {
        world.apply(command, 1, &mut rng).unwrap();
    }
    world
}

fn open(root: &Path) -> Store {
    Store::open(root.join(STORE), Duration::ZERO).unwrap()
}

/// A store with that World, and the keys of the network and the endpoint.
fn stored() -> (tempfile::TempDir, String, String) {
    let (root, world) = (tempfile::tempdir().unwrap(), world());
    let store = open(root.path());
    save_all(&store, &world, &[]).unwrap();
    let network = RecordKey::Network(world.find_network("web").unwrap().id).text();
    let endpoint = RecordKey::Endpoint(world.endpoints().next().unwrap().id).text();
    (root, network, endpoint)
}

fn change(root: &Path, change: Change) {
    open(root).commit(change).unwrap();
}

fn deletion(key: &str) -> Change {
    Change { delete: vec![key.to_owned()], ..Change::default() }
}

fn put(key: &str, value: &[u8]) -> Change {
    Change { put: vec![(key.to_owned(), value.to_vec())], ..Change::default() }
}

#[test]
fn a_world_is_read_as_it_was_saved() {
    let (root, ..) = stored();
    let (world, orphans) = load(&open(root.path()), root.path()).unwrap();
    assert_eq!(orphans, []);
    let (records, _) = decode(&open(root.path()).load());
    assert_eq!(records.len(), 1 + world.networks().count() + 1 + 1);
    let found = check_store(root.path()).unwrap();
    assert_eq!((found.records, found.orphans), (records.len(), vec![]));
}

#[test]
fn an_endpoint_without_its_network_is_reported_and_kept_until_it_is_removed() {
    let (root, network, endpoint) = stored();
    change(root.path(), deletion(&network));
    let store = open(root.path());
    let (world, orphans) = load(&store, root.path()).unwrap();
    let reason = format!("{network} is missing, which it belongs to");
    assert_eq!(orphans, [Orphan { key: endpoint.clone(), reason }]);
    assert_eq!(world.endpoints().count(), 0);
    // A start writes the whole World, and keeps the record.
    save_all(&store, &world, &orphans).unwrap();
    assert_eq!(check_store(root.path()).unwrap().orphans, orphans);
    let refused = remove_record(root.path(), &endpoint).unwrap_err();
    assert!(matches!(refused, EngineError::Store(StoreError::Locked { .. })), "{refused}");
    drop(store);
    remove_record(root.path(), &endpoint).unwrap();
    assert_eq!(check_store(root.path()).unwrap().orphans, []);
    assert!(matches!(remove_record(root.path(), &endpoint), Err(EngineError::NoOrphan(_))));
}

#[test]
fn an_endpoint_without_its_sandbox_is_reported() {
    let (root, ..) = stored();
    let sandbox = RecordKey::Sandbox(world().sandboxes().next().unwrap().id).text();
    change(root.path(), deletion(&sandbox));
    let orphans = check_store(root.path()).unwrap().orphans;
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].reason, format!("{sandbox} is missing, which it belongs to"));
}

#[test]
fn a_record_that_cannot_be_decoded_is_reported_with_what_it_leaves_alone() {
    let (root, network, endpoint) = stored();
    change(root.path(), put(&network, b"{\"network\":{\"id\":7}}"));
    change(root.path(), put("sandbox/other", b"no JSON"));
    let (_, orphans) = load(&open(root.path()), root.path()).unwrap();
    let keys: Vec<&str> = orphans.iter().map(|orphan| orphan.key.as_str()).collect();
    assert_eq!(keys, [network.as_str(), "sandbox/other", endpoint.as_str()]);
    assert!(orphans[0].reason.starts_with("it cannot be decoded: invalid type"), "{:?}", orphans[0]);
    let dumped = dump_store(root.path()).unwrap();
    assert_eq!(dumped["sandbox/other"], "no JSON");
    assert_eq!(dumped[&network]["network"]["id"], 7);
}

#[test]
fn a_record_under_another_key_is_reported() {
    let (root, network, _) = stored();
    let value = open(root.path()).load()[&network].clone();
    change(root.path(), put("network/other", &value));
    let orphan = Orphan { key: "network/other".to_owned(), reason: format!("it holds {network}") };
    assert_eq!(check_store(root.path()).unwrap().orphans, [orphan]);
}

#[test]
fn without_the_record_of_the_host_nothing_starts() {
    let (root, ..) = stored();
    change(root.path(), put("journal", b"{}"));
    let error = load(&open(root.path()), root.path()).unwrap_err().to_string();
    assert!(error.contains("cannot read record journal") && error.contains("cannot be decoded"), "{error}");
}

#[test]
fn a_record_that_cannot_be_encoded_is_refused_with_the_reason() {
    let unencodable = std::collections::BTreeMap::from([(vec![1], 2)]);
    let error = encode(RecordKey::Host, &unencodable).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot write record journal to the store: key must be a string: the change is refused; please report this as a bug"
    );
}

#[test]
fn there_is_nothing_to_check_without_a_store() {
    let root = tempfile::tempdir().unwrap();
    for error in [
        check_store(root.path()).unwrap_err(),
        dump_store(root.path()).unwrap_err(),
        remove_record(root.path(), "a").unwrap_err(),
    ] {
        assert!(error.to_string().contains("No such file"), "{error}");
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}
