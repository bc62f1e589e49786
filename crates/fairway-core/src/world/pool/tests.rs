use super::*;
use crate::world::tests::{network, refused, run, world};
use crate::world::{Command, CreateNetwork, Record};
use fairway_model::{NetworkId, Rng};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn pool(subnet: Option<&str>, range: Option<&str>, ipv6: bool) -> Command {
    Command::RequestPool { subnet: subnet.map(net), range: range.map(net), ipv6 }
}

fn address(pool: &str, asked: Option<&str>, gateway: bool) -> Command {
    Command::RequestAddress { pool: net(pool), address: asked.map(|it| it.parse().unwrap()), gateway }
}

fn allocated(world: &mut World, rng: &mut Rng, command: Command) -> String {
    world.apply(command, 1, rng).unwrap().allocated.unwrap().to_string()
}

#[test]
fn addresses_are_allocated_from_the_range_and_gateways_from_the_subnet() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let made = allocated(&mut world, d, pool(Some("10.67.0.0/24"), Some("10.67.0.128/25"), false));
    assert_eq!(made, "10.67.0.0/24");
    let mut of = |asked, gateway| allocated(&mut world, d, address("10.67.0.0/24", asked, gateway));
    assert_eq!(of(None, true), "10.67.0.1/24");
    assert_eq!(of(None, false), "10.67.0.128/24");
    assert_eq!(of(Some("10.67.0.5"), false), "10.67.0.5/24");
    assert_eq!(of(None, false), "10.67.0.129/24");
    let release =
        Command::ReleaseAddress { pool: net("10.67.0.0/24"), address: "10.67.0.128".parse().unwrap() };
    run(&mut world, d, [release]);
    assert_eq!(allocated(&mut world, d, address("10.67.0.0/24", None, false)), "10.67.0.128/24");
}

#[test]
fn pools_and_networks_do_not_overlap_but_for_the_network_of_the_pool() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let first = allocated(&mut world, d, pool(None, None, false));
    let second = allocated(&mut world, d, pool(None, None, false));
    assert_ne!(first, second);
    run(&mut world, d, [network("own", None)]);
    let own = world.find_network("own").unwrap().subnets[0].subnet.to_string();
    assert!(own != first && own != second);
    let text = refused(&mut world, d, network("other", Some(&first)));
    assert!(text.contains("Pool overlaps with other one on this address space"), "{text}");
    let text = refused(&mut world, d, pool(Some(&own), None, false));
    assert!(text.contains("of network own"), "{text}");
    let of_docker = CreateNetwork {
        id: Some(NetworkId::new([1; 32])),
        name: "docker-1".to_owned(),
        subnets: vec![SubnetRequest { subnet: first.parse().ok(), ..SubnetRequest::default() }],
        ..CreateNetwork::default()
    };
    run(&mut world, d, [Command::CreateNetwork(of_docker)]);
    let six = allocated(&mut world, d, pool(None, None, true));
    assert!(six.ends_with("/64"), "{six}");
}

#[test]
fn what_is_taken_or_unknown_is_refused() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [pool(Some("10.67.0.0/30"), None, false), address("10.67.0.0/30", None, true)]);
    for (command, text) in [
        (address("10.67.0.0/30", Some("10.67.0.1"), false), "Address already in use: 10.67.0.1"),
        (address("10.67.0.0/30", Some("10.68.0.1"), false), "parent subnet 10.67.0.0/30 doesn't contain it"),
        (address("10.68.0.0/30", None, false), "pool 10.68.0.0/30 not found"),
        (Command::ReleasePool { pool: net("10.68.0.0/30") }, "pool 10.68.0.0/30 not found"),
    ] {
        let found = refused(&mut world, d, command);
        assert!(found.contains(text), "{found}");
    }
    run(&mut world, d, [address("10.67.0.0/30", None, false)]);
    let text = refused(&mut world, d, address("10.67.0.0/30", None, false));
    assert!(text.contains("no available addresses"), "{text}");
}

#[test]
fn pools_are_remembered_until_they_are_released() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [pool(Some("10.67.0.0/24"), None, false), address("10.67.0.0/24", None, true)]);
    let keys = [
        RecordKey::Pool(net("10.67.0.0/24")),
        RecordKey::PoolAddress(net("10.67.0.0/24"), [10, 67, 0, 1].into()),
    ];
    let records: Vec<Record> = keys.iter().filter_map(|key| world.record(*key)).collect();
    let mut again = World::from_records(records);
    assert_eq!(allocated(&mut again, d, address("10.67.0.0/24", None, false)), "10.67.0.2/24");
    let change = world.apply(Command::ReleasePool { pool: net("10.67.0.0/24") }, 1, d).unwrap();
    assert_eq!(change.records, keys.into());
    assert_eq!((world.pools().count(), world.pool_addresses().count()), (0, 0));
}
