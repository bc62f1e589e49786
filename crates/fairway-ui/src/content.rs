//! What the page shows, as JSON.

use fairway_containers::{Container, Mode};
use fairway_inspect::explain::Capture;
use fairway_inspect::graph::{Collapse, Element, Picture, Walk, elements, layout_without_story};
use fairway_inspect::trace::{PacketTimeline, TraceMessage};
use serde::Serialize;

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The picture with the walk of the packet.
    pub picture: Picture,
    /// The places where a capture shows the packet.
    pub captures: Vec<Capture>,
    /// The branches, if there are several; the walk of the first is drawn.
    pub branches: Vec<Branch>,
    /// How many branches more there are at least, which were not walked.
    pub not_walked: usize,
    /// The result by the Plan, if it differs.
    pub planned: Option<String>,
}

/// A branch of the way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Branch {
    /// Its probability and conditions.
    pub text: String,
    /// Its result in one sentence.
    pub sentence: String,
    /// Whether the connection is answered; none if that is not known.
    pub answered: Option<bool>,
}

/// A picture with the positions of everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Drawn {
    host: String,
    title: String,
    width: i32,
    height: i32,
    /// Whether some sandboxes are drawn as one box.
    collapsed: bool,
    elements: Vec<Element>,
}

/// An [`Answer`] as the page gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DrawnAnswer {
    picture: Drawn,
    walk: Option<Walk>,
    captures: Vec<Capture>,
    branches: Vec<Branch>,
    not_walked: usize,
    planned: Option<String>,
}

/// A container in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Row {
    engine: String,
    name: String,
    /// Its name in a question; none where packets from and to it cannot be explained.
    endpoint: Option<String>,
    state: String,
    networks: Vec<String>,
    addresses: Vec<String>,
    ports: Vec<String>,
}

/// A packet of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Packet {
    /// Nanoseconds since 1970, as text: JavaScript has no integers of that size.
    at: String,
    title: String,
    flow: u32,
    back: bool,
    end: String,
    answered: Option<bool>,
    outcome: String,
    steps: Vec<PacketStep>,
}

/// A place at which a packet was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PacketStep {
    /// Microseconds since the packet was observed first.
    after: u64,
    namespace: String,
    location: String,
    text: String,
}

impl Drawn {
    pub(crate) fn new(mut picture: Picture, collapse: Collapse) -> Self {
        picture.collapse(collapse);
        let drawing = layout_without_story(&picture);
        Self {
            collapsed: picture.networks.iter().any(|network| !network.collapsed.is_empty()),
            host: picture.host,
            elements: elements(&drawing),
            title: drawing.title,
            width: drawing.width,
            height: drawing.height,
        }
    }
}

impl DrawnAnswer {
    pub(crate) fn new(answer: Answer, collapse: Collapse) -> Self {
        let Answer { picture, captures, branches, not_walked, planned } = answer;
        let walk = picture.walk.clone();
        Self { picture: Drawn::new(picture, collapse), walk, captures, branches, not_walked, planned }
    }
}

/// The rows of a table of containers. A container whose name several have is asked for by its qualified name.
pub(crate) fn rows(containers: &[(Container, bool)]) -> Vec<Row> {
    let name_of = |id: &str| containers.iter().find(|(it, _)| it.id == id).map(|(it, _)| it.name());
    let row = |(container, explained): &(Container, bool)| {
        let alone = containers.iter().filter(|(it, _)| it.name() == container.name()).count() == 1;
        let endpoint = if alone { container.name().to_owned() } else { container.qualified() };
        let networks = match &container.mode {
            Mode::Host => vec!["host".to_owned()],
            Mode::None => vec!["none".to_owned()],
            Mode::Shared(id) => vec![format!("container:{}", name_of(id).unwrap_or(id))],
            Mode::Own => container.attachments.iter().map(|it| it.network.clone()).collect(),
        };
        Row {
            engine: container.engine.to_string(),
            name: container.name().to_owned(),
            endpoint: (*explained && container.state.exists()).then_some(endpoint),
            state: container.state.to_string(),
            networks,
            addresses: container.addresses().map(|it| it.to_string()).collect(),
            ports: container.ports.iter().map(ToString::to_string).collect(),
        }
    };
    containers.iter().map(row).collect()
}

/// The name of the server-sent event of a trace's message, with its data.
pub(crate) fn trace_event(message: TraceMessage) -> (&'static str, serde_json::Value) {
    let json = |value| serde_json::to_value(value).unwrap_or_default();
    match message {
        TraceMessage::Note(text) => ("note", text.into()),
        TraceMessage::Packet(timeline) => ("packet", json(packet(&timeline))),
        TraceMessage::Watching(lost) => ("missed", (lost.captured + lost.ruled + lost.unreported).into()),
    }
}

fn packet(timeline: &PacketTimeline) -> Packet {
    let steps = timeline.entries.iter().map(|entry| PacketStep {
        after: entry.at.saturating_sub(timeline.at) / 1000,
        namespace: entry.step.namespace.clone(),
        location: entry.step.location().to_owned(),
        text: entry.text(),
    });
    Packet {
        at: timeline.at.to_string(),
        title: timeline.title.clone(),
        flow: timeline.flow.number,
        back: timeline.back,
        end: timeline.end.text.clone(),
        answered: timeline.flow.answered,
        outcome: timeline.flow.outcome.clone(),
        steps: steps.collect(),
    }
}

#[cfg(test)]
mod tests {
    use fairway_containers::{Engine, State};
    use fairway_inspect::trace::Lost;
    use serde_json::json;

    use super::*;

    fn container(engine: Engine, name: &str, state: State) -> Container {
        let mut container = Container::new(engine, vec![name.to_owned()], format!("id of {name}"));
        container.state = state;
        container
    }

    #[test]
    fn names_that_several_containers_have_are_qualified() {
        let docker = || Engine::Docker { user: None };
        let containers = [
            (container(Engine::Fairway, "web", State::Running), true),
            (container(docker(), "web", State::Running), true),
            (container(docker(), "db", State::Running), true),
            (container(docker(), "old", State::Exited), true),
            (container(Engine::Lxc { user: None }, "other", State::Running), false),
        ];
        let endpoints: Vec<Option<String>> = rows(&containers).into_iter().map(|row| row.endpoint).collect();
        let expected = [Some("fairway:web"), Some("docker:web"), Some("db"), None, None];
        assert_eq!(endpoints, expected.map(|it| it.map(str::to_owned)));
    }

    #[test]
    fn a_shared_namespace_is_shown_by_the_name_of_its_owner() {
        let mut guest = container(Engine::Fairway, "guest", State::Running);
        guest.mode = Mode::Shared("id of web".to_owned());
        let containers = [(container(Engine::Fairway, "web", State::Running), true), (guest, true)];
        assert_eq!(rows(&containers)[1].networks, ["container:web"]);
    }

    #[test]
    fn messages_of_a_trace_are_named() {
        assert_eq!(trace_event(TraceMessage::Note("begins".to_owned())), ("note", json!("begins")));
        let lost = Lost { captured: 1, ruled: 2, unreported: 3 };
        assert_eq!(trace_event(TraceMessage::Watching(lost)), ("missed", json!(6)));
        let timeline = PacketTimeline { at: 1_795_312_963_489_811_622, ..PacketTimeline::default() };
        let (name, value) = trace_event(TraceMessage::Packet(Box::new(timeline)));
        assert_eq!((name, &value["At"]), ("packet", &json!("1795312963489811622")));
    }

    #[test]
    fn a_picture_has_the_ends_that_can_be_asked_for() {
        let picture = Picture { host: "harbour".to_owned(), ..Picture::default() };
        let drawn = Drawn::new(picture, Collapse::Large);
        let value = serde_json::to_value(&drawn).unwrap();
        let endpoints: Vec<&serde_json::Value> =
            value["Elements"].as_array().unwrap().iter().map(|it| &it["Endpoint"]["Name"]).collect();
        assert!(endpoints.contains(&&json!("host")), "{value}");
        assert!(value["Width"].as_i64() > Some(100));
    }
}
