//! Proof that a lab left nothing behind: what the machine has, and whose processes still run.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::error::{LabError, Trying};

/// The links and the named namespaces that the machine has. Whatever a lab makes is elsewhere, so that two
/// observations differ only if something escaped from one (or another program changed the machine meanwhile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    links: BTreeSet<String>,
    named_namespaces: BTreeSet<String>,
}

impl Machine {
    /// Looks at the machine as this process sees it: outside a lab, the real one.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn observe() -> Result<Machine, LabError> {
        let path = "/proc/self/net/dev";
        let devices = fs::read_to_string(path).trying(|| format!("read {path}"))?;
        let links = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        let named = match fs::read_dir("/run/netns") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            entries => entries
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
                })
                .trying(|| "read /run/netns".to_owned())?,
        };
        Ok(Machine { links: links.collect(), named_namespaces: named })
    }

    /// What is here now and was not `before`, in words.
    #[must_use]
    pub fn new_since(&self, before: &Machine) -> Vec<String> {
        let links = self.links.difference(&before.links).map(|name| format!("link {name}"));
        let named = self.named_namespaces.difference(&before.named_namespaces);
        links.chain(named.map(|name| format!("namespace {name}"))).collect()
    }
}

/// The processes that were started with this environment variable, or by one that was, as far as they may be
/// looked at. Zombies, whose memory is gone, are not among them.
///
/// # Errors
/// When /proc cannot be read.
pub fn processes_with(variable: &str, value: &str) -> Result<Vec<u32>, LabError> {
    let wanted = format!("{variable}={value}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").trying(|| "read /proc".to_owned())? {
        let entry = entry.trying(|| "read /proc".to_owned())?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since, or belong to somebody else.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|field| field == wanted.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}
