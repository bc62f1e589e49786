//! `fairway store`: the durable records, below the data root. These commands need no daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fairway_engine::{check_store, dump_store, remove_record};

use super::error::CommandError;
use super::print::{each, print_line};
use crate::daemon::{self, DaemonArguments};

/// What can be done with the store.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Verify the files of the store, each record, and what records refer to
    Check(Where),
    /// Display all records in JSON, by their keys
    Dump(Where),
    /// Remove one or more orphaned records while no daemon runs
    Rm(RemoveRecords),
}

/// The store.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// Root directory of persistent Fairway state [default: that of the daemon's configuration]
    #[arg(long, value_name = "DIRECTORY")]
    data_root: Option<PathBuf>,
}

/// The records to remove.
#[derive(Debug, Args)]
pub(super) struct RemoveRecords {
    #[command(flatten)]
    place: Where,
    /// Keys of records, as check prints them
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

/// The exit code of a check that found something.
const PROBLEMS: i32 = 1;

impl StoreCommand {
    pub(super) fn run(self) -> Result<i32, CommandError> {
        match self {
            Self::Check(place) => check(place),
            Self::Dump(place) => dump(place),
            Self::Rm(options) => options.run(),
        }
    }
}

impl Where {
    fn data_root(self) -> Result<PathBuf, CommandError> {
        let Some(data_root) = self.data_root else {
            return Ok(daemon::configuration_of_places(DaemonArguments::default())?.data_root);
        };
        Ok(data_root)
    }
}

/// Prints a line for each record that cannot be used.
fn check(place: Where) -> Result<i32, CommandError> {
    let found = check_store(&place.data_root()?)?;
    for orphan in &found.orphans {
        print_line(&format!("record {}: {}", orphan.key, orphan.reason))?;
    }
    let noun = if found.records == 1 { "record" } else { "records" };
    match found.orphans.len() {
        0 => print_line(&format!("store OK: {} {noun}", found.records)).map(|()| 0),
        orphaned => print_line(&format!("{} {noun}, {orphaned} orphaned", found.records)).map(|()| PROBLEMS),
    }
}

fn dump(place: Where) -> Result<i32, CommandError> {
    let records = dump_store(&place.data_root()?)?;
    print_line(&format!("{:#}", serde_json::Value::Object(records)))?;
    Ok(0)
}

impl RemoveRecords {
    fn run(self) -> Result<i32, CommandError> {
        let data_root = self.place.data_root()?;
        each(&self.keys, |key| {
            remove_record(&data_root, key)?;
            print_line(key)
        })
    }
}
