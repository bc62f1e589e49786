//! What is done inside a sandbox's namespace, in one visit.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fairway_core::object::{DefaultRoutes, Difference, Key, NetnsLink, Object, VethLink};
use fairway_inspect::doctor::{Deviation, RESOLVER_TABLE};
use fairway_kernel::namespace::{self, Handle};
use fairway_kernel::nftables::{Reader, Transaction, Writer};
use fairway_kernel::route::{self, Links, NetnsSetup, VethPair};
use fairway_model::{Namespace, Protocol, SandboxId};
use fairway_relay::table::{Change as RelayChange, Record};
use fairway_ruleset::resolver::{ADDRESS, TABLE, resolver_table};
use fairway_ruleset::{Family, Table};

use crate::apply::resolvers::{ResolverSockets, outgoing_sockets};
use crate::failpoint::failpoint;
use crate::port_sockets::bind;
use crate::{ApplyError, Engine};

/// What is to be done inside one sandbox.
#[derive(Debug)]
pub(crate) struct NetnsChanges {
    namespace: Namespace,
    /// Links to make, each with an end inside.
    links: Vec<VethLink>,
    /// Links that are made, to be filled.
    netns_links: Vec<NetnsLink>,
    routes: Option<DefaultRoutes>,
    /// Loopback is to be switched on.
    loopback: bool,
    /// A resolver is to listen (true), or its rewriting is to be removed.
    resolver: Option<(SandboxId, bool)>,
}

impl NetnsChanges {
    /// The visits that a difference asks for, one for each namespace.
    pub(crate) fn all(difference: &Difference) -> Vec<Self> {
        let mut visits: BTreeMap<(u64, u64), Self> = BTreeMap::new();
        for (key, object) in difference.wanted() {
            let fresh = difference.added.contains_key(key);
            for link in object.netns_links() {
                visit(&mut visits, &link.namespace).netns_links.push(link.clone());
            }
            match (key, object) {
                (_, Object::Veth(link)) => visit(&mut visits, &link.namespace).links.push(link.clone()),
                (_, Object::DefaultRoutes(routes)) => {
                    let nothing = fresh && routes.ipv4.is_none() && routes.ipv6.is_none();
                    if !nothing {
                        visit(&mut visits, &routes.namespace).routes = Some(routes.clone());
                    }
                }
                (Key::Netns(sandbox), Object::Netns(namespace, resolver)) => {
                    let visit = visit(&mut visits, namespace);
                    visit.loopback = true;
                    if *resolver || !fresh {
                        visit.resolver = Some((*sandbox, *resolver));
                    }
                }
                _ => {}
            }
        }
        for (key, object) in &difference.removed {
            if let (Key::Netns(sandbox), Object::Netns(namespace, true)) = (key, object) {
                visit(&mut visits, namespace).resolver.get_or_insert((*sandbox, false));
            }
        }
        visits.into_values().collect()
    }

    /// Whether something has to be made, so that a namespace that is gone is an error.
    fn makes_something(&self) -> bool {
        !self.links.is_empty() || self.routes.is_some() || self.loopback
    }
}

fn visit<'a>(
    visits: &'a mut BTreeMap<(u64, u64), NetnsChanges>,
    namespace: &Namespace,
) -> &'a mut NetnsChanges {
    visits.entry((namespace.device, namespace.inode)).or_insert_with(|| NetnsChanges {
        namespace: namespace.clone(),
        links: Vec::new(),
        netns_links: Vec::new(),
        routes: None,
        loopback: false,
        resolver: None,
    })
}

/// Why the inside is not as planned.
enum Inside {
    Route(route::Error),
    Other(ApplyError),
}

impl Engine {
    /// Makes links and goes inside once. Returns what the relay is to know.
    pub(crate) fn visit(&self, visit: &NetnsChanges) -> Result<Vec<RelayChange>, ApplyError> {
        let handle = match namespace::open(&visit.namespace) {
            Ok(handle) => handle,
            Err(error) if visit.makes_something() => return Err(error.into()),
            // Its path is gone; the namespace itself may live on.
            Err(_) => match visit.resolver.and_then(|(sandbox, _)| self.resolvers.namespace(sandbox)) {
                Some(handle) => handle,
                None => return Ok(Vec::new()),
            },
        };
        let mut pairs = self.make_pairs(&visit.links, &handle)?;
        failpoint("links");
        let (resolver, sockets) = loop {
            match self.configure_inside(visit, &handle, pairs.clone()) {
                Ok(sockets) => break (visit.resolver, sockets),
                Err(Inside::Route(route::Error::NotInside { .. }))
                    if pairs.iter().any(|(_, pair)| !pair.fresh) =>
                {
                    for (link, pair) in pairs.iter().filter(|(_, pair)| !pair.fresh) {
                        tracing::info!(interface = link.host_interface, "the other end has left the sandbox");
                        self.links(|links| links.delete(pair.host, &link.host_interface))?;
                    }
                    pairs = self.make_pairs(&visit.links, &handle)?;
                }
                Err(Inside::Route(error)) => {
                    self.delete_fresh(&pairs);
                    return Err(error.into());
                }
                Err(Inside::Other(error)) => {
                    self.delete_fresh(&pairs);
                    return Err(error);
                }
            }
        };
        failpoint("inside");
        self.announce(&pairs);
        let Some((sandbox, true)) = resolver else { return Ok(Vec::new()) };
        let Some(sockets) = sockets else { return Ok(Vec::new()) };
        self.resolvers.keep(sandbox, sockets.clone());
        Ok(vec![RelayChange::Insert { record: Record::Resolver(sandbox), sockets }])
    }

    /// Makes new ends carry frames at once, and tells their neighbours which hardware address their
    /// addresses have now.
    fn announce(&self, pairs: &[(VethLink, VethPair)]) {
        for (link, pair) in pairs {
            if let Err(error) = self.links(|links| links.activate_port(link, pair)) {
                tracing::debug!(%error, interface = link.host_interface, "its first frames may be lost");
            }
            let addresses: Vec<_> = link.addresses.iter().map(|address| address.addr()).collect();
            match self.links(|links| links.index(&link.bridge)) {
                Ok(bridge) => {
                    self.announcements.repeat(link.endpoint, bridge, link.mac, addresses, link.advertising)
                }
                Err(error) => tracing::debug!(%error, "neighbours learn the address when they ask"),
            }
        }
    }

    fn make_pairs(
        &self,
        wanted: &[VethLink],
        handle: &Handle,
    ) -> Result<Vec<(VethLink, VethPair)>, ApplyError> {
        let mut pairs: Vec<(VethLink, VethPair)> = Vec::with_capacity(wanted.len());
        for link in wanted {
            match self.links(|links| links.apply_veth(link, handle)) {
                Ok(pair) => pairs.push((link.clone(), pair)),
                Err(error) => {
                    self.delete_fresh(&pairs);
                    return Err(error);
                }
            }
        }
        Ok(pairs)
    }

    fn delete_fresh(&self, pairs: &[(VethLink, VethPair)]) {
        for (link, pair) in pairs.iter().filter(|(_, pair)| pair.fresh) {
            if let Err(error) = self.links(|links| links.delete(pair.host, &link.host_interface)) {
                tracing::warn!(%error, interface = link.host_interface, "left behind; it is swept later");
            }
        }
    }

    fn configure_inside(
        &self,
        visit: &NetnsChanges,
        handle: &Handle,
        pairs: Vec<(VethLink, VethPair)>,
    ) -> Result<Option<ResolverSockets>, Inside> {
        let resolver = visit.resolver.map(|(_, wanted)| wanted);
        let (loopback, netns_links, routes) =
            (visit.loopback, visit.netns_links.clone(), visit.routes.clone());
        let work = NetnsSetup { loopback, pairs, netns_links, routes };
        let inside = move || -> Result<Option<ResolverSockets>, Inside> {
            let links = Links::open().map_err(Inside::Route)?;
            links.apply_netns_setup(&work).map_err(Inside::Route)?;
            let sockets = resolver.map(rewrite_questions).transpose().map_err(Inside::Other)?.flatten();
            Ok(sockets)
        };
        self.workers.run(handle, inside).map_err(|error| Inside::Other(error.into()))?
    }
}

/// The table that leads questions to these sockets of a resolver.
fn table_of(sockets: &[Arc<OwnedFd>]) -> Result<Table, ApplyError> {
    let port = |socket: &OwnedFd| -> Result<u16, ApplyError> {
        let address = rustix::net::getsockname(socket).and_then(SocketAddr::try_from);
        Ok(address.map_err(|errno| ApplyError::Resolver(io::Error::from(errno)))?.port())
    };
    let [udp, tcp, ..] = sockets else { return Err(ApplyError::Resolver(io::ErrorKind::NotFound.into())) };
    Ok(resolver_table(port(udp)?, port(tcp)?))
}

impl Engine {
    /// What of the table is other that leads questions of a sandbox to its resolver; none if it is as made, if there
    /// is no resolver, or the namespace cannot be read.
    pub(crate) fn resolver_deviation(&self, sandbox: SandboxId, handle: &Handle) -> Option<Deviation> {
        let wanted = table_of(&self.resolvers.of(sandbox)?).ok()?;
        let read = || Reader::open()?.table(Family::Ip, TABLE);
        let found = self.workers.run(handle, read).ok()?.ok()?;
        match found.map(|found| found.at_rest() == wanted.at_rest()) {
            None => Some(Deviation::missing(RESOLVER_TABLE)),
            Some(true) => None,
            Some(false) => Some(Deviation::new(RESOLVER_TABLE, "changed", "as made")),
        }
    }

    /// Makes the rules that lead questions to a sandbox's resolver anew. Its sockets stay.
    pub(crate) fn restore_resolver_rules(&self, sandbox: SandboxId) -> Result<(), ApplyError> {
        let (Some(sockets), Some(handle)) = (self.resolvers.of(sandbox), self.resolvers.namespace(sandbox))
        else {
            return Ok(());
        };
        let table = table_of(&sockets)?;
        let make = move || {
            let mut transaction = Transaction::new();
            transaction.destroy_table(Family::Ip, TABLE);
            transaction.create(&table);
            Writer::open()?.commit(transaction)
        };
        Ok(self.workers.run(&handle, make)??)
    }
}

/// Makes the resolver of the namespace that the calling thread is in listen, with the table that
/// leads port 53 to it; or removes that table.
fn rewrite_questions(wanted: bool) -> Result<Option<ResolverSockets>, ApplyError> {
    let mut writer = Writer::open()?;
    let mut transaction = Transaction::new();
    transaction.destroy_table(Family::Ip, TABLE);
    if !wanted {
        writer.commit(transaction)?;
        return Ok(None);
    }
    let any_port = SocketAddr::from((ADDRESS, 0));
    let (udp, tcp) = (bind(Protocol::Udp, any_port, true)?, bind(Protocol::Tcp, any_port, true)?);
    let outgoing = outgoing_sockets().map_err(|errno| ApplyError::Resolver(io::Error::from(errno)))?;
    let sockets: ResolverSockets = [udp, tcp].into_iter().chain(outgoing).map(Arc::new).collect();
    transaction.create(&table_of(&sockets)?);
    writer.commit(transaction)?;
    Ok(Some(sockets))
}
