//! Places: namespaces in which programs run and probes are made.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fairway_kernel::system;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::{LabError, Trying};
use crate::process::Process;

/// A network namespace, and for a host of the lab its file system and host name too. Clones are the same place.
///
/// It keeps its namespaces alive as long as it exists.
#[derive(Clone)]
pub struct Place {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    network: File,
    file_system: Option<Arc<FileSystem>>,
}

struct FileSystem {
    mounts: File,
    host_name: File,
}

impl Place {
    /// The network namespace at a path: `/proc/PID/ns/net`, or a bind mount such as `/run/netns/NAME`. Programs
    /// and closures see the lab's own file system there.
    ///
    /// # Errors
    /// When the path cannot be opened. That it is a namespace is found out on entering.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Place, LabError> {
        let path = path.as_ref();
        let network = open(path)?;
        Ok(Place { inner: Arc::new(Inner { name: path.display().to_string(), network, file_system: None }) })
    }

    /// The network namespace at a path as this place sees it, such as `/run/netns/NAME` of a host. Programs and
    /// closures see this place's file system there: it is a sandbox of this host.
    ///
    /// # Errors
    /// When the path cannot be opened.
    pub fn sandbox(&self, path: impl AsRef<Path>) -> Result<Place, LabError> {
        let path = path.as_ref();
        let network = self.run_in(|| open(path))??;
        let name = format!("{}:{}", self.name(), path.display());
        Ok(Place { inner: Arc::new(Inner { name, network, file_system: self.inner.file_system.clone() }) })
    }

    /// The network namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc does not show it.
    pub fn here() -> Result<Place, LabError> {
        Place::from_path("/proc/thread-self/ns/net")
    }

    /// The network namespace, file system and host name of the calling thread.
    pub(crate) fn current(name: &str) -> Result<Place, LabError> {
        let mounts = open(Path::new("/proc/thread-self/ns/mnt"))?;
        let host_name = open(Path::new("/proc/thread-self/ns/uts"))?;
        let network = open(Path::new("/proc/thread-self/ns/net"))?;
        let file_system = Some(Arc::new(FileSystem { mounts, host_name }));
        Ok(Place { inner: Arc::new(Inner { name: name.to_owned(), network, file_system }) })
    }

    /// What it is called: a host's name, or the path it was made from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The network namespace, for system calls that want its descriptor.
    pub(crate) fn network(&self) -> &File {
        &self.inner.network
    }

    /// Runs `work` on a thread of its own in this place and returns what it returned. Sockets that it opens
    /// belong to this place for life, wherever they are used; a host's files are those of the host.
    ///
    /// # Errors
    /// When the place cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name(self.name().to_owned())
                .spawn_scoped(scope, || self.go().map(|()| work()))
                .trying(|| format!("start a thread for {}", self.name()))?;
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that lives in this place; it has entered it when this returns.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        prepare: impl FnOnce() -> Result<T, LabError> + Send + 'static,
        work: impl FnOnce(T) + Send + 'static,
    ) -> Result<JoinHandle<()>, LabError> {
        let (report, entered) = std::sync::mpsc::channel();
        let place = self.clone();
        let worker = thread::Builder::new()
            .name(self.name().to_owned())
            .spawn(move || {
                let prepared = place.go().and_then(|()| prepare());
                drop(place);
                match prepared {
                    Ok(prepared) => {
                        let _ = report.send(Ok(()));
                        work(prepared);
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            })
            .trying(|| format!("start a thread for {}", self.name()))?;
        match entered.recv() {
            Ok(Ok(())) => Ok(worker),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LabError::System {
                action: format!("start a thread in {}", self.name()),
                source: std::io::Error::other("it panicked"),
            }),
        }
    }

    /// Starts a program in this place; dropping the result kills it.
    ///
    /// The thread that is its parent ends at once, so a program that asks to die with its parent
    /// (PR_SET_PDEATHSIG) must not be started this way.
    ///
    /// # Errors
    /// When the place cannot be entered or the program cannot be executed.
    pub fn spawn(&self, command: &mut Command) -> Result<Process, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            self.run_in(|| command.spawn())?.trying(|| format!("start {program} in {}", self.name()))?;
        Ok(Process::new(program, child))
    }

    /// Runs a program in this place to its end and returns its status and what it printed.
    ///
    /// # Errors
    /// When the place cannot be entered or the program cannot be executed; not for its exit status.
    pub fn run(&self, command: &mut Command) -> Result<Output, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run_in(|| command.output())?.trying(|| format!("run {program} in {}", self.name()))
    }

    /// Moves the calling thread here, for good.
    fn go(&self) -> Result<(), LabError> {
        let entering = |kind: &'static str| move || format!("enter the {kind} namespace of {}", self.name());
        if let Some(FileSystem { mounts, host_name }) = self.inner.file_system.as_deref() {
            // Threads share root and working directory, and a thread that does may not change its mounts.
            let directory = std::env::current_dir().ok();
            system::unshare(UnshareFlags::FS).trying(entering("mount"))?;
            move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
                .trying(entering("mount"))?;
            move_into_link_name_space(host_name.as_fd(), Some(LinkNameSpaceType::HostNameAndNISDomainName))
                .trying(entering("UTS"))?;
            // Entering led to the root; the old directory may not exist here.
            if let Some(directory) = directory {
                let _ = rustix::process::chdir(&directory);
            }
        }
        move_into_link_name_space(self.inner.network.as_fd(), Some(LinkNameSpaceType::Network))
            .trying(entering("network"))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.inner.name).finish()
    }
}

fn open(path: &Path) -> Result<File, LabError> {
    File::open(path).trying(|| format!("open the namespace {}", path.display()))
}
