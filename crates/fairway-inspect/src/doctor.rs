//! What is wrong with a host, as far as containers' networks go: what was seen, why it matters, what mends it.
//!
//! [`Observations`] are plain values, gathered by whoever can look; [`examine`] judges them. Each kind of trouble has
//! a [`Check`] with an identifier that does not change, so that scripts and `docs/reference/doctor.md` can name it.

mod addressing;
mod deviation;
mod firewall;
mod forwarding;
mod observations;
mod own;
mod ports;
mod room;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use deviation::Deviation;
pub use observations::{Descriptors, Inside, LinkSeen, LostPort, Observations, Relay, ReplacedFile, Share};

pub use own::RESOLVER_TABLE;

use fairway_core::world::World;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Ok,
    /// Good to know; nothing fails of it by itself.
    Note,
    /// It could not be looked at.
    Unknown,
    /// Something may fail, or will when more is asked for.
    Warning,
    /// Something fails.
    Problem,
}

impl Level {
    /// Its name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What mends something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mend {
    /// A command for a shell. Words in capitals are to be filled in.
    pub command: String,
    /// Whether it is Fairway's own, so that `fairway doctor --fix` mends it.
    pub own: bool,
}

impl Mend {
    fn of_user(command: String) -> Self {
        Self { command, own: false }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// The check, by its identifier.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// Why it matters; empty when all is well.
    pub why: String,
    /// What mends it, if a command can.
    pub mend: Option<Mend>,
}

/// Something that is not well, before it is known which check found it.
pub(crate) struct Ill {
    level: Level,
    seen: String,
    why: String,
    mend: Option<Mend>,
}

impl Ill {
    fn new(level: Level, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self { level, seen: seen.into(), why: why.into(), mend: None }
    }

    fn problem(seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Level::Problem, seen, why)
    }

    fn warning(seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Level::Warning, seen, why)
    }

    fn note(seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Level::Note, seen, why)
    }

    /// With a command that is the user's to run.
    fn mend(self, command: impl Into<String>) -> Self {
        Self { mend: Some(Mend::of_user(command.into())), ..self }
    }

    /// The same, with another command where there is no such one.
    fn mend_if(self, command: Option<String>, other: &str) -> Self {
        self.mend(command.unwrap_or_else(|| other.to_owned()))
    }

    /// With a command for what is Fairway's own.
    fn own_mend(self, command: impl Into<String>) -> Self {
        Self { mend: Some(Mend { command: command.into(), own: true }), ..self }
    }
}

/// The command that has what is Fairway's own mended.
const FIX: &str = "fairway doctor --fix";

/// One kind of trouble.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its identifier.
    pub id: &'static str,
    /// What is so when all is well.
    pub well: &'static str,
    /// Whether only a daemon that runs knows what it takes.
    pub needs_daemon: bool,
    look: fn(&World, &Observations) -> Vec<Ill>,
}

const fn of_host(id: &'static str, well: &'static str, look: fn(&World, &Observations) -> Vec<Ill>) -> Check {
    Check { id, well, needs_daemon: false, look }
}

const fn of_daemon(
    id: &'static str,
    well: &'static str,
    look: fn(&World, &Observations) -> Vec<Ill>,
) -> Check {
    Check { id, well, needs_daemon: true, look }
}

/// All checks, in the order in which they are told.
pub const CHECKS: &[Check] = &[
    of_host("daemon", "the daemon runs", own::daemon),
    of_host("kernel", "the kernel has what Fairway needs; it was tried", own::kernel),
    of_daemon("relay", "the relay answers", own::relay),
    of_daemon("drift", "what is there is what shall be there", own::drift),
    of_daemon("leaks", "nothing is left of what is gone", own::leaks),
    of_daemon("inside", "sandboxes are inside as they were made", own::inside),
    of_daemon("files", "sandboxes see the files that are theirs", own::files),
    of_daemon("healing", "nobody changes Fairway's objects again and again", own::healing),
    of_daemon("forwarding", "what is for others is forwarded", forwarding::forwarding),
    of_host(
        "bridge-netfilter",
        "bridged packets meet the rules that are meant for them",
        forwarding::bridges,
    ),
    of_host(
        "rp-filter",
        "answers may leave by another interface than questions came by",
        forwarding::sources,
    ),
    of_host(
        "accept-ra",
        "router advertisements are heeded where they are needed",
        forwarding::advertisements,
    ),
    of_daemon("forward-policy", "nobody's policy drops what is forwarded for sandboxes", firewall::policies),
    of_daemon("firewall", "no rule of others drops what is Fairway's", firewall::rules),
    of_host("two-firewalls", "rules are in one kind of iptables only", firewall::both_kinds),
    of_daemon("docker", "no Docker beside is in the way", firewall::docker),
    of_daemon("mtu", "packets of sandboxes fit through all links", addressing::mtu),
    of_daemon("subnet-overlap", "no route of the host meets a network", addressing::overlaps),
    of_daemon("nameservers", "sandboxes can ask the host's name servers", addressing::nameservers),
    of_daemon("ports", "all published ports are held", ports::held),
    of_daemon(
        "published-addresses",
        "the host has the addresses that ports are published on",
        ports::addresses,
    ),
    of_daemon("publishing", "something carries published ports", ports::carried),
    of_daemon("ephemeral-ports", "no outgoing connection takes a published port", ports::ephemeral),
    of_host("unprivileged-ports", "ports below 1024 are root's", ports::unprivileged),
    of_daemon("bridge-ports", "bridges have room for more sandboxes", room::bridge_ports),
    of_daemon("addresses", "networks have addresses for more sandboxes", room::addresses),
    of_daemon("subnets", "the pools have subnets for more networks", room::subnets),
    of_host("conntrack", "the table of connections has room", room::conntrack),
    of_host("neighbours", "the tables of neighbours have room", room::neighbours),
    of_daemon("descriptors", "more ports can be published", room::descriptors),
];

/// Judges what was seen of a host. The World is that of the daemon; an empty one where none runs, and then what only a
/// daemon knows is not judged. Each check brings what it found, or that all is well.
pub fn examine(world: &World, seen: &Observations) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS.iter().filter(|check| seen.daemon || !check.needs_daemon) {
        let finding = |ill: Ill| Finding {
            check: check.id.to_owned(),
            level: ill.level,
            seen: ill.seen,
            why: ill.why,
            mend: ill.mend,
        };
        if let Some(reason) = seen.unseen.get(check.id) {
            let what = format!("it could not be looked at: {reason}");
            findings.push(finding(Ill::new(Level::Unknown, what, "run it as root, on the host itself")));
            continue;
        }
        let ills = (check.look)(world, seen);
        if ills.is_empty() {
            findings.push(finding(Ill::new(Level::Ok, check.well, "")));
        }
        findings.extend(ills.into_iter().map(finding));
    }
    findings
}

/// The worst of what was found.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// The first few of many things, and how many there are beside them.
fn few(things: impl IntoIterator<Item = impl Into<String>>) -> String {
    const NAMED: usize = 5;
    let things: Vec<String> = things.into_iter().map(Into::into).collect();
    let first = things.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match things.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// So many of something: `1 bridge`, `2 bridges`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
