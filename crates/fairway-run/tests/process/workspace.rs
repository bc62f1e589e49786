//! The place in which a case runs, and the usual way to start something there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fairway_kernel::system;
use fairway_run::{CapabilitySet, Files, Launch, environment, launch};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

/// An empty directory of the case's own.
pub const WORK: &str = "/mnt";

/// Makes the mounts of this process its own and runs the case; a panic is its failure.
pub fn enter(case: impl FnOnce()) -> ExitCode {
    system::unshare(UnshareFlags::NEWNS).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"").unwrap();
    mount("tmpfs", WORK, "tmpfs", MountFlags::empty(), c"").unwrap();
    case();
    ExitCode::SUCCESS
}

/// A path in the case's directory.
pub fn place(name: &str) -> PathBuf {
    Path::new(WORK).join(name)
}

/// A file in the case's directory, with this in it.
pub fn file(name: &str, text: &str) -> PathBuf {
    let path = place(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// What starts a shell with this script, as `fairway run` would.
pub fn shell(script: &str) -> Launch {
    command(&["/bin/sh", "-c", script])
}

/// What starts a probe.
pub fn probe(arguments: &[&str]) -> Launch {
    let program = std::env::current_exe().unwrap();
    let mut words = vec![program.to_str().unwrap(), super::PROBE];
    words.extend(arguments);
    command(&words)
}

/// What starts a command.
pub fn command(words: &[&str]) -> Launch {
    Launch {
        hostname: "web".to_owned(),
        capabilities: CapabilitySet::docker_default(),
        environment: environment("web", "/root", None, &[]),
        directory: "/".into(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Launch::default()
    }
}

/// Runs it to its end, and returns its exit code or that of the error.
pub fn code(launched: &Launch) -> i32 {
    code_with(launched, &Files::default())
}

/// As [`code`], with files of its own.
pub fn code_with(launched: &Launch, files: &Files) -> i32 {
    match launch(launched).and_then(|launched| launched.release(files)) {
        Ok(running) => {
            running.notes().iter().for_each(|note| eprintln!("note: {note}"));
            running.wait_forwarding_signals().unwrap()
        }
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}

/// Runs a script that must end well, and returns what it printed.
pub fn printed(launched: &Launch) -> String {
    printed_with(launched, &Files::default())
}

/// As [`printed`], with files of its own.
pub fn printed_with(launched: &Launch, files: &Files) -> String {
    let mut launched = launched.clone();
    let script = launched.command.last_mut().unwrap();
    // `show` prints a file with nothing but the shell.
    *script = format!(
        "exec > {WORK}/printed; show() {{ while IFS= read -r line; do echo \"$line\"; done < \"$1\"; }}; {script}"
    );
    assert_eq!(code_with(&launched, files), 0);
    super::text(place("printed"))
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
