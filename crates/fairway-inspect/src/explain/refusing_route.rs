//! Routes that refuse packets, and the command that deletes one.

use fairway_walk::{
    DiscardReason, End, MAIN_TABLE, PacketWalk, Route, RouteQuery, RouteResult, Step, Topology,
};

/// The route at which a walk ends, if that is one that refuses packets.
pub(super) fn refusing_route<'t>(topology: &'t Topology, walk: &PacketWalk) -> Option<&'t Route> {
    let sent = || {
        walk.steps.iter().rev().find_map(|step| match step {
            Step::Arrives { tuple, .. } | Step::Leaves { tuple, .. } | Step::Made { tuple, .. } => {
                Some(tuple.destination)
            }
            Step::Translated { to, .. } => Some(to.destination),
            _ => None,
        })
    };
    let (namespace, destination) = match &walk.end {
        End::NoRoute { namespace, destination, .. } => (*namespace, *destination),
        End::Discarded { namespace, reason: DiscardReason::Blackhole } => (*namespace, sent()?),
        _ => return None,
    };
    match topology[namespace].route(&RouteQuery::to(destination)) {
        RouteResult::Found(route) if route.kind.refuses() => Some(route),
        _ => None,
    }
}

/// The command that deletes a route that refuses packets.
pub(super) fn delete_route(route: &Route) -> String {
    let mut command = format!("ip route del {} {}", route.kind.name(), route.destination);
    if route.table != MAIN_TABLE {
        command.push_str(&format!(" table {}", route.table));
    }
    if route.metric != 0 {
        command.push_str(&format!(" metric {}", route.metric));
    }
    command
}
