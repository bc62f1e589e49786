//! The stream of traced packets.

use fairway_inspect::trace::{TraceMessage, TraceRequest};

use super::{Client, ClientError, encode};

impl Client {
    /// Shows packets as they are seen, until what is asked for has been seen, or `show` says that it is enough.
    ///
    /// # Errors
    /// The daemon does not run, refuses, or goes away.
    pub fn trace(
        &mut self,
        request: &TraceRequest,
        mut show: impl FnMut(TraceMessage) -> bool,
    ) -> Result<(), ClientError> {
        let TraceRequest { from, to, bytes, count, duration } = request;
        let milliseconds = duration.map(|duration| duration.as_millis().to_string());
        let parameters = [
            ("from", from.clone()),
            ("to", to.clone()),
            ("bytes", bytes.map(|bytes| bytes.to_string())),
            ("count", count.map(|count| count.to_string())),
            ("milliseconds", milliseconds),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", encode(&value))).collect();
        self.lines(&format!("/fairway/trace?{}", query.join("&")), &mut show)
    }
}
