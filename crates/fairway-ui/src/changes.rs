//! Notices changes of the host while a page is open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::source::Source;

/// How often the host is read where no event says that something changed.
const INTERVAL: Duration = Duration::from_secs(2);
/// What follows an event within this time is shown with it.
const PAUSE: Duration = Duration::from_millis(60);

/// Counts the changes of the host.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    count: watch::Sender<u64>,
}

impl Changes {
    /// Starts to watch, in a thread that ends with the program.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn watch(source: Arc<dyn Source>) -> std::io::Result<Self> {
        let (count, _) = watch::channel(0);
        let changes = Self { count: count.clone() };
        let work = move || {
            let mut known = None;
            loop {
                source.wait_for_change(INTERVAL);
                std::thread::sleep(PAUSE);
                let read = (count.receiver_count() > 0).then(|| source.fingerprint());
                // A page that was opened meanwhile may have read either state.
                if read.is_some() && read != known {
                    count.send_modify(|count| *count += 1);
                }
                known = read;
            }
        };
        std::thread::Builder::new().name("changes".to_owned()).spawn(work)?;
        Ok(changes)
    }

    /// The count of changes so far, and of each further one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}
