//! The walk of a packet through namespaces, hook by hook.

mod hook;
mod input;
mod link;
mod nat_address;
mod neighbor;
mod output;
mod passing;
mod refusal;
mod source_port;
mod virtual_server;

use std::net::IpAddr;
use std::rc::Rc;

use super::choice::Choices;
use super::discard::DiscardReason;
use super::evaluate::Facts;
use super::flow::Flow;
use super::lookup::{Lookup, StateSource, Visits};
use super::packet::{FlowPosition, Packet, Tuple};
use super::route::{RouteQuery, RouteResult};
use super::sender::Sender;
use super::step::{Counted, End, PacketWalk, Step};
use super::topology::{Interface, MacvlanParent, NamespaceId, NetworkNamespace, Route, RouteKind, Topology};
use fairway_model::MacAddress;
use fairway_ruleset::CtDirection;
use refusal::Refused;

/// How often a packet may change namespaces before it is taken for a loop.
const MOST_HOPS: usize = 32;

/// A packet on its way, with the state that the kernel keeps for it in its namespace.
#[derive(Debug, Clone)]
struct InFlight {
    packet: Packet,
    /// Its flow in this namespace: the flow's position there, and the packet's direction.
    flow: Option<(usize, CtDirection)>,
    /// Whether the packet is related to the flow, and not part of it.
    related: bool,
    /// The bridge port where the packet arrived, if br_netfilter passed it to the IP hooks there.
    bridge_port: Option<u32>,
    /// Whether the packet is in the IP hooks as a bridged frame, without a route of its own.
    on_bridge: bool,
    /// The destination before the IP hooks.
    packet_destination: Option<IpAddr>,
    /// The next hop on the current link.
    next: Option<IpAddr>,
    untracked: bool,
    user: Option<u32>,
    /// The mark when a local program sent the packet; another mark makes the kernel route it again.
    rerouted: Option<u32>,
}

impl InFlight {
    fn new(packet: Packet) -> Self {
        Self {
            packet,
            flow: None,
            related: false,
            bridge_port: None,
            on_bridge: false,
            packet_destination: None,
            next: None,
            untracked: false,
            user: None,
            rerouted: None,
        }
    }

    fn tuple(&self) -> Tuple {
        self.packet.tuple()
    }
}

/// The input and output interface of a packet at a hook.
#[derive(Debug, Clone, Copy, Default)]
struct HookInterfaces<'b> {
    input: Option<&'b Interface>,
    output: Option<&'b Interface>,
    /// The bridge ports between which the packet is forwarded, in the IP hooks.
    ports: Option<(&'b Interface, &'b Interface)>,
}

impl<'b> HookInterfaces<'b> {
    fn in_by(input: &'b Interface) -> Self {
        Self { input: Some(input), ..Self::default() }
    }

    fn out_by(output: Option<&'b Interface>) -> Self {
        Self { output, ..Self::default() }
    }
}

/// Where a packet goes next.
enum Next {
    /// To an interface of a namespace, by its index in the topology, as a frame that arrives there.
    Arrives(NamespaceId, u32, InFlight),
    /// The walk ends.
    End(End),
}

/// Walks packets, and remembers flows between them.
#[derive(Debug, Clone)]
pub struct Walker<'a> {
    topology: &'a Topology,
    flows: Vec<Vec<Flow>>,
    /// Tuples that programs sent, by namespace: their replies are delivered to those programs.
    sent_tuples: Vec<(NamespaceId, Tuple)>,
    steps: Vec<Step>,
    counted: Vec<Counted>,
    /// Whether source ports stand for any.
    any_source_port: bool,
    /// The addresses and ports of senders whose port stands for any of a range, and the range.
    source_ports: Vec<((IpAddr, u16), (u16, u16))>,
    /// The last refused packet, whose sender gets the refusal next.
    refused: Option<Refused>,
    /// Hosts that sent neighbor requests: their addresses with their MAC addresses.
    learned_neighbors: Vec<(IpAddr, MacAddress)>,
    /// The interface where the last delivered packet arrived.
    arrived: Option<u32>,
    lookup: Rc<Lookup<'a>>,
    visits: Rc<Visits<'a>>,
    /// Decides what chance or the state of a moment decides; none if that ends the walk.
    choices: Option<Rc<Choices>>,
    /// The macvlans of all namespaces, by their indexes in the topology: needed at each link.
    macvlans: Rc<[((NamespaceId, u32), MacvlanParent)]>,
}

impl<'a> Walker<'a> {
    /// Creates a walker without flows.
    pub fn new(topology: &'a Topology) -> Self {
        Self::within(topology, Lookup::default().into(), Visits::default().into(), macvlans(topology))
    }

    /// Creates a walker that reads namespaces, and their set elements and sockets, on demand
    /// ([`NetworkNamespace::on_demand`]).
    pub fn with_source(topology: &'a Topology, source: &'a dyn StateSource) -> Self {
        Self::within(topology, Lookup::with(source).into(), Visits::with(source).into(), macvlans(topology))
    }

    /// Creates a walker without flows in the same topology, with the same lookups.
    pub fn without_flows(&self) -> Self {
        let (lookup, visits) = (Rc::clone(&self.lookup), Rc::clone(&self.visits));
        Self {
            any_source_port: self.any_source_port,
            ..Self::within(self.topology, lookup, visits, Rc::clone(&self.macvlans))
        }
    }

    fn within(
        topology: &'a Topology,
        lookup: Rc<Lookup<'a>>,
        visits: Rc<Visits<'a>>,
        macvlans: Rc<[((NamespaceId, u32), MacvlanParent)]>,
    ) -> Self {
        let flows = vec![Vec::new(); topology.namespaces.len()];
        Self {
            topology,
            flows,
            sent_tuples: Vec::new(),
            steps: Vec::new(),
            counted: Vec::new(),
            any_source_port: false,
            source_ports: Vec::new(),
            refused: None,
            learned_neighbors: Vec::new(),
            arrived: None,
            lookup,
            visits,
            choices: None,
            macvlans,
        }
    }

    /// The same walker, which takes these choices.
    pub(super) fn with_choices(&self, choices: Rc<Choices>) -> Self {
        Self { choices: Some(choices), ..self.clone() }
    }

    /// The topology.
    pub fn topology(&self) -> &'a Topology {
        self.topology
    }

    /// Walks a packet that a program sends. An unspecified source is chosen as the kernel does.
    pub fn walk_from_program(&mut self, sender: Sender, tuple: Tuple, place: FlowPosition) -> PacketWalk {
        self.refused = None;
        if let Err(end) = self.visit(sender.namespace) {
            return self.walk(end);
        }
        let next = self.send_new(sender, tuple, place);
        self.follow(next)
    }

    /// The interface of the last delivery: a reply to a link-local address leaves by it.
    pub(super) fn arrived(&self) -> Option<u32> {
        self.arrived
    }

    /// Walks a packet that arrives at an interface from outside, as a frame for that interface.
    pub fn arrives(
        &mut self,
        namespace: NamespaceId,
        interface: u32,
        tuple: Tuple,
        place: FlowPosition,
    ) -> PacketWalk {
        self.refused = None;
        let mut packet = self.packet(None, tuple, place);
        let (interface, mac) = self.entry_port(namespace, interface, tuple.destination);
        packet.frame(Default::default(), mac);
        self.follow(Next::Arrives(namespace, interface, InFlight::new(packet)))
    }

    /// The conntrack flows of a namespace.
    pub fn flows(&self, namespace: NamespaceId) -> &[Flow] {
        self.flows.get(namespace.0).map(Vec::as_slice).unwrap_or_default()
    }

    fn namespace(&self, id: NamespaceId) -> &'a NetworkNamespace {
        self.visits.observed(id).map_or(&self.topology[id], |observed| &observed.namespace)
    }

    /// An interface, by the index that other namespaces of the topology have for it.
    fn end(&self, (id, index): (NamespaceId, u32)) -> Option<&'a Interface> {
        match self.visits.observed(id) {
            Some(observed) => observed.interface(index),
            None => self.topology[id].interface(index),
        }
    }

    /// Reads a namespace that a packet comes to, and returns whether it was not read before.
    fn visit(&self, namespace: NamespaceId) -> Result<bool, End> {
        self.visits.visit(namespace).map_err(|reason| End::Unknown { namespace, reason })
    }

    /// Walks the reset or ICMP error for the last packet; none if the packet was not refused.
    pub fn refusal(&mut self) -> Option<PacketWalk> {
        let refused = self.refused.take()?;
        let next = self.send_refusal(refused);
        Some(self.follow(next))
    }

    fn follow(&mut self, mut next: Next) -> PacketWalk {
        let mut hops = 0;
        loop {
            match next {
                Next::End(end) => return self.walk(end),
                Next::Arrives(namespace, ..) if hops == MOST_HOPS => {
                    return self.walk(self.discarded(namespace, DiscardReason::RoutingLoop));
                }
                Next::Arrives(namespace, interface, in_flight) => {
                    if let Err(end) = self.visit(namespace) {
                        return self.walk(end);
                    }
                    next = self.receive_frame(namespace, interface, in_flight)
                }
            }
            hops += 1;
        }
    }

    fn walk(&mut self, end: End) -> PacketWalk {
        PacketWalk { steps: std::mem::take(&mut self.steps), counted: std::mem::take(&mut self.counted), end }
    }

    fn facts<'b>(
        &'b self,
        namespace: NamespaceId,
        in_flight: &InFlight,
        interfaces: HookInterfaces<'b>,
    ) -> Facts<'b> {
        let flow = in_flight.flow.and_then(|(number, direction)| {
            self.flows.get(namespace.0)?.get(number).map(|flow| (flow, direction))
        });
        Facts {
            namespace: self.namespace(namespace),
            input: interfaces.input,
            output: interfaces.output,
            flow,
            related: in_flight.related,
            untracked: in_flight.untracked,
            user: in_flight.user,
            ports: interfaces.ports,
            is_sample: false,
            lookup: (&self.lookup, namespace),
            choices: self.choices.as_deref(),
        }
    }

    /// Looks up the route and records it as a step.
    fn route(&mut self, namespace: NamespaceId, query: &RouteQuery<'_>) -> Result<&'a Route, End> {
        let place = self.namespace(namespace);
        match place.route(query) {
            RouteResult::Found(route) if route.kind == RouteKind::Multipath => {
                let reason = several_hops(route);
                self.by_route(namespace, route);
                Err(End::Unknown { namespace, reason })
            }
            RouteResult::Found(route) => Ok(self.by_route(namespace, route)),
            RouteResult::NoRoute => Err(End::NoRoute { namespace, destination: query.destination, by: None }),
            RouteResult::Unknown(reason) => Err(End::Unknown { namespace, reason }),
        }
    }

    /// Records a route as a step.
    fn by_route(&mut self, namespace: NamespaceId, route: &'a Route) -> &'a Route {
        let (text, why) = (describe(self.namespace(namespace), route), reason(route));
        self.steps.push(Step::Routed { namespace, route: text, why });
        route
    }

    fn discarded(&self, namespace: NamespaceId, reason: DiscardReason) -> End {
        End::Discarded { namespace, reason }
    }
}

fn macvlans(topology: &Topology) -> Rc<[((NamespaceId, u32), MacvlanParent)]> {
    let interfaces = topology.iter().flat_map(|(id, it)| it.interfaces.iter().map(move |it| (id, it)));
    interfaces.filter_map(|(id, it)| Some(((id, it.index), it.macvlan_parent?))).collect()
}

/// Why it is not known where a route with several next hops leads.
fn several_hops(route: &Route) -> String {
    format!(
        "the route to {} has several next hops, and the kernel chooses one for each flow",
        route.destination
    )
}

/// The output interface of a route: loopback for addresses of the namespace itself.
fn leaving_by(namespace: &NetworkNamespace, route: &Route) -> u32 {
    match route.kind {
        RouteKind::Local => namespace.interfaces.iter().find(|it| it.loopback).map_or(1, |it| it.index),
        _ => route.interface,
    }
}

fn describe(namespace: &NetworkNamespace, route: &Route) -> String {
    let mut text = match (route.kind, route.destination.prefix_len()) {
        (RouteKind::Local, _) => format!("local {}", route.destination.addr()),
        (RouteKind::Unicast, 0) => "default".to_owned(),
        (RouteKind::Unicast, _) => route.destination.to_string(),
        (kind, _) => format!("{} {}", kind.name(), route.destination),
    };
    if let Some(gateway) = route.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    if let Some(interface) = namespace.interface(route.interface) {
        text.push_str(&format!(" dev {}", interface.name));
    }
    text
}

fn reason(route: &Route) -> String {
    let table = match route.table {
        255 => "local".to_owned(),
        254 => "main".to_owned(),
        253 => "default".to_owned(),
        other => other.to_string(),
    };
    let how = match (route.kind, route.gateway, route.destination.prefix_len()) {
        (RouteKind::Local, ..) => "its own address",
        (_, Some(_), 0) => "nothing more specific fits, by a gateway",
        (_, Some(_), _) => "the longest prefix, by a gateway",
        (_, None, _) => "the longest prefix, on the link",
    };
    format!("{how}; table {table}")
}
