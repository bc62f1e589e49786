//! Maps the steps of a packet walk to the places of a picture.

use super::picture::{Picture, Sandbox};
use super::walk::{Badge, Leg, LegKind, Spot, Stop, Walk};
use fairway_walk::{Branches, ConnectionWalk, End, NamespaceId, PacketWalk, Step, Topology};

impl Walk {
    /// A connection, seen in a picture of the same World. The answer is a leg where it decides what comes of it. Of
    /// several branches the first is drawn.
    pub fn new(
        picture: &Picture,
        question: String,
        topology: &Topology,
        branches: &Branches,
        advice: Option<String>,
    ) -> Self {
        let mut tracer = Tracer { picture, topology, number: 0, legs: Vec::new() };
        match branches.branches.as_slice() {
            [only] => tracer.connection(&only.walk, ""),
            [first, ..] => tracer.connection(&first.walk, &format!(" ({})", first.label())),
            [] => {}
        }
        let (answered, legs) = (branches.answered(), tracer.legs);
        Self { question, legs, sentence: branches.sentence(topology), advice, answered }
    }
}

/// Turns steps into stops.
struct Tracer<'a> {
    picture: &'a Picture,
    topology: &'a Topology,
    number: usize,
    legs: Vec<Leg>,
}

impl Tracer<'_> {
    fn connection(&mut self, connection: &ConnectionWalk, whose: &str) {
        self.leg(LegKind::Asks, format!("the first packet{whose}"), &connection.first);
        if let Some(second) = &connection.proxied {
            self.connection(second, " of the proxy's connection");
        } else if let Some(answer) = &connection.reply
            && std::ptr::eq(connection.last_end(), &answer.end)
            && !matches!(answer.end, End::Delivered { .. } | End::Leaves { .. })
        {
            self.leg(LegKind::Answers, format!("the reply{whose}"), answer);
        }
    }

    fn leg(&mut self, kind: LegKind, title: String, path: &PacketWalk) {
        let mut stops: Vec<Stop> = Vec::new();
        if let Some(Step::Arrives { namespace, interface, tuple }) = path.steps.first()
            && let Spot::Uplink(uplink) = self.on(*namespace, interface)
        {
            let line = format!("sends {tuple}");
            self.stop(&mut stops, Spot::Beyond(uplink), Badge::Passes, *namespace, vec![line]);
        }
        let crossed = self.crossed(path);
        for (step, crossed) in path.steps.iter().zip(crossed) {
            let spot = match (step, stops.last().map(|stop| stop.spot)) {
                // A step without an effect is not drawn.
                (Step::Chain { hits, .. }, _) if hits.is_empty() => continue,
                (Step::Chain { bridged: true, .. }, Some(spot @ Spot::Network(_))) => spot,
                _ => crossed.unwrap_or_else(|| self.spot(step)),
            };
            let records = step.records(self.topology);
            let texts = records.iter().map(|it| format!("{}: {}", it.location(), it.text())).collect();
            let badge = match step {
                Step::Translated { .. } => Badge::Rewritten,
                _ => Badge::Passes,
            };
            self.stop(&mut stops, spot, badge, step.namespace(), texts);
        }
        let last = path.steps.last().map(Step::namespace).zip(stops.last().map(|stop| stop.spot));
        let (spot, badge, namespace) = self.end(&path.end, last);
        self.stop(&mut stops, spot, badge, namespace, vec![path.end.sentence(self.topology)]);
        self.legs.push(Leg { kind, title, stops });
    }

    /// For each step the place where it is drawn, if that is another than it says: so that a packet does not seem to
    /// go to and fro where br_netfilter lets the host's hooks see what is on a bridge.
    fn crossed(&self, path: &PacketWalk) -> Vec<Option<Spot>> {
        let steps = &path.steps;
        let mut crossed = vec![None; steps.len()];
        let on_host = |step: &Step| (step.namespace() == NamespaceId::HOST).then(|| self.spot(step));
        let seen = |step: &Step| match step {
            Step::Chain { bridged, hits, .. } => !bridged && !hits.is_empty(),
            step => on_host(step) == Some(Spot::Host),
        };
        for (number, step) in steps.iter().enumerate() {
            let Step::Bridged { to, .. } = step else { continue };
            let Some(spot @ Spot::Network(_)) = on_host(step) else { continue };
            let arrived = steps[..number].iter().rposition(|it| matches!(it, Step::Arrives { .. }));
            // A packet that the host itself sends on a bridge has not arrived there.
            let arrived = arrived.filter(|at| on_host(&steps[*at]) == Some(spot)).unwrap_or(number);
            if to.is_some() {
                // From port to port a packet stays on the bridge, even if IP hooks see it.
                let left = steps[number..].iter().position(|it| matches!(it, Step::Leaves { .. }));
                let end = left.map_or(steps.len(), |ahead| number + ahead);
                crossed[arrived..end].fill(Some(spot));
            } else if steps[arrived..number].iter().any(seen) {
                // A packet in the host's hooks is at the host.
                let up = steps[number..].iter().take_while(|it| on_host(it) == Some(spot)).count();
                crossed[number..number + up].fill(Some(Spot::Host));
            }
        }
        crossed
    }

    /// Adds what happens to the last stop, or makes one more where the place is another or it shall be seen.
    fn stop(
        &mut self,
        stops: &mut Vec<Stop>,
        spot: Spot,
        badge: Badge,
        namespace: NamespaceId,
        lines: Vec<String>,
    ) {
        let place = self.place(spot, namespace);
        if let Some(last) = stops.last_mut()
            && last.spot == spot
            && last.badge == Badge::Passes
            && badge != Badge::Rewritten
            && last.place == place
        {
            last.badge = badge;
            last.lines.extend(lines);
            return;
        }
        self.number += 1;
        stops.push(Stop { number: self.number, spot, badge, place, lines });
    }

    /// A place in words.
    fn place(&self, spot: Spot, namespace: NamespaceId) -> String {
        match spot {
            Spot::Member(network, member) if !self.picture.networks[network].members[member].home => {
                format!("{} on {}", self.topology.name(namespace), self.picture.networks[network].name)
            }
            Spot::Network(network) => format!("network {}", self.picture.networks[network].name),
            Spot::Uplink(uplink) => self.picture.uplinks[uplink].name.clone(),
            Spot::Beyond(uplink) => format!("behind {}", self.picture.uplinks[uplink].name),
            Spot::Member(..) | Spot::Host | Spot::Elsewhere => self.topology.name(namespace).to_owned(),
        }
    }

    fn spot(&self, step: &Step) -> Spot {
        match step {
            Step::Arrives { namespace, interface, .. } | Step::Leaves { namespace, interface, .. } => {
                self.on(*namespace, interface)
            }
            Step::Bridged { namespace, bridge, .. } => self.on(*namespace, bridge),
            _ => self.namespace(step.namespace()),
        }
    }

    /// The sandbox in the picture whose namespace it is.
    fn sandbox(&self, namespace: NamespaceId) -> Option<&Sandbox> {
        let id = self.topology[namespace].sandbox?;
        self.picture.sandboxes.iter().find(|sandbox| sandbox.id == id)
    }

    /// The place of a namespace as a whole.
    fn namespace(&self, namespace: NamespaceId) -> Spot {
        match self.sandbox(namespace) {
            Some(sandbox) => {
                sandbox.places.first().map_or(Spot::Elsewhere, |(network, it)| Spot::Member(*network, *it))
            }
            None if namespace == NamespaceId::HOST => Spot::Host,
            None => Spot::Elsewhere,
        }
    }

    /// The place of an interface of a namespace.
    fn on(&self, namespace: NamespaceId, interface: &str) -> Spot {
        if let Some(sandbox) = self.sandbox(namespace) {
            let own = |(network, it): &&(usize, usize)| {
                self.picture.networks[*network].members[*it].interface == interface
            };
            let found = sandbox.places.iter().find(own);
            return found.map_or(self.namespace(namespace), |(network, it)| Spot::Member(*network, *it));
        }
        if namespace != NamespaceId::HOST {
            return Spot::Elsewhere;
        }
        let uplink = self.picture.uplinks.iter().position(|it| it.name == interface);
        if let Some(uplink) = uplink {
            return Spot::Uplink(uplink);
        }
        let network = self.picture.networks.iter().position(|it| {
            it.bridge.as_deref() == Some(interface)
                || it.members.iter().any(|member| member.port == interface)
        });
        network.map_or(Spot::Host, Spot::Network)
    }

    /// Where a path ends, and how; it was at `last` before.
    fn end(&self, end: &End, last: Option<(NamespaceId, Spot)>) -> (Spot, Badge, NamespaceId) {
        let namespace = end.namespace();
        let here = match last {
            Some((before, spot)) if before == namespace => spot,
            _ => self.namespace(namespace),
        };
        let (spot, badge) = match end {
            End::Delivered { .. } => (self.namespace(namespace), Badge::Delivered),
            End::NoListener { .. } => (self.namespace(namespace), Badge::Lost),
            End::Leaves { interface, .. } => match self.on(namespace, interface) {
                Spot::Uplink(uplink) => (Spot::Beyond(uplink), Badge::Unknown),
                spot => (spot, Badge::Unknown),
            },
            End::Unknown { .. } => (here, Badge::Unknown),
            End::Dropped { .. }
            | End::Rejected { .. }
            | End::Discarded { .. }
            | End::NoRoute { .. }
            | End::NoNeighbor { .. } => (here, Badge::Lost),
        };
        (spot, badge, namespace)
    }
}
