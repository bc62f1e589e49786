//! The requests that the server answers, with the types of their bodies.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::types::{
    AttachNamespace, AttachRequest, Attached, CheckRequest, Checked, ConnectRequest, Connected,
    ContainerCreate, ContainerInspect, ContainerStats, ContainerSummary, ContainerUpdate, ContainerUpdated,
    ContainersDeleted, Created, DetachRequest, Diagnosis, DisconnectRequest, EventMessage, ExecCreate,
    ExecInspect, ExecStart, Exited, Explained, Info, JoinRequest, LeaveRequest, NetworkCreate,
    NetworkInspect, NetworkStats, NetworksDeleted, PlanDifference, Planned, PublishPorts, PublishedPorts,
    Reloaded, StartFailed, Top, UpdateNetwork, Version, WaitReply,
};

/// Makes the schema of a type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// What a request sends or gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// A JSON text, or several, one a line, as they come.
    Json(Make),
    /// The output of a process, in frames (`application/vnd.docker.multiplexed-stream`) or as it is.
    Output,
    /// A text.
    Text,
}

/// A request that the server answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    /// The method, in lower case.
    pub method: &'static str,
    /// The path, with the names of its parts in braces.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The parameters of the query.
    pub query: &'static [&'static str],
    /// The body of the request.
    pub sends: Body,
    /// The status of success.
    pub status: u16,
    /// The body of the reply.
    pub gets: Body,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn operation(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    Operation { method, path, summary, query: &[], sends: Body::None, status: 200, gets: Body::None }
}

const fn get(path: &'static str, summary: &'static str) -> Operation {
    operation("get", path, summary)
}

const fn post(path: &'static str, summary: &'static str) -> Operation {
    operation("post", path, summary)
}

const fn delete(path: &'static str, summary: &'static str) -> Operation {
    operation("delete", path, summary)
}

impl Operation {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn sends<T: JsonSchema>(self) -> Self {
        Self { sends: Body::Json(schema::<T>), ..self }
    }

    const fn gets<T: JsonSchema>(self) -> Self {
        Self { gets: Body::Json(schema::<T>), ..self }
    }

    const fn creates<T: JsonSchema>(self) -> Self {
        Self { status: 201, ..self.gets::<T>() }
    }

    const fn output(self) -> Self {
        Self { gets: Body::Output, ..self }
    }

    const fn text(self) -> Self {
        Self { gets: Body::Text, ..self }
    }

    const fn nothing(self) -> Self {
        Self { status: 204, ..self }
    }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    get("/_ping", "Whether the daemon answers").text(),
    get("/version", "The versions of daemon and API").gets::<Version>(),
    get("/info", "The daemon and the host").gets::<Info>(),
    get("/events", "Events, as they come").query(&["since", "until", "filters"]).gets::<EventMessage>(),
    get("/networks", "The networks").query(&["filters"]).gets::<Vec<NetworkInspect>>(),
    post("/networks/create", "Makes a network").sends::<NetworkCreate>().creates::<Created>(),
    post("/networks/prune", "Removes the networks without containers")
        .query(&["filters"])
        .gets::<NetworksDeleted>(),
    get("/networks/{id}", "A network").query(&["verbose", "scope"]).gets::<NetworkInspect>(),
    delete("/networks/{id}", "Removes a network").nothing(),
    post("/networks/{id}/update", "Changes options of a network")
        .sends::<UpdateNetwork>()
        .gets::<NetworkInspect>(),
    post("/networks/{id}/connect", "Connects a container").sends::<ConnectRequest>().gets::<Connected>(),
    post("/networks/{id}/disconnect", "Disconnects a container")
        .sends::<DisconnectRequest>()
        .gets::<Connected>(),
    get("/containers/json", "The containers")
        .query(&["all", "limit", "filters"])
        .gets::<Vec<ContainerSummary>>(),
    post("/containers/create", "Makes a container")
        .query(&["name"])
        .sends::<ContainerCreate>()
        .creates::<Created>(),
    post("/containers/prune", "Removes the containers that do not run")
        .query(&["filters"])
        .gets::<ContainersDeleted>(),
    get("/containers/{id}/json", "A container").gets::<ContainerInspect>(),
    delete("/containers/{id}", "Removes a container, or a link").query(&["force", "link"]).nothing(),
    post("/containers/{id}/start", "Starts a container").nothing(),
    post("/containers/{id}/restart", "Stops a container and starts it").query(&["t", "signal"]).nothing(),
    post("/containers/{id}/stop", "Stops a container").query(&["t", "signal"]).nothing(),
    post("/containers/{id}/kill", "Sends a signal to a container").query(&["signal"]).nothing(),
    post("/containers/{id}/rename", "Gives a container another name").query(&["name"]).nothing(),
    post("/containers/{id}/update", "Changes limits and the restart policy of a container")
        .sends::<ContainerUpdate>()
        .gets::<ContainerUpdated>(),
    post("/containers/{id}/resize", "Sets the size of a container's terminal").query(&["h", "w"]),
    post("/containers/{id}/wait", "Waits for the exit code of a container")
        .query(&["condition"])
        .gets::<WaitReply>(),
    post("/containers/{id}/attach", "The streams of a container")
        .query(&["logs", "stream", "stdin", "stdout", "stderr", "detachKeys"])
        .output(),
    get("/containers/{id}/logs", "The log of a container")
        .query(&["follow", "stdout", "stderr", "since", "until", "timestamps", "tail"])
        .output(),
    get("/containers/{id}/top", "The processes of a container").gets::<Top>(),
    get("/containers/{id}/stats", "What a container uses, each second")
        .query(&["stream", "one-shot"])
        .gets::<ContainerStats>(),
    post("/containers/{id}/exec", "Notes a command for a container")
        .sends::<ExecCreate>()
        .creates::<Created>(),
    post("/exec/{id}/start", "Runs such a command").sends::<ExecStart>().output(),
    get("/exec/{id}/json", "Such a command").gets::<ExecInspect>(),
    post("/exec/{id}/resize", "Sets the size of its terminal").query(&["h", "w"]),
    post("/containers/{id}/attach-namespace", "Gives a container its network namespace")
        .sends::<AttachNamespace>()
        .gets::<ContainerInspect>(),
    post("/containers/{id}/exited", "Reports the exit code of a container").sends::<Exited>().nothing(),
    post("/containers/{id}/start-failed", "Reports why a container could not be started")
        .sends::<StartFailed>()
        .nothing(),
    post("/containers/{id}/publish", "Publishes ports of a container")
        .sends::<PublishPorts>()
        .gets::<PublishedPorts>(),
    post("/containers/{id}/unpublish", "Removes published ports of a container")
        .sends::<PublishPorts>()
        .gets::<PublishedPorts>(),
    post("/fairway/attach", "Connects a network namespace").sends::<AttachRequest>().gets::<Attached>(),
    post("/fairway/detach", "Disconnects a network namespace").sends::<DetachRequest>().nothing(),
    post("/fairway/check", "Which of these requests would be refused")
        .sends::<CheckRequest>()
        .gets::<Checked>(),
    post("/fairway/join", "Connects a container of another engine").sends::<JoinRequest>().gets::<Attached>(),
    post("/fairway/leave", "Disconnects a container of another engine").sends::<LeaveRequest>().nothing(),
    get("/fairway/explain", "The way of a packet").query(&["from", "to", "plan"]).gets::<Explained>(),
    get("/fairway/plan", "The planned objects").gets::<Planned>(),
    get("/fairway/plan/diff", "What differs from the Plan").gets::<PlanDifference>(),
    get("/fairway/doctor", "Examines the host").gets::<Diagnosis>(),
    post("/fairway/doctor/fix", "Examines the host and fixes what is Fairway's").gets::<Diagnosis>(),
    get("/fairway/graph", "The networks as a picture")
        .query(&["format", "network", "from", "to", "collapse"])
        .text(),
    get("/fairway/stats", "The counters of networks and published ports")
        .query(&["network"])
        .gets::<Vec<NetworkStats>>(),
    get("/metrics", "The metrics of the daemon, for Prometheus").text(),
    get("/fairway/trace", "Packets, as they come").query(&["from", "to"]).text(),
    post("/fairway/reload", "Reads the configuration file again").gets::<Reloaded>(),
    post("/fairway/end", "Ends a daemon on demand").nothing(),
];
