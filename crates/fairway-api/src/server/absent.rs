//! What Docker has and Fairway has not: images, volumes, plugins, a swarm. Lists are empty, so that Docker's clients go on.

use std::collections::BTreeMap;

use fairway_model::RefusalKind;
use hyper::Method;
use serde_json::{Value, json};

use super::look;
use super::reply::Reply;
use crate::encode;
use crate::engine_api::{EngineApi, Failure, FailureKind};
use crate::filter::Filters;
use crate::image::{HOST_IMAGE, find_image, image_id};

/// What Docker has and Fairway has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    /// The list of images.
    Images,
    /// An image, by name.
    Image(String),
    /// The removal of an image, by name.
    ImageRemoval(String),
    /// The layers of an image, by name: none.
    History(String),
    /// Something of images that cannot be.
    ImageWork(&'static str),
    /// A list of something else, with the key that Docker has it under; empty for a bare list.
    List(&'static str),
    /// A volume or plugin, by name.
    Missing(&'static str, String),
    /// What is removed by a prune: nothing. With the key of the list.
    Prune(&'static str),
    /// `/system/df`.
    DiskUsage,
    /// Something of swarms.
    Swarm,
    /// A build, a copy, or another thing of a container's files.
    Unsupported(&'static str),
}

impl Absent {
    /// Finds what a request is about; none if Docker has no such route.
    pub(super) fn of(method: &Method, parts: &[&str]) -> Option<Self> {
        let own = |name: &[&str]| name.join("/");
        Some(match (method.as_str(), parts) {
            ("GET", ["images", "json"]) => Self::Images,
            ("GET", ["images", "search"]) => Self::List(""),
            ("GET", ["images", name @ .., "json"]) if !name.is_empty() => Self::Image(own(name)),
            ("GET", ["images", name @ .., "history"]) if !name.is_empty() => Self::History(own(name)),
            ("GET", ["distribution", name @ .., "json"]) => Self::Missing("image", own(name)),
            ("POST", ["images", "prune"]) => Self::Prune("ImagesDeleted"),
            ("POST", ["images", ..]) => Self::ImageWork("pull, push, load or tag images"),
            ("GET", ["images", ..]) => Self::ImageWork("save images"),
            ("DELETE", ["images", name @ ..]) => Self::ImageRemoval(own(name)),
            ("POST", ["build", "prune"]) => Self::Prune("CachesDeleted"),
            ("POST", ["build" | "session" | "grpc", ..]) => Self::ImageWork("build images"),
            ("POST", ["commit"]) => Self::ImageWork("commit containers"),
            ("POST", ["auth"]) => Self::ImageWork("log in to a registry"),
            ("GET", ["volumes"]) => Self::List("Volumes"),
            ("POST", ["volumes", "prune"]) => Self::Prune("VolumesDeleted"),
            ("POST", ["volumes", ..]) => Self::Unsupported("volumes: containers see the host's files"),
            ("GET" | "DELETE" | "PUT", ["volumes", name @ ..]) => Self::Missing("volume", own(name)),
            ("GET", ["plugins"]) => Self::List(""),
            (_, ["plugins", name @ ..]) => Self::Missing("plugin", own(name)),
            ("GET", ["system", "df"]) => Self::DiskUsage,
            (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => Self::Swarm,
            (_, ["containers", _, "archive" | "export" | "changes"]) => {
                Self::Unsupported("files of containers: they are the host's")
            }
            ("POST", ["containers", _, "pause" | "unpause"]) => {
                Self::Unsupported("pausing containers: use docker stop and docker start")
            }
            _ => return None,
        })
    }

    /// Answers the request.
    pub(super) fn reply(&self, engine: &dyn EngineApi) -> Result<Reply, Failure> {
        let missing =
            |kind: &str, name: &str| Failure::new(RefusalKind::NotFound, format!("No such {kind}: {name}"));
        let unsupported = |text: String| Err(Failure::new(FailureKind::Unsupported, text));
        match self {
            Self::Images => {
                let now = engine.now() / 1_000_000_000;
                Reply::json(&engine.images().iter().map(|name| image(name, now)).collect::<Vec<_>>())
            }
            Self::Image(name) => Reply::json(&image_details(
                &find_image(|| engine.images(), name)?,
                &engine.about().architecture,
            )),
            Self::ImageRemoval(name) => Err(not_removed(&find_image(|| engine.images(), name)?)),
            Self::History(name) => find_image(|| engine.images(), name).and_then(|_| Reply::json(&json!([]))),
            Self::ImageWork(what) => unsupported(format!(
                "cannot {what}: an image of Fairway is {HOST_IMAGE}, the host's root file system, or a directory below DATA_ROOT/images"
            )),
            Self::List("") => Reply::json(&json!([])),
            Self::List(key) => Reply::json(&json!({*key: [], "Warnings": Value::Null})),
            Self::Missing(kind, name) => Err(missing(kind, name)),
            Self::Prune(key) => Reply::json(&json!({*key: Value::Null, "SpaceReclaimed": 0})),
            Self::DiskUsage => {
                let (none, now) = (Filters::default(), engine.now());
                let containers = look(engine, |world| Ok(encode::list_containers(world, true, &none, now)?))?;
                Reply::json(&json!({
                    "LayersSize": 0, "Images": [], "Containers": containers, "Volumes": [], "BuildCache": [],
                }))
            }
            Self::Swarm => Err(Failure::new(
                FailureKind::Unavailable,
                "This node is not a swarm manager, and Fairway has no swarms: connect hosts with networks of the driver routed",
            )),
            Self::Unsupported(what) => unsupported(format!("Fairway does not support {what}")),
        }
    }
}

/// The refusal to remove an image.
fn not_removed(name: &str) -> Failure {
    let reason = match name {
        HOST_IMAGE => "it is the host's root file system".to_owned(),
        _ => format!("it is a directory: delete DATA_ROOT/images/{name}"),
    };
    Failure::new(RefusalKind::Conflict, format!("cannot remove image {name}: {reason}"))
}

/// The name with a tag.
fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// An image in a list.
fn image(name: &str, now: i64) -> Value {
    json!({
        "Id": image_id(name), "ParentId": "", "RepoTags": [tagged(name)], "RepoDigests": [],
        "Created": now, "Size": 0, "SharedSize": -1, "VirtualSize": 0,
        "Labels": BTreeMap::<String, String>::new(), "Containers": -1,
    })
}

/// The image with all its keys.
fn image_details(name: &str, architecture: &str) -> Value {
    let comment = if name == HOST_IMAGE { "the host's root file system" } else { "a directory" };
    json!({
        "Id": image_id(name), "RepoTags": [tagged(name)], "RepoDigests": [], "Parent": "",
        "Comment": comment, "Created": "0001-01-01T00:00:00Z", "DockerVersion": "",
        "Author": "", "Architecture": super::system::go_architecture(architecture), "Os": "linux",
        "Size": 0, "VirtualSize": 0, "GraphDriver": {"Name": "host", "Data": Value::Null},
        "RootFS": {"Type": "layers", "Layers": []}, "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Config": {
            "Hostname": "", "User": "", "Env": [], "Cmd": Value::Null, "Entrypoint": Value::Null, "WorkingDir": "",
            "Labels": Value::Null, "Volumes": Value::Null, "ExposedPorts": Value::Null,
        },
        // Compose 1 reads it.
        "ContainerConfig": {"Volumes": Value::Null, "Labels": Value::Null},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_have_slashes() {
        let of = |method: Method, path: &str| Absent::of(&method, &path.split('/').collect::<Vec<_>>());
        assert_eq!(
            of(Method::GET, "images/ghcr.io/traefik/whoami:v1/json"),
            Some(Absent::Image("ghcr.io/traefik/whoami:v1".to_owned()))
        );
        assert_eq!(of(Method::GET, "images/json"), Some(Absent::Images));
        assert_eq!(of(Method::POST, "swarm/leave"), Some(Absent::Swarm));
        assert_eq!(
            of(Method::POST, "images/create"),
            Some(Absent::ImageWork("pull, push, load or tag images"))
        );
        assert_eq!(of(Method::GET, "containers/json"), None);
    }
}
