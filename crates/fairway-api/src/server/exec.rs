//! Commands in running containers: `/containers/{id}/exec` and `/exec`.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_model::RefusalKind;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::Server;
use super::call::Call;
use super::framing::Framing;
use super::hijack::{self, QUEUE, Upgrade};
use super::known::{check_running, find};
use super::process::unstarted;
use super::reply::Reply;
use super::terminal::Terminal;
use crate::engine_api::Failure;
use crate::types::{Created, ExecCreate, ExecInspect, ExecProcess, ExecStart};

/// How many commands are remembered, and how many bytes of words; the oldest that do not run are forgotten.
const REMEMBERED: usize = 1000;
const REMEMBERED_BYTES: usize = 16 << 20;
/// How many bytes of a command an event has: events are kept, and sent to each client.
const SHOWN_BYTES: usize = 1 << 10;
/// The exit code of a command that could not be executed, as of shells.
const NOT_EXECUTED: i32 = 126;

/// A command in a container.
#[derive(Debug)]
struct Exec {
    container: String,
    asked: ExecCreate,
    /// Whether it was started.
    started: bool,
    exit_code: Option<i32>,
    pid: u32,
    terminal: Option<Arc<Terminal>>,
}

/// The commands that were asked for, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Execs(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    number: u64,
    execs: BTreeMap<String, Exec>,
}

impl Register {
    fn forget_oldest(&mut self) {
        let mut count = self.execs.len();
        let mut bytes: usize = self.execs.values().map(Exec::bytes).sum();
        self.execs.retain(|_, exec| {
            let runs = exec.started && exec.exit_code.is_none();
            if runs || (count <= REMEMBERED && bytes <= REMEMBERED_BYTES) {
                return true;
            }
            (count, bytes) = (count - 1, bytes - exec.bytes());
            false
        });
    }
}

impl Exec {
    /// The size of what a client can make as large as it likes.
    fn bytes(&self) -> usize {
        self.asked.cmd.iter().chain(&self.asked.env).map(String::len).sum()
    }
}

/// A command as events show it.
fn shown(cmd: &[String]) -> String {
    let mut words = cmd.join(" ");
    words.truncate(words.floor_char_boundary(SHOWN_BYTES));
    words
}

fn not_found(id: &str) -> Failure {
    Failure::new(RefusalKind::NotFound, format!("No such exec instance: {id}"))
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a command; returns its id.
    fn add(&self, container: String, asked: ExecCreate, now: i64) -> String {
        let mut register = self.lock();
        register.number += 1;
        // Ids begin with the number, so that they are in the order of time.
        let id = format!("{:016x}{now:048x}", register.number);
        let exec = Exec { container, asked, started: false, exit_code: None, pid: 0, terminal: None };
        register.execs.insert(id.clone(), exec);
        register.forget_oldest();
        id
    }

    fn with<T>(&self, id: &str, look: impl FnOnce(&mut Exec) -> T) -> Result<T, Failure> {
        self.lock().execs.get_mut(id).map(look).ok_or_else(|| not_found(id))
    }
}

impl Server {
    /// Remembers a command that is to be started.
    pub(super) async fn create_exec(&self, id: String, call: Call) -> Result<Reply, Failure> {
        let asked: ExecCreate = call.json()?;
        if asked.cmd.is_empty() {
            return Err(Failure::invalid("No exec command specified"));
        }
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        check_running(&sandbox)?;
        let action = format!("exec_create: {}", shown(&asked.cmd));
        let id = self.execs.add(sandbox.id.to_string(), asked, self.engine.now());
        self.engine.emit(&sandbox.id.to_string(), action, &of_exec(&id));
        Reply::created(&Created { id, warning: None, warnings: None })
    }

    /// Starts a command, and streams its input and output unless it is to be detached.
    pub(super) async fn start_exec(
        &self,
        id: String,
        call: Call,
        upgrade: Option<Upgrade>,
    ) -> Result<Reply, Failure> {
        let ExecStart { detach, console_size } =
            if call.has_body() { call.json()? } else { ExecStart::default() };
        let begun = self.execs.with(&id, |exec| {
            let again = std::mem::replace(&mut exec.started, true);
            (again, exec.asked.clone(), exec.container.clone())
        });
        let (again, asked, container) = begun?;
        if again {
            let reason = format!("Error: Exec command {id} has already run");
            return Err(Failure::new(RefusalKind::Conflict, reason));
        }
        let started = Started { server: self.clone(), id: id.clone(), container };
        started.emit(format!("exec_start: {}", shown(&asked.cmd)), &[]);
        let (child, terminal) = match self.spawn_exec(&asked, &started.container, detach, console_size) {
            Ok(spawned) => spawned,
            Err(error) => {
                started.end(NOT_EXECUTED);
                return Err(unstarted(&error));
            }
        };
        self.execs.with(&id, |exec| {
            exec.pid = child.id().unwrap_or_default();
            exec.terminal.clone_from(&terminal);
        })?;
        let streams = started.run(child, &asked, terminal, detach);
        Ok(match detach {
            true => Reply::empty(StatusCode::OK),
            false => hijack::reply(upgrade, streams.framing, streams.output, streams.input),
        })
    }

    /// Executes a command, with a terminal if it is to have one.
    fn spawn_exec(
        &self,
        asked: &ExecCreate,
        container: &str,
        detach: bool,
        size: Option<[u16; 2]>,
    ) -> io::Result<(Child, Option<Arc<Terminal>>)> {
        let arguments = arguments(asked, container);
        let mut program = self.program(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let terminal = if asked.tty { Some(Arc::new(Terminal::open()?)) } else { None };
        if let Some(terminal) = &terminal {
            let [rows, columns] = size.unwrap_or_default();
            terminal.resize(rows, columns)?;
            let [input, out, err] = terminal.streams()?;
            program.stdin(input).stdout(out).stderr(err);
        } else if asked.attach_stdin && !detach {
            program.stdin(Stdio::piped());
        }
        Ok((program.spawn()?, terminal))
    }

    /// What is known of a command.
    pub(super) fn inspect_exec(&self, id: &str) -> Result<Reply, Failure> {
        let found = self.execs.with(id, |exec| ExecInspect {
            id: id.to_owned(),
            running: exec.started && exec.exit_code.is_none(),
            exit_code: exec.exit_code,
            process_config: ExecProcess {
                tty: exec.asked.tty,
                entrypoint: exec.asked.cmd.first().cloned().unwrap_or_default(),
                arguments: exec.asked.cmd.iter().skip(1).cloned().collect(),
                privileged: exec.asked.privileged,
                user: exec.asked.user.clone(),
            },
            open_stdin: exec.asked.attach_stdin,
            open_stdout: exec.asked.attach_stdout,
            open_stderr: exec.asked.attach_stderr,
            container_id: exec.container.clone(),
            pid: exec.pid,
            can_remove: false,
            detach_keys: String::new(),
        })?;
        Reply::json(&found)
    }

    /// Sets the size of a command's terminal.
    pub(super) fn resize_exec(&self, id: &str, call: &Call) -> Result<Reply, Failure> {
        let size = |name| call.number::<u16>(name).map(Option::unwrap_or_default);
        let (height, width) = (size("h")?, size("w")?);
        match self.execs.with(id, |exec| exec.terminal.clone())? {
            Some(terminal) => terminal.resize(height, width).map_err(|error| unstarted(&error))?,
            None => return Err(Failure::invalid(format!("exec {id} has no terminal, or does not run"))),
        }
        Ok(Reply::empty(StatusCode::OK))
    }
}

/// A command that was started.
struct Started {
    server: Server,
    id: String,
    container: String,
}

impl Started {
    /// Has a command run to its end, and remembers its exit code.
    fn run(
        self,
        mut child: Child,
        asked: &ExecCreate,
        terminal: Option<Arc<Terminal>>,
        detach: bool,
    ) -> Streams {
        let (send, output) = mpsc::channel(QUEUE);
        if let Some(terminal) = terminal {
            let (input, received) = mpsc::channel(QUEUE);
            tokio::spawn(async move {
                let code = match terminal.copy(received, send) {
                    Ok(copied) => {
                        let code = exit_code(&mut child).await;
                        copied.await;
                        code
                    }
                    Err(error) => {
                        tracing::error!(%error, "failed to start the threads of a terminal: {error}");
                        // It may have ended already.
                        let _ = child.kill().await;
                        NOT_EXECUTED
                    }
                };
                self.end(code);
            });
            let input = (asked.attach_stdin && !detach).then_some(input);
            return Streams { framing: Framing::Raw, output, input };
        }
        let input = child.stdin.take().map(|mut stdin| {
            let (input, mut received) = mpsc::channel::<Bytes>(QUEUE);
            tokio::spawn(async move {
                while let Some(piece) = received.recv().await {
                    if stdin.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            });
            input
        });
        let wanted = [asked.attach_stdout && !detach, asked.attach_stderr && !detach];
        tokio::spawn(async move {
            hijack::copy_streams(&mut child, wanted, Framing::Multiplexed, &send).await;
            let code = exit_code(&mut child).await;
            // The client asks for the code as soon as the stream ends.
            self.end(code);
            drop(send);
        });
        Streams { framing: Framing::Multiplexed, output, input }
    }

    fn end(&self, code: i32) {
        // One that is forgotten needs no code.
        let _ = self.server.execs.with(&self.id, |exec| {
            (exec.exit_code, exec.terminal) = (Some(code), None);
        });
        self.emit("exec_die".to_owned(), &[("exitCode", code.to_string())]);
    }

    fn emit(&self, action: String, attributes: &[(&str, String)]) {
        let attributes = [&of_exec(&self.id), attributes].concat();
        self.server.engine.emit(&self.container, action, &attributes);
    }
}

/// The attribute of the events of a command, Docker's.
fn of_exec(id: &str) -> [(&'static str, String); 1] {
    [("execID", id.to_owned())]
}

/// What a command sends and receives.
struct Streams {
    framing: Framing,
    output: mpsc::Receiver<Bytes>,
    input: Option<mpsc::Sender<Bytes>>,
}

async fn exit_code(child: &mut Child) -> i32 {
    let status = child.wait().await.ok();
    // A command that was killed with the program has no code.
    status.and_then(|status| status.code()).unwrap_or(137)
}

/// The arguments of `fairway exec`.
fn arguments(asked: &ExecCreate, container: &str) -> Vec<String> {
    let mut arguments = vec!["exec".to_owned()];
    arguments.extend(asked.env.iter().map(|variable| format!("--env={variable}")));
    if !asked.working_dir.is_empty() {
        arguments.push(format!("--workdir={}", asked.working_dir));
    }
    if !asked.user.is_empty() {
        arguments.push(format!("--user={}", asked.user));
    }
    for (flag, given) in [("--privileged", asked.privileged), ("--own-terminal", asked.tty)] {
        arguments.extend(given.then(|| flag.to_owned()));
    }
    arguments.push("--".to_owned());
    arguments.push(container.to_owned());
    arguments.extend(asked.cmd.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_show_the_beginning_of_a_command() {
        assert_eq!(shown(&["sh".to_owned(), "-c".to_owned()]), "sh -c");
        assert_eq!(shown(&["ä".repeat(SHOWN_BYTES)]), "ä".repeat(SHOWN_BYTES / 2));
    }

    fn asked(words: &[&str]) -> ExecCreate {
        ExecCreate { cmd: words.iter().map(|word| (*word).to_owned()).collect(), ..ExecCreate::default() }
    }

    #[test]
    fn options_are_those_of_the_command_line() {
        let mut exec = asked(&["sh", "-c", "--env=x"]);
        assert_eq!(arguments(&exec, "web"), ["exec", "--", "web", "sh", "-c", "--env=x"]);
        exec = ExecCreate {
            env: vec!["A=1".to_owned()],
            working_dir: "/tmp".to_owned(),
            user: "9:9".to_owned(),
            privileged: true,
            tty: true,
            ..asked(&["sh"])
        };
        let expected = [
            "exec",
            "--env=A=1",
            "--workdir=/tmp",
            "--user=9:9",
            "--privileged",
            "--own-terminal",
            "--",
            "web",
            "sh",
        ];
        assert_eq!(arguments(&exec, "web"), expected);
    }

    #[test]
    fn the_oldest_that_do_not_run_are_forgotten() {
        let execs = Execs::default();
        let running = execs.add("web".to_owned(), asked(&["sh"]), 7);
        execs.with(&running, |exec| exec.started = true).unwrap();
        let idle = execs.add("web".to_owned(), asked(&["sh"]), 7);
        for _ in 0..REMEMBERED {
            execs.add("web".to_owned(), asked(&["sh"]), 7);
        }
        assert!(execs.with(&running, |_| ()).is_ok());
        assert_eq!(execs.with(&idle, |_| ()).unwrap_err().message, format!("No such exec instance: {idle}"));
        assert_eq!(execs.lock().execs.len(), REMEMBERED);
        assert_eq!(running.len(), 64);
        for _ in 0..5 {
            execs.add("web".to_owned(), asked(&[&"x".repeat(REMEMBERED_BYTES / 4 - 1)]), 7);
        }
        assert_eq!(execs.lock().execs.len(), 1 + 4);
        assert!(execs.with(&running, |_| ()).is_ok());
    }
}
