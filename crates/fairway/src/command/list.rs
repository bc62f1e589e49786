//! `fairway ps`.

use clap::Args;
use fairway_api::filter::Filters;
use fairway_api::types::ContainerSummary;
use fairway_api::{Client, encode};
use fairway_kernel::clock;

use super::engines;
use super::error::CommandError;
use super::network::filters;
use super::port::displayed;
use super::print::{Column, ListOptions, identifier, labels, print, warn};
use super::template::Value;

/// How much of a command is shown.
const COMMAND_WIDTH: usize = 20;

const FIELDS: [Column; 11] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Networks", "NETWORKS"),
    ("Addresses", "ADDRESSES"),
    ("Labels", "LABELS"),
];

/// Which sandboxes to list, and how.
#[derive(Debug, Args)]
pub(super) struct ListSandboxes {
    /// Show all sandboxes (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// List the containers of every engine on this host: Docker, podman, containerd, Kubernetes, LXC and others
    #[arg(short = 'A', long, conflicts_with_all = ["filter", "last", "latest"])]
    all_engines: bool,
    /// Filter output, such as 'name=web', 'network=app' or 'status=exited'; may be repeated
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show the N sandboxes created last, whatever their state
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the sandbox created last, whatever its state
    #[arg(short, long)]
    latest: bool,
    #[command(flatten)]
    options: ListOptions,
}

impl ListSandboxes {
    pub(super) fn run(&self, mut client: Client) -> Result<i32, CommandError> {
        if self.all_engines {
            return engines::list(client, self.all, &self.options);
        }
        let last = if self.latest { Some(1) } else { self.last.and_then(|last| usize::try_from(last).ok()) };
        let mut found = client.containers(self.all || last.is_some(), &filters(&self.filter)?)?;
        found.truncate(last.unwrap_or(usize::MAX));
        show_all(&mut client, &found, &self.options)
    }
}

/// Prints sandboxes, and what the daemon says when their ports are not as published.
pub(super) fn show_all(
    client: &mut Client,
    found: &[ContainerSummary],
    options: &ListOptions,
) -> Result<i32, CommandError> {
    let now = clock::wall();
    let rows: Vec<Value> = found.iter().map(|it| row(it, now, options.no_trunc)).collect();
    let columns = ["ID", "Command", "RunningFor", "Status", "Ports", "Names"];
    print(&options.show(&columns, &FIELDS, &rows)?)?;
    if found.iter().flat_map(|it| &it.ports).any(|port| port.public_port != 0) {
        client.info()?.warnings.iter().filter(|it| it.contains("published")).for_each(|it| warn(it));
    }
    Ok(0)
}

/// All sandboxes whose namespaces were made by `fairway sandbox create`.
pub(super) fn created(client: &mut Client) -> Result<Vec<ContainerSummary>, CommandError> {
    let mut found = Vec::new();
    for summary in client.containers(true, &Filters::default())? {
        // What was run has a command.
        if summary.command.is_empty() && client.container(&summary.id)?.kind == "created" {
            found.push(summary);
        }
    }
    Ok(found)
}

fn row(summary: &ContainerSummary, now: i64, whole: bool) -> Value {
    let names = summary.names.iter().map(|name| name.trim_start_matches('/'));
    let networks = &summary.network_settings.networks;
    let addresses = networks.values().flat_map(|it| [&it.ip_address, &it.global_ipv6_address]);
    let addresses = addresses.filter(|it| !it.is_empty()).cloned().collect::<Vec<_>>();
    let age = now.saturating_sub(summary.created.saturating_mul(1_000_000_000));
    Value::texts([
        ("ID", identifier(&summary.id, whole)),
        ("Names", names.collect::<Vec<_>>().join(",")),
        ("Command", command(&summary.command, whole)),
        ("CreatedAt", encode::rfc3339(Some(summary.created.saturating_mul(1_000_000_000)))),
        ("RunningFor", format!("{} ago", encode::human(age))),
        ("State", summary.state.clone()),
        ("Status", summary.status.clone()),
        ("Ports", displayed(&summary.ports)),
        ("Networks", networks.keys().cloned().collect::<Vec<_>>().join(",")),
        ("Addresses", addresses.join(",")),
        ("Labels", labels(&summary.labels)),
    ])
}

/// A command in quotes, shortened unless all of it is wanted; nothing where there is none.
fn command(text: &str, whole: bool) -> String {
    if text.is_empty() {
        return String::new();
    }
    if whole || text.chars().count() <= COMMAND_WIDTH {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(COMMAND_WIDTH - 1).collect();
    format!("{:?}", start + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_and_shortened() {
        assert_eq!(command("", false), "");
        assert_eq!(command("sleep 1000", false), "\"sleep 1000\"");
        assert_eq!(command("python3 -m http.server 80", false), "\"python3 -m http.ser…\"");
        assert_eq!(command("python3 -m http.server 80", true), "\"python3 -m http.server 80\"");
    }

    #[test]
    fn a_row_has_what_the_columns_need() {
        let summary = ContainerSummary {
            id: "ab".repeat(32),
            names: vec!["/web".to_owned()],
            command: "true".to_owned(),
            created: 1_000,
            status: "Exited (0) 5 minutes ago".to_owned(),
            ..ContainerSummary::default()
        };
        let Value::Object(pairs) = row(&summary, 1_300 * 1_000_000_000, false) else { panic!() };
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, FIELDS.map(|(name, _)| name));
        let text = |name| pairs.iter().find(|(known, _)| known == name).unwrap().1.to_string();
        assert_eq!((text("ID"), text("Names")), ("abababababab".to_owned(), "web".to_owned()));
        assert_eq!(
            (text("RunningFor"), text("Command")),
            ("5 minutes ago".to_owned(), "\"true\"".to_owned())
        );
    }
}
