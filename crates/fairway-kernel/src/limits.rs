//! Usage and limits of the kernel's tables; none for what the kernel does not show in this namespace.

use std::fs;

use crate::sysctl;

fn number(path: &str) -> Option<u64> {
    sysctl::read(path).ok()?.parse().ok()
}

/// The number of tracked connections of this namespace, and its limit.
#[must_use]
pub fn connections() -> Option<(u64, u64)> {
    Some((number("net/netfilter/nf_conntrack_count")?, number("net/netfilter/nf_conntrack_max")?))
}

/// The number of neighbor entries of all namespaces together, and its limit (`gc_thresh3`, arp(7)). Only the initial
/// network namespace shows it.
#[must_use]
pub fn neighbors(ipv4: bool) -> Option<(u64, u64)> {
    let (table, family) = if ipv4 { ("arp_cache", "ipv4") } else { ("ndisc_cache", "ipv6") };
    let most = number(&format!("net/{family}/neigh/default/gc_thresh3"))?;
    // Titles, and then a line for each processor that begins with the count of all, in hexadecimal digits.
    let text = fs::read_to_string(format!("/proc/thread-self/net/stat/{table}")).ok()?;
    let entries = u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()?;
    Some((entries, most))
}

/// The number of packets that `rp_filter` dropped in this namespace.
#[must_use]
pub fn reverse_path_drops() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
    counter(&text, "IPReversePathFilter").unwrap_or_default()
}

/// A counter of `/proc/net/netstat`: pairs of lines, of which the first has the names.
fn counter(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    let pair = lines.chunks_exact(2).find(|pair| pair[0].split_whitespace().any(|word| word == name))?;
    let place = pair[0].split_whitespace().position(|word| word == name)?;
    pair[1].split_whitespace().nth(place)?.parse().ok()
}

/// The open descriptors of this process, and its soft and hard limit.
#[must_use]
pub fn descriptors() -> Option<(u64, u64, u64)> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    let [most, hard] = [limit.current, limit.maximum].map(|limit| limit.unwrap_or(u64::MAX));
    // One of them is that of the directory.
    Some((open.saturating_sub(1) as u64, most, hard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_namespace;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: A IPReversePathFilter B\nTcpExt: 1 22 3\nIpExt: C\nIpExt: 4\n";
        assert_eq!(counter(text, "IPReversePathFilter"), Some(22));
        assert_eq!(counter(text, "C"), Some(4));
        assert_eq!(counter(text, "D"), None);
    }

    #[test]
    fn a_new_namespace_has_dropped_nothing_and_has_descriptors() {
        in_new_namespace(|| {
            assert_eq!(reverse_path_drops(), 0);
            // The kernel shows it to the first namespace alone.
            assert_eq!(neighbors(true), None);
            let _file = fs::File::open("/proc/self/status").unwrap();
            let (open, most, hard) = descriptors().unwrap();
            assert!(open >= 1 && most > open && hard >= most, "{open} of {most}, {hard}");
        });
    }
}
