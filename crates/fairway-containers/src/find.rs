//! Finding a container by the name that a user gives.

use thiserror::Error;

use crate::container::{Container, Engine};

/// A name that several containers have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} names several containers: write one of {}", candidates.join(", "))]
pub struct Ambiguous {
    /// The given name.
    pub name: String,
    /// The names that mean one container each, sorted.
    pub candidates: Vec<String>,
}

/// The words that may stand before the colon of a name.
const QUALIFIERS: [&str; 9] = ["fairway", "docker", "podman", "ctr", "pod", "lxc", "machine", "netns", "pid"];

/// Splits `docker:web` into engine and name. A name without the qualifier of an engine is whole.
pub fn split(name: &str) -> (Option<&'static str>, &str) {
    let parts = name.split_once(':').and_then(|(qualifier, rest)| {
        Some((*QUALIFIERS.iter().find(|known| **known == qualifier)?, rest)).filter(|_| !rest.is_empty())
    });
    parts.map_or((None, name), |(qualifier, rest)| (Some(qualifier), rest))
}

/// Finds a container by name, name with scope (`alice/web`, `default/web`), identifier or the start of one, each of
/// them also with the engine before it. As with Docker, a whole identifier precedes a name, and a name the start of an
/// identifier.
///
/// # Errors
/// [`Ambiguous`] if several containers match.
pub fn find<'a>(containers: &'a [Container], name: &str) -> Result<Option<&'a Container>, Ambiguous> {
    let (qualifier, rest) = split(name);
    let of_engine = |container: &Container| qualifier.is_none_or(|it| is_of(container, it));
    let matches: [&dyn Fn(&Container) -> bool; 3] = [
        &|it| !it.id.is_empty() && (it.id == rest || scoped(it, rest) == Some(&it.id)),
        &|it| has_name(it, qualifier, rest),
        &|it| is_start(&it.id, rest) || scoped(it, rest).is_some_and(|start| is_start(&it.id, start)),
    ];
    for matching in matches {
        let found: Vec<&Container> =
            containers.iter().filter(|container| of_engine(container) && matching(container)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(Some(one)),
            several => return Err(ambiguous(name, several)),
        }
    }
    Ok(None)
}

/// Whether a qualifier may mean the container. Each container with a process is also a `pid:`, and each whose
/// namespace has a name is also a `netns:`.
fn is_of(container: &Container, qualifier: &str) -> bool {
    match qualifier {
        "pid" => container.pid.is_some(),
        "netns" => !container.namespace_names.is_empty() || container.engine == Engine::NamedNamespace,
        _ => container.engine.qualifier() == qualifier,
    }
}

fn has_name(container: &Container, qualifier: Option<&str>, name: &str) -> bool {
    match qualifier {
        Some("pid") => container.pid.is_some_and(|pid| pid.to_string() == name),
        Some("netns") if container.engine != Engine::NamedNamespace => {
            container.namespace_names.iter().any(|it| it == name)
        }
        _ => {
            let scoped = scoped(container, name);
            container.names.iter().any(|known| known == name || scoped == Some(known))
        }
    }
}

/// The name after the scope of the container, as `web` in `alice/web`.
fn scoped<'a>(container: &Container, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(container.engine.scope()?)?.strip_prefix('/')
}

fn is_start(id: &str, start: &str) -> bool {
    !start.is_empty() && id.starts_with(start)
}

fn ambiguous(name: &str, found: &[&Container]) -> Ambiguous {
    let mut candidates: Vec<String> = found.iter().map(|container| container.qualified()).collect();
    candidates.sort();
    candidates.dedup();
    if candidates.len() < found.len() {
        // Two daemons of one engine have the name.
        let by_id = |it: &&Container| format!("{}:{}", it.engine.qualifier(), it.id);
        candidates = found.iter().map(by_id).collect();
        candidates.sort();
    }
    Ambiguous { name: name.to_owned(), candidates }
}

#[cfg(test)]
mod tests;
