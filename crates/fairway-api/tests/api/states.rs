//! The state, the options and the counters of containers, in Docker's terms.

use serde_json::{Value, json};

use crate::clients::{create, get, request, start};
use crate::engine::RunningServer;

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn state(server: &RunningServer) -> Value {
    get(server, "/containers/kept/json")["State"].clone()
}

/// Ends the command of the container `kept`.
fn end(server: &RunningServer, body: &str) {
    assert_eq!(request(server, "POST", "/containers/kept/exited", body).0, 204);
}

#[test]
fn times_of_the_last_start_and_exit_are_kept() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    let times = || {
        let state = state(&server);
        (state["StartedAt"] != NEVER, state["FinishedAt"] != NEVER)
    };
    assert_eq!(times(), (false, false));
    start(&server, "kept", 5);
    assert_eq!(times(), (true, false));
    end(&server, r#"{"Pid":5,"Code":3}"#);
    assert_eq!(times(), (true, true));
    start(&server, "kept", 6);
    assert_eq!(times(), (true, true));
}

#[test]
fn a_kill_for_lack_of_memory_is_shown_until_the_next_start() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    start(&server, "kept", 5);
    end(&server, r#"{"Pid":5,"Code":137,"OOMKilled":true}"#);
    assert_eq!((&state(&server)["OOMKilled"], &state(&server)["ExitCode"]), (&true.into(), &137.into()));
    start(&server, "kept", 6);
    assert_eq!(state(&server)["OOMKilled"], false);
}

#[test]
fn the_error_of_a_start_whose_program_reports_none_is_kept() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    let killed = "cannot execute fairway: it ended with signal: 9 (SIGKILL)";
    for (script, error) in [("kill -9 $$", killed), ("echo no such user >&2; exit 1", "no such user")] {
        *server.engine.script.lock().unwrap() = script;
        let (status, text) = request(&server, "POST", "/containers/kept/start", "");
        assert_eq!((status, text), (500, json!({ "message": error }).to_string()));
        assert_eq!(state(&server)["Error"], error);
    }
}

#[test]
fn counters_are_shown_with_the_limits() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host","HostConfig":{"PidsLimit":9}}"#);
    let limits = || {
        let stats = get(&server, "/containers/kept/stats?stream=0&one-shot=1");
        (stats["memory_stats"]["limit"].as_u64().unwrap(), stats["pids_stats"]["limit"].as_u64().unwrap())
    };
    // The memory of the fake engine's host.
    assert_eq!(limits(), (64 << 20, 9));
    for (body, expected) in [
        (r#"{"Memory":33554432}"#, (32 << 20, 9)),
        (r#"{"Memory":134217728,"PidsLimit":-1}"#, (64 << 20, u64::MAX)),
    ] {
        assert_eq!(request(&server, "POST", "/containers/kept/update", body).0, 200);
        assert_eq!(limits(), expected);
    }
}

#[test]
fn the_image_of_the_host_cannot_be_removed() {
    let server = RunningServer::start();
    for (name, status, words) in [
        ("host", 409, "cannot remove image host: it is the host's root file system"),
        ("host:latest?force=1", 409, "cannot remove image host: it is the host's root file system"),
        ("nosuch", 404, "No such image: nosuch"),
    ] {
        let (is, text) = request(&server, "DELETE", &format!("/images/{name}"), "");
        assert!(is == status && text.contains(words), "{name}: {is} {text}");
    }
}

#[test]
fn the_network_mode_is_that_of_the_creation() {
    let server = RunningServer::start();
    for name in ["first", "second"] {
        let body = format!(r#"{{"Name":"{name}"}}"#);
        assert_eq!(request(&server, "POST", "/networks/create", &body).0, 201);
    }
    create(&server, "kept", r#"{"Image":"host","HostConfig":{"NetworkMode":"first"}}"#);
    let change = |network: &str, verb: &str| {
        let path = format!("/networks/{network}/{verb}");
        assert_eq!(request(&server, "POST", &path, r#"{"Container":"kept"}"#).0, 200);
    };
    for (network, verb) in [("second", "connect"), ("first", "disconnect"), ("second", "disconnect")] {
        change(network, verb);
        assert_eq!(get(&server, "/containers/kept/json")["HostConfig"]["NetworkMode"], "first");
        assert_eq!(get(&server, "/containers/json?all=1")[0]["HostConfig"]["NetworkMode"], "first");
    }
    // A filter is about the networks that it is on.
    assert_eq!(
        get(&server, "/containers/json?all=1&filters={\"network\":[\"first\"]}"),
        Value::Array(Vec::new())
    );
}

#[test]
fn commands_are_shown_with_their_entrypoint_and_quotation_marks() {
    let server = RunningServer::start();
    for (body, entrypoint, cmd, line) in [
        (
            r#"{"Image":"host","Entrypoint":["sh"],"Cmd":["-c","exit 4"]}"#,
            json!(["sh"]),
            json!(["-c", "exit 4"]),
            "sh -c 'exit 4'",
        ),
        (
            r#"{"Image":"host","Cmd":["sh","-c","true"]}"#,
            Value::Null,
            json!(["sh", "-c", "true"]),
            "sh -c true",
        ),
        (r#"{"Image":"host","Entrypoint":"/a b"}"#, json!(["/a b"]), json!([]), "/a b"),
        (r#"{"Image":"host","Entrypoint":[""],"Cmd":["true"]}"#, Value::Null, json!(["true"]), "true"),
    ] {
        create(&server, "kept", body);
        let shown = get(&server, "/containers/kept/json");
        assert_eq!((&shown["Config"]["Entrypoint"], &shown["Config"]["Cmd"]), (&entrypoint, &cmd), "{body}");
        assert_eq!(get(&server, "/containers/json?all=1")[0]["Command"], line);
        assert_eq!(request(&server, "DELETE", "/containers/kept", "").0, 204);
    }
}

#[test]
fn the_disk_usage_has_all_containers() {
    let server = RunningServer::start();
    for name in ["runs", "created"] {
        create(&server, name, r#"{"Image":"host"}"#);
    }
    start(&server, "runs", 5);
    let used = get(&server, "/system/df");
    let mut states: Vec<&str> = Vec::new();
    states.extend(used["Containers"].as_array().unwrap().iter().filter_map(|it| it["State"].as_str()));
    states.sort_unstable();
    assert_eq!(states, ["created", "running"]);
}

#[test]
fn limits_that_cannot_be_are_refused_in_dockers_words() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    start(&server, "kept", 5);
    let range = "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available";
    for (limits, words) in [
        (r#"{"Memory":1024}"#, "Minimum memory limit allowed is 6MB"),
        (r#"{"NanoCpus":99000000000}"#, range),
        (r#"{"NanoCpus":-1000000000}"#, range),
        (r#"{"NanoCpus":1000000}"#, range),
        (
            r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1}}"#,
            "invalid restart policy: on-failure:-1: maximum retry count cannot be negative",
        ),
    ] {
        let body = format!(r#"{{"Image":"host","HostConfig":{limits}}}"#);
        for (path, body) in [("/containers/create", body.as_str()), ("/containers/kept/update", limits)] {
            let (status, text) = request(&server, "POST", path, body);
            assert_eq!((status, text), (400, json!({"message": words}).to_string()), "{path} {body}");
        }
    }
    assert_eq!(request(&server, "POST", "/containers/kept/update", r#"{"NanoCpus":2000000000}"#).0, 200);
}

#[test]
fn a_tail_that_is_not_a_number_means_all_lines() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    start(&server, "kept", 5);
    for (tail, is_passed_on) in [("7", true), ("foo", false), ("-1", false), ("all", false)] {
        let path = format!("/containers/kept/logs?stdout=1&tail={tail}");
        let (status, text) = request(&server, "GET", &path, "");
        assert_eq!((status, text.contains("--tail=7")), (200, is_passed_on), "{tail}: {text}");
        assert_eq!(text.contains("--tail"), is_passed_on, "{text}");
    }
}

#[test]
fn keys_of_options_that_there_are_not_are_shown_empty() {
    let server = RunningServer::start();
    // What Docker's clients send in them has another form, and does not matter.
    let body = r#"{"Image":"host","HostConfig":{"Devices":[{"PathOnHost":"/dev/x"}],"ShmSize":7}}"#;
    create(&server, "kept", body);
    let shown = get(&server, "/containers/kept/json");
    assert_eq!(shown["GraphDriver"]["Name"], "host");
    let host = shown["HostConfig"].as_object().unwrap();
    for (key, expected) in [
        ("Devices", json!([])),
        ("Ulimits", json!([])),
        ("SecurityOpt", Value::Null),
        ("ShmSize", json!(0)),
        ("CpusetCpus", json!("")),
        ("UTSMode", json!("")),
    ] {
        assert_eq!(host.get(key), Some(&expected), "{key}");
    }
}

#[test]
fn each_container_runs_or_is_stopped() {
    let server = RunningServer::start();
    for name in ["kept", "never", "runs"] {
        create(&server, name, r#"{"Image":"host"}"#);
    }
    start(&server, "kept", 5);
    start(&server, "runs", 6);
    end(&server, r#"{"Pid":5,"Code":3}"#);
    let info = get(&server, "/info");
    let counts = ["Containers", "ContainersRunning", "ContainersStopped"].map(|key| info[key].clone());
    assert_eq!(counts, [json!(3), json!(1), json!(2)]);
}
