//! Warnings reach the client that asked.

use serde_json::{Value, json};

use crate::clients::{create, request};
use crate::engine::RunningServer;

/// The warnings of a reply.
fn warnings(server: &RunningServer, path: &str, body: &Value) -> Value {
    let (_, reply) = request(server, "POST", path, &body.to_string());
    serde_json::from_str::<Value>(&reply).unwrap()["Warnings"].clone()
}

#[test]
fn the_creation_of_a_container_has_those_of_its_start() {
    let server = RunningServer::start();
    request(&server, "POST", "/networks/create", r#"{"Name":"closed","Internal":true}"#);
    let ports = json!({"80/tcp": [{"HostPort": "8080"}]});
    let on =
        |mode: &str| json!({"Image": "host", "HostConfig": {"NetworkMode": mode, "PortBindings": ports}});
    let made =
        |name: &str, mode: &str| warnings(&server, &format!("/containers/create?name={name}"), &on(mode));
    assert_eq!(
        made("shut", "closed"),
        json!(["Published ports of shut are discarded: it is on internal networks only"])
    );
    assert_eq!(made("web", "bridge"), json!([]));
    assert_eq!(made("same", "host"), json!(["Published ports are discarded when using host network mode"]));
}

#[test]
fn a_connection_has_those_of_its_options() {
    let server = RunningServer::start();
    request(&server, "POST", "/networks/create", r#"{"Name":"app"}"#);
    create(&server, "web", r#"{"Image":"host"}"#);
    let options = json!({"Container": "web", "EndpointConfig": {"DriverOpts": {"fairway.nope": "1"}}});
    let expected = json!(["the option fairway.nope is unknown and has no effect"]);
    assert_eq!(warnings(&server, "/networks/app/connect", &options), expected);
    assert_eq!(warnings(&server, "/networks/app/disconnect", &json!({"Container": "web"})), json!([]));
}
