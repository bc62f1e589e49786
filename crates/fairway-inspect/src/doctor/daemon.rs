//! Checks of the daemon, the relay and the objects that Fairway created.

use super::finding::count;
use super::{Deviation, Finding, FindingKind, Fix, NamespaceState, Observations};
use fairway_core::world::World;
use fairway_model::shell::quote;

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
/// How far back repairs count, in seconds.
const REPAIR_WINDOW: i64 = 600;
/// How many repairs in that time are usual: an experiment, or a reload of a firewall.
const USUAL_REPAIRS: usize = 3;
/// The modules that Fairway's links and rules need.
const LOAD_MODULES: &str =
    "modprobe -a bridge veth nf_tables nft_nat nft_masq nft_ct nft_fib_inet nft_socket nf_conntrack_netlink";

/// The nf_tables table in a sandbox's namespace that redirects DNS queries to its resolver.
pub const RESOLVER_TABLE: &str = "table ip fairway-resolver";

/// A problem of the daemon, the relay or an object that Fairway created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonFinding {
    /// No daemon answers on this host.
    NotRunning {
        /// Whether Fairway made networks here before.
        installed: bool,
    },
    /// The kernel lacks a feature that Fairway needs.
    KernelFeatureMissing {
        /// The error of trying the feature.
        reason: String,
    },
    /// No change can be made durable.
    StoreFails {
        /// How long ago the first change failed, in seconds.
        seconds: usize,
        /// Why the last one failed.
        error: String,
    },
    /// A record of the store is no part of the World.
    RecordOrphaned {
        /// The key of the record.
        key: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The relay does not answer the daemon.
    RelayUnresponsive {
        /// The relay's process.
        pid: u32,
    },
    /// A part of the relay's confinement is not in force.
    RelayUnconfined {
        /// The part, such as `landlock`.
        part: String,
        /// Why it is not in force.
        reason: String,
    },
    /// An object differs from the Plan.
    Drift {
        /// The object, the property, its actual and its expected value.
        description: String,
    },
    /// An object with Fairway's mark that no network or sandbox needs.
    Leak {
        /// The object.
        description: String,
    },
    /// Something inside a sandbox's namespace differs from the Plan.
    NamespaceChanged {
        /// The name of the sandbox.
        sandbox: String,
        /// The path of its network namespace.
        namespace: String,
        /// The properties that differ.
        deviations: Vec<Deviation>,
        /// The networks whose interface is missing.
        disconnected: Vec<String>,
    },
    /// A process in a sandbox reads another file than the one Fairway mounted.
    FileReplaced {
        /// The name of the sandbox.
        sandbox: String,
        /// The path in the sandbox.
        path: String,
    },
    /// The daemon repaired drift within the last ten minutes.
    Repaired {
        /// How many objects it repaired.
        repairs: usize,
        /// The age of the last repair in seconds.
        seconds_ago: usize,
        /// What it repaired last.
        last: String,
    },
}

impl DaemonFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::NotRunning { installed: false } => Finding::note(
                "daemon",
                "no daemon is running, and none has been: only the host and containers of other engines are examined",
                "nothing fails because of it, if Fairway is to run no networks here",
            )
            .fix("fairway daemon"),
            Self::NotRunning { installed: true } => Finding::error(
                "daemon",
                "no daemon is running: only the host is examined",
                "existing networks keep working, but nothing can be changed, drift is not repaired, and the end of a \
                 sandbox is not noticed",
            )
            .fix("systemctl start fairway || fairway daemon"),
            Self::KernelFeatureMissing { reason } => {
                Finding::error("kernel", reason, "no network can be created without it").fix(LOAD_MODULES)
            }
            Self::StoreFails { seconds, error } => Finding::error(
                "store",
                format!("every change has been refused for {}: {error}", count(*seconds, "second")),
                "networks, connections and names go on; nothing can be created, changed or removed until the store can \
                 be written again",
            ),
            Self::RecordOrphaned { key, reason } => Finding::warning(
                "store",
                format!("record {key} of the store is not used: {reason}"),
                "what it describes does not exist; the record is kept until it is removed",
            )
            .fix(format!(
                "systemctl stop fairway && fairway store rm {} && systemctl start fairway",
                quote(key)
            )),
            Self::RelayUnresponsive { pid } => Finding::error(
                "relay",
                format!("the relay (process {pid}) does not answer"),
                format!(
                    "sandboxes cannot resolve names, and published ports are not proxied; `kill -CONT {pid}` resumes \
                     a stopped relay; when the relay ends, the daemon starts a new one"
                ),
            )
            .automatic_fix(format!("kill -KILL {pid}")),
            Self::RelayUnconfined { part, reason } => Finding::note(
                "relay",
                format!("the relay runs without {part}: {reason}"),
                "the relay parses untrusted packets; this part of its confinement would limit an attacker who has \
                 taken it over",
            ),
            Self::Drift { description } => Finding::warning(
                "drift",
                description,
                "an object that differs from the plan may pass packets that it should drop, or drop packets that it \
                 should pass",
            )
            .automatic_fix(Fix::COMMAND),
            Self::Leak { description } => Finding::warning(
                "leaks",
                description,
                "the object has Fairway's mark and belongs to no network or sandbox; its addresses and names stay in \
                 use",
            )
            .automatic_fix(Fix::COMMAND),
            Self::NamespaceChanged { sandbox, namespace, deviations, disconnected } => {
                render_namespace(sandbox, namespace, deviations, disconnected)
            }
            Self::FileReplaced { sandbox, path } => Finding::warning(
                "files",
                format!("{sandbox}: {path} is not the file that Fairway mounted"),
                "a process in the sandbox unmounted the file, or the host replaced the file below the mount; names of \
                 other sandboxes may not resolve there",
            )
            .fix(format!("fairway restart {}", quote(sandbox))),
            Self::Repaired { repairs, seconds_ago, last } => {
                let message = format!(
                    "the daemon repaired {} in the last 10 minutes, most recently {} ago: {last}",
                    count(*repairs, "object"),
                    count(*seconds_ago, "second")
                );
                let finding = if *repairs > USUAL_REPAIRS {
                    let impact = "a program on this host keeps changing Fairway's objects, which interrupts traffic \
                                  each time";
                    Finding::warning("healing", message, impact)
                } else {
                    Finding::note("healing", message, "Fairway's objects were changed and are repaired")
                };
                finding.fix("fairway events --since 10m --until 0s --filter type=daemon")
            }
        }
    }
}

/// The fix changes only the properties that differ: reconnecting a network would cut connections that may survive.
fn render_namespace(
    sandbox: &str,
    namespace: &str,
    deviations: &[Deviation],
    disconnected: &[String],
) -> Finding {
    let is_resolver = |it: &Deviation| it.what == RESOLVER_TABLE;
    let texts = deviations.iter().map(Deviation::is).collect::<Vec<_>>().join("; ");
    let impact = if deviations.iter().any(is_resolver) {
        "a process in the sandbox flushed its rules: 127.0.0.11 does not answer there, names do not resolve"
    } else {
        "a process in the sandbox changed this; Fairway reports such changes and does not revert them"
    };
    let finding = Finding::warning("netns", format!("{sandbox}: {texts}"), impact);
    let enter = format!("nsenter --net={} ", quote(namespace));
    let fixes: Vec<String> =
        deviations.iter().filter_map(|it| it.fix.as_ref()).map(|fix| format!("{enter}{fix}")).collect();
    if !fixes.is_empty() && fixes.len() == deviations.len() {
        return finding.fix(fixes.join(" && "));
    }
    if deviations.iter().all(is_resolver) {
        return finding.automatic_fix(Fix::COMMAND);
    }
    if disconnected.is_empty() {
        return finding;
    }
    let reconnect = disconnected.iter().map(|network| {
        format!(
            "fairway network disconnect {network} {sandbox} && fairway network connect {network} {sandbox}"
        )
    });
    finding.fix(reconnect.collect::<Vec<_>>().join(" && "))
}

/// Reports a daemon that does not run.
pub(super) fn check_daemon(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let installed = observed.installed || observed.links.iter().any(|link| link.ours);
    let missing = (!observed.daemon).then_some(FindingKind::Daemon(DaemonFinding::NotRunning { installed }));
    missing.into_iter().collect()
}

/// Reports a feature that the kernel lacks.
pub(super) fn check_kernel(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let missing = observed.kernel_lacks.iter().cloned();
    missing.map(|reason| FindingKind::Daemon(DaemonFinding::KernelFeatureMissing { reason })).collect()
}

/// Reports a store that cannot be written, and records that are not used.
pub(super) fn check_store(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let outage = observed.store_outage.iter().map(|outage| DaemonFinding::StoreFails {
        seconds: usize::try_from(outage.seconds).unwrap_or(usize::MAX),
        error: outage.error.clone(),
    });
    let orphans = observed.orphans.iter().cloned();
    let orphans = orphans.map(|(key, reason)| DaemonFinding::RecordOrphaned { key, reason });
    outage.chain(orphans).map(FindingKind::Daemon).collect()
}

/// Reports a relay that does not answer or is not fully confined.
pub(super) fn check_relay(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let relay = &observed.relay;
    if !relay.answers {
        return vec![FindingKind::Daemon(DaemonFinding::RelayUnresponsive { pid: relay.pid })];
    }
    let missing = relay.missing.iter().cloned();
    missing
        .map(|(part, reason)| FindingKind::Daemon(DaemonFinding::RelayUnconfined { part, reason }))
        .collect()
}

/// Reports objects that differ from the Plan.
pub(super) fn check_drift(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let drift = observed.drift.iter().cloned();
    drift.map(|description| FindingKind::Daemon(DaemonFinding::Drift { description })).collect()
}

/// Reports objects that no network or sandbox needs.
pub(super) fn check_leaks(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let leaks = observed.leaks.iter().cloned();
    leaks.map(|description| FindingKind::Daemon(DaemonFinding::Leak { description })).collect()
}

/// Reports sandboxes whose namespace differs from the Plan.
pub(super) fn check_namespaces(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let changed = observed.changed_namespaces.iter().cloned().map(|state| {
        let disconnected = disconnected_networks(world, &state);
        let NamespaceState { sandbox, namespace, deviations } = state;
        FindingKind::Daemon(DaemonFinding::NamespaceChanged { sandbox, namespace, deviations, disconnected })
    });
    changed.collect()
}

/// The networks whose interface a sandbox has lost.
fn disconnected_networks(world: &World, state: &NamespaceState) -> Vec<String> {
    let Ok(sandbox) = world.find_sandbox(&state.sandbox) else { return Vec::new() };
    let lost = world.endpoints_of_sandbox(sandbox.id).into_iter().filter(|endpoint| {
        let interface =
            endpoint.allocation.as_ref().map(|allocation| format!("interface {}", allocation.interface));
        state.deviations.iter().any(|it| Some(&it.what) == interface.as_ref())
    });
    lost.filter_map(|endpoint| world.network(endpoint.network)).map(|network| network.name.clone()).collect()
}

/// Reports sandboxes that read another resolv.conf, hosts or hostname file than the one Fairway mounted.
pub(super) fn check_files(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let replaced = observed.replaced_files.iter().cloned();
    replaced
        .map(|file| {
            FindingKind::Daemon(DaemonFinding::FileReplaced { sandbox: file.sandbox, path: file.path })
        })
        .collect()
}

/// Reports recent repairs.
pub(super) fn check_repairs(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let age = |at: i64| observed.now.saturating_sub(at) / NANOSECONDS_PER_SECOND;
    let recent: Vec<&(i64, String)> =
        observed.repairs.iter().filter(|(at, _)| age(*at) <= REPAIR_WINDOW).collect();
    let last = recent.last().map(|(at, last)| {
        FindingKind::Daemon(DaemonFinding::Repaired {
            repairs: recent.len(),
            seconds_ago: usize::try_from(age(*at)).unwrap_or_default(),
            last: last.clone(),
        })
    });
    last.into_iter().collect()
}
