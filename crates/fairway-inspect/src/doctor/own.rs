//! Fairway's own: whether it runs, and whether what is there is what it made.

use super::{Deviation, FIX, Ill, Inside, Observations, ReplacedFile, count};
use fairway_core::world::World;
use fairway_model::shell::quote;

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
                format!(
                    "sandboxes resolve no names, and published ports are not proxied; if it was stopped, `kill -CONT {}` \
                     lets it go on; when it ends the daemon starts another one",
                    relay.pid
                ),
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

/// Sandboxes whose inside was changed.
pub(super) fn inside(world: &World, seen: &Observations) -> Vec<Ill> {
    seen.inside.iter().map(|it| changed(world, it)).collect()
}

/// What of one sandbox was changed, and the commands that set just that right: to leave a network and join it again
/// would cut its connections, which may go on.
fn changed(world: &World, inside: &Inside) -> Ill {
    let Inside { sandbox, namespace, differences } = inside;
    let texts: Vec<String> = differences.iter().map(Deviation::is).collect();
    let why = match differences.iter().any(|it| it.what == RESOLVER_TABLE) {
        true => {
            "something in the sandbox flushed its rules: 127.0.0.11 answers no questions there, names do not resolve"
        }
        false => "something changed it from within; Fairway reports it, and leaves a sandbox what is its own",
    };
    let ill = Ill::warning(format!("{sandbox}: {}", texts.join("; ")), why);
    let enter = format!("nsenter --net={} ", quote(namespace));
    let fixes: Vec<String> =
        differences.iter().filter_map(|it| it.fix.as_ref()).map(|fix| format!("{enter}{fix}")).collect();
    match (fixes.is_empty(), differences.iter().all(|it| it.fix.is_some())) {
        (false, true) => ill.mend(fixes.join(" && ")),
        // What only Fairway makes, it makes again on demand.
        (true, _) if differences.iter().all(|it| it.what == RESOLVER_TABLE) => ill.own_mend(FIX),
        _ => match reconnect(world, inside) {
            Some(command) => ill.mend(command),
            None => ill,
        },
    }
}

/// What the table of a sandbox's own namespace is called that leads questions to its resolver.
pub const RESOLVER_TABLE: &str = "table ip fairway-resolver";

/// The commands that connect a sandbox anew to the networks whose interface it has lost; none if it has lost none.
fn reconnect(world: &World, inside: &Inside) -> Option<String> {
    let sandbox = world.find_sandbox(&inside.sandbox).ok()?;
    let name = &sandbox.name;
    let lost = world.endpoints_of_sandbox(sandbox.id).into_iter().filter(|endpoint| {
        let interface =
            endpoint.allocation.as_ref().map(|allocation| format!("interface {}", allocation.interface));
        inside.differences.iter().any(|it| Some(&it.what) == interface.as_ref())
    });
    let networks = lost.filter_map(|endpoint| world.network(endpoint.network)).map(|network| &network.name);
    let anew = networks.map(|network| {
        format!("fairway network disconnect {network} {name} && fairway network connect {network} {name}")
    });
    let commands = anew.collect::<Vec<_>>().join(" && ");
    (!commands.is_empty()).then_some(commands)
}

/// Sandboxes that see another resolv.conf, hosts or hostname than their own.
pub(super) fn files(_: &World, seen: &Observations) -> Vec<Ill> {
    let ill = |file: &ReplacedFile| {
        let why = "a process in the sandbox unmounted its file, or the host replaced the one that it was mounted on; \
                   names of other sandboxes may not resolve there";
        Ill::warning(format!("{}: {} is another file than the sandbox's own", file.sandbox, file.path), why)
            .mend(format!("fairway restart {}", quote(&file.sandbox)))
    };
    seen.replaced_files.iter().map(ill).collect()
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
