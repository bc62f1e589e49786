//! The store as the Committer sees it.

use std::sync::Arc;

use fairway_store::{Change, Store, StoreError, Ticket};

/// A store of records. Durable changes are a prefix of the submitted ones.
pub(crate) trait RecordStore: Send + Sync {
    /// Submits a change behind all others. From a failure until [`RecordStore::resume`] every change fails.
    fn submit(&self, change: Change) -> Arc<dyn Receipt>;

    /// Accepts changes again: the caller has taken back what failed.
    fn resume(&self);
}

/// What becomes of a submitted change.
pub(crate) trait Receipt: Send + Sync {
    /// The place in the order of the submitted changes.
    fn number(&self) -> u64;

    /// The outcome, as far as it is known.
    fn outcome(&self) -> Option<Result<(), StoreError>>;

    /// Waits until the change and all before it are durable.
    fn wait(&self) -> Result<(), StoreError>;
}

impl RecordStore for Store {
    fn submit(&self, change: Change) -> Arc<dyn Receipt> {
        Arc::new(Store::submit(self, change))
    }

    fn resume(&self) {
        Store::resume(self);
    }
}

impl Receipt for Ticket {
    fn number(&self) -> u64 {
        Ticket::number(self)
    }

    fn outcome(&self) -> Option<Result<(), StoreError>> {
        Ticket::outcome(self)
    }

    fn wait(&self) -> Result<(), StoreError> {
        Ticket::wait(self)
    }
}
