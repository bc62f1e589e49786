//! The relay of a server: started, given the table, and started again when it ends.

use std::process::Child;
use std::time::{Duration, Instant};

use fairway_kernel::process;
use fairway_kernel::watch::Watch;
use fairway_relay::client::{ClientError, RelayClient};
use fairway_relay::table::{Change, Record, RecordKey};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::sockets::Sockets;
use crate::face::aardvark::error::AardvarkError;
use crate::face::aardvark::table::Table;
use crate::relay;

/// How long to wait before a relay that has just started is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// A relay that serves this process and ends with it.
pub(super) struct Relayed {
    child: Child,
    client: RelayClient,
    started: Instant,
    /// The relay has ended, or does not do what it is asked.
    lost: bool,
}

impl Relayed {
    /// Starts a relay with an empty table, whose end is noticed.
    ///
    /// # Errors
    /// It cannot be started, or does not answer.
    pub fn start(watch: &Watch<()>) -> Result<Self, AardvarkError> {
        let failed = |source| AardvarkError::Start { what: "the relay", source };
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|errno| failed(errno.into()))?;
        let child = relay::start_for(theirs).map_err(failed)?;
        let client = RelayClient::greet(ours)?;
        for (part, reason) in &client.hello().missing {
            tracing::warn!(part, reason, "confinement of the relay is incomplete: {part}: {reason}");
        }
        let watched = process::identity(child.id()).map_err(std::io::Error::other);
        let watched = watched.and_then(|it| watch.process((), it).map_err(std::io::Error::other));
        watched.map_err(failed)?;
        Ok(Self { child, client, started: Instant::now(), lost: false })
    }

    /// Notes that the relay has ended.
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// Changes the table of the relay.
    ///
    /// # Errors
    /// It refuses some changes, or has to be started again.
    pub fn apply(&mut self, old: &Table, new: &Table, sockets: &Sockets) -> Result<(), AardvarkError> {
        let outcome = self.client.apply(changes(old, new, sockets));
        self.lost |= matches!(&outcome, Err(error) if !matches!(error, ClientError::Refused(_)));
        Ok(outcome?)
    }

    /// Starts the relay again if it is lost, and gives it the table.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Self::apply`].
    pub fn ensure(
        &mut self,
        watch: &Watch<()>,
        table: &Table,
        sockets: &Sockets,
    ) -> Result<(), AardvarkError> {
        if !self.lost {
            return Ok(());
        }
        tracing::error!("the relay has ended; it is started again");
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        watch.forget(&());
        std::thread::sleep(PAUSE.saturating_sub(self.started.elapsed()));
        *self = Self::start(watch)?;
        self.apply(&Table::default(), table, sockets)
    }
}

/// The changes that make one table another.
fn changes(old: &Table, new: &Table, sockets: &Sockets) -> Vec<Change> {
    let gone = old.records.keys().filter(|key| !new.records.contains_key(key));
    let gone = gone.map(|key| Change::Remove(key.clone()));
    let (mut first, mut resolvers) = (Vec::new(), Vec::new());
    for (key, record) in &new.records {
        let before = old.records.get(key);
        if before == Some(record) {
            continue;
        }
        let sockets = match record {
            // A resolver that exists keeps its sockets.
            Record::SharedResolver { address, .. } if before.is_none() => {
                sockets.get(*address).into_iter().flatten().cloned().collect()
            }
            _ => Vec::new(),
        };
        let change = Change::Insert { record: record.clone(), sockets };
        let is_resolver = matches!(key, RecordKey::SharedResolver(_));
        if is_resolver { &mut resolvers } else { &mut first }.push(change);
    }
    // Names and views exist before a resolver answers by them.
    gone.chain(first).chain(resolvers).collect()
}
