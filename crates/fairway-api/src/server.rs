//! The server: HTTP/1.1 on a unix socket, with one thread for the connections and some for the
//! engine's calls, which block.

mod call;
mod container;
mod event;
mod fairway;
mod network;
mod reply;
mod route;
mod system;
mod trace;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::control::{Control, Failure, FailureKind};
use call::Call;
use reply::{Reply, ReplyBody};
use route::{Route, Task};

/// The version of Docker's API that this is in the shape of.
pub const API_VERSION: &str = "1.47";
/// The oldest version that requests may name.
pub const MINIMUM_API_VERSION: &str = "1.24";

/// Engine calls that run at once. Requests that arrive together share commits, so it pays to have
/// many under way; beyond that they wait their turn.
const CALLS_AT_ONCE: usize = 64;
/// Threads for these, and for calls that take seconds (stopping a process) on top.
const THREADS: usize = 320;
/// What a request may say at most. A thousand published ports are about 60 KB.
const BODY_LIMIT: usize = 8 << 20;
/// How often a request that waits for the daemon's start looks.
const START_GLANCE: Duration = Duration::from_millis(2);
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
    control: Arc<dyn Control>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let result = runtime.block_on(accept(listener, control, shutdown));
    runtime.shutdown_background();
    result
}

async fn accept(
    listener: UnixListener,
    control: Arc<dyn Control>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let server = Server { control, turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)) };
    // Each connection holds a receiver: it is told to stop by the value, and the sender sees by the
    // receivers when all are gone.
    let (stopping, told) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(server.clone().connection(stream, told.clone()));
                }
                Err(error) => {
                    // Out of descriptors, as a rule: others are closed meanwhile.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop((listener, told));
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
    control: Arc<dyn Control>,
    turns: Arc<Semaphore>,
}

impl Server {
    async fn connection(self, stream: UnixStream, mut told: watch::Receiver<bool>) {
        let refused = self.control.check_peer(stream.as_fd()).err();
        let service = service_fn(|request| {
            let (server, refused) = (self.clone(), refused.clone());
            async move {
                Ok::<_, Infallible>(match refused {
                    Some(failure) => Reply::refusal(&failure).into_response(),
                    None => server.answer(request).await,
                })
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            // What `wait_for` gives is a lock, which must not be held while the rest is awaited.
            () = async { drop(told.wait_for(|stopping| *stopping).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<ReplyBody> {
        match self.reply(request).await {
            Ok(reply) => reply.into_response(),
            Err(failure) => Reply::refusal(&failure).into_response(),
        }
    }

    async fn reply(self, request: Request<Incoming>) -> Result<Reply, Failure> {
        let (head, body) = request.into_parts();
        let route = Route::of(&head.method, head.uri.path())?;
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| Failure::invalid(format!("cannot read the request: {error}")))?
            .to_bytes();
        let call = Call::new(head.uri.query().unwrap_or_default(), body);
        let control = Arc::clone(&self.control);
        // Docker's client asks HEAD /_ping before each request; who waits for the daemon to be ready asks by GET.
        let reads = match route {
            Route::Ping => head.method == Method::HEAD,
            Route::Wait(_) => true,
            _ => head.method == Method::GET,
        };
        while !reads && !control.is_started() {
            tokio::time::sleep(START_GLANCE).await;
        }
        match route {
            Route::Ping => Ok(system::ping(head.method == Method::HEAD)),
            Route::Wait(id) => self.wait(&id, &call).await,
            Route::Events => event::stream(&*control, &call),
            Route::Trace => {
                let _turn = self.turns.acquire().await.map_err(|_| stopped())?;
                blocking(move || trace::stream(&*control, &call)).await
            }
            // These take as long as a process takes to end, and must not hold up others.
            Route::Task(task @ (Task::ContainerStop(_) | Task::ContainerRemove(_))) => {
                blocking(move || perform(&*control, task, &call)).await
            }
            Route::Task(task) => {
                let _turn = self.turns.acquire().await.map_err(|_| stopped())?;
                blocking(move || perform(&*control, task, &call)).await
            }
        }
    }

    /// The head of the reply goes out at once, the code when there is one: Docker's client starts
    /// the container between the two.
    async fn wait(&self, id: &str, call: &Call) -> Result<Reply, Failure> {
        let (tell, told) = oneshot::channel::<i32>();
        let control = Arc::clone(&self.control);
        let (id, next) = (id.to_owned(), container::waits_for_next(call)?);
        // The other end is gone when the client is: then nobody wants to know.
        let tell = Box::new(move |code| tell.send(code).unwrap_or_default());
        let code = blocking(move || container::exit_code_or_watch(&*control, &id, next, tell)).await?;
        Ok(match code {
            Some(code) => container::wait_reply(code),
            None => Reply::later(async move { told.await.ok().map(container::wait_text) }),
        })
    }
}

fn stopped() -> Failure {
    Failure::new(FailureKind::Unavailable, "the daemon is stopping: try again when it runs")
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Failure::new(
            FailureKind::Internal,
            "the daemon failed within itself: its log says where, please report it",
        )),
        Err(_) => Err(stopped()),
    }
}

/// Does a task. May block.
fn perform(control: &dyn Control, task: Task, call: &Call) -> Result<Reply, Failure> {
    match task {
        Task::Version => system::version(control),
        Task::Info => system::info(control),
        Task::Networks => network::list(control, call),
        Task::Network(id) => network::inspect(control, &id, call),
        Task::NetworkCreate => network::create(control, call),
        Task::NetworkConnect(id) => network::connect(control, id, call),
        Task::NetworkDisconnect(id) => network::disconnect(control, id, call),
        Task::NetworkRemove(id) => network::remove(control, id),
        Task::NetworksPrune => network::prune(control, call),
        Task::Containers => container::list(control, call),
        Task::Container(id) => container::inspect(control, &id),
        Task::ContainerCreate => container::create(control, call),
        Task::ContainerRemove(id) => container::remove(control, &id, call),
        Task::ContainerStart(id) => container::start(control, &id),
        Task::ContainerRestart(id) => container::restart(control, &id),
        Task::ContainerAttach(id) => container::attach(control, &id),
        Task::ContainerStop(id) => container::stop(control, &id, call),
        Task::ContainerKill(id) => container::kill(control, &id, call),
        Task::ContainerExited(id) => fairway::exited(control, &id, call),
        Task::AttachNamespace(id) => fairway::attach_namespace(control, &id, call),
        Task::Publish(id) => fairway::publish(control, &id, call),
        Task::Unpublish(id) => fairway::unpublish(control, &id, call),
        Task::Attach => fairway::attach(control, call),
        Task::Stats => fairway::stats(control, call),
        Task::Detach => fairway::detach(control, call),
        Task::Explain => fairway::explain(control, call),
        Task::Doctor { fix } => fairway::doctor(control, fix),
        Task::Graph => fairway::graph(control, call),
        Task::Reload => fairway::reload(control),
    }
}

/// Looks at the World and brings an answer.
fn look<T>(
    control: &dyn Control,
    mut find: impl FnMut(&fairway_core::world::World) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut found = None;
    control.read(&mut |world| found = Some(find(world)));
    found.unwrap_or_else(|| Err(stopped()))
}
