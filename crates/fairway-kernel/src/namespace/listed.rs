//! Lists the network namespaces of a host: those of processes, and those that are mounted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fairway_model::Namespace;

use super::{Error, NAMED_DIRECTORY, own};

/// A network namespace that was found on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNamespace {
    /// Its identity, with a path by which it can be opened: a mount, else that of a process.
    pub namespace: Namespace,
    /// The lowest number of its processes; none if it has no process that can be seen.
    pub process: Option<u32>,
    /// Its name, if it is mounted in `/run/netns`.
    pub name: Option<String>,
}

/// The network namespaces of this host, as far as they can be seen, with the caller's own first.
///
/// # Errors
/// [`Error::Open`] where `/proc` is not mounted.
pub fn list() -> Result<Vec<ListedNamespace>, Error> {
    let own = own()?.namespace().clone();
    let mut found: BTreeMap<u64, ListedNamespace> = BTreeMap::new();
    for (process, inode) in processes() {
        let known = found.entry(inode).or_insert_with(|| ListedNamespace {
            namespace: Namespace { path: format!("/proc/{process}/ns/net"), device: own.device, inode },
            process: Some(process),
            name: None,
        });
        known.process = known.process.min(Some(process)).or(Some(process));
        if known.process == Some(process) {
            known.namespace.path = format!("/proc/{process}/ns/net");
        }
    }
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mounts = text.lines().filter_map(mounted).chain(links());
    for (inode, path) in mounts {
        let name = super::name(&path).map(str::to_owned);
        let namespace = Namespace { path, device: own.device, inode };
        let known = found.entry(inode).or_insert_with(|| ListedNamespace {
            namespace: namespace.clone(),
            process: None,
            name: None,
        });
        // A process may end at any time, and its number be used again.
        known.namespace = namespace;
        known.name = known.name.take().or(name);
    }
    let first = found.remove(&own.inode);
    let first = ListedNamespace {
        namespace: Namespace { path: super::OWN.to_owned(), ..own },
        process: first.as_ref().and_then(|it| it.process),
        name: first.and_then(|it| it.name),
    };
    Ok([first].into_iter().chain(found.into_values()).collect())
}

/// The processes that can be seen, with the inodes of their network namespaces.
fn processes() -> impl Iterator<Item = (u32, u64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let link = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
        Some((process, inode_of(link.to_str()?)?))
    })
}

/// The inode in `net:[4026531840]`.
fn inode_of(text: &str) -> Option<u64> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode and the path of a mounted network namespace, from a line of `/proc/PID/mountinfo` (proc(5)).
fn mounted(line: &str) -> Option<(u64, String)> {
    let (mount, source) = line.split_once(" - ")?;
    if source.split(' ').next() != Some("nsfs") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let inode = inode_of(fields.next()?)?;
    Some((inode, unescaped(fields.next()?)?))
}

/// A path in which space, tab, newline and backslash are octal numbers.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = after.split_first_chunk::<3>()?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

/// The entries of `/run/netns` that are links to namespaces.
fn links() -> impl Iterator<Item = (u64, String)> {
    let entries = fs::read_dir(Path::new(NAMED_DIRECTORY)).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_symlink()));
    links.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        // A link to another file than a namespace has an inode that no namespace has.
        target.to_str()?.ends_with("/ns/net").then_some(())?;
        Some((fs::metadata(entry.path()).ok()?.ino(), entry.path().to_str()?.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{create_named, identity, own};
    use crate::testing::in_new_namespace_with_run;

    #[test]
    fn mounted_namespaces_are_read_from_mountinfo() {
        let line = "543 25 0:4 net:[4026532281] /run/docker/netns/3e0f\\040x rw shared:297 - nsfs nsfs rw";
        assert_eq!(mounted(line), Some((4_026_532_281, "/run/docker/netns/3e0f x".to_owned())));
        for other in [
            "544 25 0:4 mnt:[4026532282] /run/snapd/ns/lxd.mnt rw - nsfs nsfs rw",
            "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw",
            "543 25 0:4 net:[4026532281] /run/netns/\\0 rw - nsfs nsfs rw",
            "543 25 0:4 net:[x] /run/netns/a rw - nsfs nsfs rw",
            "",
        ] {
            assert_eq!(mounted(other), None, "{other}");
        }
    }

    #[test]
    fn the_own_namespace_is_first_and_named_ones_are_found() {
        in_new_namespace_with_run(|| {
            let made = create_named("web").unwrap();
            let here = own().unwrap().namespace().clone();
            let listed = list().unwrap();
            assert_eq!((listed[0].namespace.inode, listed[0].process), (here.inode, None));
            let web = listed.iter().find(|it| it.namespace.inode == made.inode).unwrap();
            assert_eq!((web.name.as_deref(), web.process), (Some("web"), None));
            assert_eq!(identity(&web.namespace.path).unwrap().inode, made.inode);
            // This process is in the namespace where the test began.
            let process = listed.iter().find(|it| it.process == Some(std::process::id()));
            let lowest = listed.iter().skip(1).find(|it| it.process.is_some());
            assert!(process.or(lowest).is_some_and(|it| it.namespace.inode != here.inode));
        });
    }

    #[test]
    fn a_link_in_run_netns_is_a_name_too() {
        in_new_namespace_with_run(|| {
            fs::create_dir_all(NAMED_DIRECTORY).unwrap();
            let target = format!("/proc/{}/ns/net", std::process::id());
            std::os::unix::fs::symlink(&target, "/run/netns/linked").unwrap();
            let inode = identity(&target).unwrap().inode;
            let listed = list().unwrap();
            let found = listed.iter().find(|it| it.namespace.inode == inode).unwrap();
            assert_eq!(found.name.as_deref(), Some("linked"));
        });
    }
}
