//! The daemon as a service: signals, reload by a command, and what its processes are called.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairway_lab::{Outcome, SCRATCH, ask, serve_tcp};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{fairway, printed, stay};
use crate::harness::{Stage, eventually};
use crate::kernel_state::relay_pid;

const FILE: &str = "/etc/daemon-of-this-test.json";
const PATIENCE: Duration = Duration::from_secs(20);

fn write(stage: &Stage, text: &str) {
    stage.host.run_in(|| fs::write(FILE, text).unwrap()).unwrap();
}

/// Sends a signal to a daemon that has only begun to start: it waits for another one to leave its socket.
fn signal_at_start(stage: &mut Stage, signal: Signal) {
    let path = stage.daemon.address().trim_start_matches("unix://").to_owned();
    let former = UnixListener::bind(&path).unwrap();
    stage.daemon.launch(&["--config-file", FILE]);
    former.accept().unwrap();
    let pid = i32::try_from(stage.daemon.pid()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    drop(former);
}

#[test]
fn a_signal_at_start_is_not_lost() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, "{}");
        signal_at_start(&mut stage, Signal::HUP);
        stage.daemon.wait_until_ready();
        eventually("the daemon reloads", PATIENCE, || stage.daemon.log().contains("reloaded"));
        assert!(stage.daemon.stop().success());
        let _ = fs::remove_file(stage.daemon.address().trim_start_matches("unix://"));
        for signal in [Signal::TERM, Signal::INT] {
            signal_at_start(&mut stage, signal);
            let status = stage.daemon.wait_until_ended().expect("the daemon ends");
            assert!(status.success(), "{signal:?}: {status}");
            let _ = fs::remove_file(stage.daemon.address().trim_start_matches("unix://"));
        }
        assert_eq!(stage.daemon.log().matches("daemon stopped; networks").count(), 3);
    });
}

#[test]
fn a_reload_by_command_says_what_came_of_it() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, r#"{"log-level": "warn"}"#);
        stage.daemon.launch(&["--config-file", FILE]);
        stage.daemon.wait_until_ready();
        let reload = format!("daemon --config-file {FILE} --reload");
        assert_eq!(printed(&stage, &reload), "reloaded: no setting changed");
        write(&stage, r#"{"log-level": "debug", "mtu": 1400, "data-root": "/var/lib/other"}"#);
        let said = fairway(&stage, &reload);
        assert_eq!((said.output.as_str(), said.code), ("reloaded: mtu, log-level\n", 0));
        let restart = "data-root cannot change while the daemon runs: restart the daemon";
        assert!(said.errors.contains(restart), "{}", said.errors);
        let log = stage.daemon.log();
        assert!(!log.contains("ready") && log.contains("changed=\"mtu, log-level\""), "{log}");

        for (text, reason) in [
            ("{", "EOF while parsing"),
            (r#"{"log-level": "loud"}"#, "loud"),
            (r#"{"bip": "172.17.0.1"}"#, "the prefix length is missing"),
            (r#"{"bridge": "own0"}"#, "cannot use bridge own0: it does not exist"),
        ] {
            write(&stage, text);
            let said = fairway(&stage, &reload);
            assert_eq!((said.output.as_str(), said.code), ("", 1), "{text}: {}", said.errors);
            assert!(said.errors.contains(reason), "{text}: {}", said.errors);
        }
        write(&stage, r#"{"log-level": "debug", "mtu": 1400}"#);
        assert_eq!(printed(&stage, &reload), "reloaded: no setting changed");
    });
}

/// The processes of the lab: what each is called, and its arguments.
fn processes() -> Vec<(String, Vec<String>)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let read = |path: PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let words = fs::read_to_string(path.join("cmdline")).ok()?;
        let words = words.split_terminator('\0').map(str::to_owned).collect();
        Some((name.trim_end().to_owned(), words))
    };
    entries.filter_map(|entry| read(entry.path())).collect()
}

#[test]
fn processes_say_what_they_are() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stay(&stage, "--name web");
        let found = processes();
        let words = |name: &str| {
            found
                .iter()
                .find(|(found, _)| found == name)
                .unwrap_or_else(|| panic!("{name}: {found:?}"))
                .1
                .clone()
        };
        assert_eq!(words("fairway-relay")[..2], ["fairway-relay", "relay"]);
        assert_eq!(words("fairway-superv"), ["fairway-supervisor", "sandbox-supervise", "web"]);
        assert!(found.iter().all(|(name, _)| name != "exe"), "{found:?}");
    });
}

#[test]
fn the_relay_passes_over_signals_that_are_meant_for_the_daemon() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let relay = relay_pid().unwrap();
        for signal in [Signal::HUP, Signal::INT] {
            kill_process(Pid::from_raw(i32::try_from(relay).unwrap()).unwrap(), signal).unwrap();
        }
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        assert!(matches!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::Answered { .. }));
        assert_eq!(relay_pid(), Some(relay));
    });
}

#[test]
fn a_service_manager_is_notified_when_the_daemon_is_ready() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let path = format!("{SCRATCH}/notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        stage.daemon.launch_with(&[], &[("NOTIFY_SOCKET", &path)]);
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1");
        stage.client().ping().unwrap();
        let environment = fs::read(format!("/proc/{}/environ", relay_pid().unwrap())).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
    });
}

#[test]
fn the_watchdog_hears_of_a_daemon_that_answers() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let path = format!("{SCRATCH}/notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        stage.daemon.launch_with(&[], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "300000")]);
        let reported = |patience: Duration| {
            manager.set_read_timeout(Some(patience)).unwrap();
            let mut message = [0; 64];
            manager
                .recv(&mut message)
                .ok()
                .map(|length| String::from_utf8_lossy(&message[..length]).into_owned())
        };
        assert_eq!(reported(PATIENCE).as_deref(), Some("READY=1"));
        for _ in 0..3 {
            assert_eq!(reported(PATIENCE).as_deref(), Some("WATCHDOG=1"));
        }
        // One that accepts no request any more, as seen at its socket.
        let socket = stage.daemon.address().trim_start_matches("unix://").to_owned();
        fs::remove_file(&socket).unwrap();
        let _silent = UnixListener::bind(&socket).unwrap();
        // One report may be on its way.
        assert!((0..3).any(|_| reported(Duration::from_secs(1)).is_none()));
    });
}

#[test]
fn an_image_as_a_command_is_answered_by_what_to_do_instead() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        for (line, said) in
            [("run --rm demo/nginx", true), ("run --rm nginx:latest", true), ("run --rm -- ./nginx", false)]
        {
            let refused = fairway(&stage, line);
            assert_eq!(refused.code, 127, "{line}");
            let says =
                refused.errors.contains("Fairway has no images, it runs programs of this host: fairway run");
            assert_eq!(says, said, "{line}: {}", refused.errors);
        }
    });
}

#[test]
fn logs_are_limited_by_the_daemon_and_by_each_run() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--log-opt", "max-size=8k", "--log-opt", "max-file=3"]);
        let script = "n=0; while [ $n -lt 2000 ]; do echo line $n; n=$((n+1)); done";
        let config =
            |name: &str| printed(&stage, &format!("inspect -f '{{{{json .HostConfig.LogConfig}}}}' {name}"));
        let path =
            |name: &str| PathBuf::from(printed(&stage, &format!("inspect -f {{{{.LogPath}}}} {name}")));
        let files = |path: &Path| {
            let named = |number: u32| {
                if number == 0 { path.to_owned() } else { path.with_added_extension(number.to_string()) }
            };
            let sizes = || (0..9).map_while(|number| Some(fs::metadata(named(number)).ok()?.len())).collect();
            stage.host.run_in(sizes).unwrap()
        };
        for (name, flags, count, max_file) in [("one", "", 3, "3"), ("two", "--log-opt max-file=2", 2, "2")] {
            printed(&stage, &format!("run -d --name {name} {flags} -- sh -c '{script}'"));
            printed(&stage, &format!("wait {name}"));
            let expected =
                format!(r#"{{"Type":"json-file","Config":{{"max-file":"{max_file}","max-size":"8k"}}}}"#);
            assert_eq!(config(name), expected);
            let path = path(name);
            let sizes: Vec<u64> = files(&path);
            assert!(sizes.len() == count && sizes.iter().all(|size| *size <= 8192), "{sizes:?}");
            let shown = printed(&stage, &format!("logs {name}"));
            let numbers: Vec<u32> =
                shown.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
            let first = numbers[0];
            assert!(first > 0 && numbers.iter().copied().eq(first..2000), "{first}");
            printed(&stage, &format!("rm {name}"));
            assert_eq!(files(&path), Vec::<u64>::new());
        }
        let refused = fairway(&stage, "run -d --log-opt max-size=lots -- true");
        assert!(
            refused.errors.contains("invalid log option max-size=lots: a size such as 10m"),
            "{}",
            refused.errors
        );
        assert_eq!(refused.code, 125);
    });
}

#[test]
fn a_log_in_json_has_an_object_in_each_line() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, r#"{"log-format": "json", "log-driver": "x"}"#);
        stage.daemon.launch(&["--config-file", FILE]);
        stage.daemon.wait_until_ready();
        printed(&stage, "network create app");
        // A relay writes in the format of the daemon that starts it.
        stage.daemon.stop();
        let log = stage.daemon.log();
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        // Also what is wrong with the file itself.
        assert_eq!(lines[0]["key"], "log-driver");
        for line in &lines {
            for key in ["timestamp", "level", "target", "message"] {
                assert!(line[key].is_string(), "{key}: {line}");
            }
        }
        let created =
            lines.iter().find(|line| line["message"].as_str().unwrap().contains("network app: create"));
        assert_eq!(created.unwrap()["uid"], 0);
        assert_eq!(lines.last().unwrap()["level"], "INFO");

        // With the flag every line is one, also the reason why the daemon does not start.
        for flags in [["--mtu", "1"], ["--metrics-addr", "0.0.0.0:1"]] {
            let before = stage.daemon.log().lines().count();
            stage.daemon.launch(&["--log-format", "json", flags[0], flags[1], "--config-file", "/dev/null"]);
            assert_eq!(stage.daemon.wait_until_ended().unwrap().code(), Some(1));
            let log = stage.daemon.log();
            let lines: Vec<serde_json::Value> =
                log.lines().skip(before).map(|line| serde_json::from_str(line).expect(line)).collect();
            assert_eq!(lines.last().unwrap()["level"], "ERROR", "{lines:?}");
        }
    });
}

#[test]
fn the_format_of_the_log_can_change_at_a_reload() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        write(&stage, "{}");
        stage.daemon.launch(&["--config-file", FILE]);
        stage.daemon.wait_until_ready();
        write(&stage, r#"{"log-format": "json"}"#);
        let said = stage.daemon.reload();
        assert!(said.starts_with('{') && said.contains("log-format"), "{said}");
        write(&stage, r#"{"log-format": "xml"}"#);
        assert!(stage.daemon.reload().contains("unknown variant `xml`, expected `text` or `json`"));
    });
}
