//! The ids that a network namespace has for others (`ip netns list-id`), which its links name.

use std::os::fd::{AsFd, AsRawFd};

use super::Handle;
use crate::netlink::{self, Batch, Message, Protocol, Socket};

/// `RTM_GETNSID`, and its attributes (linux/net_namespace.h).
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `struct rtgenmsg`, padded.
const HEADER: usize = 4;

/// The ids that the namespace of the calling thread has for others; none for one that it has no id for, as before the
/// links that lead there are listed.
///
/// # Errors
/// The kernel refuses.
pub fn numbers_of(others: &[Handle]) -> Result<Vec<Option<i32>>, netlink::Error> {
    let mut batch = Batch::new();
    for other in others {
        let descriptor = other.as_fd().as_raw_fd();
        let label = format!("ask for the id of {}", other.namespace().path);
        let mut message = batch.message(RTM_GETNSID, 0, label);
        message.raw(&[0; HEADER]).attribute(NETNSA_FD, &descriptor.to_ne_bytes());
    }
    let replies = Socket::open(Protocol::Route)?.transact(&mut batch)?;
    Ok(replies.iter().map(number).collect())
}

/// Parses `RTM_NEWNSID`; -1 is no id.
fn number(message: &Message) -> Option<i32> {
    message.attributes(HEADER).find(NETNSA_NSID)?.i32().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Workers, create_named, open, own};
    use crate::route::Links;
    use crate::testing::in_new_namespace_with_run;

    #[test]
    fn the_id_of_a_namespace_is_that_of_the_link_that_leads_there() {
        in_new_namespace_with_run(|| {
            let [near, far] = ["near", "far"].map(|name| open(&create_named(name).unwrap()).unwrap());
            let here = own().unwrap();
            assert_eq!(numbers_of(&[near.clone(), far.clone()]).unwrap(), [None, None]);
            let ip = std::process::Command::new("ip")
                .args(["link", "add", "one", "type", "veth", "peer", "name", "other", "netns", "near"])
                .status();
            assert!(ip.unwrap().success());
            let link = Links::open().unwrap().find("one").unwrap().unwrap();
            let found = numbers_of(&[near.clone(), far, here.clone()]).unwrap();
            assert_eq!(found, [link.peer_namespace, None, None]);
            assert!(link.peer_namespace.is_some());
            let workers = Workers::new(1).unwrap();
            let back = move || {
                // The kernel gives an id when it first describes the link.
                let link = Links::open().unwrap().find("other").unwrap().unwrap();
                (numbers_of(&[here]).unwrap(), link.peer_namespace)
            };
            let (found, expected) = workers.run(&near, back).unwrap();
            assert_eq!(found, [expected]);
            assert!(expected.is_some());
        });
    }
}
