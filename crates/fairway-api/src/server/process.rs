//! Requests that take a process of this program: start, restart, logs, attach, top.
//!
//! The daemon starts no commands itself. It executes the program as a user would (`fairway start web`), whose supervisor
//! outlives the daemon.

use std::process::{Output, Stdio};

use fairway_core::world::Command;
use fairway_model::{Sandbox, SandboxState};
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc;

use super::Server;
use super::call::Call;
use super::fairway::fail_start;
use super::framing::Framing;
use super::hijack::{self, QUEUE, Upgrade};
use super::known::{check_running, find};
use super::reply::Reply;
use crate::engine_api::{EngineApi, Failure, FailureKind};
use crate::image::find_image;
use crate::types::Top;

/// What the program's errors begin with.
const PREFIXES: [&str; 2] = ["fairway: ", "Error response from daemon: "];
/// The columns of `fairway top`; only the last one may contain spaces.
const TOP_COLUMNS: usize = 8;

impl Server {
    /// This program with these arguments, as a client of this daemon.
    pub(super) fn program(&self, arguments: &[&str]) -> Process {
        let mut program = self.engine.program();
        program.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::from(program)
    }

    /// Executes this program to its end.
    async fn execute(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let output = self.program(arguments).output().await.map_err(|error| unstarted(&error))?;
        if output.status.success() {
            return Ok(output);
        }
        let message = match reason(&output.stderr) {
            // It was killed.
            none if none.is_empty() => format!("cannot execute fairway: it ended with {}", output.status),
            reason => reason,
        };
        Err(Failure::new(FailureKind::Internal, message))
    }

    /// Starts a container.
    pub(super) async fn start(self, id: String) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        if sandbox.running() {
            return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
        }
        let id = sandbox.id.to_string();
        let started = match self.check_image(&sandbox) {
            Ok(()) => {
                let attachments = format!("--attachments={}", self.waiting.count(sandbox.id));
                self.execute(&["start", &attachments, &id]).await.map(drop)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = started {
            let (failed, before, error) = (id.clone(), sandbox.start_error, failure.message.clone());
            let record = move |engine: &dyn EngineApi| match find(engine, &failed)?.start_error == before {
                true => fail_start(engine, failed, &error),
                // The program has reported its failure itself.
                false => Ok(()),
            };
            // The client gets the error in any case.
            let _ = self.command(record).await;
            // As in Docker, a container with `--rm` that did not start is removed.
            if sandbox.options.auto_remove && sandbox.state == SandboxState::Created {
                let remove = Command::RemoveSandbox { sandbox: id };
                // One that has ended by then is removed already.
                let _ = self.command(move |engine| engine.execute(remove)).await;
            }
            return Err(failure);
        }
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// Refuses to run the command of an image that is gone.
    fn check_image(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        find_image(|| self.engine.images(), &sandbox.options.image).map(drop)
    }

    /// Stops a container, if it runs, and starts it.
    pub(super) async fn restart(self, id: String, call: Call) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        self.check_image(&sandbox)?;
        let timeout: Option<i64> = call.number("t")?;
        let timeout = timeout.map(|seconds| format!("--timeout={seconds}"));
        let signal = Some(call.parameter("signal")).filter(|signal| !signal.is_empty());
        let signal = signal.map(|signal| format!("--signal={signal}"));
        let id = sandbox.id.to_string();
        let mut arguments = vec!["restart"];
        arguments.extend(timeout.iter().chain(&signal).map(String::as_str));
        arguments.push(&id);
        self.execute(&arguments).await?;
        self.engine.emit(&id, "restart".to_owned(), &[]);
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// The processes of a container.
    pub(super) async fn top(&self, id: String) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        check_running(&sandbox)?;
        let output = self.execute(&["top", &sandbox.id.to_string()]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut rows = text.lines().map(columns);
        Reply::json(&Top { titles: rows.next().unwrap_or_default(), processes: rows.collect() })
    }

    /// Streams the log of a container.
    pub(super) async fn logs(&self, id: String, call: Call) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        if !call.flag("stdout") && !call.flag("stderr") {
            return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
        }
        let framing = Framing::of(&sandbox);
        // As in Docker, there is an empty log before the first start.
        if sandbox.state == SandboxState::Created && !call.flag("follow") {
            return Ok(Reply::raw(framing, closed()));
        }
        let mut arguments = vec!["logs".to_owned()];
        arguments.extend((sandbox.state == SandboxState::Created).then(|| "--next".to_owned()));
        for (name, given) in [("--follow", call.flag("follow")), ("--timestamps", call.flag("timestamps"))] {
            arguments.extend(given.then(|| name.to_owned()));
        }
        // As in Docker, what is not a number means all lines.
        let tail = Some(call.parameter("tail")).filter(|tail| tail.parse::<u64>().is_ok());
        for (name, value) in [
            ("tail", tail.unwrap_or_default()),
            ("since", call.parameter("since")),
            ("until", call.parameter("until")),
        ] {
            // Docker's clients send `since=0` for all.
            if !matches!((name, value), (_, "") | ("since" | "until", "0")) {
                arguments.push(format!("--{name}={value}"));
            }
        }
        arguments.push(sandbox.id.to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(Reply::raw(framing, self.follow_log(&arguments, &call, framing).await?))
    }

    /// Streams what a container writes, from its next start on if it does not run: by its streams, and by its log where
    /// the client wants what it has written before, or no supervisor listens.
    pub(super) async fn attach(
        &self,
        id: String,
        call: Call,
        upgrade: Option<Upgrade>,
    ) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        if !sandbox.running() {
            self.check_image(&sandbox)?;
        }
        self.engine.emit(&sandbox.id.to_string(), "attach".to_owned(), &[]);
        let mut upgrade = upgrade;
        let has_input = sandbox.options.tty || sandbox.options.process.open_stdin;
        if (has_input || !call.flag("logs"))
            && let Some(reply) = self.attach_streams(&sandbox, &call, &mut upgrade).await?
        {
            return Ok(reply);
        }
        let id = sandbox.id.to_string();
        let since = format!("--since={}", seconds(self.engine.now()));
        let mut arguments = vec!["logs", "--follow"];
        arguments.extend((!sandbox.running()).then_some("--next"));
        arguments.extend((!call.flag("logs")).then_some(&*since));
        arguments.push(&id);
        // The client starts the container as soon as it has the reply.
        let framing = Framing::of(&sandbox);
        let receive = self.follow_log(&arguments, &call, framing).await?;
        Ok(hijack::reply(upgrade, framing, receive, None))
    }

    /// What `fairway logs` prints, of the streams that are asked for. It is killed when it is no longer received.
    async fn follow_log(
        &self,
        arguments: &[&str],
        call: &Call,
        framing: Framing,
    ) -> Result<mpsc::Receiver<Bytes>, Failure> {
        let mut child = self.open_log(arguments).await?;
        let (send, receive) = mpsc::channel(QUEUE);
        let wanted = [call.flag("stdout"), call.flag("stderr")];
        tokio::spawn(async move {
            tokio::select! {
                () = hijack::copy_streams(&mut child, wanted, framing, &send) => {}
                () = send.closed() => {}
            }
        });
        Ok(receive)
    }

    /// Executes `fairway logs`, and returns when it has the log open: the container may be gone a moment later.
    async fn open_log(&self, arguments: &[&str]) -> Result<Child, Failure> {
        let mut program = self.program(arguments);
        let spawned = program.arg("--announce").kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|error| unstarted(&error))?;
        if let Some(out) = &mut child.stdout
            && out.read_exact(&mut [0]).await.is_err()
        {
            let output = child.wait_with_output().await.map_err(|error| unstarted(&error))?;
            return Err(Failure::new(FailureKind::Internal, reason(&output.stderr)));
        }
        Ok(child)
    }
}

/// A closed stream of output.
fn closed() -> mpsc::Receiver<Bytes> {
    mpsc::channel(1).1
}

fn columns(line: &str) -> Vec<String> {
    let mut rest = line.trim();
    let mut found = Vec::new();
    while found.len() + 1 < TOP_COLUMNS {
        let Some((word, after)) = rest.split_once(char::is_whitespace) else { break };
        found.push(word.to_owned());
        rest = after.trim_start();
    }
    found.push(rest.to_owned());
    found
}

/// Nanoseconds since 1970 as seconds with a fraction.
fn seconds(nanoseconds: i64) -> String {
    format!("{}.{:09}", nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
}

pub(super) fn unstarted(error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot execute fairway: {error}"))
}

/// What the program complained of, without its name.
fn reason(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let plain =
        |line| PREFIXES.iter().fold(line, |line: &str, prefix| line.strip_prefix(prefix).unwrap_or(line));
    let lines: Vec<&str> = text.lines().map(plain).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_the_command() {
        let titles = columns("UID    PID    PPID    C    STIME    TTY    TIME    CMD");
        assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let row = columns("root   41  7 0 10:22 ? 00:00:00 sh -c sleep  9");
        assert_eq!(row[7], "sh -c sleep  9");
        assert_eq!(columns("root"), ["root"]);
    }

    #[test]
    fn reasons_are_without_the_name_of_the_program() {
        assert_eq!(reason(b"fairway: no such thing\nError response from daemon: no\n"), "no such thing\nno");
        assert_eq!(seconds(1_795_312_963_000_000_007), "1795312963.000000007");
    }
}
