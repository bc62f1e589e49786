//! The group whose members may use the daemon's socket: `--group`, in dockerd's words.

use super::configuration_error::ConfigurationError;

/// The group that is used where none is named, if it exists.
const DEFAULT: &str = "fairway";
/// The groups of the host, group(5).
const GROUPS: &str = "/etc/group";

/// The group of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketGroup {
    /// Its number.
    pub number: u32,
    /// Whether it was named: a default group that the socket cannot be given to is passed over.
    pub named: bool,
}

impl SocketGroup {
    /// The group that `--group` names, or the default one; none if the socket keeps the group of the daemon.
    ///
    /// # Errors
    /// No group has that name.
    pub(super) fn find(named: Option<&str>) -> Result<Option<Self>, ConfigurationError> {
        // A host without the file has no names.
        Self::find_in(&std::fs::read_to_string(GROUPS).unwrap_or_default(), named)
    }

    fn find_in(groups: &str, named: Option<&str>) -> Result<Option<Self>, ConfigurationError> {
        let found = match named {
            None => number(groups, DEFAULT),
            Some("") => None,
            Some(name) => {
                let number = number(groups, name).or_else(|| name.parse().ok());
                Some(number.ok_or_else(|| ConfigurationError::Value {
                    name: "group",
                    value: name.to_owned(),
                    reason: format!("group {name} not found: add it with groupadd, or name another one"),
                })?)
            }
        };
        Ok(found.map(|number| Self { number, named: named.is_some() }))
    }
}

/// The number of a group in the text of group(5).
fn number(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_then_by_number() {
        let groups = "root:x:0:\nfair:x:7:\nfairway:x:998:alice\n1001:x:5:\nbroken\n";
        let group = |number, named| Some(SocketGroup { number, named });
        let found = |groups, named| SocketGroup::find_in(groups, named).map_err(|error| error.to_string());
        for (groups, named, expected) in [
            (groups, None, group(998, false)),
            ("root:x:0:\n", None, None),
            (groups, Some("fair"), group(7, true)),
            (groups, Some("1001"), group(5, true)),
            (groups, Some("1002"), group(1002, true)),
            (groups, Some(""), None),
        ] {
            assert_eq!(found(groups, named), Ok(expected), "{named:?}");
        }
        let refused = found(groups, Some("nogroup")).unwrap_err();
        assert!(refused.starts_with("invalid group nogroup: group nogroup not found"), "{refused}");
    }
}
