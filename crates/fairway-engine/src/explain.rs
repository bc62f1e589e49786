//! Where a packet goes: the host and the sandboxes concerned are read, and a packet is walked through them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use fairway_core::policy::{BRIDGE_TABLE, TABLE};
use fairway_core::world::World;
use fairway_inspect::explain::{Capture, Question, QuestionError, Resolved, advice, captures};
use fairway_inspect::topology::{planned_element, planned_listeners, planned_outline, without_ours};
use fairway_kernel::survey::Details;
use fairway_kernel::{namespace, port_holder, survey};
use fairway_model::{Namespace, Protocol};
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{Contents, Conversation, End, Listener, Proxy, Scene, Step, Tuple, Walker, converse_by};
use thiserror::Error;

use crate::{Engine, State};

/// Why nothing can be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The question makes no sense.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The kernel cannot be asked.
    #[error("cannot read what is there: {0}")]
    Survey(#[from] survey::Error),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The walks.
    pub conversation: Conversation,
    /// Where captures see it.
    pub captures: Vec<Capture>,
    /// What would let it through that does not get through.
    pub advice: Option<String>,
    /// What the Plan would have come of it, where that is another outcome.
    pub planned: Option<Planned>,
}

/// What should come of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its end, in words.
    pub end: String,
    /// What is other than by the Plan, on the host and in the sandboxes that it comes to.
    pub differences: Vec<String>,
}

impl Engine {
    /// Walks a packet from one to another, through what the kernel has or, with `by_plan`, through what it should
    /// have. Of what there may be very much, only what the packet meets is asked for.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, from: &str, to: &str, by_plan: bool) -> Result<Explanation, ExplainError> {
        let outline = || Ok::<_, survey::Error>((survey::outline("host")?, Details::open()?));
        let (host, details) = self.workers.run(self.workers.initial(), outline)??;
        let (question, mut scene) = {
            let State { world, plan, .. } = &*self.state();
            let question = Question::parse(world, plan, from, to)?;
            (question, planned_outline(world, plan, without_ours(&host.machine, plan)))
        };
        let asked = |by_plan| Host { engine: self, details: &details, by_plan };
        let should = self.walk(&question, &scene, &asked(true))?;
        if by_plan {
            return Ok(self.explanation(&question, &scene, &asked(true), should, None));
        }
        scene.read_host(host.machine);
        let mut conversation = self.walk_through_what_is(&question, &mut scene, &asked(false))?;
        conversation.name_owners(&mut |machine, tuple| self.holder(machine, tuple));
        let differs = std::mem::discriminant(&should.first.end)
            != std::mem::discriminant(&conversation.first.end)
            && !ends_by_own(&conversation)
            && !ends_by_own(&should);
        let planned = differs.then(|| Planned {
            end: should.first.end.sentence(),
            differences: self.differences(&[&conversation, &should]),
        });
        Ok(self.explanation(&question, &scene, &asked(false), conversation, planned))
    }

    fn explanation(
        &self,
        question: &Question,
        scene: &Scene,
        contents: &Host<'_>,
        conversation: Conversation,
        planned: Option<Planned>,
    ) -> Explanation {
        let waiting = waiting(scene, contents, &conversation);
        let (captures, advice) = self
            .read(|world| (captures(&conversation, world), advice(world, question, &conversation, &waiting)));
        // What only has to be mended needs no other networks or ports.
        let advice = match planned {
            Some(_) => Some("fairway doctor: it names the command that mends this".to_owned()),
            None => advice,
        };
        Explanation { conversation, captures, advice, planned }
    }

    /// What is other than by the Plan, on the host and in the sandboxes that these come to.
    fn differences(&self, conversations: &[&Conversation]) -> Vec<String> {
        let mut differences = match self.look_for_drift() {
            Ok(drift) => drift.present(),
            Err(error) => vec![format!("what else is other cannot be told: {error}")],
        };
        let met: BTreeSet<&str> = conversations.iter().flat_map(|it| machines(it)).collect();
        let sandboxes: Vec<_> = self.read(|world| {
            let met = world.sandboxes().filter(|it| it.running() && met.contains(it.name.as_str()));
            met.map(|it| (it.id, it.name.clone())).collect()
        });
        for (id, name) in sandboxes {
            let inside = self.differences_inside(id).unwrap_or_default();
            differences.extend(inside.iter().map(|difference| format!("in {name}, {}", difference.is())));
        }
        differences
    }

    /// Reads every sandbox that the packet comes to, and walks again, until no other one is met.
    fn walk_through_what_is(
        &self,
        question: &Question,
        scene: &mut Scene,
        contents: &Host<'_>,
    ) -> Result<Conversation, ExplainError> {
        let mut read = BTreeSet::from([0]);
        loop {
            let conversation = self.walk(question, scene, contents)?;
            let met = machines(&conversation);
            let mut unread = scene
                .machines
                .iter()
                .enumerate()
                .filter(|(place, machine)| !read.contains(place) && met.contains(machine.name.as_str()));
            let Some((place, name)) = unread.next().map(|(place, machine)| (place, machine.name.clone()))
            else {
                return Ok(conversation);
            };
            read.insert(place);
            // One that has stopped meanwhile stays as it was planned.
            if let Some(namespace) = self.read(|world| namespace_of(world, &name)) {
                let inside = self.workers.run(&namespace::open(&namespace)?, || survey::survey(""))??;
                scene.read_inside(place, &inside);
            }
        }
    }

    fn walk(
        &self,
        question: &Question,
        scene: &Scene,
        contents: &Host<'_>,
    ) -> Result<Conversation, QuestionError> {
        let (resolved, user) =
            self.read(|world| (question.resolve(world, scene), world.settings().relay_user));
        let Resolved { asker, tuple } = resolved?;
        Ok(converse_by(&mut Walker::asking(scene, contents), asker, tuple, Proxy { user }))
    }

    /// The process that has the socket for what arrives on a machine, if it can be seen from here.
    fn holder(&self, machine: &str, tuple: &Tuple) -> Option<String> {
        let handle = match self.read(|world| namespace_of(world, machine)) {
            Some(namespace) => namespace::open(&namespace).ok()?,
            None => self.workers.initial().clone(),
        };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found = self.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }
}

/// The sockets of the machine where nobody listened: of the host those at the port alone.
fn waiting(scene: &Scene, contents: &Host<'_>, conversation: &Conversation) -> Vec<Listener> {
    let End::NobodyListens { machine, tuple } = conversation.last_end() else { return Vec::new() };
    let place = scene.machines.iter().position(|it| it.name == *machine).unwrap_or_default();
    match scene.machines.get(place) {
        // What cannot be read helps nobody; that it cannot was told before.
        Some(machine) if machine.elsewhere => {
            contents.listeners(place, tuple.protocol, tuple.destination_port).unwrap_or_default()
        }
        Some(machine) => machine.listeners.clone(),
        None => Vec::new(),
    }
}

/// The namespace of the sandbox of that name.
fn namespace_of(world: &World, name: &str) -> Option<Namespace> {
    let sandbox = world.sandboxes().find(|sandbox| sandbox.name == name && sandbox.running())?;
    sandbox.namespace().cloned()
}

/// What the host holds, asked of the kernel or, for what is ours, of the Plan.
struct Host<'e> {
    engine: &'e Engine,
    details: &'e Details,
    by_plan: bool,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("by_plan", &self.by_plan).finish_non_exhaustive()
    }
}

fn unread(error: survey::Error) -> String {
    ExplainError::Survey(error).to_string()
}

impl Contents for Host<'_> {
    fn element(&self, _: usize, table: &Table, set: &Set, key: &[u8]) -> Result<Option<Element>, String> {
        if self.by_plan && [TABLE, BRIDGE_TABLE].contains(&table.name.as_str()) {
            return Ok(planned_element(&self.engine.state().plan, table, &set.name, key));
        }
        self.details.element(table, set, key).map_err(unread)
    }

    fn listeners(&self, _: usize, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        let Some(protocol) = Protocol::ALL.into_iter().find(|it| it.number() == protocol) else {
            return Ok(Vec::new());
        };
        let there = self.details.listeners_at(protocol, port).map_err(unread)?;
        let ours = planned_listeners(&self.engine.state().plan, protocol, port);
        let own = |other: &Listener| ours.iter().find(|own| own.address == other.address);
        if self.by_plan {
            let others = there.into_iter().filter(|it| own(it).is_none());
            return Ok(others.chain(ours.iter().cloned()).collect());
        }
        // Of a socket that is ours, only the Plan tells what for.
        Ok(there.into_iter().map(|it| own(&it).cloned().unwrap_or(it)).collect())
    }
}

/// The names of the machines that a conversation's packets come to.
fn machines(conversation: &Conversation) -> BTreeSet<&str> {
    let Conversation { first, answer, later, next, .. } = conversation;
    let paths = [Some(first), answer.as_ref(), later.as_ref(), next.as_ref()];
    // Who has no route makes no step.
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for path in paths.into_iter().flatten() {
        names.extend(path.steps.iter().map(Step::machine).chain([path.end.machine()]));
    }
    if let Some(second) = &conversation.proxied {
        names.extend(machines(second));
    }
    names
}

/// Whether the first packet ends by a sandbox's own sockets or tables, which are not in a Plan.
fn ends_by_own(conversation: &Conversation) -> bool {
    let end = &conversation.first.end;
    let inside = conversation.first.steps.last().map(Step::machine).is_some_and(|machine| machine != "host");
    inside && !matches!(end, End::NoRoute { .. } | End::NoNeighbour { .. } | End::Discarded { .. })
}
