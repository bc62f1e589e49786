use std::collections::HashMap;

use fairway_core::names::{Answer, NameTable, QueryType};
use proptest::prelude::*;

use super::super::network_file::{network_of, parse};
use super::*;

fn settings() -> Settings {
    Settings {
        port: 53,
        domain: "dns.podman".to_owned(),
        forwards: true,
        host_servers: servers(&["192.0.2.53"]),
    }
}

fn servers(all: &[&str]) -> Vec<NameServer> {
    all.iter().map(|server| server.parse().unwrap()).collect()
}

fn networks(files: &[(&str, &str)]) -> Vec<Network> {
    let network = |(file, text): &(&str, &str)| {
        let (name, internal) = network_of(file).unwrap();
        let (file, bad) = parse(text);
        assert_eq!(bad, []);
        Network { name: name.to_owned(), internal, file }
    };
    files.iter().map(network).collect()
}

fn table(files: &[(&str, &str)]) -> Table {
    Table::default().next(&networks(files), &settings())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The names as the relay has them.
fn names(table: &Table) -> NameTable {
    let mut names = NameTable::new();
    for record in table.records.values() {
        match record {
            Record::Names(record) => names.insert(record.clone()),
            Record::View(view) => names.set_view(view.clone()),
            _ => {}
        }
    }
    names
}

/// Asks as the relay does: the view of the source, else that of others at the listening address.
fn answer(table: &Table, from: &str, at: &str, name: &str, kind: QueryType) -> Result<Vec<String>, String> {
    let names = names(table);
    let key = RecordKey::SharedResolver(SocketAddr::new(ip(at), 53));
    let Some(Record::SharedResolver { others, .. }) = table.records.get(&key) else { panic!("none at {at}") };
    let asker = names.sandbox_at(ip(from)).unwrap_or(*others);
    match names.answer(asker, name, kind) {
        Answer::Addresses(all) => Ok(all.iter().map(IpAddr::to_string).collect()),
        Answer::Names(all) => Ok(all),
        Answer::NoData => Ok(Vec::new()),
        Answer::NoSuchName => Err("no such name".to_owned()),
        Answer::NoUpstream => Err("no upstream".to_owned()),
        Answer::Forward(Upstreams::Host) => Err("host".to_owned()),
        Answer::Forward(Upstreams::Servers(servers)) => {
            Err(servers.iter().map(NameServer::to_string).collect::<Vec<_>>().join(","))
        }
        Answer::Forward(Upstreams::None) => panic!("nothing is forwarded to nowhere"),
    }
}

fn found(addresses: &[&str]) -> Result<Vec<String>, String> {
    Ok(addresses.iter().map(|it| (*it).to_owned()).collect())
}

fn fails(how: &str) -> Result<Vec<String>, String> {
    Err(how.to_owned())
}

const A: QueryType = QueryType::A;

/// Container c2 is on both networks of the recording.
const RECORDED: [(&str, &str); 2] = [
    (
        "b1",
        "10.89.0.1\n2ab34ab590a9 10.89.0.9  c1,2ab34ab590a9\n500eda7153a9 10.89.0.77  c2,al1,al2,500eda7153a9\n",
    ),
    (
        "b5",
        "10.89.3.1,fd14:8dbf:cce2:bb7::1\n500eda7153a9 10.89.3.5 fd14:8dbf:cce2:bb7::2 c2,500eda7153a9\n\
         600eda7153a9 10.89.3.6  c3,600eda7153a9\n",
    ),
];

#[test]
fn names_are_those_of_the_networks_of_the_asking_container() {
    let table = table(&RECORDED);
    for name in ["c1", "2ab34ab590a9", "c1.dns.podman"] {
        assert_eq!(answer(&table, "10.89.0.77", "10.89.0.1", name, A), found(&["10.89.0.9"]), "{name}");
    }
    // c2 sees both networks, from each of its addresses.
    for from in ["10.89.0.77", "10.89.3.5", "fd14:8dbf:cce2:bb7::2"] {
        assert_eq!(answer(&table, from, "10.89.3.1", "c1", A), found(&["10.89.0.9"]), "{from}");
        assert_eq!(answer(&table, from, "10.89.3.1", "c3", A), found(&["10.89.3.6"]), "{from}");
        assert_eq!(answer(&table, from, "10.89.3.1", "c2", A), found(&["10.89.0.77", "10.89.3.5"]), "{from}");
    }
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "c2", A), found(&["10.89.0.77"]));
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "c3", A), fails("host"));
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "c3.dns.podman", A), fails("no such name"));
    let v6 = answer(&table, "10.89.3.6", "10.89.3.1", "c2", QueryType::Aaaa);
    assert_eq!(v6, found(&["fd14:8dbf:cce2:bb7::2"]));
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "c1", QueryType::Aaaa), found(&[]));
}

#[test]
fn addresses_have_all_names_of_their_container() {
    let table = table(&RECORDED);
    let reverse = |from, name| answer(&table, from, "10.89.0.1", name, QueryType::Ptr);
    let all = found(&["c2", "al1", "al2", "500eda7153a9"]);
    assert_eq!(reverse("10.89.0.9", "77.0.89.10.in-addr.arpa"), all);
    assert_eq!(reverse("10.89.0.9", "6.3.89.10.in-addr.arpa"), fails("host"));
}

#[test]
fn host_and_unknown_addresses_see_the_network_that_they_ask() {
    let table = table(&RECORDED);
    for from in ["10.89.0.1", "10.89.0.200", "192.0.2.7"] {
        assert_eq!(answer(&table, from, "10.89.0.1", "c1", A), found(&["10.89.0.9"]), "{from}");
        assert_eq!(answer(&table, from, "10.89.0.1", "c3", A), fails("host"), "{from}");
    }
}

#[test]
fn an_internal_network_is_not_forwarded_but_for_the_host() {
    let table = table(&[("b3%int", "10.89.1.1 9.9.9.9\naa 10.89.1.3  c4 8.8.8.8\n"), RECORDED[0]]);
    assert_eq!(answer(&table, "10.89.1.3", "10.89.1.1", "c4", A), found(&["10.89.1.3"]));
    assert_eq!(answer(&table, "10.89.1.3", "10.89.1.1", "example.org", A), fails("no such name"));
    assert_eq!(answer(&table, "10.89.1.99", "10.89.1.1", "example.org", A), fails("no such name"));
    assert_eq!(answer(&table, "10.89.1.1", "10.89.1.1", "example.org", A), fails("host"));
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "example.org", A), fails("host"));
}

#[test]
fn a_container_on_an_internal_and_another_network_is_forwarded() {
    let files = [
        ("in%int", "10.89.1.1 9.9.9.9\naa 10.89.1.3  c 8.8.8.8\n"),
        ("out", "10.89.2.1 7.7.7.7\naa 10.89.2.3  c\n"),
    ];
    for from in ["10.89.1.3", "10.89.2.3"] {
        assert_eq!(answer(&table(&files), from, "10.89.1.1", "example.org", A), fails("7.7.7.7"), "{from}");
    }
}

#[test]
fn own_servers_go_before_those_of_the_networks_and_these_before_the_hosts() {
    let table = table(&[
        ("a", "10.1.0.1 9.9.9.9,8.8.8.8\naa 10.1.0.2  own 1.1.1.1\nbb 10.1.0.3  both\ncc 10.1.0.4  one\n"),
        ("b", "10.2.0.1 8.8.8.8,7.7.7.7\nbb 10.2.0.3  both\n"),
        ("c", "10.3.0.1\ndd 10.3.0.2  none\n"),
    ]);
    for (from, servers) in [
        ("10.1.0.2", "1.1.1.1"),
        ("10.1.0.4", "9.9.9.9,8.8.8.8"),
        ("10.1.0.3", "9.9.9.9,8.8.8.8,7.7.7.7"),
        ("10.2.0.3", "9.9.9.9,8.8.8.8,7.7.7.7"),
        ("10.3.0.2", "host"),
    ] {
        assert_eq!(answer(&table, from, "10.1.0.1", "example.org", A), fails(servers), "{from}");
    }
}

#[test]
fn our_own_resolvers_are_no_name_servers() {
    let files = [("a", "10.1.0.1 10.1.0.1,9.9.9.9\naa 10.1.0.2  x 10.1.0.1\n")];
    let host_servers = servers(&["10.1.0.1", "192.0.2.53"]);
    let looping = Settings { host_servers, ..settings() };
    let table = Table::default().next(&networks(&files), &looping);
    assert_eq!(table.records[&RecordKey::HostServers], Record::HostServers(servers(&["192.0.2.53"])));
    assert_eq!(answer(&table, "10.1.0.2", "10.1.0.1", "example.org", A), fails("host"));
    // Another port is not queried by others.
    let elsewhere = Table::default().next(&networks(&files), &Settings { port: 5533, ..looping });
    assert_eq!(
        elsewhere.records[&RecordKey::HostServers],
        Record::HostServers(servers(&["10.1.0.1", "192.0.2.53"]))
    );
}

#[test]
fn without_forwarding_unknown_names_do_not_exist() {
    let table = Table::default().next(&networks(&RECORDED), &Settings { forwards: false, ..settings() });
    for from in ["10.89.0.9", "10.89.0.1", "192.0.2.7"] {
        assert_eq!(answer(&table, from, "10.89.0.1", "example.org", A), fails("no such name"), "{from}");
    }
}

#[test]
fn a_search_domain_is_compared_without_dots_and_case() {
    for text in [".dns.podman", "dns.podman", "DNS.podman."] {
        assert_eq!(Settings::domain(text), "dns.podman", "{text}");
    }
    let none = Settings { domain: Settings::domain(""), ..settings() };
    let table = Table::default().next(&networks(&RECORDED), &none);
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "c1", A), found(&["10.89.0.9"]));
    assert_eq!(answer(&table, "10.89.0.9", "10.89.0.1", "x.dns.podman", A), fails("host"));
}

#[test]
fn a_line_that_a_dead_container_left_hides_no_other() {
    let table = table(&[("a", "10.1.0.1\naa 10.1.0.2  old\nbb 10.1.0.2  new\ncc 10.1.0.3  asker\n")]);
    for name in ["old", "new"] {
        assert_eq!(answer(&table, "10.1.0.3", "10.1.0.1", name, A), found(&["10.1.0.2"]), "{name}");
    }
    assert_eq!(answer(&table, "10.1.0.2", "10.1.0.1", "asker", A), found(&["10.1.0.3"]));
}

#[test]
fn a_shared_name_has_all_addresses_in_the_order_of_the_file() {
    let table = table(&[("a", "10.1.0.1\naa 10.1.0.9,10.1.0.8  x\nbb 10.1.0.2  x\ncc 10.1.0.5  x,y\n")]);
    let all = found(&["10.1.0.9", "10.1.0.8", "10.1.0.2", "10.1.0.5"]);
    assert_eq!(answer(&table, "10.1.0.2", "10.1.0.1", "x", A), all);
}

/// The keys of the records that differ.
fn changed(old: &Table, new: &Table) -> Vec<RecordKey> {
    let keys: BTreeSet<&RecordKey> = old.records.keys().chain(new.records.keys()).collect();
    keys.into_iter().filter(|key| old.records.get(key) != new.records.get(key)).cloned().collect()
}

#[test]
fn a_container_that_leaves_changes_its_own_records_alone() {
    let line = |n: usize| format!("{n:04x} 10.1.{}.{}  c{n}\n", n / 200, n % 200 + 2);
    let text = |skipped: usize| {
        let lines: String = (0..1_000).filter(|n| *n != skipped).map(line).collect();
        format!("10.1.0.1\n{lines}")
    };
    let before = table(&[("a", &text(usize::MAX))]);
    let after = before.next(&networks(&[("a", &text(5))]), &settings());
    assert_eq!(changed(&before, &after).len(), 2, "its names and its view");
    let again = after.next(&networks(&[("a", &text(5)), ("b", "10.9.0.1\n")]), &settings());
    // The new network has a resolver, the view of others and that of the host.
    assert_eq!(changed(&after, &again).len(), 3);
    assert_eq!(again.next(&networks(&[("a", &text(5)), ("b", "10.9.0.1\n")]), &settings()), again);
}

#[test]
fn a_network_of_the_same_name_that_comes_back_is_another() {
    let one = table(&[("a", "10.1.0.1\naa 10.1.0.2  x\n"), ("b", "10.2.0.1\n")]);
    let none = one.next(&networks(&[("b", "10.2.0.1\n")]), &settings());
    let back = none.next(&networks(&[("b", "10.2.0.1\n"), ("a", "10.1.0.1\nbb 10.1.0.2  y\n")]), &settings());
    assert_eq!(answer(&back, "10.1.0.2", "10.1.0.1", "y", A), found(&["10.1.0.2"]));
    assert_eq!(answer(&back, "10.1.0.2", "10.1.0.1", "x", A), fails("host"));
}

prop_compose! {
    /// Some networks with few addresses, names and identifiers, so that they meet.
    fn some_networks()(
        all in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec((0..6u8, 2..6u8, 0..6u8), 0..8)),
            1..4,
        )
    ) -> Vec<Network> {
        all.into_iter().enumerate().map(|(n, (internal, lines))| {
            let lines: String = lines.iter().map(|(id, host, name)| format!("id{id} 10.{n}.0.{host}  n{name}\n")).collect();
            let (file, _) = parse(&format!("10.{n}.0.1\n{lines}"));
            Network { name: format!("net{n}"), internal, file }
        }).collect()
    }
}

/// What the original answers: addresses of a name on all networks of all containers with the source address, else on
/// the network that is asked.
fn expected(networks: &[Network], from: IpAddr, at: usize, name: &str) -> BTreeSet<IpAddr> {
    let mut of_id: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for network in networks {
        for container in &network.file.containers {
            of_id.entry(&container.id).or_default().insert(&network.name);
        }
    }
    let all = networks.iter().flat_map(|network| &network.file.containers);
    let has = |container: &&Container| container.ipv4.iter().any(|address| IpAddr::V4(*address) == from);
    let mut visible: BTreeSet<&str> =
        all.filter(has).flat_map(|container| of_id[container.id.as_str()].clone()).collect();
    if visible.is_empty() {
        visible.insert(&networks[at].name);
    }
    let shared = networks.iter().filter(|network| visible.contains(network.name.as_str()));
    let holders = shared.flat_map(|network| &network.file.containers);
    let holders = holders.filter(|container| container.names.iter().any(|own| own == name));
    holders.flat_map(|container| container.ipv4.iter().copied().map(IpAddr::V4)).collect()
}

proptest! {
    #[test]
    fn answers_are_those_of_the_original(networks in some_networks(), host in 1..8u8, at in 0..4usize, name in 0..6u8) {
        let at = at % networks.len();
        let table = Table::default().next(&networks, &settings());
        let (from, listen) = (format!("10.{at}.0.{host}"), format!("10.{at}.0.1"));
        let name = format!("n{name}");
        let answer = answer(&table, &from, &listen, &name, A).unwrap_or_default();
        let answer: BTreeSet<IpAddr> = answer.iter().map(|text| ip(text)).collect();
        prop_assert_eq!(answer, expected(&networks, ip(&from), at, &name));
    }

    #[test]
    fn any_history_ends_in_the_answers_of_its_last_files(histories in proptest::collection::vec(some_networks(), 1..5), host in 2..6u8, name in 0..6u8) {
        let table = histories.iter().fold(Table::default(), |table, networks| table.next(networks, &settings()));
        let last = histories.last().unwrap();
        let answer = answer(&table, &format!("10.0.0.{host}"), "10.0.0.1", &format!("n{name}"), A);
        let answer: BTreeSet<IpAddr> = answer.unwrap_or_default().iter().map(|text| ip(text)).collect();
        prop_assert_eq!(answer, expected(last, ip(&format!("10.0.0.{host}")), 0, &format!("n{name}")));
    }
}
