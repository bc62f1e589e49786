//! The walk of a packet through machines, hook by hook.

mod hook;
mod link;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use super::evaluate::Facts;
use super::flow::Flow;
use super::holdings::{Contents, Holdings};
use super::machine::{Interface, Machine, Route, RouteKind, Scene};
use super::packet::{Packet, Place, Tuple};
use super::route::{RouteQuestion, Routed};
use super::step::{End, Path, Step};
use crate::ruleset::{CtDirection, Hook};

/// How often a packet may change machines before it is taken for a loop.
const MOST_HOPS: usize = 32;

/// A packet on its way, and what its machine knows of it.
#[derive(Debug, Clone)]
struct Carried {
    packet: Packet,
    /// Its flow on this machine: its number there, and its direction.
    flow: Option<(usize, CtDirection)>,
    untracked: bool,
    user: Option<u32>,
}

impl Carried {
    fn new(packet: Packet) -> Self {
        Self { packet, flow: None, untracked: false, user: None }
    }

    fn tuple(&self) -> Tuple {
        self.packet.tuple()
    }
}

/// The interfaces that a packet is between: where it arrived, and where it will leave.
#[derive(Debug, Clone, Copy, Default)]
struct Between<'b> {
    input: Option<&'b Interface>,
    output: Option<&'b Interface>,
}

impl<'b> Between<'b> {
    fn in_by(input: &'b Interface) -> Self {
        Self { input: Some(input), output: None }
    }

    fn out_by(output: Option<&'b Interface>) -> Self {
        Self { input: None, output }
    }
}

/// Where a packet goes next.
enum Next {
    /// To an interface of a machine, as a frame that arrives there.
    Arrives(usize, u32, Carried),
    /// Nowhere.
    End(End),
}

/// Walks packets, and remembers flows between them.
#[derive(Debug, Clone)]
pub struct Walker<'a> {
    scene: &'a Scene,
    flows: Vec<Vec<Flow>>,
    /// What programs made, by machine: what answers it is theirs.
    asked: Vec<(usize, Tuple)>,
    steps: Vec<Step>,
    holdings: Rc<Holdings<'a>>,
}

impl<'a> Walker<'a> {
    /// A walker that knows no flow yet.
    pub fn new(scene: &'a Scene) -> Self {
        Self::within(scene, Holdings::default().into())
    }

    /// A walker that asks for what machines hold elsewhere ([`Machine::elsewhere`]).
    pub fn asking(scene: &'a Scene, contents: &'a dyn Contents) -> Self {
        Self::within(scene, Holdings::with(contents).into())
    }

    /// Another one in the same scene that knows no flow yet, and where to find things.
    pub fn afresh(&self) -> Self {
        Self::within(self.scene, Rc::clone(&self.holdings))
    }

    fn within(scene: &'a Scene, holdings: Rc<Holdings<'a>>) -> Self {
        let flows = vec![Vec::new(); scene.machines.len()];
        Self { scene, flows, asked: Vec::new(), steps: Vec::new(), holdings }
    }

    /// The scene that it walks in.
    pub fn scene(&self) -> &'a Scene {
        self.scene
    }

    /// The path of a packet that a program on `machine` makes; `user` is whose it is. An unspecified source is
    /// chosen as the kernel does.
    pub fn made(&mut self, machine: usize, tuple: Tuple, place: Place, user: Option<u32>) -> Path {
        let next = self.make(machine, tuple, place, user);
        self.follow(next)
    }

    /// The path of a packet that arrives at an interface from outside, as a frame for that interface.
    pub fn arrives(&mut self, machine: usize, interface: u32, tuple: Tuple, place: Place) -> Path {
        let mut packet = Packet::new(tuple, place);
        if let Some(interface) = self.machine(machine).interface(interface) {
            packet.frame(Default::default(), interface.mac);
        }
        self.follow(Next::Arrives(machine, interface, Carried::new(packet)))
    }

    /// The flows that a machine knows.
    pub fn flows(&self, machine: usize) -> &[Flow] {
        self.flows.get(machine).map(Vec::as_slice).unwrap_or_default()
    }

    fn machine(&self, number: usize) -> &'a Machine {
        &self.scene.machines[number]
    }

    fn follow(&mut self, mut next: Next) -> Path {
        for _ in 0..MOST_HOPS {
            match next {
                Next::End(end) => return Path { steps: std::mem::take(&mut self.steps), end },
                Next::Arrives(machine, interface, carried) => {
                    next = self.receive(machine, interface, carried)
                }
            }
        }
        let end = End::Discarded { machine: String::new(), reason: "it goes round in a circle".to_owned() };
        Path { steps: std::mem::take(&mut self.steps), end }
    }

    fn name(&self, machine: usize) -> String {
        self.machine(machine).name.clone()
    }

    fn facts<'b>(&'b self, machine: usize, carried: &Carried, between: Between<'b>) -> Facts<'b> {
        let flow = carried.flow.and_then(|(number, direction)| {
            self.flows.get(machine)?.get(number).map(|flow| (flow, direction))
        });
        Facts {
            machine: self.machine(machine),
            input: between.input,
            output: between.output,
            flow,
            untracked: carried.untracked,
            user: carried.user,
            holdings: (&self.holdings, machine),
        }
    }

    /// Finds the way, and says which and why.
    fn route(&mut self, machine: usize, question: &RouteQuestion<'_>) -> Result<&'a Route, End> {
        let place = self.machine(machine);
        match place.route(question) {
            Routed::By(route) => {
                let (route_text, why) = (describe(place, route), reason(route));
                self.steps.push(Step::Routed { machine: self.name(machine), route: route_text, why });
                Ok(route)
            }
            Routed::Nowhere => {
                Err(End::NoRoute { machine: self.name(machine), destination: question.destination })
            }
            Routed::Unknown(reason) => Err(End::Unknown { machine: self.name(machine), reason }),
        }
    }

    fn discarded(&self, machine: usize, reason: impl Into<String>) -> End {
        End::Discarded { machine: self.name(machine), reason: reason.into() }
    }

    /// A packet of this machine's own: routed, through the output hooks, and out.
    fn make(&mut self, machine: usize, mut tuple: Tuple, place: Place, user: Option<u32>) -> Next {
        let asked = (!tuple.source.is_unspecified()).then_some(tuple.source);
        if tuple.destination.is_unspecified() {
            // ip_route_output_key_hash_rcu in net/ipv4/route.c, tcp_v6_connect in net/ipv6/tcp_ipv6.c.
            tuple.destination = match tuple.destination {
                IpAddr::V4(_) => asked.unwrap_or(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
        }
        let question = RouteQuestion { destination: tuple.destination, source: asked, input: None, mark: 0 };
        let route = match self.route(machine, &question) {
            Ok(route) => route,
            Err(end) => return Next::End(end),
        };
        if asked.is_none() {
            match self.machine(machine).source_for(route, tuple.destination) {
                Some(source) => tuple.source = source,
                None => return Next::End(self.discarded(machine, "it has no address to send from")),
            }
        }
        let mut carried = Carried { user, ..Carried::new(Packet::new(tuple, place)) };
        if place != Place::Answer {
            self.asked.push((machine, tuple));
        }
        self.steps.push(Step::Made { machine: self.name(machine), tuple });
        let output = self.machine(machine).interface(leaving_by(self.machine(machine), route));
        if let Err(end) = self.hook(machine, Hook::Output, false, &mut carried, Between::out_by(output)) {
            return Next::End(end);
        }
        let mut route = route;
        if carried.tuple().destination != tuple.destination || carried.packet.mark != 0 {
            let now = carried.tuple();
            let question = RouteQuestion {
                destination: now.destination,
                source: Some(now.source),
                input: None,
                mark: carried.packet.mark,
            };
            route = match self.route(machine, &question) {
                Ok(route) => route,
                Err(end) => return Next::End(end),
            };
        }
        self.send(machine, route, carried)
    }

    /// Out by a route: the last hooks, then the link.
    fn send(&mut self, machine: usize, route: &Route, mut carried: Carried) -> Next {
        let place = self.machine(machine);
        match route.kind {
            RouteKind::Unicast | RouteKind::Local => {}
            RouteKind::Blackhole => return Next::End(self.discarded(machine, "a blackhole route")),
            _ => {
                let destination = carried.tuple().destination;
                return Next::End(End::NoRoute { machine: self.name(machine), destination });
            }
        }
        let Some(output) = place.interface(leaving_by(place, route)) else {
            return Next::End(self.discarded(machine, "the interface of the route is gone"));
        };
        // RFC 1122, 3.2.1.3: 127/8 never appears outside a host; __mkroute_output in net/ipv4/route.c.
        let from = carried.tuple().source;
        if is_loopback4(from) && !output.loopback && !output.route_localnet {
            let name = &output.name;
            let reason = format!(
                "its source {from} may not leave by {name}: net.ipv4.conf.{name}.route_localnet is 0"
            );
            return Next::End(self.discarded(machine, reason));
        }
        if let Err(end) =
            self.hook(machine, Hook::Postrouting, false, &mut carried, Between::out_by(Some(output)))
        {
            return Next::End(end);
        }
        let next = route.gateway.unwrap_or(carried.tuple().destination);
        self.transmit(machine, output, next, carried)
    }

    /// A packet that this machine has to take in, or to send on.
    fn take(&mut self, machine: usize, input: &'a Interface, mut carried: Carried, hooked: bool) -> Next {
        let place = self.machine(machine);
        let arrived = carried.tuple();
        // ip_route_input_slow in net/ipv4/route.c: sources that make no sense are not even looked at by rules.
        if !hooked
            && let Err(end) = self.hook(machine, Hook::Prerouting, false, &mut carried, Between::in_by(input))
        {
            return Next::End(end);
        }
        let tuple = carried.tuple();
        if let Some(reason) = martian(place, input, &tuple) {
            return Next::End(self.discarded(machine, reason));
        }
        let mark = carried.packet.mark;
        let question = RouteQuestion {
            destination: tuple.destination,
            source: Some(tuple.source),
            input: Some(&input.name),
            mark,
        };
        let route = match self.route(machine, &question) {
            Ok(route) => route,
            Err(end) => return Next::End(end),
        };
        if let Some(reason) = unexpected_source(place, input, &tuple, mark) {
            return Next::End(self.discarded(machine, reason));
        }
        if matches!(route.kind, RouteKind::Local | RouteKind::Broadcast) {
            return Next::End(self.deliver(machine, input, carried));
        }
        let forwards = if tuple.source.is_ipv4() { input.forwarding.0 } else { input.forwarding.1 };
        if !forwards {
            let reason = format!(
                "{} is not its own and it does not forward: the sysctl net.{} is 0",
                tuple.destination,
                if tuple.source.is_ipv4() { "ipv4.ip_forward" } else { "ipv6.conf.all.forwarding" }
            );
            return Next::End(self.discarded(machine, reason));
        }
        if is_loopback4(arrived.source) && !input.route_localnet {
            return Next::End(self.discarded(machine, format!("its source {} is loopback", arrived.source)));
        }
        let output = place.interface(route.interface);
        if let Err(end) =
            self.hook(machine, Hook::Forward, false, &mut carried, Between { input: Some(input), output })
        {
            return Next::End(end);
        }
        self.send_on(machine, route, input, carried)
    }

    fn send_on(&mut self, machine: usize, route: &Route, input: &'a Interface, mut carried: Carried) -> Next {
        let place = self.machine(machine);
        let Some(output) = place.interface(route.interface).filter(|_| route.kind == RouteKind::Unicast)
        else {
            let destination = carried.tuple().destination;
            return Next::End(End::NoRoute { machine: self.name(machine), destination });
        };
        let between = Between { input: Some(input), output: Some(output) };
        let hook = self.hook(machine, Hook::Postrouting, false, &mut carried, between);
        if let Err(end) = hook {
            return Next::End(end);
        }
        let next = route.gateway.unwrap_or(carried.tuple().destination);
        self.transmit(machine, output, next, carried)
    }

    fn deliver(&mut self, machine: usize, input: &'a Interface, mut carried: Carried) -> End {
        if let Err(end) = self.hook(machine, Hook::Input, false, &mut carried, Between::in_by(input)) {
            return end;
        }
        let tuple = carried.tuple();
        let place = self.machine(machine);
        let name = self.name(machine);
        if self.asked.contains(&(machine, tuple.reversed())) {
            return End::Delivered {
                machine: name,
                owner: "the program that asked".to_owned(),
                tuple,
                proxy: None,
            };
        }
        if matches!(tuple.protocol, 1 | 58) {
            return End::Delivered {
                machine: name,
                owner: "the kernel, which answers".to_owned(),
                tuple,
                proxy: None,
            };
        }
        let (address, port) = (tuple.destination, tuple.destination_port);
        match self.holdings.listener((machine, place), tuple.protocol, address, port) {
            Ok(Some(listener)) if !listener.held => {
                let (owner, proxy) = (listener.owner.clone(), listener.proxy);
                End::Delivered { machine: name, owner, tuple, proxy }
            }
            Ok(_) => End::NobodyListens { machine: name, tuple },
            Err(reason) => End::Unknown { machine: name, reason },
        }
    }
}

/// What is for the machine itself leaves by loopback, whatever interface has the address.
fn leaving_by(machine: &Machine, route: &Route) -> u32 {
    match route.kind {
        RouteKind::Local => machine.interfaces.iter().find(|it| it.loopback).map_or(1, |it| it.index),
        _ => route.interface,
    }
}

fn is_loopback4(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_loopback())
}

/// Why a packet's addresses make no sense where it arrived (RFC 1812, 5.3.7).
fn martian(machine: &Machine, input: &Interface, tuple: &Tuple) -> Option<String> {
    if input.loopback {
        return None;
    }
    let name = &input.name;
    for (address, what) in [(tuple.source, "source"), (tuple.destination, "destination")] {
        if is_loopback4(address) && !input.route_localnet {
            return Some(format!(
                "its {what} {address} is loopback and it arrived at {name}, where route_localnet is 0"
            ));
        }
        if matches!(address, IpAddr::V6(address) if address.is_loopback()) {
            return Some(format!("its {what} {address} is loopback and it arrived at {name}"));
        }
    }
    let own = tuple.source.is_ipv4() && machine.holder(tuple.source).is_some();
    own.then(|| format!("its source {} is this machine's own, and it arrived at {name}", tuple.source))
}

/// Why `rp_filter` does not let a source in (RFC 3704; IPv4 only).
fn unexpected_source(machine: &Machine, input: &Interface, tuple: &Tuple, mark: u32) -> Option<String> {
    if input.reverse_path == 0 || input.loopback || !tuple.source.is_ipv4() {
        return None;
    }
    let question =
        RouteQuestion { destination: tuple.source, source: Some(tuple.destination), input: None, mark };
    let back = match machine.route(&question) {
        Routed::By(route) if route.kind == RouteKind::Unicast => Some(route.interface),
        Routed::Unknown(_) => return None,
        _ => None,
    };
    let fits = match (back, input.reverse_path) {
        (Some(index), 1) => index == input.index,
        (back, _) => back.is_some(),
    };
    let name = &input.name;
    (!fits).then(|| {
        format!(
            "the way back to its source {} is not by {name}: its rp_filter is {}",
            tuple.source, input.reverse_path
        )
    })
}

fn describe(machine: &Machine, route: &Route) -> String {
    let mut text = match (route.kind, route.destination.prefix_len()) {
        (RouteKind::Local, _) => format!("local {}", route.destination.addr()),
        (RouteKind::Unicast, 0) => "default".to_owned(),
        (RouteKind::Unicast, _) => route.destination.to_string(),
        (kind, _) => format!("{} {}", format!("{kind:?}").to_lowercase(), route.destination),
    };
    if let Some(gateway) = route.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    if let Some(interface) = machine.interface(route.interface) {
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
