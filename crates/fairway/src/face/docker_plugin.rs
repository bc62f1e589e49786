//! The network plugin of Docker Engine, which the daemon serves: its containers on networks of Fairway.
//!
//! dockerd makes the namespace of a container after all its requests. So the engine makes a veth pair on the host, and
//! names one end to dockerd, which moves it into the namespace and configures it. Which container an endpoint belongs to,
//! and where its namespace is, the plugin asks dockerd afterwards; so it also finds out what dockerd no longer has.

mod answer;
mod call;
mod collect;
mod compare;
mod created;
mod describe;
mod error;
mod ownership;
mod pools;
mod protocol;
mod server;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use fairway_api::Failure;
use fairway_core::world::{Command, World};
use fairway_kernel::unix_socket;
use rustix::net::SocketType;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use answer::Plugin;
use collect::Collector;
use created::Created;

use crate::daemon::{self, PluginEngine};

/// The name of the driver, for `docker network create -d`.
pub const NAME: &str = "fairway";
/// Where dockerd looks for the plugin.
pub const SOCKET: &str = "/run/docker/plugins/fairway.sock";
/// Only root, as which dockerd runs, may use it.
const MODE: u32 = 0o600;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// The plugin, as the daemon serves it.
#[derive(Debug, Default)]
pub struct DockerPlugin {
    collector: Arc<Collector>,
}

impl daemon::Plugin for DockerPlugin {
    fn socket(&self) -> &Path {
        Path::new(SOCKET)
    }

    fn serve(
        &self,
        runtime: &Runtime,
        engine: Arc<dyn PluginEngine>,
        exec_root: &Path,
        end: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let path = Path::new(SOCKET);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let listener: UnixListener = unix_socket::listen(path, SocketType::STREAM, MODE, BACKLOG)?.into();
        listener.set_nonblocking(true)?;
        collect::start(&engine, &self.collector)?;
        let plugin = Plugin::new(engine, Arc::clone(&self.collector), Created::under(exec_root));
        runtime.spawn(server::accept(listener, path, Arc::new(plugin), end));
        Ok(())
    }

    /// dockerd tries for a quarter of a minute to connect to a socket that is not served.
    fn forget(&self, exec_root: &Path) {
        Created::under(exec_root).clear();
        let path = self.socket();
        if path.exists() && !unix_socket::is_served(path, SocketType::STREAM) {
            // What is left costs dockerd this wait, and nothing else.
            let _ = unix_socket::remove(path);
        }
    }

    fn compare(&self, engine: &dyn PluginEngine) {
        self.collector.collect(engine);
    }

    fn refusal(&self, world: &World, command: &Command) -> Option<Failure> {
        ownership::refusal(world, command)
    }

    fn stop_refusal(&self, world: &World, sandbox: &str) -> Option<Failure> {
        ownership::stop_refusal(world, sandbox)
    }
}

/// Parses any bytes as the path and the body of a call; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, body) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = call::Call::read(path, body.as_bytes());
}
