//! The real daemon, as a process of a host.

use std::fs::OpenOptions;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fairway_api::Client;
use fairway_lab::{Host, Process, SCRATCH};
use rustix::process::Signal;

use crate::harness::flags_everywhere;

/// How long a daemon may take to answer, or to end: a busy machine gets much.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon. When a test fails, what it logged is printed.
pub struct Daemon {
    host: Host,
    process: Option<Process>,
    socket: String,
    log: String,
    /// The file that says how far its wall clock is ahead.
    clock: String,
}

impl Daemon {
    /// A daemon that has not been started.
    pub fn stopped(host: &Host) -> Daemon {
        let name = host.name();
        Daemon {
            host: host.clone(),
            process: None,
            socket: format!("unix://{SCRATCH}/{name}.sock"),
            log: format!("{SCRATCH}/{name}.log"),
            clock: format!("{SCRATCH}/{name}.clock"),
        }
    }

    /// Starts the process and does not wait for it.
    pub fn launch(&mut self, flags: &[&str]) {
        self.launch_with(flags, &[]);
    }

    /// Starts the process with these environment variables, and does not wait for it.
    pub fn launch_with(&mut self, flags: &[&str], variables: &[(&str, &str)]) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command
            .args(["-H", &self.socket, "daemon"])
            .args(flags)
            .args(flags_everywhere())
            .env("NO_COLOR", "1")
            .env("FAIRWAY_CLOCK", &self.clock)
            .envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(self.host.spawn(&mut command).unwrap());
    }

    /// Sets its wall clock so many seconds ahead of the machine's, also for those that are started later.
    pub fn set_clock(&self, ahead: i64) {
        std::fs::write(&self.clock, ahead.to_string()).unwrap();
    }

    /// Waits until the daemon answers.
    pub fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client().ping().is_err() {
            let ended =
                self.process.as_mut().and_then(|it| it.wait_within(Duration::from_millis(3)).unwrap());
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
            assert!(Instant::now() < deadline, "the daemon does not answer");
        }
    }

    /// How the daemon ends by itself: for flags that it refuses. None if it runs on.
    pub fn wait_until_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.wait_within(PATIENCE).unwrap();
        self.process = status.is_none().then(|| self.process.take()).flatten();
        status
    }

    /// Kills it at once, as nothing can prevent.
    pub fn kill9(&mut self) {
        // Dropping kills and waits.
        self.process = None;
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::TERM).unwrap();
        process.wait_within(PATIENCE).unwrap().unwrap()
    }

    /// Asks it to read its file again, and waits until it has said what came of it.
    pub fn reload(&mut self) -> String {
        let before = self.log().lines().count();
        self.process.as_ref().unwrap().signal(Signal::HUP).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let said: Vec<&str> = log.lines().skip(before).collect();
            if said
                .iter()
                .any(|line| line.contains("configuration reloaded") || line.contains("cannot reload"))
            {
                return said.join("\n");
            }
            assert!(Instant::now() < deadline, "it says nothing of a reload");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Kills it and starts it again with these flags.
    pub fn restart(&mut self, flags: &[&str]) {
        self.kill9();
        self.launch(flags);
        self.wait_until_ready();
    }

    /// Its process id in the lab; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.id())
    }

    /// A new client of it, which can be used anywhere in the lab.
    pub fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    /// The address of its socket, which all of the lab sees.
    pub fn address(&self) -> &str {
        &self.socket
    }

    /// All that it and those before it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the daemon's log on {}\n{}---", self.host.name(), self.log());
        }
    }
}
