//! What this program logs: to the standard error, from a level on that can change while it runs.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

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

/// Changes the level of a log that was started.
#[derive(Debug, Clone)]
pub struct LogLevel(Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Logs from this level on.
    pub fn set(&self, level: Level) {
        // It fails only where there is no subscriber any more, and with it no log.
        let _ = self.0.reload(LevelFilter::from(level));
    }
}

/// Starts to log to the standard error.
pub fn start(level: Level) -> LogLevel {
    let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines).init();
    LogLevel(handle)
}
