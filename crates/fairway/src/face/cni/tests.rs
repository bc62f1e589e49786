use std::path::Path;

use super::*;

fn answered(variables: &[(&str, &str)], input: &str) -> Option<(Value, bool)> {
    let variable =
        |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    let (printed, is_error) = answer(&variable, &mut input.as_bytes())?;
    Some((serde_json::from_str(&printed).unwrap(), is_error))
}

#[test]
fn the_versions_are_answered_without_a_configuration() {
    // As podman asks.
    let variables =
        [("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy"), ("CNI_PATH", "dummy")];
    let (value, is_error) = answered(&variables, r#"{"cniVersion":"1.0.0"}"#).unwrap();
    let versions = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!((value, is_error), (json!({"cniVersion": "1.1.0", "supportedVersions": versions}), false));
}

#[test]
fn an_error_has_the_version_of_the_request() {
    let variables = [
        ("CNI_COMMAND", "CHECK"),
        ("CNI_CONTAINERID", "a"),
        ("CNI_NETNS", "/n"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/usr/lib/cni"),
    ];
    let (value, is_error) = answered(&variables, r#"{"cniVersion":"0.3.1","name":"x"}"#).unwrap();
    assert_eq!((&value["cniVersion"], &value["code"], is_error), (&json!("0.3.1"), &json!(1), true));
    let (value, _) = answered(&variables, r#"{"name":"x"}"#).unwrap();
    assert_eq!((&value["cniVersion"], &value["code"]), (&json!("1.1.0"), &json!(1)));
    let (value, _) = answered(&variables, "[").unwrap();
    assert_eq!(value["code"], 6);
    assert!(value["details"].as_str().unwrap().contains("EOF"), "{value}");
    assert_eq!(answered(&[], ""), None);
    assert!(about().contains("1.1.0"));
}

#[test]
fn the_configuration_that_is_installed_is_one() {
    let list: Value = serde_json::from_str(CONFLIST).unwrap();
    let mut plugin = list["plugins"][0].clone();
    assert_eq!(plugin["type"], PLUGIN);
    plugin["name"] = list["name"].clone();
    let read = Configuration::read(plugin.to_string().as_bytes()).unwrap();
    read.check_supported().unwrap();
    assert_eq!(ipam::Addressing::built_in(&read, &[]).unwrap().subnets.len(), 2);
    Version::read(list["cniVersion"].as_str().unwrap()).unwrap();
    assert!(Path::new(CONFLIST_PATH).extension().is_some_and(|it| it == "conflist"));
}

#[test]
fn podman_binds_published_ports_itself() {
    assert!(attachment::holds_ports("podman\n"));
    for other in ["containerd\n", "ctr\n", "conmon\n", ""] {
        assert!(!attachment::holds_ports(other), "{other:?}");
    }
}
