use super::*;

const FILE: &str = "10.89.0.1\n2ab3 10.89.0.9  c1,2ab34ab590a9\n500e 10.89.0.77  c2,al1\n";

#[test]
fn a_container_is_added_once_and_the_first_line_is_new() {
    let text = with_entry("", "10.89.0.1", "2ab3", "2ab3 10.89.0.9  c1,2ab34ab590a9");
    let text = with_entry(&text, "10.89.0.1", "500e", "500e 10.89.0.77  c2,al1");
    assert_eq!(text, FILE);
    assert_eq!(with_entry(FILE, "10.89.0.1", "500e", "500e 10.89.0.77  c2,al1"), FILE);
}

#[test]
fn the_last_container_takes_the_file_with_it() {
    let text = without_entry(FILE, "2ab3").unwrap();
    assert_eq!(text, "10.89.0.1\n500e 10.89.0.77  c2,al1\n");
    assert_eq!(without_entry(&text, "500e"), None);
    assert_eq!(without_entry("", "500e"), None);
    assert_eq!(without_entry(FILE, "2ab").unwrap(), FILE, "an id is compared whole");
}

#[test]
fn name_servers_follow_the_addresses() {
    let servers = ["9.9.9.9".parse().unwrap(), "8.8.8.8".parse().unwrap()];
    let text = with_servers(FILE, &servers);
    assert!(text.starts_with("10.89.0.1 9.9.9.9,8.8.8.8\n2ab3 "), "{text}");
    assert_eq!(with_servers(&text, &[]), FILE);
}

#[test]
fn fields_are_as_aardvark_dns_reads_them() {
    let container = Container {
        container_id: "f06e".into(),
        container_name: "c2".into(),
        dns_servers: Some(vec!["8.8.8.8".parse().unwrap()]),
        ..Container::default()
    };
    let mut named = NamedEndpoint { name: "b2".into(), ..NamedEndpoint::default() };
    named.endpoint.aliases = Some(vec!["al1".into()]);
    let addresses = ["10.89.1.50".parse().unwrap(), "fdaf::2".parse().unwrap()];
    assert_eq!(entry(&container, &named, &addresses), "f06e 10.89.1.50 fdaf::2 c2,al1 8.8.8.8");
    assert_eq!(entry(&container, &named, &addresses[..1]), "f06e 10.89.1.50  c2,al1 8.8.8.8");
}
