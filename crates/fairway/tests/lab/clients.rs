//! Docker's clients at the real daemon: requests as they were recorded, and what came of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fairway_lab::{Outcome, ask, serve_tcp};
use serde_json::Value;

use crate::cli::{fairway, field, inside, printed};
use crate::dns::{RecordType, look_up};
use crate::harness::{Stage, eventually};
use crate::upstream::RESOLVER;

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
fn a_container_is_started_waited_for_and_vanishes() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        // `docker run -d --rm`: it waits for the removal before it starts.
        let body = r#"{"Image":"host","Cmd":["sh","-c","exit 7"],"HostConfig":{"AutoRemove":true}}"#;
        let (status, text) = create(&stage, "short", body);
        assert_eq!(status, 201, "{text}");
        let wait = send(&stage, "POST", "/containers/short/wait?condition=removed", "");
        // The wait is there once the next request is answered, for its head goes out at once.
        let mut head = [0; 12];
        (&wait).read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let (status, text) = request(&stage, "POST", "/containers/short/start", "");
        assert_eq!((status, text.as_str()), (204, ""));
        let mut rest = String::new();
        (&wait).read_to_string(&mut rest).unwrap();
        assert!(rest.contains(r#"{"StatusCode":7}"#), "{rest}");
        assert_eq!(request(&stage, "GET", "/containers/short/json", "").0, 404);

        // One that cannot start vanishes too, and the reason is that of `fairway start`.
        let body = r#"{"Image":"host","Cmd":["/no/such/program"],"HostConfig":{"AutoRemove":true}}"#;
        create(&stage, "broken", body);
        let (status, text) = request(&stage, "POST", "/containers/broken/start", "");
        assert_eq!(status, 500);
        assert!(text.contains("/no/such/program"), "{text}");
        assert_eq!(request(&stage, "GET", "/containers/broken/json", "").0, 404);

        let body = r#"{"Image":"host:latest","Entrypoint":["sleep"],"Cmd":["1000"]}"#;
        create(&stage, "kept", body);
        assert_eq!(request(&stage, "POST", "/containers/kept/start", "").0, 204);
        assert_eq!(request(&stage, "POST", "/containers/kept/start", "").0, 304);
        assert_eq!(field(&stage, "kept", "Config.Image"), "host:latest");
        printed(&stage, "rm -f kept");
    });
}

#[test]
fn the_error_of_a_failed_start_is_kept_until_the_next_start() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let start = |stage: &Stage, name: &str| {
            let (status, text) = request(stage, "POST", &format!("/containers/{name}/start"), "");
            let reply: Value = serde_json::from_str(&text).unwrap_or_default();
            (status, reply["message"].as_str().unwrap_or_default().to_owned())
        };
        let error = |stage: &Stage, name: &str| field(stage, name, "State.Error");
        // One whose command is not there, one whose user is not, and one whose port is another's.
        create(&stage, "broken", r#"{"Image":"host","Cmd":["/no/such/program"]}"#);
        create(&stage, "odd", r#"{"Image":"host","Cmd":["true"],"User":"nosuch"}"#);
        let binding = r#"{"80/tcp":[{"HostPort":"8080"}]}"#;
        for name in ["first", "second"] {
            let body = format!(
                r#"{{"Cmd":["sleep","1000"],"Image":"host","HostConfig":{{"PortBindings":{binding}}}}}"#
            );
            create(&stage, name, &body);
        }
        assert_eq!(start(&stage, "first"), (204, String::new()));
        for (name, reason) in [("broken", "/no/such/program"), ("odd", "nosuch"), ("second", "8080")] {
            let (status, message) = start(&stage, name);
            assert!(status >= 400 && message.contains(reason), "{status} {message}");
            assert_eq!(error(&stage, name), message);
        }
        assert_eq!(error(&stage, "first"), "");
        stage.daemon.restart(&[]);
        assert!(error(&stage, "broken").contains("/no/such/program"));
        printed(&stage, "rm -f first");
        assert_eq!(start(&stage, "second"), (204, String::new()));
        assert_eq!(error(&stage, "second"), "");
        // The command line's starts are no different.
        assert_eq!(fairway(&stage, "run -d --name mine -- /no/such/program").code, 127);
        assert!(error(&stage, "mine").contains("/no/such/program"));
        printed(&stage, "rm -f broken odd second mine");
    });
}

#[test]
fn images_are_directories_and_the_hosts_files() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let (status, text) = create(&stage, "web", r#"{"Image":"busybox","Cmd":["true"]}"#);
        assert_eq!(status, 404);
        assert!(
            text.contains("No such image: busybox: there are host: put its files into a directory"),
            "{text}"
        );
        assert_eq!(request(&stage, "GET", "/images/busybox/json", "").0, 404);
        assert_eq!(request(&stage, "GET", "/images/host/json", "").0, 200);
        let (status, text) = request(&stage, "POST", "/images/create?fromImage=busybox&tag=latest", "");
        assert_eq!(status, 501);
        assert!(text.contains("a directory below DATA_ROOT/images"), "{text}");
        stage.host.run_in(|| std::fs::create_dir_all("/var/lib/fairway/images/busybox").unwrap()).unwrap();
        assert_eq!(request(&stage, "GET", "/images/busybox/json", "").0, 200);
        assert_eq!(create(&stage, "web", r#"{"Image":"busybox","Cmd":["true"]}"#).0, 201);
        assert_eq!(request(&stage, "POST", "/swarm/leave?force=1", "").0, 503);
        let (status, text) = request(&stage, "GET", "/nothing/of/docker", "");
        assert_eq!(status, 404);
        assert!(text.contains("Fairway has Docker's API"), "{text}");
    });
}

#[test]
fn a_renamed_container_is_found_by_its_new_name_alone() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("app");
        for name in ["web", "db"] {
            let body = r#"{"Image":"host","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"app"}}"#;
            create(&stage, name, body);
            assert_eq!(request(&stage, "POST", &format!("/containers/{name}/start"), "").0, 204);
        }
        let db = inside(&stage, "db");
        let finds =
            |name: &str| look_up(&db, RESOLVER, name, RecordType::A).is_ok_and(|found| found.len() == 1);
        assert!(finds("web"));
        assert_eq!(request(&stage, "POST", "/containers/web/rename?name=front", "").0, 204);
        for _ in 0..2 {
            assert!(finds("front") && !finds("web"));
            assert_eq!(request(&stage, "GET", "/containers/web/json", "").0, 404);
            stage.daemon.restart(&[]);
        }
        let (status, text) = request(&stage, "POST", "/containers/front/rename?name=db", "");
        assert_eq!(status, 409, "{text}");
        assert_eq!(request(&stage, "POST", "/containers/front/rename?name=front", "").0, 400);
        assert_eq!(request(&stage, "POST", "/containers/db/rename?name=a%20b", "").0, 400);
        assert_eq!(request(&stage, "POST", "/containers/db/rename?name=web", "").0, 204);
        let events = printed(&stage, "events --since 1h --until 0s --filter event=rename");
        assert!(events.contains("name=web") && events.contains("oldName=/db"), "{events}");
        printed(&stage, "rm -f front web");
    });
}

#[test]
fn a_link_is_removed_and_its_ends_stay() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--icc=false"]);
        create(&stage, "db", r#"{"Image":"host","Cmd":["sleep","1000"],"ExposedPorts":{"80/tcp":{}}}"#);
        let body = r#"{"Image":"host","Cmd":["sleep","1000"],"HostConfig":{"Links":["db:data"]}}"#;
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
        create(&stage, "web", r#"{"Image":"host","Cmd":["true"],"Labels":{"tier":"front"}}"#);
        create(&stage, "db", r#"{"Image":"host:latest","Cmd":["true"]}"#);
        let json = printed(&stage, "events --since 1h --until 0s --filter label=tier=front --format json");
        let event: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&event["from"], &event["Action"]), (&"host".into(), &"create".into()));
        let pid = std::process::id().to_string();
        let attributes = serde_json::json!({"image": "host", "name": "web", "tier": "front", "fairway.uid": "0", "fairway.pid": pid});
        assert_eq!(event["Actor"]["Attributes"], attributes);
        let names = |filter: &str| {
            let line =
                format!("events --since 1h --until 0s {filter} --format {{{{.Actor.Attributes.name}}}}");
            printed(&stage, &line)
        };
        assert_eq!(names("--filter type=container --filter image=host"), "web\ndb");
        assert_eq!(names("--filter label=tier --filter image=host:latest"), "web");
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

#[test]
fn a_container_that_waits_for_its_restart_is_listed_and_has_its_times() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let body = r#"{"Image":"host","Cmd":["false"],"HostConfig":{"RestartPolicy":{"Name":"always"}}}"#;
        create(&stage, "again", body);
        printed(&stage, "start again");
        // Each delay is twice the one before, so that it is soon long enough to be seen.
        eventually("it waits for seconds", PATIENCE, || {
            printed(&stage, "ps --format {{.Status}}").starts_with("Restarting (1) 2 seconds ago")
        });
        assert_eq!(field(&stage, "again", "State.Running"), "true");
        let never = "0001-01-01T00:00:00Z";
        assert_ne!(field(&stage, "again", "State.StartedAt"), never);
        assert_ne!(field(&stage, "again", "State.FinishedAt"), never);
        // It does not run at this moment.
        assert_eq!(fairway(&stage, "exec again true").code, 1);
        assert_eq!(fairway(&stage, "rm again").code, 1);
        printed(&stage, "kill again");
        assert_eq!(printed(&stage, "ps -q"), "");
        printed(&stage, "rm again");
    });
}
