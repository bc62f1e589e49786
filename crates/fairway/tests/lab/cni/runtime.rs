//! A runtime that calls plugins by libcni's rules.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use std::io::Write;

use fairway_kernel::namespace;
use fairway_lab::{Place, SCRATCH};
use serde_json::{Value, json};

use crate::harness::Stage;

/// Where Debian has the reference's plugins.
pub const REFERENCE: &str = "/usr/lib/cni";
/// All versions of the specification that the plugin speaks.
pub const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// An error that a plugin printed.
pub type Refusal = (u64, String);

/// A runtime with one network.
pub struct Runtime<'a> {
    stage: &'a Stage,
    version: &'static str,
    name: String,
    plugins: Vec<Value>,
    path: String,
    /// The address of the daemon; none for one that the plugin finds or starts.
    daemon: Option<String>,
    /// The final results by container and interface, as libcni caches them.
    results: Mutex<BTreeMap<(String, String), Value>>,
}

/// What a runtime knows of a container.
#[derive(Clone, Copy, Default)]
pub struct Attachment<'a> {
    pub container: &'a str,
    pub netns: &'a str,
    pub interface: &'a str,
    pub arguments: &'a str,
}

impl<'a> Attachment<'a> {
    /// That of the interface eth0 in the namespace `/run/netns/NAME`.
    pub fn of(container: &'a str, netns: &'a str) -> Self {
        Self { container, netns, interface: "eth0", arguments: "" }
    }
}

impl<'a> Runtime<'a> {
    /// A runtime with a network of these plugins, whose daemon is that of the stage.
    pub fn new(stage: &'a Stage, version: &'static str, name: &str, plugins: Value) -> Self {
        let directory = format!("{SCRATCH}/cni-bin");
        // Another runtime of the test may have made it.
        let _ = fs::create_dir(&directory);
        let _ = symlink(env!("CARGO_BIN_EXE_fairway"), format!("{directory}/fairway-cni"));
        let plugins = plugins.as_array().unwrap().clone();
        let path = format!("{directory}:{REFERENCE}");
        let daemon = Some(stage.daemon.address().to_owned());
        Self { stage, version, name: name.to_owned(), plugins, path, daemon, results: Mutex::default() }
    }

    /// As [`Runtime::new`], with the daemon that the plugin finds or starts.
    pub fn on_demand(stage: &'a Stage, version: &'static str, name: &str, plugins: Value) -> Self {
        Self { daemon: None, ..Self::new(stage, version, name, plugins) }
    }

    /// Makes a namespace, as runtimes do before ADD.
    pub fn namespace(&self, name: &str) -> (Place, String) {
        let path = format!("{}/{name}", namespace::NAMED_DIRECTORY);
        self.stage.host.run_in(|| namespace::create_named(name)).unwrap().unwrap();
        (self.stage.host.sandbox(&path).unwrap(), path)
    }

    /// ADD of all plugins, each with the result of the one before.
    pub fn add(&self, at: Attachment, runtime: &Value) -> Result<Value, Refusal> {
        let mut previous = Value::Null;
        for plugin in &self.plugins {
            previous = self.plugin("ADD", at, plugin, runtime, &previous)?;
        }
        let key = (at.container.to_owned(), at.interface.to_owned());
        self.results.lock().unwrap().insert(key, previous.clone());
        Ok(previous)
    }

    /// ADD of the last plugin, after one with this result.
    pub fn add_after(&self, at: Attachment, previous: &Value) -> Result<Value, Refusal> {
        self.plugin("ADD", at, self.plugins.last().unwrap(), &json!({}), previous)
    }

    /// Has the runtime cache a result.
    pub fn remember(&self, at: Attachment, result: Value) {
        let key = (at.container.to_owned(), at.interface.to_owned());
        self.results.lock().unwrap().insert(key, result);
    }

    /// CHECK of all plugins with the cached result.
    pub fn check(&self, at: Attachment, runtime: &Value) -> Result<(), Refusal> {
        let cached = self.cached(at);
        self.plugins.iter().try_for_each(|it| self.plugin("CHECK", at, it, runtime, &cached).map(drop))
    }

    /// DEL of all plugins in reverse order, with the cached result if there is one.
    pub fn delete(&self, at: Attachment) -> Result<(), Refusal> {
        let cached = self.cached(at);
        let plugins = self.plugins.iter().rev();
        for plugin in plugins {
            self.plugin("DEL", at, plugin, &json!({}), &cached)?;
        }
        self.results.lock().unwrap().remove(&(at.container.to_owned(), at.interface.to_owned()));
        Ok(())
    }

    /// GC of all plugins: these attachments are valid.
    pub fn collect_garbage(&self, valid: &[(&str, &str)]) -> Result<(), Refusal> {
        let valid: Vec<_> =
            valid.iter().map(|(id, name)| json!({"containerID": id, "ifname": name})).collect();
        self.plugins.iter().try_for_each(|plugin| {
            let mut plugin = plugin.clone();
            plugin["cni.dev/valid-attachments"] = json!(valid);
            self.plugin("GC", Attachment::default(), &plugin, &json!({}), &Value::Null).map(drop)
        })
    }

    fn cached(&self, at: Attachment) -> Value {
        let key = (at.container.to_owned(), at.interface.to_owned());
        self.results.lock().unwrap().get(&key).cloned().unwrap_or(Value::Null)
    }

    fn plugin(
        &self,
        command: &str,
        at: Attachment,
        plugin: &Value,
        runtime: &Value,
        previous: &Value,
    ) -> Result<Value, Refusal> {
        let mut configuration = plugin.clone();
        configuration["cniVersion"] = json!(self.version);
        configuration["name"] = json!(self.name);
        let kind = plugin["type"].as_str().unwrap();
        if let Some(daemon) = self.daemon.as_ref().filter(|_| kind == "fairway-cni") {
            configuration["host"] = json!(daemon);
        }
        let declared = plugin["capabilities"].as_object().cloned().unwrap_or_default();
        let given = runtime.as_object().unwrap().iter();
        let given: serde_json::Map<_, _> = given
            .filter(|(key, _)| declared.get(*key) == Some(&json!(true)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !given.is_empty() {
            configuration["runtimeConfig"] = Value::Object(given);
        }
        // 0.3.1 has prevResult with ADD only; libcni has it with DEL too.
        if !previous.is_null() {
            configuration["prevResult"] = previous.clone();
        }
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", at.container),
            ("CNI_NETNS", at.netns),
            ("CNI_IFNAME", at.interface),
            ("CNI_ARGS", at.arguments),
            ("CNI_PATH", &self.path),
        ];
        self.execute(kind, &variables, &configuration.to_string())
    }

    /// Executes a plugin. What it prints is its result or its error.
    pub fn execute(&self, kind: &str, variables: &[(&str, &str)], input: &str) -> Result<Value, Refusal> {
        let mut programs = self.path.split(':').map(|directory| format!("{directory}/{kind}"));
        let program = programs.find(|path| fs::exists(path).unwrap()).expect(kind);
        let output = self.stage.host.run_in(|| {
            let mut command = Command::new(&program);
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.envs(variables.iter().copied().filter(|(_, value)| !value.is_empty()));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // A plugin that refuses may not read all.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        });
        let output = output.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let value = match printed.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}")),
        };
        match output.status.code() {
            Some(0) => Ok(value),
            Some(1) if value["code"].is_u64() => {
                Err((value["code"].as_u64().unwrap(), value["msg"].as_str().unwrap().to_owned()))
            }
            other => panic!("{kind} ended with {other:?}: {printed}{errors}"),
        }
    }
}
