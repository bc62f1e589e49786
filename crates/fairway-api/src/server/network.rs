//! Requests to `/networks`: list, inspect, create, remove, connect, disconnect, prune.

use fairway_core::world::{Command, Refusal};
use fairway_model::NetworkId;
use fairway_model::RefusalKind;
use hyper::StatusCode;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::call::Call;
use super::look;
use super::reply::Reply;
use crate::engine_api::{Applied, EngineApi, Failure};
use crate::filter::{Filters, InvalidFilter};
use crate::types::{
    ConnectRequest, Connected, Created, DisconnectRequest, NetworkCreate, NetworkInspect, NetworksDeleted,
};
use crate::{decode, encode};

pub(super) fn list(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let filters = call.filters()?;
    Reply::json(&look(engine, |world| Ok(encode::list_networks(world, &filters)?))?)
}

pub(super) fn inspect(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    if !matches!(call.parameter("scope"), "" | "local") {
        return Err(Refusal::NoSuchNetwork(id.to_owned()).into());
    }
    let found = look(engine, |world| Ok(world.find_network(id)?.id))?;
    let firewall_conflicts = engine.firewall_conflicts(found);
    Reply::json(&look(engine, |world| {
        let network = world.find_network(&found.to_string())?;
        let troubles = encode::troubles(world, network, &firewall_conflicts);
        Ok(NetworkInspect { fairway: troubles, ..encode::inspect_network(world, network) })
    })?)
}

pub(super) fn create(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let (create, mut warnings) = decode::network(call.json::<NetworkCreate>()?)?;
    let applied = engine.execute(Command::CreateNetwork(create))?;
    warnings.extend(applied.warnings);
    Reply::created(&Created {
        id: applied.network.map(|id| id.to_string()).unwrap_or_default(),
        warning: Some(warnings.join("\n")),
        warnings: None,
    })
}

pub(super) fn connect(engine: &dyn EngineApi, network: String, call: &Call) -> Result<Reply, Failure> {
    let Applied { warnings, .. } = engine.execute(connecting(network, call.json()?)?)?;
    Reply::json(&Connected { warnings })
}

/// The command that connects a sandbox to a network.
pub(super) fn connecting(network: String, request: ConnectRequest) -> Result<Command, Failure> {
    let endpoint = decode::endpoint(request.endpoint_config.unwrap_or_default())?;
    Ok(Command::Connect { network, sandbox: request.container, request: endpoint })
}

pub(super) fn disconnect(engine: &dyn EngineApi, network: String, call: &Call) -> Result<Reply, Failure> {
    let request: DisconnectRequest = call.json()?;
    let disconnect = Command::Disconnect { network, sandbox: request.container };
    let Applied { warnings, .. } = engine.execute(disconnect)?;
    Reply::json(&Connected { warnings })
}

pub(super) fn remove(engine: &dyn EngineApi, network: String) -> Result<Reply, Failure> {
    engine.execute(Command::RemoveNetwork { network })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn prune(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let filters = call.filters()?;
    filters.check(&["until", "label", "label!"])?;
    let until = until(&filters, engine.now())?;
    let unused: Vec<(NetworkId, String)> = look(engine, |world| {
        let meant = world.networks().filter(|network| {
            network.user_defined()
                && network.created < until
                && filters.labels(&network.labels)
                && filters.without_labels(&network.labels)
        });
        Ok(meant.map(|network| (network.id, network.name.clone())).collect())
    })?;
    let removals =
        unused.into_iter().map(|(id, name)| (Command::RemoveNetwork { network: id.to_string() }, name));
    Reply::json(&NetworksDeleted { networks_deleted: remove_each(engine, removals, RefusalKind::Forbidden)? })
}

/// Removes objects, each by a command, and returns the names of those that are gone by it, if any. One that is used by now,
/// as a refusal of the kind `in_use` says, or was removed meanwhile, is left alone.
pub(super) fn remove_each(
    engine: &dyn EngineApi,
    removals: impl Iterator<Item = (Command, String)>,
    in_use: RefusalKind,
) -> Result<Option<Vec<String>>, Failure> {
    let mut removed = Vec::new();
    for (command, name) in removals {
        match engine.execute(command) {
            Ok(_) => removed.push(name),
            Err(failure) if [in_use.into(), RefusalKind::NotFound.into()].contains(&failure.kind) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok((!removed.is_empty()).then_some(removed))
}

/// Parses the filter `until`: what was created before that time matches. It is a time as RFC 3339, also without a zone,
/// in seconds since 1970, or a duration (`24h`) before `now`. Returns nanoseconds since 1970.
pub(super) fn until(filters: &Filters, now: i64) -> Result<i64, Failure> {
    let values = filters.values("until");
    let text = match values.as_slice() {
        [] => return Ok(i64::MAX),
        [text] => *text,
        _ => return Err(Failure::invalid("more than one until filter specified")),
    };
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    let time = || encode::instant(text, &TimeZone::system());
    let length = || {
        let length = text.parse::<SignedDuration>().ok()?;
        now.checked_sub(i64::try_from(length.as_nanos()).ok()?)
    };
    seconds
        .or_else(time)
        .or_else(length)
        .ok_or_else(|| InvalidFilter::Value { name: "until".to_owned(), value: text.to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_a_time_or_a_length_of_time() {
        let now = 1_795_312_963_000_000_000;
        let read = |text| until(&Filters::default().with("until", text), now);
        assert_eq!(read("10m"), Ok(now - 600_000_000_000));
        assert_eq!(read("1h30m"), Ok(now - 5_400_000_000_000));
        assert_eq!(read("1795312000"), Ok(1_795_312_000_000_000_000));
        assert_eq!(read("2026-11-22T02:02:43Z"), Ok(now));
        // The time zone of the test is not known.
        assert!((read("2026-11-22T02:02:43").unwrap() - now).abs() <= 14 * 3_600_000_000_000);
        assert_eq!(read("soon").unwrap_err().message, "invalid filter 'until=soon'");
        assert_eq!(until(&Filters::default(), now), Ok(i64::MAX));
    }
}
