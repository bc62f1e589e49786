//! The server: HTTP/1.1 on a unix socket, with one thread for the connections and some for the
//! engine's calls, which block.

mod body;
mod call;
mod clients;
mod connection;
mod container;
mod event;
mod fairway;
mod network;
mod reply;
mod route;
mod shares;
mod stop;
mod system;
mod trace;

use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use crate::engine_api::{EngineApi, ExitListener, Failure, FailureKind};
use call::Call;
pub use clients::Limits;
use clients::{Activity, Clients, Connection};
use reply::{Reply, Sent};
use route::{Route, Task};

/// The version of Docker's API that this is in the shape of.
pub const API_VERSION: &str = "1.47";
/// The oldest version that requests may name.
pub const MINIMUM_API_VERSION: &str = "1.24";

/// Engine calls that run at once. Requests that arrive together share commits, so it pays to have
/// many under way; beyond that they wait their turn.
const CALLS_AT_ONCE: usize = 64;
/// How often a request that waits for the daemon's start looks.
const START_GLANCE: Duration = Duration::from_millis(2);
/// Calls that only look at the World, which are answered while others work.
const LOOKS_AT_ONCE: usize = 16;
/// Processes that have ended and whose containers are made to follow at once.
const ENDINGS_AT_ONCE: usize = 32;
/// Connections that are one too many and are answered so at once; beyond that they are closed without a word.
const REFUSALS_AT_ONCE: usize = 64;
/// Threads for calls.
const THREADS: usize = CALLS_AT_ONCE + LOOKS_AT_ONCE + ENDINGS_AT_ONCE;
/// How often it is looked for clients that take too long to send a request.
const SLOW_INTERVAL: Duration = Duration::from_secs(1);
/// What replies that are under way may take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

/// The runtime of [`serve`]: made apart, so that what `shutdown` waits for can be set up in it before.
///
/// # Errors
/// The kernel gives no descriptors for it.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(60))
        .thread_name("api-call")
        .build()
}

/// Answers requests on `listener` until `shutdown` resolves, then lets replies under way finish for
/// up to two seconds. Blocks the thread that calls it.
///
/// # Errors
/// The threads or the socket cannot be set up. A connection that fails concerns that one only.
pub fn serve(
    runtime: Runtime,
    listener: UnixListener,
    engine: Arc<dyn EngineApi>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let result = runtime.block_on(accept(listener, engine, limits, shutdown));
    runtime.shutdown_background();
    result
}

async fn accept(
    listener: UnixListener,
    engine: Arc<dyn EngineApi>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let clients = Clients::new(limits);
    let server = Server {
        engine,
        turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
        looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
        endings: Arc::new(Semaphore::new(ENDINGS_AT_ONCE)),
    };
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    // Each connection holds a receiver: it stops by the value, and the sender sees by the receivers when all are gone.
    let (stopping, stopped) = watch::channel(false);
    let mut slow = tokio::time::interval(SLOW_INTERVAL.min(limits.reading));
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = slow.tick() => clients.close_slow(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match clients.admit(&stream) {
                    Ok(connection) => {
                        tokio::spawn(server.clone().connection(stream, connection, stopped.clone()));
                    }
                    Err(failure) => {
                        if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                            tokio::spawn(async move {
                                connection::refuse(stream, &failure).await;
                                drop(place);
                            });
                        }
                    }
                },
                Err(error) => {
                    // Out of descriptors, as a rule.
                    tracing::warn!(%error, "failed to accept a connection: closing those that are idle");
                    clients.close_idle();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop((listener, stopped));
    stopping.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, stopping.closed()).await;
    if drained.is_err() {
        tracing::debug!("connections were cut, for their replies took too long");
    }
    Ok(())
}

/// What every connection shares.
#[derive(Clone)]
struct Server {
    engine: Arc<dyn EngineApi>,
    turns: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    endings: Arc<Semaphore>,
}

impl Server {
    /// Answers a request. A client that must not command the daemon is answered by `refused`.
    async fn answer(
        self,
        connection: Arc<Connection>,
        refused: Option<Failure>,
        request: Request<Incoming>,
    ) -> Response<Sent> {
        let (head, mut body) = request.into_parts();
        let reply = match refused {
            Some(failure) => Err(failure),
            None => self.reply(&connection, &head, &mut body).await,
        };
        let reply = reply.unwrap_or_else(|failure| {
            body::discard(&connection, &head.headers, body);
            Reply::refusal(&failure)
        });
        if connection.take_large_body() {
            self.engine.release_memory();
        }
        reply.into_response().map(|body| Sent::new(body, connection))
    }

    async fn reply(
        &self,
        connection: &Arc<Connection>,
        head: &hyper::http::request::Parts,
        body: &mut Incoming,
    ) -> Result<Reply, Failure> {
        connection.becomes(Activity::Reading);
        let route = Route::of(&head.method, head.uri.path())?;
        let body = body::read(connection, body).await?;
        let call = Call::new(head.uri.query().unwrap_or_default(), body);
        // Docker's client asks HEAD /_ping before each request; what waits for the daemon to be ready asks by GET.
        let reads = match route {
            Route::Ping => head.method == Method::HEAD,
            Route::Wait(_) => true,
            _ => head.method == Method::GET,
        };
        connection.becomes(Activity::Waiting);
        while !reads && !self.engine.is_started() {
            tokio::time::sleep(START_GLANCE).await;
        }
        let waits = matches!(
            route,
            Route::Wait(_) | Route::Events | Route::Trace | Route::Stop(_) | Route::Remove(_)
        );
        connection.becomes(if waits { Activity::Waiting } else { Activity::Working });
        match route {
            Route::Ping => Ok(system::ping(head.method == Method::HEAD)),
            Route::Wait(id) => self.wait(id, call).await,
            Route::Events => {
                connection.take_stream()?;
                event::stream(&*self.engine, &call)
            }
            Route::Trace => {
                connection.take_stream()?;
                self.command(move |engine| trace::stream(engine, &call)).await
            }
            // These go on when the client is gone.
            Route::Stop(id) => finished(tokio::spawn(self.clone().stop(id, call)).await),
            Route::Remove(id) => finished(tokio::spawn(self.clone().remove(id, call)).await),
            Route::Task(task) if task.is_look() => {
                let _turn = turn(&self.looks).await?;
                self.call(move |engine| perform(engine, task, &call)).await
            }
            Route::Task(task) => self.command(move |engine| perform(engine, task, &call)).await,
        }
    }

    /// Does what may block, with the engine.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn EngineApi) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let engine = Arc::clone(&self.engine);
        blocking(move || work(&*engine)).await
    }

    /// Does what may block and may take a while, when it is its turn.
    async fn command<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn EngineApi) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _turn = turn(&self.turns).await?;
        self.call(work).await
    }

    /// The head of the reply goes out at once, the code when there is one: Docker's client starts
    /// the container between the two.
    async fn wait(&self, id: String, call: Call) -> Result<Reply, Failure> {
        let next = container::waits_for_next(&call)?;
        let (listener, exited) = exit_listener();
        let weak = Arc::downgrade(&listener);
        let _turn = turn(&self.looks).await?;
        let code = self.call(move |engine| container::exit_code_or_watch(engine, &id, next, weak)).await?;
        Ok(match code {
            Some(code) => container::wait_reply(code),
            None => Reply::later(async move {
                let code = exited.await.ok();
                drop(listener);
                code.map(container::wait_text)
            }),
        })
    }
}

/// A listener for an exit code, which is called for as long as it is kept, and what it hears.
fn exit_listener() -> (Arc<ExitListener>, oneshot::Receiver<i32>) {
    let (send, exited) = oneshot::channel();
    let send = Mutex::new(Some(send));
    let listener = move |code| {
        let send = send.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The other end is gone when the client is.
        let _ = send.map(|send| send.send(code));
    };
    (Arc::new(listener), exited)
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Failure> {
    turns.acquire().await.map_err(|_| stopped())
}

fn stopped() -> Failure {
    Failure::new(FailureKind::Unavailable, "the daemon is stopping: try again when it runs")
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    finished(tokio::task::spawn_blocking(work).await)
}

fn finished<T>(result: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    match result {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Failure::new(
            FailureKind::Internal,
            "the daemon failed within itself: its log says where, please report it",
        )),
        Err(_) => Err(stopped()),
    }
}

/// Does a task. May block.
fn perform(engine: &dyn EngineApi, task: Task, call: &Call) -> Result<Reply, Failure> {
    match task {
        Task::Version => system::version(engine),
        Task::Info => system::info(engine),
        Task::Networks => network::list(engine, call),
        Task::Network(id) => network::inspect(engine, &id, call),
        Task::NetworkCreate => network::create(engine, call),
        Task::NetworkConnect(id) => network::connect(engine, id, call),
        Task::NetworkDisconnect(id) => network::disconnect(engine, id, call),
        Task::NetworkRemove(id) => network::remove(engine, id),
        Task::NetworksPrune => network::prune(engine, call),
        Task::Containers => container::list(engine, call),
        Task::Container(id) => container::inspect(engine, &id),
        Task::ContainerCreate => container::create(engine, call),
        Task::ContainerStart(id) => container::start(engine, &id),
        Task::ContainerRestart(id) => container::restart(engine, &id),
        Task::ContainerAttach(id) => container::attach(engine, &id),
        Task::ContainerKill(id) => container::kill(engine, &id, call),
        Task::ContainerExited(id) => fairway::exited(engine, &id, call),
        Task::AttachNamespace(id) => fairway::attach_namespace(engine, &id, call),
        Task::Publish(id) => fairway::publish(engine, &id, call),
        Task::Unpublish(id) => fairway::unpublish(engine, &id, call),
        Task::Attach => fairway::attach(engine, call),
        Task::Stats => fairway::stats(engine, call),
        Task::Detach => fairway::detach(engine, call),
        Task::Explain => fairway::explain(engine, call),
        Task::Doctor { fix } => fairway::doctor(engine, fix),
        Task::Graph => fairway::graph(engine, call),
        Task::Reload => fairway::reload(engine),
    }
}

/// Looks at the World and brings an answer.
fn look<T>(
    engine: &dyn EngineApi,
    mut find: impl FnMut(&fairway_core::world::World) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut found = None;
    engine.read(&mut |world| found = Some(find(world)));
    found.unwrap_or_else(|| Err(stopped()))
}
