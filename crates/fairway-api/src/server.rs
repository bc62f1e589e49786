//! The server: HTTP/1.1 on a unix socket, with one thread for the connections and some for the
//! engine's calls, which block.

mod absent;
mod attachment;
mod body;
mod call;
mod check;
mod clients;
mod connection;
mod container;
mod event;
mod exec;
mod fairway;
mod framing;
mod fuzz;
mod hijack;
mod join;
mod known;
mod metrics;
mod network;
mod process;
mod reply;
mod route;
mod shares;
mod stats;
mod stop;
mod system;
mod terminal;
mod trace;

use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::UPGRADE;
use hyper::{Method, Request, Response};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use crate::engine_api::{EngineApi, ExitListener, Failure, FailureKind};
use attachment::Waiting;
use call::Call;
use clients::{Activity, Connection};
pub use clients::{Clients, Limits, Requests};
use exec::Execs;
pub use fuzz::fuzz;
use hijack::Upgrade;
pub use metrics::serve_metrics;
use metrics::{Metrics, SCRAPES_AT_ONCE};
use reply::{Reply, Sent};
use route::{Route, Task};

/// The version of Docker's API that the server implements.
pub const API_VERSION: &str = "1.51";
/// The oldest version of Docker's API that requests may use.
pub const MINIMUM_API_VERSION: &str = "1.24";

/// How many engine calls run at once. Concurrent requests share a commit, so many calls at once are cheap; further ones
/// wait.
const CALLS_AT_ONCE: usize = 64;
/// How often a request checks whether the daemon has started.
const START_GLANCE: Duration = Duration::from_millis(2);
/// How many calls that only read the World run at once, apart from the other calls.
const LOOKS_AT_ONCE: usize = 16;
/// How many ended processes are handled at once.
const ENDINGS_AT_ONCE: usize = 32;
/// How many connections above the limit get a reply at once; further ones are closed without a reply.
const REFUSALS_AT_ONCE: usize = 64;
/// How many threads the daemon's other parts have: those of a Docker plugin, which limits its calls, restarts, the watchdog.
const OTHERS: usize = 64;
/// How many threads run engine calls.
const THREADS: usize = CALLS_AT_ONCE + LOOKS_AT_ONCE + ENDINGS_AT_ONCE + SCRAPES_AT_ONCE + OTHERS;
/// How often connections whose client takes too long to send a request are closed.
const SLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long replies in progress may take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// How much longer changes in progress may take.
const CHANGES_DRAIN: Duration = Duration::from_secs(20);

/// Creates the runtime of [`serve`], in which `shutdown` can be set up before.
///
/// # Errors
/// The kernel has no file descriptors left.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(60))
        .thread_name("api-call")
        .build()
}

/// Answers requests on all of `listeners` until `shutdown` resolves, then lets replies in progress finish for up to two
/// seconds, and changes in progress for twenty more. Blocks the thread that calls it. Clients that connect afterwards
/// wait, as long as the listener is open, until it is served again.
///
/// # Errors
/// The threads or the socket cannot be set up. The failure of a connection ends that connection only.
pub fn serve(
    runtime: &Runtime,
    listeners: &[UnixListener],
    engine: Arc<dyn EngineApi>,
    clients: &Clients,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners = listeners.iter().map(UnixListener::try_clone).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
    runtime.block_on(accept(listeners, engine, clients, shutdown))
}

/// The next connection at any of the listeners.
async fn next(listeners: &[tokio::net::UnixListener]) -> io::Result<UnixStream> {
    poll_fn(|context| {
        let accepted = listeners.iter().map(|listener| listener.poll_accept(context));
        accepted.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
    .map(|(stream, _)| stream)
}

async fn accept(
    listeners: Vec<UnixListener>,
    engine: Arc<dyn EngineApi>,
    clients: &Clients,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners = listeners.into_iter().map(tokio::net::UnixListener::from_std);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let server = Server {
        metrics: Metrics::new(Arc::clone(&engine), clients),
        engine,
        turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
        looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
        endings: Arc::new(Semaphore::new(ENDINGS_AT_ONCE)),
        execs: Execs::default(),
        waiting: Waiting::default(),
    };
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    // Each connection holds a receiver: the value stops it, and the sender learns when all receivers are dropped.
    let (stopping, stopped) = watch::channel(false);
    let mut slow = tokio::time::interval(SLOW_INTERVAL.min(clients.reading()));
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = slow.tick() => clients.close_slow(),
            accepted = next(&listeners) => match accepted {
                Ok(stream) => match clients.admit(&stream) {
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
                    // Most often the daemon is out of file descriptors.
                    tracing::warn!(%error, "failed to accept a connection: closing idle connections");
                    clients.close_idle();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop((listeners, stopped));
    stopping.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, stopping.closed()).await;
    if drained.is_err() {
        // Events, logs and ends of processes may never come.
        let _ = tokio::time::timeout(CHANGES_DRAIN, clients.finish_work()).await;
        tracing::debug!("cut connections whose replies wait or took too long");
    }
    Ok(())
}

/// The server, shared by all connections.
#[derive(Clone)]
struct Server {
    engine: Arc<dyn EngineApi>,
    turns: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    endings: Arc<Semaphore>,
    execs: Execs,
    /// The clients that attached to containers which do not run yet.
    waiting: Waiting,
    metrics: Metrics,
}

impl Server {
    /// Answers a request. `refused` is the failure for a client that may not use the daemon.
    async fn answer(
        self,
        connection: Arc<Connection>,
        refused: Option<Failure>,
        mut request: Request<Incoming>,
    ) -> Response<Sent> {
        let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (head, mut body) = request.into_parts();
        let reply = match refused {
            Some(failure) => Err(failure),
            None => self.reply(&connection, &head, &mut body, upgrade).await,
        };
        let reply = reply.unwrap_or_else(|failure| {
            body::discard(&connection, &head.headers, body);
            Reply::refusal(&failure)
        });
        if connection.take_large_body() {
            self.engine.release_memory();
        }
        let response = reply.into_response();
        connection.count_reply(response.status().as_u16());
        response.map(|body| Sent::new(body, connection))
    }

    async fn reply(
        &self,
        connection: &Arc<Connection>,
        head: &hyper::http::request::Parts,
        body: &mut Incoming,
        upgrade: Option<Upgrade>,
    ) -> Result<Reply, Failure> {
        connection.set_activity(Activity::Reading);
        let route = Route::of(&head.method, head.uri.path())?;
        let body = body::read(connection, body).await?;
        let call = Call::new(head.uri.query().unwrap_or_default(), body);
        // Docker's client sends HEAD /_ping before each request; programs that wait for the daemon send GET.
        let reads = match route {
            Route::Ping => head.method == Method::HEAD,
            Route::Wait(_) => true,
            _ => head.method == Method::GET,
        };
        connection.set_activity(Activity::Waiting);
        while !reads && !self.engine.is_started() {
            tokio::time::sleep(START_GLANCE).await;
        }
        let waits = match route {
            Route::Wait(_) | Route::Events | Route::Trace | Route::Logs(_) | Route::Stats(_) => true,
            Route::Attach(_) | Route::ExecStart(_) | Route::Stop(_) | Route::Restart(_) => true,
            // The program that they run asks the daemon, or the next one.
            Route::Start(_) | Route::Top(_) => true,
            Route::Remove(_) => call.flag("force"),
            _ => false,
        };
        connection.set_activity(if waits { Activity::Waiting } else { Activity::Working });
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
            // These tasks continue when the client disconnects.
            Route::Stop(id) => finished(tokio::spawn(self.clone().stop(id, call)).await),
            Route::Remove(id) => finished(tokio::spawn(self.clone().remove(id, call)).await),
            Route::Start(id) => finished(tokio::spawn(self.clone().start(id)).await),
            Route::Restart(id) => finished(tokio::spawn(self.clone().restart(id, call)).await),
            Route::Attach(id) => {
                connection.take_stream()?;
                self.attach(id, call, upgrade).await
            }
            Route::Logs(id) => {
                connection.take_stream()?;
                self.logs(id, call).await
            }
            Route::Stats(id) => {
                connection.take_stream()?;
                self.stats(id, call).await
            }
            Route::Resize(id) => self.resize(id, call).await,
            Route::Top(id) => self.top(id).await,
            Route::Metrics => self.metrics.read().await,
            Route::ExecCreate(id) => self.create_exec(id, call).await,
            Route::ExecStart(id) => {
                connection.take_stream()?;
                self.start_exec(id, call, upgrade).await
            }
            Route::ExecInspect(id) => self.inspect_exec(&id),
            Route::ExecResize(id) => self.resize_exec(&id, &call),
            Route::Absent(absent) => self.call(move |engine| absent.reply(engine)).await,
            Route::Task(task) if task.is_look() => {
                let _turn = turn(&self.looks).await?;
                self.call(move |engine| perform(engine, task, &call)).await
            }
            Route::Task(task) => self.command(move |engine| perform(engine, task, &call)).await,
        }
    }

    /// Performs an engine call that may block.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn EngineApi) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let engine = Arc::clone(&self.engine);
        blocking(move || work(&*engine)).await
    }

    /// Performs an engine call that may block for long, when one of [`CALLS_AT_ONCE`] is free.
    async fn command<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn EngineApi) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _turn = turn(&self.turns).await?;
        self.call(work).await
    }

    /// Waits for the exit code of a container. The head of the reply is sent at once: Docker's client starts the
    /// container before the code exists.
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

/// A listener for an exit code, and the receiver of the code. The listener is called as long as it exists.
fn exit_listener() -> (Arc<ExitListener>, oneshot::Receiver<i32>) {
    let (send, exited) = oneshot::channel();
    let send = Mutex::new(Some(send));
    let listener = move |code| {
        let send = send.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The receiver is dropped when the client disconnects.
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

/// Runs a blocking call on a thread of its own.
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
            "cannot answer the request: the daemon failed: please report this with the daemon's log",
        )),
        Err(_) => Err(stopped()),
    }
}

/// Performs a task of the engine. May block.
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
        Task::ContainersPrune => container::prune(engine, call),
        Task::ContainerUpdate(id) => container::update(engine, &id, call),
        Task::ContainerRename(id) => container::rename(engine, id, call),
        Task::ContainerKill(id) => stop::kill(engine, &id, call),
        Task::ContainerExited(id) => fairway::exited(engine, &id, call),
        Task::ContainerStartFailed(id) => fairway::start_failed(engine, id, call),
        Task::AttachNamespace(id) => fairway::attach_namespace(engine, &id, call),
        Task::Publish(id) => fairway::publish(engine, &id, call),
        Task::Unpublish(id) => fairway::unpublish(engine, &id, call),
        Task::Attach => fairway::attach(engine, call),
        Task::Stats => fairway::stats(engine, call),
        Task::Detach => fairway::detach(engine, call),
        Task::Check => check::check(engine, call),
        Task::Join => join::join(engine, call),
        Task::Leave => join::leave(engine, call),
        Task::NetworkUpdate(id) => join::update_network(engine, &id, call),
        Task::Explain => fairway::explain(engine, call),
        Task::Plan => fairway::plan(engine),
        Task::PlanDifference => fairway::plan_difference(engine),
        Task::Doctor { fix } => fairway::doctor(engine, fix),
        Task::Graph => fairway::graph(engine, call),
        Task::Reload => fairway::reload(engine),
        Task::End => fairway::end(engine),
    }
}

/// Reads the World.
fn look<T>(
    engine: &dyn EngineApi,
    mut find: impl FnMut(&fairway_core::world::World) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut found = None;
    engine.read(&mut |world| found = Some(find(world)));
    found.unwrap_or_else(|| Err(stopped()))
}
