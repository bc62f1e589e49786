//! The state of a container, as runtimes write it to a hook (OCI runtime specification, "State"), and the part of its
//! configuration that matters here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Deserialize;

use super::error::OciError;

/// The annotations of a container.
pub type Annotations = BTreeMap<String, String>;

/// The beginning of the names of Fairway's annotations.
pub const PREFIX: &str = "fairway.";

/// What a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The namespaces exist, and the command does not run yet.
    Connect,
    /// The container has ended.
    Disconnect,
}

/// The state of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct State {
    /// The id, which is the runtime's.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: String,
    /// The container's process, as the runtime sees it; 0 or less for none.
    pub pid: i64,
    /// The directory of the bundle.
    pub bundle: PathBuf,
    /// The annotations; some runtimes leave them out.
    pub annotations: Option<Annotations>,
}

/// The configuration of a bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    annotations: Option<Annotations>,
}

impl Phase {
    /// The phase that the first argument names; none without one.
    ///
    /// # Errors
    /// [`OciError::Argument`].
    pub fn of_arguments(arguments: &[OsString]) -> Result<Option<Self>, OciError> {
        let Some(first) = arguments.first() else { return Ok(None) };
        match first.to_str() {
            Some("createRuntime" | "prestart") => Ok(Some(Self::Connect)),
            Some("poststop") => Ok(Some(Self::Disconnect)),
            _ => Err(OciError::Argument(first.clone())),
        }
    }
}

impl State {
    /// Reads the standard input of a hook.
    ///
    /// # Errors
    /// It is no JSON of a state, or lacks the id.
    pub fn read(text: &[u8]) -> Result<Self, OciError> {
        let state: Self = serde_json::from_slice(text).map_err(OciError::State)?;
        if state.id.is_empty() { Err(OciError::NoId) } else { Ok(state) }
    }

    /// The phase by the status.
    ///
    /// # Errors
    /// [`OciError::Status`].
    pub fn phase(&self) -> Result<Phase, OciError> {
        match self.status.as_str() {
            "creating" | "created" => Ok(Phase::Connect),
            "stopped" => Ok(Phase::Disconnect),
            other => Err(OciError::Status(other.to_owned())),
        }
    }

    /// The path of the network namespace, which goes with the container's process.
    ///
    /// # Errors
    /// [`OciError::NoProcess`].
    pub fn namespace(&self) -> Result<String, OciError> {
        match self.pid {
            1.. => Ok(format!("/proc/{}/ns/net", self.pid)),
            _ => Err(OciError::NoProcess(self.id.clone())),
        }
    }

    /// The annotations of Fairway: of the state, else of the bundle.
    ///
    /// # Errors
    /// The configuration of the bundle cannot be read.
    pub fn configuration(&self) -> Result<Annotations, OciError> {
        let own = own(self.annotations.clone());
        if !own.is_empty() || self.bundle.as_os_str().is_empty() {
            return Ok(own);
        }
        let path = self.bundle.join("config.json");
        let read = std::fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        let configuration: Configuration = read.map_err(|source| OciError::Bundle { path, source })?;
        Ok(self::own(configuration.annotations))
    }
}

fn own(annotations: Option<Annotations>) -> Annotations {
    annotations.unwrap_or_default().into_iter().filter(|(key, _)| key.starts_with(PREFIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As runc 1.1.5 writes it for createRuntime.
    const RUNC: &str = r#"{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":4711,"bundle":"/bundles/web",
        "annotations":{"fairway.network":"app","org.example":"x"}}"#;
    /// As crun 1.8.1 writes it for poststop.
    const CRUN: &str = r#"{"ociVersion":"1.0","id":"web","pid":-1,"root":"/bundles/web/rootfs","bundle":"/bundles/web",
        "status":"stopped"}"#;

    #[test]
    fn states_of_runtimes_are_read() {
        let state = State::read(RUNC.as_bytes()).unwrap();
        assert_eq!(
            (state.phase().unwrap(), state.namespace().unwrap()),
            (Phase::Connect, "/proc/4711/ns/net".into())
        );
        let expected = Annotations::from([("fairway.network".to_owned(), "app".to_owned())]);
        assert_eq!(state.configuration().unwrap(), expected);
        let state = State::read(CRUN.as_bytes()).unwrap();
        assert_eq!(state.phase().unwrap(), Phase::Disconnect);
        assert_eq!(
            state.namespace().unwrap_err().to_string(),
            "container web has no process: call this hook as createRuntime or prestart, when the runtime has made the namespaces"
        );
    }

    #[test]
    fn annotations_that_a_state_lacks_are_the_bundles() {
        let bundle = tempfile::tempdir().unwrap();
        let state = State { id: "web".to_owned(), bundle: bundle.path().to_owned(), ..State::default() };
        let missing = state.configuration().unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /") && missing.contains("/config.json: "), "{missing}");
        let write = |text: &str| std::fs::write(bundle.path().join("config.json"), text).unwrap();
        write(r#"{"annotations": {"fairway.name": "w", "other": "x"}, "process": {}}"#);
        let expected = Annotations::from([("fairway.name".to_owned(), "w".to_owned())]);
        assert_eq!(state.configuration().unwrap(), expected);
        write("{}");
        assert!(state.configuration().unwrap().is_empty());
        write("{");
        assert!(state.configuration().unwrap_err().to_string().contains("EOF"));
    }

    #[test]
    fn phases_are_named_by_the_argument_or_follow_from_the_status() {
        let of = |words: &[&str]| Phase::of_arguments(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["createRuntime"]).unwrap(), Some(Phase::Connect));
        assert_eq!(of(&["prestart"]).unwrap(), Some(Phase::Connect));
        assert_eq!(of(&["poststop"]).unwrap(), Some(Phase::Disconnect));
        assert!(of(&["poststart"]).unwrap_err().to_string().starts_with("unknown hook poststart: "));
        let with = |status: &str| State { status: status.to_owned(), ..State::default() }.phase();
        assert_eq!(with("created").unwrap(), Phase::Connect);
        assert!(with("running").unwrap_err().to_string().contains(r#"status is "running""#));
    }

    #[test]
    fn other_texts_are_no_state() {
        for text in ["", "[]", "web", r#"{"id": 5}"#] {
            assert!(
                State::read(text.as_bytes())
                    .unwrap_err()
                    .to_string()
                    .contains("cannot read the container's state")
            );
        }
        assert!(State::read(b"{}").unwrap_err().to_string().ends_with("it has no id"));
    }
}
