//! Docker's clients at the real daemon: requests as they were recorded, and what came of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fairway_lab::{Outcome, ask, serve_tcp};
use serde_json::Value;

use crate::cli::{fairway, field, inside, printed};
use crate::harness::Stage;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request; its answer is read by [`answer`].
fn send(stage: &Stage, method: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(stage.daemon.address().strip_prefix("unix://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /v1.47{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

/// Status and body.
fn answer(mut stream: UnixStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn request(stage: &Stage, method: &str, path: &str, body: &str) -> (u16, String) {
    answer(send(stage, method, path, body))
}

fn create(stage: &Stage, name: &str, body: &str) -> (u16, String) {
    request(stage, "POST", &format!("/containers/create?name={name}"), body)
}

#[test]
fn docker_run_says_why_not_and_leaves_nothing_that_was_to_vanish() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        // `docker run -d --rm`: it waits for the removal, which comes though nothing ran.
        let (status, text) =
            create(&stage, "gone", r#"{"Image":"bb","Cmd":["true"],"HostConfig":{"AutoRemove":true}}"#);
        assert_eq!(status, 201, "{text}");
        let wait = send(&stage, "POST", "/containers/gone/wait?condition=removed", "");
        // The wait is there once the next request is answered, for its head goes out at once.
        let mut head = [0; 12];
        (&wait).read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let (status, text) = request(&stage, "POST", "/containers/gone/start", "");
        assert_eq!(status, 501);
        assert!(text.contains("cannot start container gone") && text.contains("fairway run --rm"), "{text}");
        let mut rest = String::new();
        (&wait).read_to_string(&mut rest).unwrap();
        assert!(rest.contains(r#"{"StatusCode":0}"#), "{rest}");
        // `docker create` and what it says to do next.
        let (_, text) = create(&stage, "kept", r#"{"Image":"bb","Cmd":["sleep","1000"]}"#);
        let made: Value = serde_json::from_str(&text).unwrap();
        let warning = made["Warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("image bb is not used"), "{warning}");
        let command = warning.rsplit_once("fairway ").unwrap().1;
        printed(&stage, command);
        assert_eq!(field(&stage, "kept", "Config.Image"), "bb");
        assert_eq!(request(&stage, "POST", "/containers/kept/start", "").0, 304);
        printed(&stage, "rm -f kept");
    });
}

#[test]
fn a_link_is_removed_and_its_ends_stay() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--icc=false"]);
        create(&stage, "db", r#"{"Image":"bb","Cmd":["sleep","1000"],"ExposedPorts":{"80/tcp":{}}}"#);
        let body = r#"{"Image":"bb","Cmd":["sleep","1000"],"HostConfig":{"Links":["db:data"]}}"#;
        create(&stage, "web", body);
        printed(&stage, "start db web");
        let (web, db) = (inside(&stage, "web"), inside(&stage, "db"));
        let _server = serve_tcp(&db, "0.0.0.0:80").unwrap();
        let at = format!("{}:80", field(&stage, "db", "NetworkSettings.IPAddress"));
        let reaches = || matches!(ask(&web, at.as_str()).unwrap(), Outcome::Answered { .. });
        assert!(reaches());
        // `docker rm -f -l web` once removed the container.
        let (status, text) = request(&stage, "DELETE", "/containers/web?force=1&link=1", "");
        assert_eq!(status, 409, "{text}");
        assert!(reaches());
        assert_eq!(request(&stage, "DELETE", "/containers/web/data?link=1", "").0, 204);
        assert!(!reaches());
        assert_eq!(printed(&stage, "ps --format {{.Names}}"), "web\ndb");
        printed(&stage, "rm -f web db");
    });
}

#[test]
fn events_have_labels_and_image_and_are_filtered_by_them() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        create(&stage, "web", r#"{"Image":"bb","Cmd":["true"],"Labels":{"tier":"front"}}"#);
        create(&stage, "db", r#"{"Image":"cc","Cmd":["true"]}"#);
        let json = printed(&stage, "events --since 1h --until 0s --filter label=tier=front --format json");
        let event: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&event["from"], &event["Action"]), (&"bb".into(), &"create".into()));
        let attributes = serde_json::json!({"image": "bb", "name": "web", "tier": "front"});
        assert_eq!(event["Actor"]["Attributes"], attributes);
        let names = |filter: &str| {
            let line =
                format!("events --since 1h --until 0s {filter} --format {{{{.Actor.Attributes.name}}}}");
            printed(&stage, &line)
        };
        assert_eq!(names("--filter type=container --filter image=cc"), "db");
        assert_eq!(names("--filter label=tier --filter image=bb"), "web");
        for filter in ["volume=x", "plugin=x", "label=tier=back", "image=dd"] {
            assert_eq!(names(&format!("--filter {filter}")), "", "{filter}");
        }
    });
}

#[test]
fn rm_with_force_says_what_it_did_not_find() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let said = fairway(&stage, "rm -f nope");
        assert_eq!(
            (said.code, said.output.as_str(), said.errors.as_str()),
            (0, "", "Error: No such container: nope\n")
        );
        let said = fairway(&stage, "network rm -f nope");
        assert_eq!((said.code, said.output.as_str(), said.errors.as_str()), (0, "", ""));
    });
}
