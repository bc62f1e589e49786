//! Drift, in words for the log.

use fairway_core::plan::{Difference, Key};
use fairway_core::policy::SetName;

/// Says what an object is.
fn describe(key: &Key) -> String {
    match key {
        Key::Ruleset => "the nf_tables tables".to_owned(),
        Key::Sysctl(path) => format!("the sysctl {path}"),
        Key::Bridge(name) => format!("the bridge {name}"),
        Key::Veth(name) => format!("the interface {name}"),
        Key::Inside(sandbox) => format!("the inside of sandbox {}", sandbox.short()),
        Key::Routes(sandbox) => format!("the default routes of sandbox {}", sandbox.short()),
        Key::Element(set, _) => format!("an element of the set {}", SetName::text(*set)),
        Key::Socket(protocol, address) => format!("the port {address}/{protocol}"),
        Key::File(sandbox, name) => format!("the file {name:?} of sandbox {}", sandbox.short()),
        Key::Names(endpoint) => format!("the names of endpoint {}", endpoint.short()),
        Key::View(sandbox) => format!("the view of sandbox {}", sandbox.short()),
        Key::HostServers => "the host's name servers".to_owned(),
    }
}

/// Logs what had drifted, once for things of a kind.
pub(crate) fn report(difference: &Difference) {
    let mut lines: Vec<(String, usize)> = Vec::new();
    let gone = difference.gone.keys().map(|key| (key, "was there and not wanted"));
    let missing = difference.new.keys().map(|key| (key, "was missing or other than wanted"));
    let other = difference.other.keys().map(|key| (key, "was other than wanted"));
    for (key, what) in gone.chain(missing).chain(other) {
        let line = format!("{} {what}", describe(key));
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    for (line, count) in lines {
        tracing::warn!(count, "drift: {line}; mended");
    }
}
