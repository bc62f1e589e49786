//! Events, as `fairway events` and the API print them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_api::types::EventMessage;

use crate::cli::{fairway, printed};
use crate::foreign_changes;
use crate::harness::{Stage, eventually, ports};

#[test]
fn the_life_of_a_sandbox_is_printed_as_dockers_events() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        // One that listens from the start.
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(["-H", stage.daemon.address(), "events", "--filter", "container=web"]);
        command.args(["--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut listener = command.spawn().unwrap();
        let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
        let reported = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
        let heard = std::sync::Arc::clone(&reported);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        let network = stage.network("app");
        // The listener is there when it is told of the first.
        eventually("it listens", Duration::from_secs(20), || {
            printed(&stage, "run --rm --name web -- true");
            !reported.lock().unwrap().is_empty()
        });
        eventually("the last is printed", Duration::from_secs(20), || {
            reported.lock().unwrap().last().is_some_and(|line| line == "destroy web")
        });
        reported.lock().unwrap().clear();
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        stage.client().publish("web", ports(&["127.0.0.1:8081:81"])).unwrap();
        stage.client().detach("web").unwrap();
        stage.client().remove_network("app").unwrap();
        let expected = ["create web", "start web", "publish web", "die web", "destroy web"];
        eventually("all is printed", Duration::from_secs(20), || *reported.lock().unwrap() == expected);
        listener.kill().unwrap();
        listener.wait().unwrap();

        let all = printed(&stage, "events --since 1h --until 0s --filter network=app --filter event=connect");
        let [line] = all.lines().collect::<Vec<_>>()[..] else { panic!("{all}") };
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == "2026-11-22T02:02:43.489811622Z".len() && time.ends_with('Z'), "{time}");
        let requested = format!("fairway.pid={}, fairway.uid=0", std::process::id());
        let attributes = format!("(container={}, {requested}, name=app, type=bridge)", web.attached.id);
        assert_eq!(rest, format!("network connect {} {attributes}", network.id));
        let kinds =
            printed(&stage, "events --since 1h --until 0s --filter type=network --format {{.Action}}");
        let kinds: Vec<&str> = kinds.lines().collect();
        assert_eq!((kinds.first(), kinds.last()), (Some(&"create"), Some(&"destroy")));
        let json = printed(&stage, "events --since 1h --until 0s --filter event=die --format json");
        let last: EventMessage = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert_eq!((last.status.as_str(), last.actor.attributes["exitCode"].as_str()), ("die", "0"));
        assert_eq!(last.time, last.time_nano / 1_000_000_000);
        let refused = fairway(&stage, "events --filter color=red");
        assert!(refused.errors.contains("invalid filter 'color'"), "{refused:?}");
    });
}

#[test]
fn repairs_and_reloads_are_events() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.host.run_in(|| foreign_changes::set_mtu("fairway0", 1300)).unwrap();
        let repaired = |stage: &Stage| printed(stage, "events --since 1h --until 0s --filter event=repair");
        eventually("it is logged", Duration::from_secs(20), || !repaired(&stage).is_empty());
        let line = repaired(&stage);
        assert!(
            line.contains(" daemon repair ")
                && line.contains("mtu of bridge fairway0: expected 1500, found 1300"),
            "{line}"
        );
        assert!(stage.daemon.reload().contains("no setting changed"));
        assert_eq!(printed(&stage, "events --since 1h --until 0s --filter event=reload"), "");
        let path = "/etc/fairway/daemon.json";
        let text = r#"{"dns-search": ["in.test"]}"#;
        let write = || {
            std::fs::create_dir_all("/etc/fairway").unwrap();
            std::fs::write(path, text).unwrap();
        };
        stage.host.run_in(write).unwrap();
        assert!(stage.daemon.reload().contains("dns-search"));
        let line = printed(&stage, "events --since 1h --until 0s --filter type=daemon --filter event=reload");
        assert_eq!(line.lines().count(), 1, "{line}");
    });
}

#[test]
fn events_and_the_log_name_the_process_that_requested_a_change() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--log-level", "debug"]);
        printed(&stage, "network create app");
        stage.network("own");
        printed(&stage, "run -d --name web --network app -- sleep 1000");
        printed(&stage, "kill web");
        let events = |filter: &str| -> Vec<EventMessage> {
            let all =
                printed(&stage, &format!("events --since 1h --until 0s --format json --filter {filter}"));
            all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        eventually("the end is noticed", Duration::from_secs(20), || !events("event=die").is_empty());
        let pid = |event: &EventMessage| event.actor.attributes.get("fairway.pid").cloned();
        let created = events("event=create");
        let [app, own, web] = &created[..] else { panic!("{created:?}") };
        assert!([app, own, web].iter().all(|event| event.actor.attributes["fairway.uid"] == "0"));
        assert_eq!(pid(own), Some(std::process::id().to_string()));
        // Each command is a process of its own.
        assert!(pid(app) != pid(own) && pid(web) != pid(app) && pid(app) != Some("0".to_owned()));
        let (killed, died) = (events("event=kill"), events("event=die"));
        assert!(killed[0].actor.attributes["name"] == "web" && pid(&killed[0]).is_some());
        assert_ne!(pid(&died[0]), pid(&killed[0]), "the supervisor reports the end");
        stage.host.run_in(|| foreign_changes::set_mtu("fairway0", 1300)).unwrap();
        eventually("a repair is no request", Duration::from_secs(20), || {
            events("event=repair").first().is_some_and(|event| pid(event).is_none())
        });
        let log = stage.daemon.log();
        let line = |part: &str| log.lines().find(|line| line.contains(part)).expect(part).to_owned();
        let network = line("changed network own: create");
        assert!(
            network.contains(" INFO ")
                && network.contains(&format!("process {} of user 0", std::process::id()))
        );
        assert!(line("changed container web: create").contains(" DEBUG "));
    });
}
