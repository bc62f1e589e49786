//! Monitors changes of links, addresses and routes.

use std::os::fd::{AsFd, BorrowedFd};

use crate::netlink::{Error, Message, Protocol, Socket};
use crate::route::{Address, Link, RouteEntry};

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link is new or changed; this is how it is now.
    Link(Link),
    /// A link is gone; this is how it was.
    LinkGone(Link),
    /// A link left its bridge; the bridge is its `master`.
    PortLeft(Link),
    /// An address is new or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is new or changed.
    Route(RouteEntry),
    /// A route is gone.
    RouteGone(RouteEntry),
    /// The buffer overflowed: observe everything anew.
    Lost,
}

/// Receives changes in one namespace. Its descriptor is readable when events wait.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

/// Holds the notifications of some thousands of changes.
const BUFFER: usize = 4 << 20;

impl Monitor {
    /// Subscribes to changes in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Route)?;
        socket.grow_receive_buffer(BUFFER)?;
        for group in [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
        ] {
            socket.join(group)?;
        }
        Ok(Self { socket })
    }

    /// The waiting events, oldest first.
    ///
    /// # Errors
    /// [`Error::Receive`], [`Error::Malformed`].
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        match self.socket.notifications() {
            Ok(messages) => Ok(messages.iter().filter_map(event).collect()),
            Err(Error::Overrun) => Ok(vec![Event::Lost]),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn event(message: &Message) -> Option<Event> {
    // Bridges report their ports in AF_BRIDGE; a deletion there does not mean that the link is deleted.
    let bridge = message.payload.first() == Some(&(libc::AF_BRIDGE as u8));
    match message.kind {
        libc::RTM_NEWLINK if bridge => None,
        libc::RTM_NEWLINK => Link::parse(message).map(Event::Link),
        libc::RTM_DELLINK if bridge => Link::parse(message).map(Event::PortLeft),
        libc::RTM_DELLINK => Link::parse(message).map(Event::LinkGone),
        libc::RTM_NEWADDR => Address::parse(message).map(Event::Address),
        libc::RTM_DELADDR => Address::parse(message).map(Event::AddressGone),
        libc::RTM_NEWROUTE => RouteEntry::parse(message).map(Event::Route),
        libc::RTM_DELROUTE => RouteEntry::parse(message).map(Event::RouteGone),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fairway_core::object::BridgeLink;
    use fairway_model::{MacAddress, NetworkId};

    use super::*;
    use crate::route::{Links, Mark};
    use crate::testing::in_new_namespace;

    fn bridge(name: &str) -> BridgeLink {
        BridgeLink {
            name: name.into(),
            network: NetworkId::new([1; 32]),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            route_localnet: false,
            ipv6: false,
            parent: None,
            adopted: false,
        }
    }

    #[test]
    fn changes_are_reported_in_order() {
        in_new_namespace(|| {
            let monitor = Monitor::open().unwrap();
            let links = Links::open().unwrap();
            let made = links.apply_bridge(&bridge("fairway0")).unwrap();
            let events = monitor.events().unwrap();
            assert!(events.contains(&Event::Link(made.clone())), "{events:?}");
            let address = "10.0.0.1/24".parse().unwrap();
            let added = |event: &Event| matches!(event, Event::Address(a) if a.address == address);
            assert!(events.iter().any(added), "{events:?}");
            assert_eq!(monitor.events(), Ok(vec![]));

            links.delete(made.index, &made.name).unwrap();
            let events = monitor.events().unwrap();
            let gone = |event: &Event| matches!(event, Event::AddressGone(a) if a.address == address);
            assert!(events.iter().any(gone), "{events:?}");
            let last = events.iter().rev().find_map(|event| match event {
                Event::LinkGone(link) => Some(link),
                _ => None,
            });
            let last = last.unwrap();
            assert_eq!((last.index, last.mark()), (made.index, Some(Mark::Network(NetworkId::new([1; 32])))));
        });
    }

    #[test]
    fn an_overflow_is_reported() {
        in_new_namespace(|| {
            let monitor = Monitor::open().unwrap();
            monitor.socket.grow_receive_buffer(4096).unwrap();
            let links = Links::open().unwrap();
            (0..20).for_each(|number| drop(links.apply_bridge(&bridge(&format!("b{number}"))).unwrap()));
            assert_eq!(monitor.events(), Ok(vec![Event::Lost]));
        });
    }
}
