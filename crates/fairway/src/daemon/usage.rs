//! What the processes of a sandbox use, from proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::io;

use fairway_api::{InterfaceUsage, Usage};

use crate::processes;

/// What the processes of a sandbox use, of which one is given.
pub(super) fn usage(process: u32) -> io::Result<Usage> {
    let found = processes::of_sandbox(process)?;
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let sum = |of: fn(&processes::Stat) -> u64| found.values().map(|process| of(&process.stat)).sum::<u64>();
    Ok(Usage {
        processes: found.len() as u64,
        processor_time: sum(|stat| stat.ticks) * tick,
        host_time: host_ticks(&fs::read_to_string("/proc/stat")?) * tick,
        memory: sum(|stat| stat.pages) * page,
        interfaces: interfaces(&fs::read_to_string(format!("/proc/{process}/net/dev"))?),
    })
}

/// The ticks of all processors, of all kinds but those of guests, which are counted with users.
fn host_ticks(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = line.unwrap_or_default().split_ascii_whitespace().take(8);
    ticks.filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// The counters of `/proc/PID/net/dev`: eight numbers of what was received, then eight of what was sent.
fn interfaces(text: &str) -> BTreeMap<String, InterfaceUsage> {
    let of = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let numbers: Vec<u64> =
            counters.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let usage = InterfaceUsage {
            received: numbers.get(..4)?.try_into().ok()?,
            sent: numbers.get(8..12)?.try_into().ok()?,
        };
        Some((name.trim().to_owned(), usage))
    };
    text.lines().filter_map(of).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1250      10    1    2    0     0          0         0     2500      20    3    4    0     0       0          0
";
        let expected = InterfaceUsage { received: [1250, 10, 1, 2], sent: [2500, 20, 3, 4] };
        assert_eq!(interfaces(text), [("eth0".to_owned(), expected)].into());
        assert_eq!(host_ticks("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2\n"), 36);
        let own = usage(std::process::id()).unwrap();
        assert!(own.processes > 0 && own.memory > 0 && own.host_time > 0, "{own:?}");
    }
}
