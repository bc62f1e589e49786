//! The page's data: from the daemon, and where it does not run or does not know a container, from the host itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fairway_api::filter::Filters;
use fairway_api::types::Explained;
use fairway_api::{Client, ClientError};
use fairway_containers::{Container, Engine};
use fairway_engine::examine_host;
use fairway_host::{Host, HostError};
use fairway_inspect::doctor::{Finding, engines_not_examined};
use fairway_inspect::graph::{Format, Picture, draw};
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_ui::{Answer, Branch, Failure, FailureKind, Source};

use crate::command::engines::sandboxes;
use crate::command::error::CommandError;
use crate::command::on_host::{self, TraceFailure, can_answer, is_of_other_engine};

/// How long it is until the daemon is looked for again when it does not run.
const RETRY: Duration = Duration::from_secs(2);

/// Counts events of the daemon.
#[derive(Debug, Default)]
struct Events {
    count: Mutex<u64>,
    changed: Condvar,
}

/// The daemon, asked over its socket with one connection for each question, and the host.
#[derive(Debug)]
pub(super) struct HostSource {
    address: String,
    events: Arc<Events>,
    /// Whether this process has the rights to read the host by itself.
    reads_host: bool,
}

impl HostSource {
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
        Ok(Self { address: address.to_owned(), events, reads_host: fairway_host::check_rights().is_ok() })
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
        Client::new(&self.address).and_then(|mut client| question(&mut client))
    }

    /// The daemon's sandboxes; none where it does not run and this process can do without.
    fn sandboxes(&self) -> Result<Vec<Container>, Failure> {
        match self.ask(sandboxes) {
            Err(ClientError::NotRunning { .. }) if self.reads_host => Ok(Vec::new()),
            found => found.map_err(failure),
        }
    }

    /// The host with the containers of all engines.
    fn host(&self) -> Result<Host, Failure> {
        Host::read(self.sandboxes()?).map_err(host_failure)
    }

    /// Whether the picture is one of all engines. The daemon's shows more of its own networks, and nothing else.
    fn shows_all_engines(&self) -> bool {
        self.reads_host && fairway_containers::read(Path::new("/")).containers.iter().any(is_of_other_engine)
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

fn host_failure(error: HostError) -> Failure {
    let kind = if error.is_misuse() { FailureKind::Refused } else { FailureKind::Unavailable };
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

impl Source for HostSource {
    fn picture(&self) -> Result<Picture, Failure> {
        if self.shows_all_engines() {
            return self.host()?.graph(&[], None).map_err(host_failure);
        }
        match self.ask(|client| client.picture(None).map(Picture::without_traffic)) {
            Err(ClientError::NotRunning { .. }) if self.reads_host => {
                self.host()?.graph(&[], None).map_err(host_failure)
            }
            drawn => drawn.map_err(failure),
        }
    }

    fn explain(&self, from: &str, to: &str) -> Result<Answer, Failure> {
        let path = Some((from, to));
        match self.ask(|client| client.explain(from, to, false)) {
            Ok(explained) => Ok(match self.shows_all_engines() {
                true => answer(explained, self.host()?.graph(&[], path).map_err(host_failure)?),
                false => answer(
                    explained,
                    self.ask(|client| client.picture(path).map(Picture::without_traffic)).map_err(failure)?,
                ),
            }),
            Err(error) if self.reads_host && can_answer(&error) => {
                let host = self.host()?;
                let picture = host.picture(&[]);
                let found = host.explain(from, to).map_err(host_failure)?;
                let (captures, advice) = (found.captures.clone(), found.advice.clone());
                let explained = Explained::new(&found.branches, &found.topology, captures, advice);
                Ok(answer(explained, found.drawn(picture, from, to)))
            }
            Err(error) => Err(failure(error)),
        }
    }

    fn containers(&self) -> Result<Vec<(Container, bool)>, Failure> {
        let mut survey = fairway_containers::read(Path::new("/"));
        survey.add(self.sandboxes()?);
        survey.read_interfaces();
        // The daemon walks packets of its own sandboxes only.
        let explained = |it: Container| {
            let explained = self.reads_host || it.engine == Engine::Fairway;
            (it, explained)
        };
        Ok(survey.containers.into_iter().map(explained).collect())
    }

    fn findings(&self) -> Result<Vec<Finding>, Failure> {
        let mut findings = match self.ask(|client| client.doctor(false)) {
            Err(ClientError::NotRunning { .. }) => examine_host(),
            found => found.map_err(failure)?.findings,
        };
        // The daemon does not examine the containers of other engines.
        if self.reads_host {
            let of_engines = fairway_host::examine(self.sandboxes()?);
            findings.extend(of_engines.unwrap_or_else(|error| engines_not_examined(&error.to_string())));
        }
        Ok(findings)
    }

    fn trace(
        &self,
        from: Option<String>,
        to: Option<String>,
        show: &mut dyn FnMut(TraceMessage) -> bool,
    ) -> Result<(), Failure> {
        let request = TraceRequest { from, to, bytes: None, count: None, duration: None };
        let mut client = Client::new(&self.address).map_err(failure)?;
        on_host::trace(&mut client, false, &request, show).map_err(|error| match error {
            TraceFailure::Daemon(error) => failure(error),
            TraceFailure::Host(error) => host_failure(error),
        })
    }

    fn wait_for_change(&self, patience: Duration) {
        let count = self.events.count.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *count;
        // Which of the two it was makes no difference: the host is read again.
        drop(self.events.changed.wait_timeout_while(count, patience, |count| *count == known));
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // That there is no picture is a state too.
        self.picture().map(|it| draw(&it, Format::Json)).map_err(|it| it.message).hash(&mut hasher);
        format!("{:?}", fairway_containers::read(Path::new("/")).containers).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_can_correct_is_no_failure_of_the_host() {
        let refused = |status| failure(ClientError::Refused { status, message: String::new() }).kind;
        assert_eq!((refused(404), refused(400)), (FailureKind::Refused, FailureKind::Refused));
        assert_eq!(refused(500), FailureKind::Unavailable);
        let rights = HostError::Rights { missing: vec!["CAP_NET_ADMIN"] };
        assert_eq!(host_failure(rights).kind, FailureKind::Unavailable);
        assert_eq!(host_failure(HostError::NotRunning("web".to_owned())).kind, FailureKind::Refused);
    }
}
