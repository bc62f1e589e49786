//! The processes of a sandbox, in the columns of `ps -ef`.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use fairway_api::Client;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::command::error::CommandError;
use crate::command::print::{print, table};
use crate::processes::{self, Process};

/// A time of processors, as `ps` has it.
fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Prints the processes of a sandbox.
pub(super) fn show(client: &mut Client, name: &str) -> Result<i32, CommandError> {
    let known = client.container(name)?;
    if !known.state.runs_now() {
        return Err(CommandError::NotRunning(name.to_owned()));
    }
    let unreadable = |source| CommandError::Processes { name: name.to_owned(), source };
    let mut lines = vec!["UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD".to_owned()];
    if known.state.pid != 0 {
        lines.extend(list(known.state.pid).map_err(unreadable)?);
    }
    print(&table(&lines.join("\n")))?;
    Ok(0)
}

/// A row for each process of a sandbox, with tabs between its cells.
fn list(first: u32) -> io::Result<Vec<String>> {
    let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let booted = booted(&fs::read_to_string("/proc/stat")?);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let line = |(pid, process): (u32, Process)| {
        let Process { user, command, stat } = process;
        let user = users.get(&user).cloned().unwrap_or_else(|| user.to_string());
        let started = i64::try_from(booted + stat.started / ticks).unwrap_or_default();
        let started = Timestamp::from_second(started).unwrap_or_default().to_zoned(TimeZone::system());
        let (terminal, time) = (stat.terminal(), duration(stat.ticks / ticks));
        // Arguments may have lines and tabs.
        let command = command.replace(|character: char| character.is_control(), " ");
        let (parent, started) = (stat.parent, started.strftime("%H:%M"));
        format!("{user}\t{pid}\t{parent}\t0\t{started}\t{terminal}\t{time}\t{command}")
    };
    Ok(processes::of_sandbox(first)?.into_iter().map(line).collect())
}

/// The names of users by their numbers.
fn users(passwd: &str) -> BTreeMap<u32, String> {
    let user = |line: &str| {
        let mut columns = line.split(':');
        let name = columns.next()?.to_owned();
        Some((columns.nth(1)?.parse().ok()?, name))
    };
    passwd.lines().filter_map(user).collect()
}

/// When the host was started, in seconds since 1970.
fn booted(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_users_are_those_of_ps() {
        assert_eq!((duration(0), duration(3_725)), ("00:00:00".into(), "01:02:05".into()));
        assert_eq!(users("root:x:0:0::/root:/bin/sh\nbroken\nweb:x:33:33::/:/bin/false\n")[&33], "web");
        assert_eq!(booted("cpu 1\nbtime 1795312963\n"), 1_795_312_963);
    }
}
