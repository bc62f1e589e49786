//! `fairway demo`: the whole story in a lab of its own, with real answers.
//!
//! A host and a second one on its LAN are made of namespaces, the real daemon runs on the host, and
//! every line that is printed was done or answered just now. Nothing of the machine is touched.

mod visitor;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fairway_lab::{Host, Lab, LabError, Process};
use rustix::process::Signal;

pub use visitor::stage;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const HOST_ADDRESS: &str = "10.10.50.99";
const LAN_ADDRESS: &str = "10.10.50.1";

/// What goes wrong in a demo: the lab cannot be made, or a command fails.
type Failure = Box<dyn std::error::Error>;

/// Runs the demo.
#[must_use]
pub fn main() -> ExitCode {
    if !fairway_lab::is_inside() {
        say("Fairway builds a lab: a host and its LAN, of namespaces that only this program sees.");
    }
    match fairway_lab::main(|lab| match Demo::new(lab).and_then(|mut demo| demo.play()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("fairway: the demo cannot go on: {error}");
    ExitCode::FAILURE
}

/// Prints at once, also into a pipe. A reader that has gone is no error.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The stage and who is on it.
struct Demo {
    host: Host,
    lan: Host,
    program: PathBuf,
    daemon: Option<Process>,
}

impl Demo {
    fn new(lab: &Lab) -> Result<Self, Failure> {
        let (host, lan) = (lab.host("host")?, lab.host("lan")?);
        let switch = lab.lan("lan0")?;
        switch.join(&host, &["10.10.50.99/24"])?;
        switch.join(&lan, &["10.10.50.1/24"])?;
        host.route("default", LAN_ADDRESS)?;
        Ok(Self { host, lan, program: std::env::current_exe()?, daemon: None })
    }

    fn play(&mut self) -> Result<(), Failure> {
        say(&format!(
            "  host  {HOST_ADDRESS}\n  lan   {LAN_ADDRESS}, the host's neighbour and default gateway"
        ));
        self.networks()?;
        self.published()?;
        self.names()?;
        self.apart()?;
        self.outbound()?;
        self.killed()?;
        say("\nThat was the demo. The lab is gone with all that was in it.");
        Ok(())
    }

    fn networks(&mut self) -> Result<(), Failure> {
        heading("The daemon starts, and a network is made");
        self.start_daemon()?;
        self.fairway(&["network", "create", "app"])?;
        self.fairway(&["network", "ls"])
    }

    fn published(&mut self) -> Result<(), Failure> {
        heading("A sandbox publishes a port, and is asked from everywhere");
        self.serve("web", &["--network", "app", "-p", "8080:80"])?;
        self.fairway(&["ps"])?;
        let asked = format!("{HOST_ADDRESS}:8080");
        self.ask("the LAN", &self.lan, &asked)?;
        self.ask("the host by its address", &self.host, &asked)?;
        Ok(self.ask("the host by loopback", &self.host, "127.0.0.1:8080")?)
    }

    fn names(&mut self) -> Result<(), Failure> {
        heading("A neighbour finds it by name");
        self.visit("app", "web:80")?;
        self.visit("app", &format!("{HOST_ADDRESS}:8080"))
    }

    fn apart(&mut self) -> Result<(), Failure> {
        heading("Another network is another world");
        self.fairway(&["network", "create", "other"])?;
        self.visit("other", "172.18.0.2:80")?;
        self.visit("other", "web:80")?;
        self.visit("other", &format!("{HOST_ADDRESS}:8080"))
    }

    fn outbound(&mut self) -> Result<(), Failure> {
        heading("Out to the LAN, with the host's address");
        let mut server = self.command(&[visitor::SERVE, "80"]);
        let _server = self.lan.spawn(server.stdin(Stdio::null()))?;
        self.visit("app", &format!("{LAN_ADDRESS}:80"))
    }

    fn killed(&mut self) -> Result<(), Failure> {
        heading("The daemon is killed, and traffic goes on");
        say("$ kill -9 $(pidof fairway)");
        self.daemon = None;
        let asked = format!("{HOST_ADDRESS}:8080");
        self.ask("the LAN", &self.lan, &asked)?;
        self.ask("the host by loopback", &self.host, "127.0.0.1:8080")?;
        self.start_daemon()?;
        self.fairway(&["ps"])?;
        self.fairway(&["stop", "-t", "1", "web"])?;
        self.ask("the LAN", &self.lan, &asked)?;
        if let Some(daemon) = &mut self.daemon {
            daemon.signal(Signal::TERM)?;
            daemon.wait_within(PATIENCE)?;
        }
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<(), Failure> {
        say("$ fairway daemon &");
        let mut command = self.command(&["--log-level", "warn", "daemon"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.daemon = Some(self.host.spawn(&mut command)?);
        let deadline = Instant::now() + PATIENCE;
        while !self.host.run(self.command(&["version"]).stdin(Stdio::null()))?.status.success() {
            if Instant::now() > deadline {
                return Err("the daemon does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the demo runs the commands that it shows")]
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// Runs a command of ours on the host, and shows it with what it answers.
    fn fairway(&self, arguments: &[&str]) -> Result<(), Failure> {
        say(&format!("$ fairway {}", arguments.join(" ")));
        let output = self.host.run(self.command(arguments).stdin(Stdio::null()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        say(text.trim_end());
        if output.status.success() { Ok(()) } else { Err(text.into_owned().into()) }
    }

    /// Runs a sandbox that answers on port 80, and waits until it does.
    fn serve(&self, name: &str, options: &[&str]) -> Result<(), Failure> {
        let program = self.program.display().to_string();
        let shown =
            ["run", "-d", "--name", name].iter().chain(options).copied().collect::<Vec<_>>().join(" ");
        say(&format!("$ fairway {shown} -- (a server that says which address it sees)"));
        let mut arguments = vec!["run", "-d", "--name", name];
        arguments.extend(options);
        arguments.extend(["--", &program, visitor::SERVE, "80"]);
        let output = self.host.run(self.command(&arguments).stdin(Stdio::null()))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let deadline = Instant::now() + PATIENCE;
        while self.host.run_in(|| visitor::ask("172.18.0.2:80"))? == visitor::REFUSED {
            if Instant::now() > deadline {
                return Err("the server in the sandbox does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Asks from a sandbox that exists for that alone.
    fn visit(&self, network: &str, target: &str) -> Result<(), Failure> {
        let program = self.program.display().to_string();
        let arguments = ["run", "--rm", "--network", network, "--", &program, visitor::ASK, target];
        let output = self.host.run(self.command(&arguments).stdin(Stdio::null()))?;
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if answer.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        show(&format!("a sandbox on {network}"), target, &answer);
        Ok(())
    }

    fn ask(&self, who: &str, place: &Host, target: &str) -> Result<(), LabError> {
        let answer = place.run_in(|| visitor::ask(target))?;
        show(who, target, &answer);
        Ok(())
    }
}

fn heading(text: &str) {
    say(&format!("\n== {text}"));
}

fn show(who: &str, target: &str, answer: &str) {
    say(&format!("  {who:<26} -> {target:<20} {answer}"));
}
