//! `fairway top` without a sandbox: in a terminal, and where there is none.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairway_lab::{ask, serve_echo};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cli::printed;
use crate::harness::{HOST, Stage, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of a new terminal of 100 columns and 20 lines.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_col: 100, ws_row: 20, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let user = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (master.into(), user.into())
}

#[test]
fn a_terminal_shows_what_changes_until_q() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let (mut keys, user) = terminal();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(["-H", stage.daemon.address(), "top"]);
        command.stdin(user.try_clone().unwrap()).stdout(user.try_clone().unwrap()).stderr(Stdio::from(user));
        let mut top = command.spawn().unwrap();
        drop(command);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut reads) = (Arc::clone(&written), keys.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        let shows = |text: &str| String::from_utf8_lossy(&written.lock().unwrap()).contains(text);
        eventually("the networks are shown", PATIENCE, || shows("172.17.0.0/16"));
        // What is made meanwhile is shown, in the view that a key chooses.
        stage.network("app");
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        let _echo = serve_echo(&web, "0.0.0.0:80").unwrap();
        keys.write_all(b"2").unwrap();
        eventually("the sandbox is shown", PATIENCE, || shows(&web.address("app").to_string()));
        keys.write_all(b"3").unwrap();
        eventually("the port is shown", PATIENCE, || shows("0.0.0.0:8080->80/tcp"));
        keys.write_all(b"q").unwrap();
        assert!(top.wait().unwrap().success());
        assert!(shows("\x1b[?1049l"), "the screen is as it was");
    });
}

#[test]
fn an_output_that_is_no_terminal_gets_all_tables_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        let _echo = serve_echo(&web, "0.0.0.0:80").unwrap();
        ask(&stage.lan, &format!("{HOST}:8080")).unwrap();
        let text = printed(&stage, "top");
        let titles = ["Networks", "Sandboxes", "Published ports", "Findings"];
        let found: Vec<&str> = text.lines().filter(|line| titles.contains(line)).collect();
        assert_eq!(found, titles, "{text}");
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
        assert!(row("app ").contains("172.18.0.0/16   1 "), "{text}");
        assert!(row("web ").contains(&web.address("app").to_string()), "{text}");
        let port = text.lines().find(|line| line.contains("0.0.0.0:8080->80/tcp  ")).unwrap();
        assert!(!port.ends_with(" 0 B") && port.contains(" - "), "what came through is counted: {port}");
        let once = printed(&stage, "top --once");
        assert_eq!(once.lines().filter(|line| titles.contains(line)).count(), titles.len());
    });
}
