//! Traces real packets of this host and of the containers of all engines.

mod traced;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use fairway_containers::Container;
use fairway_inspect::explain::{Peer, Port, split};
use fairway_inspect::trace::{Filter, TraceEnd, TraceMessage, TraceQuery, TraceRequest};
use fairway_kernel::namespace::{self, ListedNamespace};
use fairway_trace::{RENEWAL, Subject, Trace, Watched};

use crate::error::HostError;
use crate::host::Host;
use crate::question::readings;
use crate::rights;

/// How many times as long as a reading of the host takes the next one waits: a host may have many containers.
const SHARE: u32 = 20;

/// Traces packets, and passes messages to `show` until it returns false or the request is satisfied. `own` returns
/// containers that no record of an engine has: Fairway's sandboxes.
///
/// # Errors
/// [`HostError::TraceRights`]; the question is invalid ([`HostError::is_misuse`]); or the host cannot be read.
pub fn trace(
    own: &mut dyn FnMut() -> Vec<Container>,
    request: &TraceRequest,
    show: &mut dyn FnMut(TraceMessage) -> bool,
) -> Result<(), HostError> {
    rights::check_to_trace()?;
    let began = Instant::now();
    let host = Host::read_without_rules(own())?;
    let mut containers =
        Containers { own, request: request.clone(), namespaces: Vec::new(), resolved: None, pause: RENEWAL };
    let filter = containers.filter_of(&host)?;
    containers.wait_after(began);
    let (workers, notes) = (host.workers.clone(), host.notes);
    if let Some(mut trace) = Trace::begin(containers, workers, filter, request.clone(), show)?
        && notes.into_iter().all(|note| trace.note(note))
    {
        trace.run();
    }
    Ok(())
}

/// The containers of a request, by readings of the host.
struct Containers<'o> {
    own: &'o mut dyn FnMut() -> Vec<Container>,
    request: TraceRequest,
    /// The namespaces of the last reading with their names: what the places of the filter mean.
    namespaces: Vec<(String, ListedNamespace)>,
    /// What a name server said of the destination: it is asked once, not to be traced itself.
    resolved: Option<IpAddr>,
    pause: Duration,
}

impl Containers<'_> {
    fn filter_of(&mut self, host: &Host) -> Result<Filter, HostError> {
        let query = self.query(host)?;
        let names = host.topology.iter().map(|(_, it)| it.name.clone());
        self.namespaces = names.zip(host.listed.iter().cloned()).collect();
        Ok(Filter::new(&host.traced(), query))
    }

    fn query(&mut self, host: &Host) -> Result<TraceQuery, HostError> {
        let not_found = |text: &str| HostError::NotFound {
            text: text.to_owned(),
            asker: "FROM".to_owned(),
            because: None,
        };
        let (from, to) = (self.request.from.clone(), self.request.to.clone());
        Ok(match (from, to) {
            (None, None) => TraceQuery::All,
            (Some(one), None) | (None, Some(one)) => {
                let (end, port) = host.trace_end(&one)?.ok_or_else(|| not_found(&one))?;
                TraceQuery::One(end, port)
            }
            (Some(from), Some(to)) => {
                let origin = host.whole_end(&from)?.ok_or_else(|| not_found(&from))?;
                let (end, port) = match host.trace_end(&to)? {
                    Some(found) => found,
                    None => self.look_up(host, &from, &to)?,
                };
                TraceQuery::Between(origin, end, port)
            }
        })
    }

    /// The destination by its name, as FROM resolves it.
    fn look_up(&mut self, host: &Host, from: &str, to: &str) -> Result<(TraceEnd, Option<Port>), HostError> {
        let (name, port) = split(to)?;
        if let Some(known) = self.resolved {
            return Ok((TraceEnd::Address(known), port));
        }
        let asker = host.peer(from).ok().flatten().unwrap_or(Peer::Host);
        let found = host.look_up(&asker, name);
        let address = found.map_err(|because| HostError::NotFound {
            text: name.to_owned(),
            asker: from.to_owned(),
            because,
        })?;
        self.resolved = Some(address);
        Ok((TraceEnd::Address(address), port))
    }

    fn wait_after(&mut self, began: Instant) {
        self.pause = RENEWAL.max(began.elapsed() * SHARE);
    }
}

impl Subject for Containers<'_> {
    fn filter(&mut self) -> Option<Filter> {
        let began = Instant::now();
        let filter = Host::read_without_rules((self.own)()).and_then(|host| self.filter_of(&host));
        self.wait_after(began);
        filter.ok()
    }

    fn namespaces(&mut self, filter: &Filter) -> Option<Vec<Watched>> {
        let found = filter.containers.iter().filter_map(|place| {
            let (label, listed) = self.namespaces.get(*place)?;
            let known = &listed.namespace;
            // It may have ended since the last reading.
            let exists = namespace::identity(&known.path).is_ok_and(|it| it.identity() == known.identity());
            exists.then(|| Watched { label: label.clone(), namespace: known.clone() })
        });
        Some(found.collect())
    }

    fn pause(&self) -> Duration {
        self.pause
    }
}

impl Host {
    /// The end that a text without a port means.
    fn whole_end(&self, text: &str) -> Result<Option<TraceEnd>, HostError> {
        if text == "any" {
            return Ok(Some(TraceEnd::Any));
        }
        Ok(self.peer(text)?.and_then(|peer| match peer {
            Peer::Host => Some(TraceEnd::Host),
            Peer::Lan(None) => Some(TraceEnd::Outside),
            Peer::Lan(Some(address)) | Peer::Address(address) => Some(TraceEnd::Address(address)),
            Peer::Namespace(id) => Some(TraceEnd::Container(id.0)),
            // Questions about this host name sandboxes as containers.
            Peer::Sandbox(_) => None,
        }))
    }

    /// The end and the port that a text means.
    fn trace_end(&self, text: &str) -> Result<Option<(TraceEnd, Option<Port>)>, HostError> {
        let mut unclear = None;
        for (name, port) in readings(text) {
            match self.whole_end(name) {
                Ok(Some(end)) => return Ok(Some((end, port))),
                Ok(None) => {}
                // Another reading may be what is meant.
                Err(error) => unclear = unclear.or(Some(error)),
            }
        }
        unclear.map_or(Ok(None), Err)
    }
}
