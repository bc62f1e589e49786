//! Where a packet goes: the host and the sandboxes concerned are read, and a packet is walked through them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fairway_core::model::{Protocol, SandboxId};
use fairway_core::path::{
    Conversation, Proxy, Question, QuestionError, Resolved, Scene, Step, Survey, Tuple, advice, converse,
    observed, planned, without_ours,
};
use fairway_core::plan::Plan;
use fairway_core::world::World;
use fairway_kernel::namespace::{self, Handle};
use fairway_kernel::port_holder;
use fairway_kernel::survey::{self, survey};
use thiserror::Error;

use crate::Engine;

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
    /// What would let it through that does not get through.
    pub advice: Option<String>,
    /// What the Plan would have come of it, where that is another outcome.
    pub planned: Option<String>,
}

impl Engine {
    /// Walks a packet from one to another, through what the kernel has or, with `by_plan`, through what it should
    /// have.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, from: &str, to: &str, by_plan: bool) -> Result<Explanation, ExplainError> {
        let (world, plan): (World, Plan) = {
            let state = self.state();
            (state.world.clone(), state.plan.clone())
        };
        let question = Question::parse(&world, &plan, from, to)?;
        let host = self.survey(&self.workers.home().clone(), "host")?;
        let as_planned = || planned(&world, &plan, without_ours(&host.machine, &plan));
        let user = world.settings().relay_user;
        if by_plan {
            let conversation = walk(&world, &question, &as_planned(), user)?;
            let advice = advice(&world, &question, &conversation);
            return Ok(Explanation { conversation, advice, planned: None });
        }
        let mut conversation = self.walk_through_what_is(&world, &plan, &question, &host)?;
        conversation.name_owners(&mut |machine, tuple| self.holder(&world, machine, tuple));
        let advice = advice(&world, &question, &conversation);
        // Only sandboxes' own sockets and tables are not in a Plan: what ends in one is no difference.
        let should = walk(&world, &question, &as_planned(), user)?;
        let differs = std::mem::discriminant(&should.first.end)
            != std::mem::discriminant(&conversation.first.end)
            && !ends_inside(&conversation)
            && !ends_inside(&should);
        let planned = differs.then(|| should.first.end.sentence());
        Ok(Explanation { conversation, advice, planned })
    }

    /// Reads every sandbox that the packet comes to, and walks again, until no other one is met.
    fn walk_through_what_is(
        &self,
        world: &World,
        plan: &Plan,
        question: &Question,
        host: &Survey,
    ) -> Result<Conversation, ExplainError> {
        let user = world.settings().relay_user;
        let mut inside: BTreeMap<SandboxId, Survey> = BTreeMap::new();
        loop {
            let scene = observed(world, plan, host, &inside);
            let conversation = walk(world, question, &scene, user)?;
            let met = machines(&conversation);
            let unread = world.sandboxes().find(|sandbox| {
                sandbox.running() && met.contains(&sandbox.name) && !inside.contains_key(&sandbox.id)
            });
            let Some((id, namespace)) = unread.and_then(|it| Some((it.id, it.namespace()?.clone()))) else {
                return Ok(conversation);
            };
            let handle = namespace::open(&namespace)?;
            inside.insert(id, self.survey(&handle, "")?);
        }
    }

    /// The process that has the socket for what arrives on a machine, if it can be seen from here.
    fn holder(&self, world: &World, machine: &str, tuple: &Tuple) -> Option<String> {
        let sandbox = world.sandboxes().find(|sandbox| sandbox.name == machine);
        let handle = match sandbox.and_then(|sandbox| sandbox.namespace()) {
            Some(namespace) => namespace::open(namespace).ok()?,
            None => self.workers.home().clone(),
        };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found = self.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }

    fn survey(&self, handle: &Handle, name: &str) -> Result<Survey, ExplainError> {
        let name = name.to_owned();
        Ok(self.workers.run(handle, move || survey(&name))??)
    }
}

fn walk(
    world: &World,
    question: &Question,
    scene: &Scene,
    user: Option<u32>,
) -> Result<Conversation, QuestionError> {
    let Resolved { asker, tuple } = question.resolve(world, scene)?;
    Ok(converse(scene, asker, tuple, Proxy { user }))
}

/// The names of the machines that a conversation's packets come to.
fn machines(conversation: &Conversation) -> Vec<String> {
    let paths = [Some(&conversation.first), conversation.answer.as_ref(), conversation.later.as_ref()];
    let steps = paths.into_iter().flatten().flat_map(|path| &path.steps);
    let mut names: Vec<String> = steps.map(|step| step.machine().to_owned()).collect();
    if let Some(second) = &conversation.proxied {
        names.extend(machines(second));
    }
    names
}

/// Whether the first packet's fate is a sandbox's own.
fn ends_inside(conversation: &Conversation) -> bool {
    conversation.first.steps.last().map(Step::machine).is_some_and(|machine| machine != "host")
}
