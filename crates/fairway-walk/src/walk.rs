//! The walk of a packet through machines, hook by hook.

mod hook;
mod link;
mod make;
mod own;
mod refuse;
mod take;

use std::net::IpAddr;
use std::rc::Rc;

use super::conversation::Maker;
use super::evaluate::Facts;
use super::flow::Flow;
use super::holdings::{Contents, Holdings};
use super::machine::{Interface, Machine, Route, RouteKind, Scene};
use super::packet::{Packet, Place, Tuple};
use super::route::{RouteQuestion, Routed};
use super::step::{Counted, End, Path, Step};
use fairway_model::MacAddress;
use fairway_ruleset::CtDirection;
use refuse::Refused;

/// How often a packet may change machines before it is taken for a loop.
const MOST_HOPS: usize = 32;

/// A packet on its way, and what its machine knows of it.
#[derive(Debug, Clone)]
struct Carried {
    packet: Packet,
    /// Its flow on this machine: its number there, and its direction.
    flow: Option<(usize, CtDirection)>,
    /// Whether it is no packet of the flow, but about one.
    related: bool,
    /// The port of a bridge that it arrived at, if br_netfilter showed it to IP there.
    shown_from: Option<u32>,
    /// Whether it is shown to IP while it is still a frame on a bridge, with no route of its own.
    on_bridge: bool,
    /// Where it went before it was shown.
    packet_destination: Option<IpAddr>,
    /// Its next hop on the link that it is on.
    next: Option<IpAddr>,
    untracked: bool,
    user: Option<u32>,
    /// As it was made here: the mark with which it looks for its way anew.
    rerouted: Option<u32>,
}

impl Carried {
    fn new(packet: Packet) -> Self {
        Self {
            packet,
            flow: None,
            related: false,
            shown_from: None,
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

/// The interfaces that a packet is between: where it arrived, and where it will leave.
#[derive(Debug, Clone, Copy, Default)]
struct Between<'b> {
    input: Option<&'b Interface>,
    output: Option<&'b Interface>,
    /// The ports between which a bridge forwards it, in the IP hooks.
    ports: Option<(&'b Interface, &'b Interface)>,
}

impl<'b> Between<'b> {
    fn in_by(input: &'b Interface) -> Self {
        Self { input: Some(input), ..Self::default() }
    }

    fn out_by(output: Option<&'b Interface>) -> Self {
        Self { output, ..Self::default() }
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
    counted: Vec<Counted>,
    /// What was refused last, and is to be told to its sender.
    refused: Option<Refused>,
    /// Who asked for neighbors, by address, and the MAC address that it has there.
    asked_by: Vec<(IpAddr, MacAddress)>,
    /// Where the last packet arrived that was delivered.
    arrived: Option<u32>,
    holdings: Rc<Holdings<'a>>,
    /// The macvlans of all machines, with their machines: looked for at each link.
    macvlans: Rc<[(usize, &'a Interface)]>,
}

impl<'a> Walker<'a> {
    /// A walker that knows no flow yet.
    pub fn new(scene: &'a Scene) -> Self {
        Self::within(scene, Holdings::default().into(), macvlans(scene))
    }

    /// A walker that asks for what machines hold elsewhere ([`Machine::elsewhere`]).
    pub fn asking(scene: &'a Scene, contents: &'a dyn Contents) -> Self {
        Self::within(scene, Holdings::with(contents).into(), macvlans(scene))
    }

    /// Another one in the same scene that knows no flow yet, and where to find things.
    pub fn afresh(&self) -> Self {
        Self::within(self.scene, Rc::clone(&self.holdings), Rc::clone(&self.macvlans))
    }

    fn within(scene: &'a Scene, holdings: Rc<Holdings<'a>>, macvlans: Rc<[(usize, &'a Interface)]>) -> Self {
        let flows = vec![Vec::new(); scene.machines.len()];
        Self {
            scene,
            flows,
            asked: Vec::new(),
            steps: Vec::new(),
            counted: Vec::new(),
            refused: None,
            asked_by: Vec::new(),
            arrived: None,
            holdings,
            macvlans,
        }
    }

    /// The scene that it walks in.
    pub fn scene(&self) -> &'a Scene {
        self.scene
    }

    /// The path of a packet that a program makes. An unspecified source is chosen as the kernel does.
    pub fn made(&mut self, maker: Maker, tuple: Tuple, place: Place) -> Path {
        self.refused = None;
        let next = self.make(maker, tuple, place);
        self.follow(next)
    }

    /// The interface of the last delivery: what answers a link-local address leaves by it.
    pub(super) fn arrived(&self) -> Option<u32> {
        self.arrived
    }

    /// The path of a packet that arrives at an interface from outside, as a frame for that interface.
    pub fn arrives(&mut self, machine: usize, interface: u32, tuple: Tuple, place: Place) -> Path {
        self.refused = None;
        let mut packet = Packet::new(tuple, place);
        let (interface, mac) = self.asked_from_outside(machine, interface, tuple.destination);
        packet.frame(Default::default(), mac);
        self.follow(Next::Arrives(machine, interface, Carried::new(packet)))
    }

    /// The flows that a machine knows.
    pub fn flows(&self, machine: usize) -> &[Flow] {
        self.flows.get(machine).map(Vec::as_slice).unwrap_or_default()
    }

    fn machine(&self, number: usize) -> &'a Machine {
        &self.scene.machines[number]
    }

    /// The path of what tells the sender of the last packet that it was refused; none if nobody tells.
    pub fn refusal(&mut self) -> Option<Path> {
        let refused = self.refused.take()?;
        let next = self.tell(refused);
        Some(self.follow(next))
    }

    fn follow(&mut self, mut next: Next) -> Path {
        for _ in 0..MOST_HOPS {
            match next {
                Next::End(end) => return self.path(end),
                Next::Arrives(machine, interface, carried) => {
                    next = self.receive(machine, interface, carried)
                }
            }
        }
        self.path(End::Discarded { machine: String::new(), reason: "it goes round in a circle".to_owned() })
    }

    fn path(&mut self, end: End) -> Path {
        Path { steps: std::mem::take(&mut self.steps), counted: std::mem::take(&mut self.counted), end }
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
            related: carried.related,
            untracked: carried.untracked,
            user: carried.user,
            ports: between.ports,
            holdings: (&self.holdings, machine),
        }
    }

    /// Finds the way, and says which and why.
    fn route(&mut self, machine: usize, question: &RouteQuestion<'_>) -> Result<&'a Route, End> {
        let place = self.machine(machine);
        match place.route(question) {
            Routed::By(route) => Ok(self.by_route(machine, route)),
            Routed::Nowhere => {
                Err(End::NoRoute { machine: self.name(machine), destination: question.destination })
            }
            Routed::Unknown(reason) => Err(End::Unknown { machine: self.name(machine), reason }),
        }
    }

    /// Says which way it goes and why.
    fn by_route(&mut self, machine: usize, route: &'a Route) -> &'a Route {
        let (text, why) = (describe(self.machine(machine), route), reason(route));
        self.steps.push(Step::Routed { machine: self.name(machine), route: text, why });
        route
    }

    fn discarded(&self, machine: usize, reason: impl Into<String>) -> End {
        End::Discarded { machine: self.name(machine), reason: reason.into() }
    }
}

fn macvlans(scene: &Scene) -> Rc<[(usize, &Interface)]> {
    let machines = scene.machines.iter().enumerate();
    let interfaces = machines.flat_map(|(place, it)| it.interfaces.iter().map(move |it| (place, it)));
    interfaces.filter(|(_, interface)| interface.up && interface.stands_on.is_some()).collect()
}

/// What is for the machine itself leaves by loopback, whatever interface has the address.
fn leaving_by(machine: &Machine, route: &Route) -> u32 {
    match route.kind {
        RouteKind::Local => machine.interfaces.iter().find(|it| it.loopback).map_or(1, |it| it.index),
        _ => route.interface,
    }
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
