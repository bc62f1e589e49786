//! `/fairway/trace`: streams traced packets, one JSON text per line, until the client disconnects.

use std::str::FromStr;
use std::time::Duration;

use fairway_inspect::trace::{TraceMessage, TraceRequest};
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::call::Call;
use super::reply::Reply;
use crate::engine_api::{EngineApi, Failure};
use crate::filter::InvalidFilter;

/// How many lines are queued for a slow reader; further packets are dropped and counted in the output.
const QUEUE: usize = 4096;

/// Starts a trace and streams its packets.
pub(super) fn stream(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let text = |name| Some(call.parameter(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let request = TraceRequest {
        from: text("from"),
        to: text("to"),
        bytes: number(call, "bytes")?,
        count: number(call, "count")?,
        duration: number(call, "milliseconds")?.map(Duration::from_millis),
    };
    let (send, receive) = mpsc::channel(QUEUE);
    let mut missed = 0;
    engine.trace(request, Box::new(move |message| emit(&send, &mut missed, message)))?;
    Ok(Reply::stream(receive, None))
}

/// Queues a line; false if the client is gone.
fn emit(send: &mpsc::Sender<Bytes>, missed: &mut u64, mut message: TraceMessage) -> bool {
    let is_packet = matches!(message, TraceMessage::Packet(_));
    if let TraceMessage::Watching(lost) = &mut message {
        lost.unreported += *missed;
    }
    match send.try_send(line(&message)) {
        Err(mpsc::error::TrySendError::Full(_)) => {
            *missed += u64::from(is_packet);
            true
        }
        sent => sent.is_ok(),
    }
}

fn line(message: &TraceMessage) -> Bytes {
    // Serialization cannot fail: the message has only texts and numbers.
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn number<T: FromStr>(call: &Call, name: &'static str) -> Result<Option<T>, Failure> {
    let text = call.parameter(name);
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || InvalidFilter::Value { name: name.to_owned(), value: text.to_owned() };
    Ok(Some(text.parse().map_err(|_| invalid())?))
}

#[cfg(test)]
mod tests {
    use fairway_inspect::trace::Lost;

    use super::*;

    #[test]
    fn a_slow_reader_gets_the_count_of_dropped_packets() {
        let (send, mut receive) = mpsc::channel(2);
        let mut missed = 0;
        for _ in 0..5 {
            assert!(emit(&send, &mut missed, TraceMessage::Packet(Box::default())));
        }
        let mut read = || serde_json::from_slice::<TraceMessage>(&receive.try_recv().unwrap()).unwrap();
        assert_eq!(
            (read(), read()),
            (TraceMessage::Packet(Box::default()), TraceMessage::Packet(Box::default()))
        );
        assert!(emit(&send, &mut missed, TraceMessage::Watching(Lost { unreported: 1, ..Lost::default() })));
        assert_eq!(read(), TraceMessage::Watching(Lost { unreported: 4, ..Lost::default() }));
        drop(receive);
        assert!(!emit(&send, &mut missed, TraceMessage::Note(String::new())));
    }

    #[test]
    fn numeric_parameters_are_parsed() {
        let call = Call::new("count=12&bytes=many", crate::server::body::Held::default());
        assert_eq!(number::<u64>(&call, "count"), Ok(Some(12)));
        assert_eq!(number::<u64>(&call, "milliseconds"), Ok(None));
        assert_eq!(number::<u64>(&call, "bytes").unwrap_err().message, "invalid filter 'bytes=many'");
    }
}
