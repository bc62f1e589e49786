//! Fairway's own: whether it runs, and whether what is there is what it made.

use super::{FIX, Ill, Observations, count};
use crate::world::World;

const SECOND: i64 = 1_000_000_000;
/// How far back mending is looked at, in seconds.
const LATELY: i64 = 600;
/// How often mending is normal in that time: somebody tries something, or reloads a firewall.
const OFTEN: usize = 3;

/// Whether a daemon runs.
pub(super) fn daemon(_: &World, seen: &Observations) -> Vec<Ill> {
    if seen.daemon {
        return Vec::new();
    }
    let what = "no daemon runs: only the host is looked at";
    let why = "what it made goes on; nothing can be changed, nothing is healed, and sandboxes that end are not noticed";
    vec![Ill::problem(what, why).mend("systemctl start fairway || fairway daemon")]
}

/// What the kernel lacks.
pub(super) fn kernel(_: &World, seen: &Observations) -> Vec<Ill> {
    let lacking = seen.lacking.iter().map(|what| {
        let modules = "modprobe -a bridge veth nf_tables nft_nat nft_masq nft_ct nft_fib_inet nft_socket nf_conntrack_netlink";
        Ill::problem(what, "without it no network can be made").mend(modules)
    });
    lacking.collect()
}

/// The relay.
pub(super) fn relay(_: &World, seen: &Observations) -> Vec<Ill> {
    let relay = &seen.relay;
    if !relay.answers {
        return vec![
            Ill::problem(
                format!("the relay (process {}) does not answer", relay.pid),
                "sandboxes resolve no names, and published ports are not proxied; when it ends the daemon starts \
                 another one",
            )
            .own_mend(format!("kill -KILL {}", relay.pid)),
        ];
    }
    let missing = relay.missing.iter().map(|(part, reason)| {
        Ill::note(
            format!("the relay goes without {part}: {reason}"),
            "it reads what strangers send; were it taken over, this would have kept it in",
        )
    });
    missing.collect()
}

/// What is other than the Plan.
pub(super) fn drift(_: &World, seen: &Observations) -> Vec<Ill> {
    let why = "what is other than it was made may let through what it should not, or not what it should";
    let ills = seen.drift.iter().map(|line| Ill::warning(line, why).own_mend(FIX));
    ills.collect()
}

/// What is left of what is gone.
pub(super) fn leaks(_: &World, seen: &Observations) -> Vec<Ill> {
    let why =
        "it bears Fairway's mark and belongs to nothing that exists; its addresses and names stay taken";
    let ills = seen.leaks.iter().map(|line| Ill::warning(line, why).own_mend(FIX));
    ills.collect()
}

/// Sandboxes that somebody changed from within.
pub(super) fn inside(world: &World, seen: &Observations) -> Vec<Ill> {
    let ills = seen.inside.iter().map(|it| {
        let ill = Ill::warning(
            format!("{}: {}", it.sandbox, it.differences.join(", ")),
            "somebody changed it from within; Fairway tells, and leaves a sandbox what is its own",
        );
        let again = world.find_sandbox(&it.sandbox).ok().map(|sandbox| {
            let endpoints = world.endpoints_of_sandbox(sandbox.id);
            let names =
                endpoints.iter().filter_map(|endpoint| world.network(endpoint.network)).map(|it| &it.name);
            let name = &it.sandbox;
            let anew = names.map(|network| {
                format!(
                    "fairway network disconnect {network} {name} && fairway network connect {network} {name}"
                )
            });
            anew.collect::<Vec<_>>().join(" && ")
        });
        match again.filter(|command| !command.is_empty()) {
            Some(command) => ill.mend(command),
            None => ill,
        }
    });
    ills.collect()
}

/// Whether the daemon has to mend again and again.
pub(super) fn healing(_: &World, seen: &Observations) -> Vec<Ill> {
    let age = |at: i64| seen.now.saturating_sub(at) / SECOND;
    let lately: Vec<&(i64, String)> = seen.mended.iter().filter(|(at, _)| age(*at) <= LATELY).collect();
    let Some((at, what)) = lately.last() else { return Vec::new() };
    let told = format!(
        "the daemon mended {} in the last ten minutes, last {} ago: {what}",
        count(lately.len(), "thing"),
        count(usize::try_from(age(*at)).unwrap_or_default(), "second")
    );
    let ill = if lately.len() > OFTEN {
        let why =
            "something on this host changes Fairway's objects again and again, and traffic suffers each time";
        Ill::warning(told, why)
    } else {
        Ill::note(told, "somebody changed Fairway's objects; they are as they shall be again")
    };
    vec![ill.mend("fairway events --since 10m --until 0s --filter type=daemon")]
}
