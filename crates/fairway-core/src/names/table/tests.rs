use proptest::prelude::*;

use super::*;

fn network(n: u8) -> NetworkId {
    NetworkId::new([n; 32])
}

fn endpoint(n: u8) -> EndpointId {
    EndpointId::new([n; 32])
}

fn sandbox(n: u8) -> SandboxId {
    SandboxId::new([n; 32])
}

fn record(n: u8, on: u8, network_name: &str, names: &[&str]) -> NameRecord {
    NameRecord {
        endpoint: endpoint(n),
        network: network(on),
        network_name: network_name.to_owned(),
        domain: None,
        order: u64::from(n),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        first_only: false,
        ipv4: Some(Ipv4Addr::new(172, 18, on, n)),
        ipv6: None,
    }
}

fn view(n: u8, networks: &[u8], upstreams: Upstreams) -> NameView {
    NameView {
        sandbox: sandbox(n),
        networks: networks.iter().map(|n| network(*n)).collect(),
        links: Vec::new(),
        upstreams,
        convention: Convention::Docker,
        source: None,
    }
}

fn v4(on: u8, n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 18, on, n))
}

/// Networks 1 (`app`) and 2 (`Data.Net`); sandbox 1 is on the first, 2 on both.
fn table() -> NameTable {
    let mut table = NameTable::new();
    table.insert(record(1, 1, "app", &["Web", "0123456789ab", "www"]));
    table.insert(record(3, 1, "app", &["second", "www", "my.db"]));
    table.insert(record(2, 1, "app", &["first", "www"]));
    table.insert(record(4, 2, "Data.Net", &["db", "www"]));
    table.set_view(view(1, &[1], Upstreams::Host));
    table.set_view(view(2, &[1, 2], Upstreams::None));
    table
}

const A: QueryType = QueryType::A;

#[test]
fn only_names_of_shared_networks_resolve() {
    let table = table();
    assert_eq!(table.answer(sandbox(1), "web", A), Answer::Addresses(vec![v4(1, 1)]));
    assert_eq!(table.answer(sandbox(1), "0123456789ab", A), Answer::Addresses(vec![v4(1, 1)]));
    assert_eq!(table.answer(sandbox(1), "db", A), Answer::Forward(&Upstreams::Host));
    assert_eq!(table.answer(sandbox(1), "db.data.net", A), Answer::Forward(&Upstreams::Host));
    assert_eq!(table.answer(sandbox(2), "db", A), Answer::Addresses(vec![v4(2, 4)]));
    assert_eq!(table.answer(sandbox(9), "web", A), Answer::NoUpstream);
}

#[test]
fn all_holders_of_a_name_answer_in_the_order_of_connection() {
    let mut table = table();
    let three = vec![v4(1, 1), v4(1, 2), v4(1, 3)];
    assert_eq!(table.answer(sandbox(1), "www", A), Answer::Addresses(three));
    let four = vec![v4(1, 1), v4(1, 2), v4(1, 3), v4(2, 4)];
    assert_eq!(table.answer(sandbox(2), "www", A), Answer::Addresses(four));
    table.remove(endpoint(2));
    assert_eq!(table.answer(sandbox(1), "www", A), Answer::Addresses(vec![v4(1, 1), v4(1, 3)]));
}

#[test]
fn names_and_networks_may_contain_dots() {
    let table = table();
    assert_eq!(table.answer(sandbox(1), "web.app", A), Answer::Addresses(vec![v4(1, 1)]));
    assert_eq!(table.answer(sandbox(1), "my.db", A), Answer::Addresses(vec![v4(1, 3)]));
    assert_eq!(table.answer(sandbox(1), "my.db.app", A), Answer::Addresses(vec![v4(1, 3)]));
    assert_eq!(table.answer(sandbox(2), "db.data.net", A), Answer::Addresses(vec![v4(2, 4)]));
    assert_eq!(table.answer(sandbox(1), "web.app.app", A), Answer::Forward(&Upstreams::Host));
}

#[test]
fn a_known_name_without_such_a_record_is_empty_and_never_forwarded() {
    let table = table();
    for kind in [QueryType::Aaaa, QueryType::Ptr, QueryType::Other] {
        for asker in [1, 2] {
            for name in ["web", "web.app", "0123456789ab", "www"] {
                assert_eq!(table.answer(sandbox(asker), name, kind), Answer::NoData, "{name} {kind:?}");
            }
        }
    }
    for kind in [A, QueryType::Aaaa, QueryType::Other] {
        assert_eq!(table.answer(sandbox(1), "1.1.18.172.in-addr.arpa", kind), Answer::NoData, "{kind:?}");
        assert_eq!(table.answer(sandbox(1), "example.org", kind), Answer::Forward(&Upstreams::Host));
    }
}

#[test]
fn internal_sandboxes_ask_no_server() {
    let table = table();
    assert_eq!(table.answer(sandbox(2), "example.org", A), Answer::NoUpstream);
    assert_eq!(table.answer(sandbox(2), "1.1.1.10.in-addr.arpa", QueryType::Ptr), Answer::NoUpstream);
}

#[test]
fn links_take_precedence_and_may_name_a_later_sandbox() {
    let mut table = table();
    let mut linked = view(1, &[1], Upstreams::Host);
    linked.links.push((network(1), "WWW".to_owned(), "Target".to_owned()));
    table.set_view(linked);
    let three = vec![v4(1, 1), v4(1, 2), v4(1, 3)];
    assert_eq!(table.answer(sandbox(1), "www", A), Answer::Addresses(three));
    table.insert(record(7, 1, "app", &["liar", "target"]));
    assert_ne!(table.answer(sandbox(1), "www", A), Answer::Addresses(vec![v4(1, 7)]));
    table.insert(record(8, 1, "app", &["target"]));
    assert_eq!(table.answer(sandbox(1), "www", A), Answer::Addresses(vec![v4(1, 8)]));
    assert_eq!(table.answer(sandbox(1), "www.app", A), Answer::Addresses(vec![v4(1, 8)]));
    assert_eq!(table.answer(sandbox(1), "www", QueryType::Aaaa), Answer::NoData);
    // Other sandboxes do not resolve the alias of the link.
    let Answer::Addresses(others) = table.answer(sandbox(2), "www", A) else { panic!("others know www") };
    assert!(!others.contains(&v4(1, 8)));
}

#[test]
fn a_link_on_a_left_network_does_not_resolve() {
    let mut table = table();
    let mut linked = view(1, &[1], Upstreams::Host);
    linked.links.push((network(2), "store".to_owned(), "db".to_owned()));
    table.set_view(linked.clone());
    assert_eq!(table.answer(sandbox(1), "store", A), Answer::Forward(&Upstreams::Host));
    linked.networks.push(network(2));
    table.set_view(linked);
    assert_eq!(table.answer(sandbox(1), "store", A), Answer::Addresses(vec![v4(2, 4)]));
}

#[test]
fn addresses_have_names() {
    let mut table = table();
    let mut both = record(5, 1, "app", &["six"]);
    both.ipv6 = Some("fd00::5".parse().unwrap());
    table.insert(both);
    let ptr = |sandbox, name: &str| table.answer(sandbox, name, QueryType::Ptr);
    assert_eq!(ptr(sandbox(1), "1.1.18.172.in-addr.arpa"), Answer::Names(vec!["Web.app".to_owned()]));
    let nibbles = format!("5.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(ptr(sandbox(1), &nibbles), Answer::Names(vec!["six.app".to_owned()]));
    assert_eq!(ptr(sandbox(1), "4.2.18.172.in-addr.arpa"), Answer::Forward(&Upstreams::Host));
}

#[test]
fn a_new_record_replaces_the_old_one() {
    let mut table = table();
    let mut moved = record(1, 1, "app", &["renamed"]);
    moved.ipv4 = Some(Ipv4Addr::new(172, 18, 1, 99));
    table.insert(moved);
    assert_eq!(table.answer(sandbox(1), "web", A), Answer::Forward(&Upstreams::Host));
    assert_eq!(table.answer(sandbox(1), "renamed", A), Answer::Addresses(vec![v4(1, 99)]));
    assert_eq!(
        table.answer(sandbox(1), "1.1.18.172.in-addr.arpa", QueryType::Ptr),
        Answer::Forward(&Upstreams::Host)
    );
}

proptest! {
    /// Whatever came and went, the answers are those of a table that was made anew.
    #[test]
    fn removed_endpoints_leave_no_names(
        steps in prop::collection::vec((0u8..6, 1u8..3, prop::collection::vec("[abAB]{1,2}", 1..4), any::<bool>()), 0..40)
    ) {
        let mut table = NameTable::new();
        let mut kept: HashMap<u8, NameRecord> = HashMap::new();
        for (n, on, names, stays) in &steps {
            if *stays {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let record = record(*n, *on, if *on == 1 { "one" } else { "two" }, &names);
                kept.insert(*n, record.clone());
                table.insert(record);
            } else {
                prop_assert_eq!(table.remove(endpoint(*n)), kept.remove(n));
            }
        }
        let mut fresh = NameTable::new();
        kept.into_values().for_each(|record| fresh.insert(record));
        for table in [&mut table, &mut fresh] {
            table.set_view(view(1, &[1, 2], Upstreams::Host));
        }
        for name in ["a", "b", "ab", "aa.one", "b.two", "ba"] {
            prop_assert_eq!(table.answer(sandbox(1), name, A), fresh.answer(sandbox(1), name, A));
        }
        for n in 0..6 {
            let name = format!("{n}.1.18.172.in-addr.arpa");
            let kind = QueryType::Ptr;
            prop_assert_eq!(table.answer(sandbox(1), &name, kind), fresh.answer(sandbox(1), &name, kind));
        }
        prop_assert_eq!(table.networks.len(), fresh.networks.len());
    }
}

#[test]
fn a_network_may_answer_with_its_oldest_endpoint_only() {
    let mut table = NameTable::new();
    for n in [3, 2] {
        table.insert(NameRecord { first_only: true, ..record(n, 1, "app", &["box", "pool"]) });
    }
    table.insert(record(4, 2, "back", &["other", "pool"]));
    table.insert(record(5, 2, "back", &["more", "pool"]));
    let all = |on: &[(u8, u8)]| {
        let address = |(on, n): &(u8, u8)| IpAddr::from(Ipv4Addr::new(172, 18, *on, *n));
        Answer::Addresses(on.iter().map(address).collect())
    };
    table.set_view(view(9, &[1], Upstreams::None));
    assert_eq!(table.answer(sandbox(9), "pool", QueryType::A), all(&[(1, 2)]));
    assert_eq!(table.answer(sandbox(9), "pool.app", QueryType::A), all(&[(1, 2)]));
    // Each network as it was asked for.
    table.set_view(view(9, &[1, 2], Upstreams::None));
    assert_eq!(table.answer(sandbox(9), "pool", QueryType::A), all(&[(1, 2), (2, 4), (2, 5)]));
    // The next one takes its place.
    table.remove(endpoint(2));
    table.set_view(view(9, &[1], Upstreams::None));
    assert_eq!(table.answer(sandbox(9), "pool", QueryType::A), all(&[(1, 3)]));
}

#[test]
fn a_removed_view_is_returned_and_answers_nothing() {
    let mut table = table();
    assert_eq!(table.remove_view(sandbox(1)), Some(view(1, &[1], Upstreams::Host)));
    assert_eq!(table.view(sandbox(1)), None);
    assert_eq!(table.answer(sandbox(1), "web", A), Answer::NoUpstream);
    assert_eq!(table.remove_view(sandbox(1)), None);
    assert_eq!(table.views().map(|view| view.sandbox).collect::<Vec<_>>(), [sandbox(2)]);
}

/// The view of a sandbox of podman's, known by its address, on networks whose records have the search domain.
fn podman_view(n: u8, networks: &[u8], upstreams: Upstreams) -> NameView {
    let convention = Convention::Podman { domain: Some("dns.podman".to_owned()) };
    NameView { convention, source: Some(v4(networks[0], n)), ..view(n, networks, upstreams) }
}

#[test]
fn podmans_names_end_with_the_search_domain_or_nothing() {
    let mut table = NameTable::new();
    table.insert(record(1, 1, "dns.podman", &["Web", "www"]));
    table.set_view(podman_view(1, &[1], Upstreams::Host));
    for name in ["web", "www", "web.dns.podman"] {
        assert_eq!(table.answer(sandbox(1), name, A), Answer::Addresses(vec![v4(1, 1)]), "{name}");
        assert_eq!(table.answer(sandbox(1), name, QueryType::Aaaa), Answer::NoData, "{name}");
    }
    for name in ["db.dns.podman", "dns.podman", "a.web.dns.podman", "web.dns.podman.dns.podman"] {
        assert_eq!(table.answer(sandbox(1), name, A), Answer::NoSuchName, "{name}");
    }
    for name in ["db", "mydns.podman", "podman", "web.app"] {
        assert_eq!(table.answer(sandbox(1), name, A), Answer::Forward(&Upstreams::Host), "{name}");
    }
    table.set_view(podman_view(1, &[1], Upstreams::None));
    for name in ["db", "db.dns.podman", "example.org", "1.1.1.10.in-addr.arpa"] {
        assert_eq!(table.answer(sandbox(1), name, A), Answer::NoSuchName, "{name}");
    }
    let convention = Convention::Podman { domain: None };
    table.set_view(NameView { convention, ..podman_view(1, &[1], Upstreams::Host) });
    assert_eq!(table.answer(sandbox(1), "db.dns.podman", A), Answer::Forward(&Upstreams::Host));
}

#[test]
fn podmans_reverse_answers_are_all_names_without_a_domain() {
    let mut table = NameTable::new();
    table.insert(record(1, 1, "dns.podman", &["web", "www"]));
    table.set_view(podman_view(1, &[1], Upstreams::Host));
    let reverse = table.answer(sandbox(1), "1.1.18.172.in-addr.arpa", QueryType::Ptr);
    assert_eq!(reverse, Answer::Names(vec!["web".to_owned(), "www".to_owned()]));
}

#[test]
fn a_sandbox_of_a_shared_resolver_is_known_by_its_address() {
    let mut table = NameTable::new();
    let one = podman_view(1, &[1], Upstreams::Host);
    table.set_view(one.clone());
    table.set_view(podman_view(2, &[1], Upstreams::Host));
    assert_eq!(table.sandbox_at(v4(1, 1)), Some(sandbox(1)));
    assert_eq!(table.sandbox_at(v4(1, 2)), Some(sandbox(2)));
    assert_eq!(table.sandbox_at(v4(1, 3)), None);
    // An address moves to another sandbox before the first one goes.
    table.set_view(NameView { sandbox: sandbox(3), ..one.clone() });
    table.remove_view(sandbox(1));
    assert_eq!(table.sandbox_at(v4(1, 1)), Some(sandbox(3)));
    table.set_view(NameView { sandbox: sandbox(3), source: Some(v4(1, 9)), ..one });
    assert_eq!((table.sandbox_at(v4(1, 1)), table.sandbox_at(v4(1, 9))), (None, Some(sandbox(3))));
}

/// Names resolve below the domain of their network too; what is not there is in no other place.
#[test]
fn names_resolve_below_the_domain_of_their_network() {
    let mut table = table();
    let domain = Some("Dns.Podman".to_owned());
    table.insert(NameRecord { domain: domain.clone(), ..record(1, 1, "app", &["Web", "www"]) });
    let web = || Answer::Addresses(vec![v4(1, 1)]);
    for name in ["web", "web.app", "web.dns.podman"] {
        assert_eq!(table.answer(sandbox(1), name, A), web(), "{name}");
    }
    assert_eq!(table.answer(sandbox(1), "web.dns.podman", QueryType::Aaaa), Answer::NoData);
    assert_eq!(table.answer(sandbox(1), "db.dns.podman", A), Answer::NoSuchName, "db is on another network");
    assert_eq!(table.answer(sandbox(1), "xdns.podman", A), Answer::Forward(&Upstreams::Host));
    let reverse = table.answer(sandbox(1), "1.1.18.172.in-addr.arpa", QueryType::Ptr);
    assert_eq!(reverse, Answer::Names(vec!["Web.app".to_owned()]));
    // A link of the sandbox has the domain of its network too.
    let mut linked = view(5, &[1], Upstreams::Host);
    linked.links = vec![(network(1), "peer".to_owned(), "web".to_owned())];
    table.set_view(linked);
    assert_eq!(table.answer(sandbox(5), "peer.dns.podman", A), web());
}
