//! Tests in network namespaces of their own: nothing here reaches the machine's network.

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use crate::system;

/// Runs `test` on a thread of its own in a new network namespace, which is gone with the thread.
/// Without `CAP_SYS_ADMIN` it fails: run the tests under `unshare -Urnm`.
pub fn in_new_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    on_thread(UnshareFlags::NEWNET, test)
}

/// As [`in_new_namespace`], with an empty `/run` that only this thread sees.
pub fn in_new_namespace_with_run<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    on_thread(UnshareFlags::NEWNET | UnshareFlags::NEWNS, || {
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).expect("mounts of our own");
        rustix::mount::mount("none", "/run", "tmpfs", MountFlags::empty(), None).expect("an empty /run");
        test()
    })
}

fn on_thread<T: Send>(flags: UnshareFlags, test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                system::unshare(flags)
                    .expect("namespaces need CAP_SYS_ADMIN: run the tests under `unshare -Urnm`");
                test()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
