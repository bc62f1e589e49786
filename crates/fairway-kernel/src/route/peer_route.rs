//! Routes of the host to the subnets of peers.

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use super::message::{CREATE_NEW, CREATE_OR_REPLACE, ROUTE_PROTOCOL, peer_route};
use super::{Error, Links, RouteEntry, unless_gone};
use crate::netlink::{self, Batch};

impl RouteEntry {
    /// Whether it has Fairway's mark.
    pub fn is_ours(&self) -> bool {
        self.protocol == ROUTE_PROTOCOL && self.table == u32::from(libc::RT_TABLE_MAIN)
    }
}

impl Links {
    /// Adds a route to the main table, or replaces Fairway's route to that destination.
    ///
    /// # Errors
    /// [`Error::RouteTaken`] if another program has a route to the same destination; [`Error::Netlink`],
    /// `ENETUNREACH` when the next hop is on no subnet of this host.
    pub fn apply_route(&self, destination: IpNet, gateway: IpAddr) -> Result<(), Error> {
        let make = |flags| {
            let mut batch = Batch::new();
            let label = format!("route {destination} by way of {gateway}");
            peer_route(&mut batch, libc::RTM_NEWROUTE, flags, label, destination)
                .address(libc::RTA_GATEWAY, gateway);
            self.socket.transact(&mut batch)
        };
        match make(CREATE_NEW) {
            Err(error) if error.errno() == Some(Errno::EXIST) => {}
            outcome => return outcome.map(drop).map_err(Error::from),
        }
        let main = u32::from(libc::RT_TABLE_MAIN);
        let there = self.routes()?.into_iter();
        let mut there = there.filter(|route| route.destination == destination && route.table == main);
        match there.find(|route| !route.is_ours()) {
            Some(_) => Err(Error::RouteTaken { destination }),
            None => make(CREATE_OR_REPLACE).map(drop).map_err(Error::from),
        }
    }

    /// Removes Fairway's route to a destination. A missing route is no error.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_route(&self, destination: IpNet) -> Result<(), Error> {
        let mut batch = Batch::new();
        let label = format!("remove the route to {destination}");
        drop(peer_route(&mut batch, libc::RTM_DELROUTE, 0, label, destination));
        let outcome: netlink::Outcome = self.socket.transact_each(&mut batch)?;
        unless_gone(outcome).map(drop)
    }
}
