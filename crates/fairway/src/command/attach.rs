//! `fairway attach` and `fairway detach`: networks for existing network namespaces.

use std::fmt::Write;
use std::path::Path;

use clap::{ArgAction, Args, ValueEnum};
use fairway_api::Client;
use fairway_api::types::{AttachRequest, Attached};
use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_model::parse;

use super::error::CommandError;
use super::inspect::pretty;
use super::options::SandboxOptions;
use super::port::joined;
use super::print::{each, print, print_line, table, warn};
use super::template::Value;

/// How to show what was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Which namespace is to be put where.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  fairway attach --netns blue --network front       a namespace of ip netns
  fairway attach --pid 4711 --name app -p 8080:80   the namespace of a process"
)]
pub(super) struct AttachOptions {
    /// Path of a network namespace, or the name of one in `ip netns`
    #[arg(long, value_name = "PATH", required_unless_present = "pid", conflicts_with = "pid")]
    netns: Option<String>,
    /// Process in the network namespace
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Name of the sandbox [default: a random name]
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Format output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Same as --format json
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// What is to be forgotten.
#[derive(Debug, Args)]
pub(super) struct DetachOptions {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl AttachOptions {
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        let attached = client.attach(&AttachRequest {
            name: self.name.unwrap_or_default(),
            pid: self.pid.unwrap_or(0),
            path: self.netns.map(|path| absolute(&path)).unwrap_or_default(),
            kind: "attached".to_owned(),
            container: self.sandbox.request()?,
        })?;
        attached.warnings.iter().for_each(|text| warn(text));
        match self.json || self.format == Format::Json {
            true => print(&pretty_one(&attached)?)?,
            false => print(&text(&attached))?,
        }
        Ok(0)
    }
}

impl DetachOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        each(&self.containers, |name| {
            client.detach(name)?;
            print_line(name)
        })
    }
}

/// The path as the daemon can use it, which has another working directory. A word that is no file
/// here is a name of `ip netns`.
fn absolute(path: &str) -> String {
    if !path.contains('/') && !Path::new(path).exists() {
        return format!("{NAMED_DIRECTORY}/{path}");
    }
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn pretty_one(attached: &Attached) -> Result<String, CommandError> {
    let text = pretty(&[Value::of(attached)?]);
    // One object, not a list of one.
    let lines = text.lines().filter(|line| !matches!(*line, "[" | "]"));
    Ok(lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect())
}

fn text(attached: &Attached) -> String {
    let mut lines = format!("id\t{}\nname\t{}\n", attached.id, attached.name);
    // Writing to a String does not fail.
    for (network, given) in &attached.networks {
        let mut addresses = Vec::new();
        for (address, length) in [
            (&given.ip_address, given.ip_prefix_len),
            (&given.global_ipv6_address, given.global_ipv6_prefix_len),
        ] {
            addresses.extend((!address.is_empty()).then(|| format!("{address}/{length}")));
        }
        let _ = writeln!(lines, "network\t{network} {}", addresses.join(" "));
    }
    for (port, bindings) in &attached.ports {
        for binding in bindings.iter().flatten() {
            let at = match binding.host_port.as_str() {
                "" => "routed".to_owned(),
                host_port => joined(&binding.host_ip, host_port),
            };
            let _ = writeln!(lines, "port\t{at} -> {port}");
        }
    }
    for (what, path) in [("resolv.conf", &attached.resolv_conf_path), ("hosts", &attached.hosts_path)] {
        if !path.is_empty() {
            let _ = writeln!(lines, "{what}\t{path}");
        }
    }
    table(&lines)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fairway_api::types::{EndpointSettings, PortBinding};

    use super::*;

    fn attached() -> Attached {
        let given = EndpointSettings {
            ip_address: "10.1.0.2".to_owned(),
            ip_prefix_len: 24,
            global_ipv6_address: "fd00::2".to_owned(),
            global_ipv6_prefix_len: 64,
            ..EndpointSettings::default()
        };
        let binding = PortBinding { host_ip: "::".to_owned(), host_port: "8080".to_owned() };
        Attached {
            id: "ab12".to_owned(),
            name: "web".to_owned(),
            networks: BTreeMap::from([("app".to_owned(), given)]),
            ports: BTreeMap::from([("80/tcp".to_owned(), Some(vec![binding])), ("81/tcp".to_owned(), None)]),
            resolv_conf_path: "/run/fairway/sandboxes/ab12/resolv.conf".to_owned(),
            ..Attached::default()
        }
    }

    #[test]
    fn attach_prints_the_addresses() {
        insta::assert_snapshot!(text(&attached()), @"
        id            ab12
        name          web
        network       app 10.1.0.2/24 fd00::2/64
        port          [::]:8080 -> 80/tcp
        resolv.conf   /run/fairway/sandboxes/ab12/resolv.conf
        ");
    }

    #[test]
    fn programs_get_one_object() {
        let text = pretty_one(&attached()).unwrap();
        assert!(text.starts_with("{\n    \"Id\": \"ab12\",\n"), "{text}");
        assert_eq!(serde_json::from_str::<Attached>(&text).unwrap(), attached());
    }

    #[test]
    fn a_namespace_is_a_path_or_a_name() {
        assert_eq!(absolute("/proc/7/ns/net"), "/proc/7/ns/net");
        assert_eq!(absolute("surely-no-file-here"), "/run/netns/surely-no-file-here");
        assert!(absolute("./x").ends_with("/x") && absolute("./x").starts_with('/'));
    }
}
