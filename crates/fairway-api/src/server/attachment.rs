//! Clients at the streams of a container.
//!
//! Its supervisor serves them. A client of Docker attaches before it starts the container: the start waits until those
//! that were there before it are connected, so that they get all of its output.

mod detach_keys;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_model::{RefusalKind, Sandbox, SandboxId};
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::call::Call;
use super::framing::{Framing, Selection};
use super::hijack::{self, PIECE, QUEUE, Upgrade};
use super::known::{check_running, find};
use super::reply::Reply;
use super::{Server, look};
use crate::engine_api::{EngineApi, Failure};
use detach_keys::DetachKeys;

/// How often a client that waits for a start looks whether the supervisor is there.
const GLANCE: Duration = Duration::from_millis(5);
/// How often it looks at last.
const LONGEST_GLANCE: Duration = Duration::from_millis(50);

/// How many clients wait for the start of each container.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<BTreeMap<SandboxId, usize>>>);

/// A client that waits, until this is dropped.
#[derive(Debug)]
struct Waiter {
    waiting: Waiting,
    id: SandboxId,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: SandboxId) -> Waiter {
        *self.lock().entry(id).or_default() += 1;
        Waiter { waiting: self.clone(), id }
    }

    /// How many wait for a container.
    pub(super) fn count(&self, id: SandboxId) -> usize {
        self.lock().get(&id).copied().unwrap_or_default()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.id);
            }
        }
    }
}

impl Server {
    /// Connects a client to the streams of a container, now or when it starts; none if the container runs and has no
    /// supervisor that listens, as one in the foreground of `fairway run`.
    pub(super) async fn attach_streams(
        &self,
        sandbox: &Sandbox,
        call: &Call,
        upgrade: &mut Option<Upgrade>,
    ) -> Result<Option<Reply>, Failure> {
        let (id, with_input) = (sandbox.id, call.flag("stdin"));
        let engine = Arc::clone(&self.engine);
        let waiter = (!sandbox.running()).then(|| self.waiting.add(id));
        let connected = match waiter {
            None => match connect(&engine, id, with_input).await? {
                Some(stream) => Some(stream),
                None => return Ok(None),
            },
            Some(_) => None,
        };
        let (send, output) = mpsc::channel(QUEUE);
        let (input, received) = mpsc::channel(QUEUE);
        let keys =
            if sandbox.options.tty { Some(DetachKeys::parse(call.parameter("detachKeys"))?) } else { None };
        let wanted = [call.flag("stdout"), call.flag("stderr")];
        let selection = (!sandbox.options.tty && wanted != [true, true]).then(|| Selection::of(wanted));
        tokio::spawn(async move {
            let stream = match connected {
                Some(stream) => Some(stream),
                None => tokio::select! {
                    found = started(&engine, id, with_input) => found,
                    () = send.closed() => None,
                },
            };
            drop(waiter);
            if let Some(stream) = stream {
                exchange(stream, send, selection, received, keys).await;
            }
        });
        let input = with_input.then_some(input);
        Ok(Some(hijack::reply(upgrade.take(), Framing::of(sandbox), output, input)))
    }

    /// Sets the size of a container's terminal.
    pub(super) async fn resize(&self, id: String, call: Call) -> Result<Reply, Failure> {
        let sandbox = self.call(move |engine| find(engine, &id)).await?;
        check_running(&sandbox)?;
        if !sandbox.options.tty {
            let reason = format!("cannot resize the terminal of container {}: it has none", sandbox.name);
            return Err(Failure::new(RefusalKind::Conflict, reason));
        }
        let size = |name| call.number::<u16>(name).map(Option::unwrap_or_default);
        let (rows, columns) = (size("h")?, size("w")?);
        self.call(move |engine| engine.resize(sandbox.id, rows, columns)).await?;
        let size = [("height", rows.to_string()), ("width", columns.to_string())];
        self.engine.emit(&sandbox.id.to_string(), "resize".to_owned(), &size);
        Ok(Reply::empty(StatusCode::OK))
    }
}

async fn connect(
    engine: &Arc<dyn EngineApi>,
    id: SandboxId,
    with_input: bool,
) -> Result<Option<UnixStream>, Failure> {
    let engine = Arc::clone(engine);
    let Some(stream) = super::blocking(move || engine.attach(id, with_input)).await? else { return Ok(None) };
    let unusable =
        |error: std::io::Error| Failure::invalid(format!("cannot use the container's streams: {error}"));
    stream.set_nonblocking(true).map_err(unusable)?;
    UnixStream::from_std(stream).map(Some).map_err(unusable)
}

/// The streams of a container, as soon as it is started; none if that fails.
async fn started(engine: &Arc<dyn EngineApi>, id: SandboxId, with_input: bool) -> Option<UnixStream> {
    let mut glance = GLANCE;
    loop {
        match connect(engine, id, with_input).await {
            Ok(None) => {
                look(&**engine, |world| Ok(world.sandbox(id).map(drop))).ok().flatten()?;
                tokio::time::sleep(glance).await;
                glance = (glance * 2).min(LONGEST_GLANCE);
            }
            Ok(Some(stream)) => return Some(stream),
            Err(error) => {
                tracing::warn!(%id, %error, "failed to connect a client to container {id}: {error}");
                return None;
            }
        }
    }
}

/// Passes on output, and input until the client ends it or types the keys that detach it, while the container runs and
/// the client is there.
async fn exchange(
    stream: UnixStream,
    send: mpsc::Sender<Bytes>,
    mut selection: Option<Selection>,
    mut received: mpsc::Receiver<Bytes>,
    mut keys: Option<DetachKeys>,
) {
    let (mut from, mut to) = stream.into_split();
    let output = async {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let read = piece.get(..read).unwrap_or_default();
            let passed = selection.as_mut().map_or_else(|| read.to_vec(), |it| it.pass(read));
            if send.send(passed.into()).await.is_err() {
                return;
            }
        }
    };
    let input = async {
        while let Some(piece) = received.recv().await {
            let (typed, detached) =
                keys.as_mut().map_or_else(|| (piece.to_vec(), false), |it| it.pass(&piece));
            let written = to.write_all(&typed).await;
            if detached {
                return;
            }
            if written.is_err() {
                break;
            }
        }
        // The input of the container ends, or its command has ended; its output may go on.
        let _ = to.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = output => {}
        () = input => {}
        () = send.closed() => {}
    }
}
