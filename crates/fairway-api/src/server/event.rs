//! `/events`: streams events, one JSON text per line, until the client disconnects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fairway_core::world::{Event, TimedEvent};
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::call::Call;
use super::reply::Reply;
use crate::engine_api::{EngineApi, Failure};
use crate::filter::{Filters, InvalidFilter};
use crate::types::{EventActor, EventMessage};

/// How many lines are queued for a slow reader; further events are dropped, and an event `lost` counts them.
const QUEUE: usize = 512;
const NANOSECONDS: i64 = 1_000_000_000;

/// The filters of Docker's clients. The last ones select kinds of events that Fairway does not have.
const FILTERS: [&str; 14] = [
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "config",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

/// The filters of a request for events.
struct Wanted {
    since: Option<i64>,
    until: Option<i64>,
    filters: Filters,
}

/// Streams the events that match the filters of a request.
pub(super) fn stream(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let filters = call.filters()?;
    filters.check(&FILTERS)?;
    let wanted = Wanted { since: time(call, "since")?, until: time(call, "until")?, filters };
    let now = engine.now();
    // Without `since`, only new events are sent, as by Docker.
    let since = wanted.since.or(wanted.until.is_none().then_some(now)).unwrap_or(now);
    let left =
        wanted.until.map(|until| Duration::from_nanos(u64::try_from(until.saturating_sub(now)).unwrap_or(0)));
    let (send, receive) = mpsc::channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    engine.watch(Box::new(move |happened| {
        let message = message(happened);
        let late = wanted.until.is_some_and(|until| happened.at > until);
        if late || happened.at < since || !passes(&wanted.filters, &message) {
            return !send.is_closed() && !late;
        }
        emit(&send, &lost, happened, &message)
    }));
    Ok(Reply::stream(receive, left))
}

/// Queues a line, preceded by the count of dropped events; false if the client is gone.
fn emit(send: &mpsc::Sender<Bytes>, lost: &AtomicU64, happened: &TimedEvent, message: &EventMessage) -> bool {
    let missed = lost.load(Ordering::Relaxed);
    if missed > 0 {
        let event = Event::of_daemon("lost", "", &[("count", missed.to_string())]);
        match send.try_send(line(&self::message(&TimedEvent { event, at: happened.at }))) {
            Ok(()) => lost.store(0, Ordering::Relaxed),
            Err(mpsc::error::TrySendError::Full(_)) => {
                lost.store(missed + 1, Ordering::Relaxed);
                return true;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
        }
    }
    match send.try_send(line(message)) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Full(_)) => {
            lost.fetch_add(1, Ordering::Relaxed);
            true
        }
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    }
}

fn line(message: &EventMessage) -> Bytes {
    // Serialization cannot fail: the message has only texts and numbers.
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn message(happened: &TimedEvent) -> EventMessage {
    let TimedEvent { event, at } = happened;
    let container = event.subject.text() == "container";
    EventMessage {
        status: if container { event.action.to_string() } else { String::new() },
        id: if container { event.id.clone() } else { String::new() },
        from: event.attributes.get("image").filter(|_| container).cloned().unwrap_or_default(),
        kind: event.subject.text().to_owned(),
        action: event.action.to_string(),
        actor: EventActor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: at / NANOSECONDS,
        time_nano: *at,
    }
}

fn passes(filters: &Filters, message: &EventMessage) -> bool {
    // A name, an identifier, or the beginning of one, of an object of that kind.
    let about = |kind: &str| {
        let name = message.actor.attributes.get("name").map_or("", String::as_str);
        let values = filters.values(kind);
        let means = |value: &str| !value.is_empty() && (value == name || message.actor.id.starts_with(value));
        values.is_empty() || (message.kind == kind && values.into_iter().any(means))
    };
    let elsewhere = ["config", "node", "plugin", "secret", "service", "volume"];
    let image = message.actor.attributes.get("image").map_or("", String::as_str);
    filters.equals("type", &message.kind)
        && !elsewhere.into_iter().any(|subject| filters.has(subject))
        && filters.image("image", image)
        && filters.labels(&message.actor.attributes)
        && acts(filters, &message.action)
        && filters.equals("scope", &message.scope)
        && ["container", "network", "daemon"].into_iter().all(about)
}

/// Whether an action is asked for. `exec_create: COMMAND` is so by its first word, as in Docker.
fn acts(filters: &Filters, action: &str) -> bool {
    let (kind, _) = action.split_once(':').unwrap_or((action, ""));
    filters.equals("event", kind) || filters.equals("event", action)
}

/// A time as Docker's client sends it: seconds since 1970, and a fraction.
fn time(call: &Call, name: &'static str) -> Result<Option<i64>, Failure> {
    let text = call.parameter(name);
    if text.is_empty() {
        return Ok(None);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<9}");
    let nanoseconds = digits.get(..9).and_then(|digits| digits.parse::<i64>().ok());
    let all = seconds
        .parse::<i64>()
        .ok()
        .zip(nanoseconds)
        .and_then(|(seconds, rest)| seconds.checked_mul(NANOSECONDS)?.checked_add(rest));
    let value = || InvalidFilter::Value { name: name.to_owned(), value: text.to_owned() };
    Ok(Some(all.ok_or_else(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(at: i64) -> TimedEvent {
        TimedEvent { event: Event::of_daemon("reload", "box", &[]), at }
    }

    #[test]
    fn events_have_dockers_json() {
        let mut happened = happened(1_795_312_963_489_811_622);
        let daemon = r#"{"Type":"daemon","Action":"reload","Actor":{"ID":"box","Attributes":{"name":"box"}},"scope":"local","time":1795312963,"timeNano":1795312963489811622}"#;
        assert_eq!(line(&message(&happened)), format!("{daemon}\n"));
        happened.event.subject = fairway_core::world::Subject::Container;
        let text = serde_json::to_string(&message(&happened)).unwrap();
        assert!(text.starts_with(r#"{"status":"reload","id":"box","Type":"container","#), "{text}");
    }

    #[test]
    fn filters_of_one_name_are_alternatives() {
        let message = message(&happened(1));
        let passes = |filters: &[(&str, &str)]| {
            let all = filters.iter().fold(Filters::default(), |all, (name, value)| all.with(name, value));
            passes(&all, &message)
        };
        assert!(passes(&[]) && passes(&[("type", "network"), ("type", "daemon")]));
        assert!(passes(&[("daemon", "box"), ("event", "reload")]) && passes(&[("daemon", "bo")]));
        assert!(!passes(&[("type", "network")]) && !passes(&[("event", "repair")]));
        assert!(!passes(&[("container", "box")]));
    }

    #[test]
    fn a_slow_reader_gets_the_count_of_dropped_events() {
        let (send, mut receive) = mpsc::channel(2);
        let lost = AtomicU64::new(0);
        for at in 0..5 {
            assert!(emit(&send, &lost, &happened(at), &message(&happened(at))));
        }
        let mut read = |count: usize| -> Vec<EventMessage> {
            (0..count).map(|_| serde_json::from_slice(&receive.try_recv().unwrap()).unwrap()).collect()
        };
        assert_eq!(read(2).iter().map(|it| it.time_nano).collect::<Vec<_>>(), [0, 1]);
        assert!(emit(&send, &lost, &happened(9), &message(&happened(9))));
        let last = read(2);
        assert_eq!((last[0].action.as_str(), last[0].actor.attributes["count"].as_str()), ("lost", "3"));
        assert_eq!(last[1].time_nano, 9);
        drop(receive);
        assert!(!emit(&send, &lost, &happened(9), &message(&happened(9))));
    }

    #[test]
    fn times_have_a_fraction_or_none() {
        let at = |query: &str| time(&Call::new(query, crate::server::body::Held::default()), "since");
        assert_eq!(at(""), Ok(None));
        assert_eq!(at("since=12"), Ok(Some(12_000_000_000)));
        assert_eq!(at("since=12.000000005"), Ok(Some(12_000_000_005)));
        assert_eq!(at("since=12.5"), Ok(Some(12_500_000_000)));
        assert_eq!(at("since=soon").unwrap_err().message, "invalid filter 'since=soon'");
    }
}
