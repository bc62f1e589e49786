//! A plugin of another program that the daemon serves, and the engine as the plugin uses it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use fairway_api::{Applied, Failure, Located};
use fairway_core::world::{Command, World};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A plugin of another program.
pub trait Plugin: Send + Sync {
    /// Where the other program looks for it.
    fn socket(&self) -> &Path;

    /// Serves it in the runtime until `end` is true, and drops `end` when all calls are answered. It goes on
    /// from the requests that a former daemon of this exec root answered.
    ///
    /// # Errors
    /// The system refuses the socket, or a thread.
    fn serve(
        &self,
        runtime: &Runtime,
        engine: Arc<dyn PluginEngine>,
        exec_root: &Path,
        end: watch::Receiver<bool>,
    ) -> io::Result<()>;

    /// Removes the socket and the files of a daemon that served it and does so no more.
    fn forget(&self, exec_root: &Path);

    /// Compares the World with what the other program has.
    fn compare(&self, engine: &dyn PluginEngine);

    /// The refusal of a command that changes what is the other program's; none if it does not.
    fn refusal(&self, world: &World, command: &Command) -> Option<Failure>;

    /// The refusal to stop a sandbox that is the other program's; none if it is not.
    fn stop_refusal(&self, world: &World, sandbox: &str) -> Option<Failure>;
}

/// The engine, as a plugin uses it.
pub trait PluginEngine: Send + Sync {
    /// Whether everything follows the World, and commands are executed.
    fn is_started(&self) -> bool;

    /// Executes a command for the other program. Blocks until it is durable and applied.
    ///
    /// # Errors
    /// The command is refused, or cannot be carried out.
    fn execute_for_plugin(&self, command: Command) -> Result<Applied, Failure>;

    /// Calls `look` with the World.
    fn read(&self, look: &mut dyn FnMut(&World));

    /// Finds the process of a process id, and its network namespace.
    ///
    /// # Errors
    /// The process has ended.
    fn locate_process(&self, pid: u32) -> Result<Located, Failure>;

    /// The time, in nanoseconds since 1970.
    fn now(&self) -> i64;
}

impl dyn PluginEngine + '_ {
    /// What `look` makes of the World; none if the engine does not call it.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> Option<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.read(&mut |world| seen = look.take().map(|look| look(world)));
        seen
    }
}
