//! The page's data, from the daemon and from the records of other engines.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fairway_api::filter::Filters;
use fairway_api::types::Explained;
use fairway_api::{Client, ClientError};
use fairway_containers::{Container, Engine};
use fairway_inspect::doctor::Finding;
use fairway_inspect::graph::{Format, Picture};
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_ui::{Answer, Branch, Failure, FailureKind, Source};

use crate::command::engines::sandboxes;
use crate::command::error::CommandError;

/// How long it is until the daemon is looked for again when it does not run.
const RETRY: Duration = Duration::from_secs(2);

/// Counts events of the daemon.
#[derive(Debug, Default)]
struct Events {
    count: Mutex<u64>,
    changed: Condvar,
}

/// The daemon, asked over its socket: one connection for each question.
#[derive(Debug)]
pub(super) struct DaemonSource {
    address: String,
    events: Arc<Events>,
}

impl DaemonSource {
    /// The daemon at an address. Its events are heard from now on, by a thread that ends with the program.
    pub(super) fn open(address: &str) -> Result<Self, CommandError> {
        let (mut client, events) = (Client::new(address)?, Arc::new(Events::default()));
        let counted = Arc::clone(&events);
        let work = move || {
            loop {
                let heard = client.events(None, None, &Filters::default(), |_| {
                    counted.add();
                    true
                });
                tracing::debug!(error = ?heard.err(), "the events of the daemon ended");
                std::thread::sleep(RETRY);
                counted.add();
            }
        };
        std::thread::Builder::new().name("events".to_owned()).spawn(work).map_err(CommandError::Serve)?;
        Ok(Self { address: address.to_owned(), events })
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Client) -> Result<T, ClientError>) -> Result<T, Failure> {
        Client::new(&self.address).and_then(|mut client| question(&mut client)).map_err(failure)
    }
}

impl Events {
    fn add(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }
}

fn failure(error: ClientError) -> Failure {
    let kind = match error {
        ClientError::Refused { status, .. } if status < 500 => FailureKind::Refused,
        _ => FailureKind::Unavailable,
    };
    Failure { kind, message: error.to_string() }
}

fn answer(explained: Explained, picture: Picture) -> Answer {
    let branch = |it: fairway_walk::BranchRecord| Branch {
        text: it.text,
        sentence: it.sentence,
        answered: it.answered,
    };
    Answer {
        picture,
        captures: explained.captures,
        branches: explained.branches.into_iter().map(branch).collect(),
        not_walked: explained.not_walked,
        planned: explained.planned,
    }
}

impl Source for DaemonSource {
    fn picture(&self) -> Result<Picture, Failure> {
        self.ask(|client| client.picture(None))
    }

    fn explain(&self, from: &str, to: &str) -> Result<Answer, Failure> {
        self.ask(|client| {
            let explained = client.explain(from, to, false)?;
            Ok(answer(explained, client.picture(Some((from, to)))?))
        })
    }

    fn containers(&self) -> Result<Vec<(Container, bool)>, Failure> {
        let mut survey = fairway_containers::read(Path::new("/"));
        survey.add(self.ask(sandboxes)?);
        survey.read_interfaces();
        // The daemon walks packets of its own sandboxes only.
        let explained = |it: Container| {
            let own = it.engine == Engine::Fairway;
            (it, own)
        };
        Ok(survey.containers.into_iter().map(explained).collect())
    }

    fn findings(&self) -> Result<Vec<Finding>, Failure> {
        Ok(self.ask(|client| client.doctor(false))?.findings)
    }

    fn trace(
        &self,
        from: Option<String>,
        to: Option<String>,
        show: &mut dyn FnMut(TraceMessage) -> bool,
    ) -> Result<(), Failure> {
        let request = TraceRequest { from, to, bytes: None, count: None, duration: None };
        self.ask(|client| client.trace(&request, show))
    }

    fn wait_for_change(&self, patience: Duration) {
        let count = self.events.count.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *count;
        // Which of the two it was makes no difference: the host is read again.
        drop(self.events.changed.wait_timeout_while(count, patience, |count| *count == known));
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // That the daemon does not answer is a state too.
        self.ask(|client| client.graph(Format::Json, &[], None)).map_err(|it| it.message).hash(&mut hasher);
        format!("{:?}", fairway_containers::read(Path::new("/")).containers).hash(&mut hasher);
        hasher.finish()
    }
}
