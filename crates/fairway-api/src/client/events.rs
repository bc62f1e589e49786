//! The stream of events.

use serde::de::DeserializeOwned;

use super::send::refused;
use super::{Client, ClientError, encode};
use crate::filter::Filters;
use crate::types::EventMessage;

impl Client {
    /// Shows what happens, until the daemon or `show` says that it is enough. Times are in seconds since 1970,
    /// with a fraction or without; none means now, and for ever.
    ///
    /// # Errors
    /// The daemon does not run, refuses, or goes away.
    pub fn events(
        &mut self,
        since: Option<&str>,
        until: Option<&str>,
        filters: &Filters,
        mut show: impl FnMut(EventMessage) -> bool,
    ) -> Result<(), ClientError> {
        let texts = [("since", since), ("until", until)];
        let times =
            texts.iter().filter_map(|(name, text)| text.map(|text| format!("{name}={}&", encode(text))));
        let path = format!("/events?{}filters={}", times.collect::<String>(), encode(&filters.text()));
        self.lines(&path, &mut show)
    }

    /// Shows what an answer says in lines of JSON, as they come, until it ends or `show` says that it is enough.
    pub(super) fn lines<T: DeserializeOwned>(
        &self,
        path: &str,
        show: &mut dyn FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let (mut rest, mut malformed) = (Vec::new(), None);
        let mut take = |chunk: &[u8]| {
            rest.extend_from_slice(chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let more = match serde_json::from_slice(&line) {
                    Ok(event) => show(event),
                    Err(error) => {
                        malformed = Some(error);
                        false
                    }
                };
                if !more {
                    return false;
                }
            }
            true
        };
        let outcome = self.answered(None, |connection| connection.stream("GET", path, &mut take));
        if let Some(error) = malformed {
            return Err(self.malformed(error));
        }
        let (_, response) = outcome?;
        if response.status < 400 { Ok(()) } else { Err(refused(&response)) }
    }
}
