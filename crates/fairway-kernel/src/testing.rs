//! Tests in network namespaces of their own: nothing here reaches the machine's network.

use rustix::thread::UnshareFlags;

use crate::system;

/// Runs `test` on a thread of its own in a new network namespace, which is gone with the thread.
/// Without `CAP_SYS_ADMIN` it fails: run the tests under `unshare -Urnm`.
pub fn in_new_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                system::unshare(UnshareFlags::NEWNET)
                    .expect("a network namespace needs CAP_SYS_ADMIN: run `unshare -Urnm cargo test`");
                test()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
