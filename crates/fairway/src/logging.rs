//! What this program logs: to the standard error, from a level on and in a format that can change while it runs.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{self, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as lines};

/// From which severity on messages are logged; dockerd's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "help would list what the docs say")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    // Docker's name for what ends the program; here the same as `Error`.
    Fatal,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error | Level::Fatal => Self::ERROR,
        }
    }
}

/// How messages are written; dockerd's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "help would list what the docs say")]
pub enum LogFormat {
    // A line for people.
    #[default]
    Text,
    // A line with one JSON object: timestamp, level, target, message, and the fields of the message.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Json { "json" } else { "text" })
    }
}

/// A log that was started.
#[derive(Debug, Clone)]
pub struct Log {
    level: Handle<LevelFilter, Registry>,
    json: Arc<AtomicBool>,
}

impl Log {
    /// Logs from this level on.
    pub fn set_level(&self, level: Level) {
        // It fails only where there is no subscriber any more, and with it no log.
        let _ = self.level.reload(LevelFilter::from(level));
    }

    /// Writes in this format from now on.
    pub fn set_format(&self, format: LogFormat) {
        self.json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    /// The format in force.
    pub fn format(&self) -> LogFormat {
        if self.json.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }
}

/// Writes messages in either format.
struct Either {
    text: format::Format<Full>,
    json: format::Format<Json>,
    is_json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Either
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.is_json.load(Ordering::Relaxed) {
            true => self.json.format_event(context, writer, event),
            false => self.text.format_event(context, writer, event),
        }
    }
}

/// Starts to log to the standard error.
pub fn start(level: Level, log_format: LogFormat) -> Log {
    let (filter, level) = reload::Layer::new(LevelFilter::from(level));
    let log = Log { level, json: Arc::default() };
    log.set_format(log_format);
    let text = format::format();
    let either =
        Either { json: text.clone().json().flatten_event(true), text, is_json: Arc::clone(&log.json) };
    let lines = lines::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines.event_format(either)).init();
    log
}
