//! ADD and DEL of a CNI plugin as runtimes call it, as whole processes; of Fairway, and of the reference's plugins.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::{Lab, SCRATCH};
use serde_json::{Value, json};

use crate::Failure;
use crate::attach::{COLUMNS, cells};
use crate::figures::{Table, Times};
use crate::stage::Stage;

/// Where Debian has the reference's plugins.
const REFERENCE: &str = "/usr/lib/cni";
const ROUNDS: usize = 21;
const FIRST: u16 = 40_000;

/// With 0 to 100 ports.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let table = Table::new("CNI: ADD and DEL, ms, whole processes", &COLUMNS);
    let stage = Stage::new(lab, "cni", &[])?;
    let spare = stage.namespaces("spare", 8)?;
    let directory = format!("{SCRATCH}/cni-bin");
    std::fs::create_dir(&directory)?;
    symlink(env!("CARGO_BIN_EXE_fairway"), format!("{directory}/fairway-cni"))?;
    let path = format!("{directory}:{REFERENCE}");
    let own = json!([{
        "type": "fairway-cni", "host": stage.address(), "isGateway": true, "ipMasq": true,
        "ipam": {"subnet": "10.22.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]},
    }]);
    let data = format!("{SCRATCH}/host-local");
    let reference = json!([
        {
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "dataDir": data, "subnet": "10.23.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap"},
        {"type": "firewall"},
    ]);
    let mut chains = vec![("fairway-cni", own)];
    if Path::new(REFERENCE).join("portmap").exists() {
        chains.push(("bridge, host-local, portmap, firewall 1.1.1", reference));
    } else {
        println!("\nNo comparison: containernetworking-plugins is not installed.");
    }
    for (name, plugins) in &chains {
        for count in [0, 1, 100] {
            let (mut add, mut delete) = (Times::default(), Times::default());
            for round in 0..ROUNDS {
                let chain = Chain { plugins, path: &path, namespace: &spare[round % 8], ports: count };
                stage.host.run_in(|| {
                    let mut result = Value::Null;
                    add.note(|| chain.add().map(|added| result = added))?;
                    delete.note(|| chain.delete(&result))
                })??;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            table.row(cells(format!("{count} ports, {name}"), &[add, delete]));
        }
    }
    Ok(())
}

/// The plugins of a network, for one container.
struct Chain<'a> {
    plugins: &'a Value,
    path: &'a str,
    namespace: &'a str,
    ports: u16,
}

impl Chain<'_> {
    fn add(&self) -> Result<Value, Failure> {
        let plugins = self.plugins.as_array().into_iter().flatten();
        plugins.into_iter().try_fold(Value::Null, |result, plugin| self.run("ADD", plugin, &result))
    }

    fn delete(&self, result: &Value) -> Result<(), Failure> {
        let mut plugins = self.plugins.as_array().into_iter().flatten().rev();
        plugins.try_for_each(|plugin| self.run("DEL", plugin, result).map(drop))
    }

    fn run(&self, command: &str, plugin: &Value, result: &Value) -> Result<Value, Failure> {
        let mut configuration = plugin.clone();
        configuration["cniVersion"] = json!("1.0.0");
        configuration["name"] = json!("measured");
        if !result.is_null() {
            configuration["prevResult"] = result.clone();
        }
        let ports = (0..self.ports).map(
            |offset| json!({"hostPort": FIRST + offset, "containerPort": 1000 + offset, "protocol": "tcp"}),
        );
        configuration["runtimeConfig"] = json!({"portMappings": ports.collect::<Vec<_>>()});
        let kind = plugin["type"].as_str().unwrap_or_default();
        let mut programs = self.path.split(':').map(|directory| format!("{directory}/{kind}"));
        let program = programs.find(|path| Path::new(path).exists()).ok_or("no such plugin")?;
        let mut child = Command::new(program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("container-{}", self.namespace))
            .env("CNI_NETNS", format!("{NAMED_DIRECTORY}/{}", self.namespace))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(configuration.to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("{kind} {command}: {printed}").into());
        }
        Ok(if printed.is_empty() { Value::Null } else { serde_json::from_str(&printed)? })
    }
}
