//! The state, the options and the counters of containers, in Docker's terms.

use serde_json::Value;

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
