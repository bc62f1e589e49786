//! The program that the tests of labs start: one lab, by its only argument.

// Clippy takes no program without the usual harness for a test.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests run programs")]

use std::process::{Command, ExitCode};
use std::time::Duration;

use fairway_kernel::system::inherit::reset_signals;
use fairway_lab::{ask, serve_tcp};
use rustix::process::Signal;

fn main() -> ExitCode {
    // A lab executes this program again with the name of the function for its first argument, as that of a test.
    match std::env::args().nth(1).as_deref() {
        Some("victim") => victim(),
        Some("panics") => panics(),
        Some("users") => users(),
        Some("status") => return status(),
        other => panic!("no lab is called {other:?}"),
    }
    ExitCode::SUCCESS
}

/// A lab full of life that waits to be killed.
fn victim() {
    // A shell that runs the tests in the background has them ignore it.
    reset_signals([Signal::INT.as_raw()]);
    fairway_lab::run(|lab| {
        live(lab);
        std::thread::sleep(Duration::from_secs(1000));
    });
}

/// A lab full of life that panics.
fn panics() {
    fairway_lab::run(|lab| {
        live(lab);
        panic!("as asked");
    });
}

fn live(lab: &fairway_lab::Lab) {
    let host = lab.host("host").unwrap();
    lab.lan("lan0").unwrap().join(&host, &["10.0.0.1/24"]).unwrap();
    std::mem::forget(serve_tcp(&host, "0.0.0.0:80").unwrap());
    ask(&host, "10.0.0.1:80").unwrap();
    // One that is a child of this process, and one that has left it and its session.
    std::mem::forget(host.spawn(Command::new("sleep").arg("1000")).unwrap());
    let leave = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &";
    assert!(host.run(Command::new("sh").args(["-c", leave])).unwrap().status.success());
    println!("ready {}", std::fs::read_link("/proc/self/ns/net").unwrap().display());
}

/// Says whether there are users besides root.
fn users() {
    fairway_lab::run(|lab| println!("other users: {}", lab.has_other_users().unwrap()));
}

/// Ends with a status from inside its lab.
fn status() -> ExitCode {
    let status = fairway_lab::main(|lab| {
        lab.host("host").unwrap();
        ExitCode::from(7)
    });
    status.unwrap()
}
