//! Durable records and their keys in the store.

use super::{network, run, sandbox, start, world};
use crate::world::{Record, RecordKey, World};
use fairway_model::{EndpointOptions, EndpointRequest};

/// A World with network `app` and sandbox `web`, which runs on it.
fn running() -> World {
    let (mut world, mut rng) = world();
    let ifname = ("com.docker.network.endpoint.ifname".to_owned(), "net7".to_owned());
    let request = EndpointRequest { driver_options: [ifname].into(), ..EndpointRequest::default() };
    let commands =
        [network("app", None), sandbox("web", &[("app", request)], Default::default()), start("web")];
    run(&mut world, &mut rng, commands);
    world
}

fn records(world: &World) -> Vec<Record> {
    let networks = world.networks().map(|it| RecordKey::Network(it.id));
    let sandboxes = world.sandboxes().map(|it| RecordKey::Sandbox(it.id));
    let endpoints = world.endpoints().map(|it| RecordKey::Endpoint(it.id));
    let keys = [RecordKey::Host].into_iter().chain(networks).chain(sandboxes).chain(endpoints);
    keys.map(|key| world.record(key).unwrap()).collect()
}

#[test]
fn keys_in_the_store_are_those_of_earlier_versions() {
    let world = running();
    let (app, web) = (world.find_network("app").unwrap().id, world.find_sandbox("web").unwrap().id);
    let endpoint = world.endpoints().next().unwrap().id;
    assert_eq!(RecordKey::Host.text(), "journal");
    assert_eq!(RecordKey::Network(app).text(), format!("network/{app}"));
    assert_eq!(RecordKey::Sandbox(web).text(), format!("sandbox/{web}"));
    assert_eq!(RecordKey::Endpoint(endpoint).text(), format!("endpoint/{endpoint}"));
}

#[test]
fn a_world_is_built_from_its_records() {
    let world = running();
    let again = World::from_records(records(&world));
    assert_eq!(records(&again), records(&world));
    assert_eq!(again.host_state().next_order, world.host_state().next_order);
    assert_eq!(again.find_sandbox("web").unwrap(), world.find_sandbox("web").unwrap());
    assert_eq!(again.find_network("app").unwrap(), world.find_network("app").unwrap());
    let (gone, keys) = (World::default(), RecordKey::Network(world.find_network("app").unwrap().id));
    assert_eq!(gone.record(keys), None);
}

#[test]
fn endpoints_without_their_network_or_sandbox_are_dropped() {
    let world = running();
    let app = world.find_network("app").unwrap().id;
    let without = |dropped: fn(&Record) -> bool| {
        World::from_records(records(&world).into_iter().filter(|record| !dropped(record))).endpoints().count()
    };
    assert_eq!(without(|_| false), 1);
    assert_eq!(without(|record| matches!(record, Record::Sandbox(_))), 0);
    assert_eq!(without(|record| matches!(record, Record::Network(it) if it.name == "app")), 0);
    assert!(world.network(app).is_some());
}

/// Earlier versions did not store the parsed options of endpoints.
#[test]
fn options_of_endpoints_are_parsed_again_where_a_record_has_none() {
    let mut records = records(&running());
    let interface = |records: Vec<Record>| {
        let world = World::from_records(records);
        world.endpoints().next().unwrap().options.interface.clone()
    };
    let of = |records: &mut Vec<Record>, options: EndpointOptions| {
        let endpoint = records.iter_mut().find_map(|record| match record {
            Record::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        });
        endpoint.unwrap().options = options;
    };
    assert_eq!(interface(records.clone()).as_deref(), Some("net7"));
    of(&mut records, EndpointOptions::default());
    assert_eq!(interface(records.clone()).as_deref(), Some("net7"));
    of(&mut records, EndpointOptions { interface: Some("net8".to_owned()), ..EndpointOptions::default() });
    assert_eq!(interface(records).as_deref(), Some("net8"));
}
