use serde_json::json;

use super::*;
use crate::testing::lines;

fn docker() -> Engine {
    Engine::Docker { user: None }
}

/// As Docker 20.10 lists it, without what is not read.
fn web() -> Value {
    json!({
        "Id": "0a1b", "Names": ["/web", "/proxy/backend"], "State": "running", "Status": "Up 2 minutes",
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"}
        ],
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {
            "bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": "", "MacAddress": "02:42:ac:11:00:02"},
            "app": {"IPAddress": "10.1.0.2", "GlobalIPv6Address": "fd00::2", "MacAddress": null}
        }}
    })
}

/// The line of an element of the list, after a change of it.
fn line(change: impl Fn(&mut Value)) -> String {
    let mut value = web();
    change(&mut value);
    lines(&[summary(&value, &docker()).unwrap()]).remove(0)
}

#[test]
fn an_element_of_the_list_is_read() {
    let container = summary(&web(), &docker()).unwrap();
    assert_eq!((container.names.as_slice(), container.id.as_str()), (&["web".to_owned()][..], "0a1b"));
    assert_eq!(container.attachments[1].mac, Some("02:42:ac:11:00:02".parse().unwrap()));
    assert_eq!(
        line(|_| ()),
        "docker:web running app=10.1.0.2=fd00::2 bridge=172.17.0.2 \
         0.0.0.0:8080-8081->80-81/tcp [::]:8080->80/tcp"
    );
}

#[test]
fn states_are_read() {
    for (state, expected) in [
        ("running", State::Running),
        ("paused", State::Paused),
        ("created", State::Created),
        ("restarting", State::Exited),
        ("removing", State::Exited),
        ("exited", State::Exited),
        ("dead", State::Exited),
    ] {
        let value = json!({"Id": "a", "State": state});
        assert_eq!(summary(&value, &docker()).unwrap().state, expected);
    }
}

#[test]
fn modes_are_read_and_have_no_attachments() {
    for (mode, expected) in [
        ("host", Mode::Host),
        ("none", Mode::None),
        ("container:0a1b", Mode::Shared("0a1b".to_owned())),
        ("app", Mode::Own),
    ] {
        let mut value = web();
        value["HostConfig"]["NetworkMode"] = mode.into();
        let container = summary(&value, &docker()).unwrap();
        assert_eq!(container.attachments.is_empty(), mode != "app");
        assert_eq!(container.mode, expected);
    }
}

#[test]
fn missing_and_broken_fields_are_left_out() {
    assert_eq!(
        line(|it| it["Ports"] = Value::Null),
        "docker:web running app=10.1.0.2=fd00::2 bridge=172.17.0.2"
    );
    assert_eq!(
        line(|it| {
            it["NetworkSettings"] = json!([]);
            it["Ports"] = json!([{"Type": "tcp", "PublicPort": 1}, {"Type": "xyz", "PublicPort": 2}, 7,
                {"Type": "udp", "PublicPort": 70000}, {"Type": "udp", "PublicPort": 0}]);
        }),
        "docker:web running 0.0.0.0:1/tcp"
    );
    assert_eq!(
        line(|it| {
            it["Names"] = Value::Null;
            it["Ports"] = json!({});
            it["NetworkSettings"]["Networks"] =
                json!({"x": {"IPAddress": "300.1.1.1", "MacAddress": "zz"}, "y": 7});
        }),
        "docker:0a1b running x y"
    );
    for broken in [json!({}), json!([]), json!({"Id": ""}), json!({"Id": 7}), Value::Null] {
        assert_eq!(summary(&broken, &docker()).unwrap_err(), "a container has no Id");
    }
}

/// As Docker 20.10 writes it, without what is not read.
fn files() -> (Value, Value) {
    let config = json!({
        "ID": "0a1b", "Name": "/web",
        "State": {"Running": true, "Paused": false, "Pid": 4711, "StartedAt": "2026-11-30T00:00:00Z"},
        "NetworkSettings": {
            "Networks": {"bridge": {"IPAddress": "172.17.0.2", "MacAddress": "02:42:ac:11:00:02"}},
            "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "443/tcp": null}
        }
    });
    (config, json!({"NetworkMode": "default"}))
}

#[test]
fn the_daemons_files_are_read() {
    let (value, host_config) = files();
    let (container, pid) = config(&value, &host_config, &docker()).unwrap();
    assert_eq!(pid, Some(4711));
    assert_eq!(lines(&[container]), ["docker:web running bridge=172.17.0.2 127.0.0.1:8080->80/tcp"]);
}

#[test]
fn states_in_files_are_read() {
    for (state, expected) in [
        (json!({"Running": true, "Paused": true, "Pid": 7}), (State::Paused, Some(7))),
        (json!({"Running": true, "Pid": 0}), (State::Running, None)),
        (json!({"Running": false, "Pid": 7, "StartedAt": "2026-11-30T00:00:00Z"}), (State::Exited, None)),
        (json!({"Running": false, "StartedAt": "0001-01-01T00:00:00Z"}), (State::Created, None)),
        (json!({"Running": "yes"}), (State::Created, None)),
        (Value::Null, (State::Created, None)),
    ] {
        let (mut value, host_config) = files();
        value["State"] = state;
        let (container, pid) = config(&value, &host_config, &docker()).unwrap();
        assert_eq!((container.state, pid), expected);
    }
}

#[test]
fn broken_files_are_refused_or_read_in_part() {
    assert_eq!(config(&json!({"Name": "/web"}), &Value::Null, &docker()).unwrap_err(), "there is no ID");
    let value = json!({"ID": "a", "NetworkSettings": {"Ports": {
        "80": [{"HostPort": "1"}], "x/tcp": [{"HostPort": "2"}], "81/xyz": [{"HostPort": "3"}],
        "82/udp": [{"HostIp": "::", "HostPort": 4}, {"HostPort": ""}, 7], "83/tcp": "x"
    }}});
    let (container, _) = config(&value, &json!({"NetworkMode": 7}), &docker()).unwrap();
    assert_eq!(lines(&[container]), ["docker:a created 0.0.0.0:1->80/tcp [::]:4->82/udp"]);
}
