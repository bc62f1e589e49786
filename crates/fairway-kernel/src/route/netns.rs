//! The netns setup of a sandbox: its ends of veth pairs, its loopback interface, its default routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use fairway_core::object::{NetnsLink, SandboxRoutes, VethLink};
use rustix::io::Errno;

use super::message::{add_address, get_link_by_index, get_route6, ifinfo, is_local_route};
use super::netns_link::SYSCTLS;
use super::{Address, DefaultRoute, Error, Link, Links, RouteEntry, VethPair, is_gone, unless_gone};
use crate::namespace::{Handle, Workers};
use crate::netlink::{self, Batch};

/// The index of the loopback interface: the first link of every namespace.
const LOOPBACK: u32 = 1;

/// How long to wait for new IPv6 addresses, and the pause between checks. It takes a fraction of a millisecond,
/// unless the machine is busy.
const LOCAL_WITHIN: Duration = Duration::from_millis(200);
const LOCAL_PAUSE: Duration = Duration::from_micros(100);

/// The setup of a sandbox's namespace that is applied at once.
#[derive(Debug, Clone, Default)]
pub struct NetnsSetup {
    /// Set loopback up.
    pub loopback: bool,
    /// Veth ends that get their addresses and are set up.
    pub pairs: Vec<(VethLink, VethPair)>,
    /// Links without an end on the host that get their mark and addresses and are set up.
    pub netns_links: Vec<NetnsLink>,
    /// The routes. The default routes replace all others.
    pub routes: Option<SandboxRoutes>,
    /// Whether static routes, or default routes with other metrics, may exist that `routes` does not have.
    pub replace_routes: bool,
}

/// The observed state of a sandbox's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsState {
    /// Its links.
    pub links: Vec<Link>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Its default routes that are no static routes.
    pub default_routes: Vec<DefaultRoute>,
    /// The static routes of Fairway.
    pub static_routes: Vec<RouteEntry>,
    /// The requested sysctls that exist.
    pub sysctls: BTreeMap<String, String>,
}

impl NetnsSetup {
    /// Applies the setup in `namespace`, on a thread of `workers`. No descriptor stays open there.
    ///
    /// # Errors
    /// [`Error::Namespace`]; else as [`Links::apply_netns_setup`].
    pub fn run(self, workers: &Workers, namespace: &Handle) -> Result<(), Error> {
        workers.run(namespace, move || Links::open()?.apply_netns_setup(&self))?
    }
}

/// Observes a sandbox's namespace, without sysctls.
///
/// # Errors
/// [`Error::Namespace`], [`Error::Netlink`].
pub fn observe_netns(workers: &Workers, namespace: &Handle) -> Result<NetnsState, Error> {
    observe_netns_with_sysctls(workers, namespace, Vec::new())
}

/// Observes a sandbox's namespace, with the sysctls of these paths under `/proc/sys`.
///
/// # Errors
/// [`Error::Namespace`], [`Error::Netlink`].
pub fn observe_netns_with_sysctls(
    workers: &Workers,
    namespace: &Handle,
    sysctls: Vec<String>,
) -> Result<NetnsState, Error> {
    workers.run(namespace, move || {
        let links = Links::open()?;
        let routes = links.routes()?;
        Ok(NetnsState {
            links: links.all()?,
            addresses: links.addresses(0)?,
            default_routes: routes.iter().filter(|it| it.is_default()).map(DefaultRoute::from).collect(),
            static_routes: routes.into_iter().filter(RouteEntry::is_ours).collect(),
            sysctls: sysctls
                .into_iter()
                .filter_map(|path| SYSCTLS.read(&path).ok().map(|value| (path, value)))
                .collect(),
        })
    })?
}

impl Links {
    /// Applies a setup in the namespace of the socket, which has to be the calling thread's.
    ///
    /// # Errors
    /// [`Error::NotInside`] when a veth end is missing, [`Error::NoInterface`] for a default route by a missing
    /// interface, [`Error::Netlink`], [`Error::Sysctl`].
    pub fn apply_netns_setup(&self, work: &NetnsSetup) -> Result<(), Error> {
        let mut batch = Batch::new();
        if work.loopback {
            batch.message(libc::RTM_NEWLINK, 0, "switch loopback on").raw(&ifinfo(LOOPBACK, Some(true)));
        }
        for (veth, pair) in &work.pairs {
            self.fill_end(&mut batch, veth, pair)?;
        }
        for link in &work.netns_links {
            self.configure_netns_link(&mut batch, link)?;
        }
        if let Some(routes) = &work.routes {
            self.sandbox_routes(&mut batch, routes, work.replace_routes)?;
        }
        let refused = self.socket.transact_each(&mut batch)?.refusals;
        // A missing route is no error when removing it.
        let optional = |refusal: &netlink::Refusal| {
            refusal.label.starts_with(super::message::REMOVE_ROUTE) && is_gone(refusal)
        };
        match refused.into_iter().find(|refusal| !optional(refusal)) {
            Some(refusal) => Err(netlink::Error::Refused(refusal).into()),
            None => self.wait_until_local(work),
        }
    }

    /// Waits until the new IPv6 addresses have local routes. The kernel adds these by a work queue, also without DAD
    /// (addrconf_dad_start), and until then drops the gateway's answers: the next one comes after a second.
    fn wait_until_local(&self, work: &NetnsSetup) -> Result<(), Error> {
        let fresh = work.pairs.iter().filter(|(_, pair)| pair.fresh);
        let addresses: Vec<Ipv6Addr> = fresh
            .flat_map(|(veth, _)| &veth.addresses)
            .chain(work.netns_links.iter().flat_map(|link| &link.addresses))
            .filter_map(|address| match address.addr() {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            })
            .collect();
        if addresses.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + LOCAL_WITHIN;
        loop {
            let mut batch = Batch::new();
            addresses.iter().for_each(|address| get_route6(&mut batch, *address));
            let replies = self.socket.transact_each(&mut batch)?.replies;
            if replies.iter().filter(|reply| is_local_route(reply)).count() == addresses.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                tracing::debug!("new IPv6 addresses have no local route yet; first packets may be lost");
                return Ok(());
            }
            std::thread::sleep(LOCAL_PAUSE);
        }
    }

    fn fill_end(&self, batch: &mut Batch, veth: &VethLink, pair: &VethPair) -> Result<(), Error> {
        let name = &veth.interface;
        if !pair.fresh {
            let end = self.confirm_end(veth, pair)?;
            self.bring_ipv6_back(&end, veth.mtu)?;
        }
        self.switch_ipv6(name, veth.mtu, &veth.addresses)?;
        for (path, value) in &veth.sysctls {
            SYSCTLS.set(path, value)?;
        }
        if pair.fresh {
            veth.addresses.iter().for_each(|address| add_address(batch, pair.inside, name, *address));
        } else {
            self.correct_addresses(batch, pair.inside, name, &veth.addresses)?;
        }
        let mut message = batch.message(libc::RTM_NEWLINK, 0, format!("switch {name} on"));
        message.raw(&ifinfo(pair.inside, Some(true)));
        if !pair.fresh {
            message.attribute(libc::IFLA_ADDRESS, &veth.mac.0).u32(libc::IFLA_MTU, veth.mtu);
        }
        Ok(())
    }

    /// Returns the sandbox's end of an existing pair, which is to be here and to have its name.
    fn confirm_end(&self, veth: &VethLink, pair: &VethPair) -> Result<Link, Error> {
        let mut batch = Batch::new();
        get_link_by_index(&mut batch, pair.inside);
        let replies = unless_gone(self.socket.transact_each(&mut batch)?)?;
        let end = replies.iter().find_map(Link::parse).filter(|link| {
            link.name == veth.interface
                && link.kind.as_deref() == Some("veth")
                && link.peer == Some(pair.host)
        });
        end.ok_or_else(|| Error::NotInside { name: veth.interface.clone() })
    }

    /// Creates a veth pair as planned and sets up the sandbox's namespace, with default routes if given. A pair whose
    /// other end has left the sandbox is created anew.
    ///
    /// # Errors
    /// As [`Links::apply_veth`], [`Links::apply_netns_setup`] and [`Links::activate_port`].
    pub fn attach(
        &self,
        workers: &Workers,
        namespace: &Handle,
        veth: &VethLink,
        loopback: bool,
        routes: Option<&SandboxRoutes>,
    ) -> Result<VethPair, Error> {
        let visit = |pair: &VethPair| {
            let pairs = vec![(veth.clone(), pair.clone())];
            NetnsSetup { loopback, pairs, routes: routes.cloned(), ..NetnsSetup::default() }
                .run(workers, namespace)
        };
        let mut pair = self.apply_veth(veth, Some(namespace))?;
        match visit(&pair) {
            Err(Error::NotInside { .. }) if !pair.fresh => {
                tracing::info!(
                    interface = veth.host_interface,
                    "recreating the veth pair: its other end has left the sandbox"
                );
                self.delete(pair.host, &veth.host_interface)?;
                pair = self.apply_veth(veth, Some(namespace))?;
                visit(&pair)?;
            }
            result => result?,
        }
        self.activate_port(veth, &pair)?;
        Ok(pair)
    }

    /// Deletes one link, and its peer if it is a veth. A missing link is no error.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete(&self, index: u32, name: &str) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.message(libc::RTM_DELLINK, 0, format!("delete the interface {name}")).raw(&ifinfo(index, None));
        match self.socket.transact(&mut batch) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}
