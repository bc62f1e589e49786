//! As which user a command runs: `--user` and `--group-add`, by the passwd(5) and group(5) files of its root.

use std::path::Path;

use fairway_kernel::untrusted_file;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde::{Deserialize, Serialize};

/// A user with its groups, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
}

/// A user of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The numbers.
    pub identity: Identity,
    /// The home directory.
    pub home: String,
}

/// The largest number of a user or a group. The next one means "as it is" to setuid(2).
const LARGEST: u32 = u32::MAX - 1;

/// Why there is no such user, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name that is in no file.
    #[error("unable to find {what} {name}: no matching entries in {file} file")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// The file that was searched.
        file: &'static str,
    },
    /// A number that is none of a user or a group.
    #[error("uids and gids must be in range 0-{LARGEST}, and {0} is not")]
    Range(String),
}

/// The user that `USER[:GROUP]` means below a root directory, where empty means root, with further groups; none if neither
/// is given.
///
/// # Errors
/// [`UserError`]
pub fn find_user(root: &Path, user: &str, groups: &[String]) -> Result<Option<User>, UserError> {
    if user.is_empty() && groups.is_empty() {
        return Ok(None);
    }
    // Without the files there are numbers.
    let read = |file: &str| {
        let bytes = untrusted_file::read_below(root, file).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    resolve(user, groups, &read("etc/passwd"), &read("etc/group")).map(Some)
}

fn resolve(user: &str, further: &[String], passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, own_group) = user.split_once(':').map_or((user, ""), |(name, group)| (name, group));
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd.lines().map(fields).find(|entry| is(entry, name));
    let field = |number: usize| entry.as_ref().and_then(|entry| entry.get(number).copied());
    let unknown = || UserError::Unknown { what: "user", name: name.to_owned(), file: "passwd" };
    let number = parse_number(field(2).unwrap_or(name))?.ok_or_else(unknown)?;
    let find_group = |name: &str| {
        let entry = group.lines().map(fields).find(|entry| is(entry, name));
        let found = entry.as_ref().and_then(|entry| entry.get(2).copied()).unwrap_or(name);
        let unknown = || UserError::Unknown { what: "group", name: name.to_owned(), file: "group" };
        parse_number(found)?.ok_or_else(unknown)
    };
    let (own, mut groups) = match own_group {
        "" => {
            let listed = |entry: &Vec<&str>| {
                let members = entry.get(3).copied().unwrap_or_default();
                field(0).is_some_and(|name| members.split(',').any(|member| member == name))
            };
            let of_user = group.lines().map(fields).filter(listed);
            let numbers = of_user.filter_map(|entry| parse_number(entry.get(2)?).transpose());
            let own = parse_number(field(3).unwrap_or_default())?.unwrap_or_default();
            (own, numbers.collect::<Result<Vec<u32>, _>>()?)
        }
        name => (find_group(name)?, Vec::new()),
    };
    for name in further {
        groups.push(find_group(name)?);
    }
    let home = field(5).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(User { identity: Identity { user: number, group: own, groups }, home })
}

/// The number that a text is; none if it is a name.
fn parse_number(text: &str) -> Result<Option<u32>, UserError> {
    let Ok(number) = text.parse::<i128>() else { return Ok(None) };
    let id = u32::try_from(number).ok().filter(|id| *id <= LARGEST);
    id.map(Some).ok_or_else(|| UserError::Range(text.to_owned()))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

/// Whether an entry of either file has this name or number.
fn is(entry: &[&str], name: &str) -> bool {
    entry.first() == Some(&name) || (entry.get(2) == Some(&name) && name.parse::<u32>().is_ok())
}

/// Makes the calling thread one of a user, which has no capabilities then unless it is root.
///
/// # Errors
/// As setuid(2).
pub(super) fn become_user(identity: &Identity) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    match set_thread_groups(&groups) {
        // In a user namespace of one user there are no further groups to give up (user_namespaces(7)).
        Err(Errno::PERM) if groups.is_empty() => {}
        set => set?,
    }
    set_thread_gid(Gid::from_raw(identity.group))?;
    set_thread_uid(Uid::from_raw(identity.user))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/www:/bin/false\nbare:x:9:8:::\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:4:web,root\nextra:x:40:web\n";

    fn found(user: &str, further: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let further: Vec<String> = further.iter().map(|it| (*it).to_owned()).collect();
        let User { identity: it, home } =
            resolve(user, &further, PASSWD, GROUP).map_err(|error| error.to_string())?;
        Ok((it.user, it.group, it.groups, home))
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        assert_eq!(found("web", &[]), Ok((33, 34, vec![4, 40], "/srv/www".to_owned())));
        assert_eq!(found("33", &[]), found("web", &[]));
        assert_eq!(found("web:logs", &[]), Ok((33, 4, Vec::new(), "/srv/www".to_owned())));
        assert_eq!(found("web:77", &["extra", "88"]), Ok((33, 77, vec![40, 88], "/srv/www".to_owned())));
        assert_eq!(found("1000", &[]), Ok((1000, 0, Vec::new(), "/".to_owned())));
        assert_eq!(found("9", &[]), Ok((9, 8, Vec::new(), "/".to_owned())));
        assert_eq!(found("", &["logs"]), Ok((0, 0, vec![4, 4], "/root".to_owned())));
        assert_eq!(found(":web", &[]), Ok((0, 34, Vec::new(), "/root".to_owned())));
    }

    #[test]
    fn unknown_names_and_impossible_numbers_are_refused() {
        let error = "unable to find user who: no matching entries in passwd file".to_owned();
        assert_eq!(found("who", &[]), Err(error));
        let error = "unable to find group who: no matching entries in group file";
        assert_eq!(found("web:who", &[]), Err(error.to_owned()));
        assert_eq!(found("web", &["who"]), Err(error.to_owned()));
        // setuid(2) takes the largest for "unchanged".
        for (user, number) in [("-1", "-1"), ("4294967295", "4294967295"), ("0:4294967296", "4294967296")] {
            let error = format!("uids and gids must be in range 0-4294967294, and {number} is not");
            assert_eq!(found(user, &[]), Err(error));
        }
        assert!(found("", &["4294967295"]).is_err());
    }
}
