use proptest::prelude::*;

use super::*;

fn v4(text: &str) -> Vec<Ipv4Addr> {
    items(text).map(|item| item.parse().unwrap()).collect()
}

fn v6(text: &str) -> Vec<Ipv6Addr> {
    items(text).map(|item| item.parse().unwrap()).collect()
}

fn both(text: &str) -> Vec<IpAddr> {
    items(text).map(|item| item.parse().unwrap()).collect()
}

fn container(id: &str, ipv4: &str, ipv6: &str, names: &[&str]) -> Container {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Container { id: id.to_owned(), ipv4: v4(ipv4), ipv6: v6(ipv6), names, servers: Vec::new() }
}

/// The text of a file, as netavark writes it.
fn render(file: &NetworkFile) -> String {
    fn list<T: ToString>(all: &[T]) -> String {
        all.iter().map(T::to_string).collect::<Vec<_>>().join(",")
    }
    let mut text = list(&file.listen);
    if !file.servers.is_empty() {
        text += &format!(" {}", list(&file.servers));
    }
    text.push('\n');
    for it in &file.containers {
        text += &format!("{} {} {} {}", it.id, list(&it.ipv4), list(&it.ipv6), it.names.join(","));
        if !it.servers.is_empty() {
            text += &format!(" {}", list(&it.servers));
        }
        text.push('\n');
    }
    text
}

#[test]
fn files_that_netavark_1_4_wrote_are_parsed() {
    let text = "10.89.0.1\n2ab34ab590a9 10.89.0.9  c1,2ab34ab590a9\n\
                500eda7153a9 10.89.0.77  c2,al1,al2,500eda7153a9\n";
    let (file, bad) = parse(text);
    assert_eq!(bad, []);
    assert_eq!((file.listen.clone(), file.servers.clone()), (both("10.89.0.1"), Vec::new()));
    assert_eq!(
        file.containers,
        [
            container("2ab34ab590a9", "10.89.0.9", "", &["c1", "2ab34ab590a9"]),
            container("500eda7153a9", "10.89.0.77", "", &["c2", "al1", "al2", "500eda7153a9"]),
        ]
    );
    assert_eq!(render(&file), text);
}

#[test]
fn a_file_of_both_families_is_parsed() {
    let text = "10.89.3.1,fd14:8dbf:cce2:bb7::1\n\
                500eda7153a9 10.89.3.5 fd14:8dbf:cce2:bb7::2 c2,500eda7153a9\n";
    let (file, bad) = parse(text);
    assert_eq!(bad, []);
    assert_eq!(file.listen, both("10.89.3.1,fd14:8dbf:cce2:bb7::1"));
    let expected = container("500eda7153a9", "10.89.3.5", "fd14:8dbf:cce2:bb7::2", &["c2", "500eda7153a9"]);
    assert_eq!(file.containers, [expected]);
    assert_eq!(render(&file), text);
}

#[test]
fn name_servers_of_network_and_container_are_parsed() {
    let text = "10.89.0.1 8.8.8.8,2001:db8::53\n697647f67187 10.89.0.2  c1,697647f67187 9.9.9.9,fe80::1\n";
    let (file, bad) = parse(text);
    assert_eq!(bad, []);
    assert_eq!(file.servers, both("8.8.8.8,2001:db8::53"));
    assert_eq!(file.containers[0].servers, both("9.9.9.9,fe80::1"));
    assert_eq!(render(&file), text);
}

#[test]
fn names_and_identifiers_are_in_lower_case() {
    let (file, _) = parse("10.89.0.1\nABC 10.89.0.2  Web,DB\n");
    assert_eq!(file.containers, [container("abc", "10.89.0.2", "", &["web", "db"])]);
}

#[test]
fn several_addresses_of_a_family_and_none_are_parsed() {
    let (file, bad) = parse("10.89.0.1\na 10.89.0.2,10.89.0.3 fd00::1,fd00::2 x\nb   y\n");
    assert_eq!(bad, []);
    let all =
        [container("a", "10.89.0.2,10.89.0.3", "fd00::1,fd00::2", &["x"]), container("b", "", "", &["y"])];
    assert_eq!(file.containers, all);
}

#[test]
fn bad_lines_are_reported_and_others_stay() {
    let good = "a 10.89.0.2  good";
    for (line, problem) in [
        ("a", Problem::Fields),
        ("a 10.89.0.3", Problem::Fields),
        ("a 10.89.0.3 ", Problem::Fields),
        ("badline", Problem::Fields),
        ("a 10.89.0.3  ", Problem::Names),
        ("a 10.89.0.3  ,", Problem::Names),
        ("a 10.89.0.300  x", Problem::Address("10.89.0.300".to_owned())),
        ("a fd00::1  x", Problem::Address("fd00::1".to_owned())),
        ("a  10.89.0.3 x", Problem::Address("10.89.0.3".to_owned())),
        ("a 10.89.0.3  x nine", Problem::Address("nine".to_owned())),
        ("a 10.89.0.3\tfd00::1 x y", Problem::Address("10.89.0.3\tfd00::1".to_owned())),
    ] {
        let (file, bad) = parse(&format!("10.89.0.1\n{line}\n{good}\n"));
        assert_eq!(bad, [BadLine { line: 2, problem }], "{line}");
        assert_eq!(file.containers, [container("a", "10.89.0.2", "", &["good"])], "{line}");
    }
}

#[test]
fn a_bad_address_of_the_first_line_leaves_the_others() {
    let (file, bad) = parse("10.89.0.1,gateway 8.8.8.8,google\na 10.89.0.2  x\n");
    assert_eq!((file.listen, file.servers), (both("10.89.0.1"), both("8.8.8.8")));
    let problems: Vec<String> = bad.iter().map(BadLine::to_string).collect();
    assert_eq!(problems, ["line 1: invalid IP address \"gateway\"", "line 1: invalid IP address \"google\""]);
    assert_eq!(file.containers.len(), 1);
}

#[test]
fn a_file_without_an_address_to_listen_at_is_reported() {
    for text in ["", "\n\n", "x\n"] {
        let (file, bad) = parse(text);
        assert_eq!(file, NetworkFile::default());
        assert_eq!(bad.last().map(|bad| bad.problem.clone()), Some(Problem::Listen), "{text:?}");
    }
}

#[test]
fn empty_lines_are_no_lines() {
    let (file, bad) = parse("\n10.89.0.1\n\na 10.89.0.2  x\n\n\n");
    assert_eq!((file.containers.len(), bad), (1, Vec::new()));
    let (_, bad) = parse("10.89.0.1\n\nbad\n");
    assert_eq!(bad[0].line, 3);
}

#[test]
fn files_are_networks_but_those_of_the_server_and_its_starter() {
    assert_eq!(network_of("podman"), Some(("podman", false)));
    assert_eq!(network_of("podman%int"), Some(("podman", true)));
    assert_eq!(network_of("a%internal"), Some(("a%internal", false)));
    assert_eq!(network_of("aardvark.pid"), None);
    assert_eq!(network_of("aardvark.lock"), None);
}

fn a_name() -> impl Strategy<Value = String> {
    "[a-z0-9_.-]{1,12}"
}

prop_compose! {
    fn a_container()(
        id in "[0-9a-f]{1,64}",
        ipv4 in proptest::collection::vec(any::<[u8; 4]>().prop_map(Ipv4Addr::from), 0..3),
        ipv6 in proptest::collection::vec(any::<[u8; 16]>().prop_map(Ipv6Addr::from), 0..3),
        names in proptest::collection::vec(a_name(), 1..4),
        servers in proptest::collection::vec(any::<[u8; 16]>().prop_map(|it| IpAddr::from(Ipv6Addr::from(it))), 0..3),
    ) -> Container {
        Container { id, ipv4, ipv6, names, servers }
    }
}

prop_compose! {
    fn a_file()(
        listen in proptest::collection::vec(any::<[u8; 4]>().prop_map(|it| IpAddr::from(Ipv4Addr::from(it))), 1..3),
        servers in proptest::collection::vec(any::<[u8; 4]>().prop_map(|it| IpAddr::from(Ipv4Addr::from(it))), 0..3),
        containers in proptest::collection::vec(a_container(), 0..6),
    ) -> NetworkFile {
        NetworkFile { listen, servers, containers }
    }
}

proptest! {
    #[test]
    fn a_written_file_is_parsed_without_loss(file in a_file()) {
        prop_assert_eq!(parse(&render(&file)), (file, Vec::new()));
    }

    #[test]
    fn any_text_is_parsed_and_no_line_is_lost(text in "([0-9a-f:., \\PC]|\\n){0,200}") {
        let (file, bad) = parse(&text);
        let lines = text.split('\n').filter(|line| !line.is_empty()).count();
        let first_line = text.split('\n').position(|line| !line.is_empty()).map_or(1, |at| at + 1);
        let bad_containers = bad.iter().filter(|bad| bad.line > first_line).count();
        prop_assert_eq!(file.containers.len() + bad_containers, lines.saturating_sub(1));
        prop_assert!(!file.listen.is_empty() || bad.iter().any(|bad| bad.problem == Problem::Listen));
    }

    #[test]
    fn a_bad_line_anywhere_changes_no_other(file in a_file(), bad in "[a-z]{0,5}( [a-z]{1,5}){1,5}", at in any::<prop::sample::Index>()) {
        let text = render(&file);
        let mut lines: Vec<&str> = text.lines().collect();
        let at = 1 + at.index(lines.len());
        lines.insert(at, &bad);
        let (found, problems) = parse(&lines.join("\n"));
        prop_assert_eq!(found, file);
        prop_assert_eq!(problems.len(), 1);
        prop_assert_eq!(problems[0].line, at + 1);
    }
}
