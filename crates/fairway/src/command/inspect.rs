//! `fairway inspect`, and that of networks.

use clap::{Args, ValueEnum};
use fairway_api::Client;

use super::error::CommandError;
use super::print::{complain, print, print_line};
use super::template::{Template, Value};

/// What can be shown in detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A sandbox
    Container,
    /// A network
    Network,
}

/// What to show.
#[derive(Debug, Args)]
pub(super) struct InspectOptions {
    /// Only inspect objects of this type [default: a sandbox, else a network of this name]
    #[arg(long = "type", value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    /// Format output: 'json' or a Go template such as '{{.State.Status}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl InspectOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let kinds = match &self.kind {
            Some(kind) => std::slice::from_ref(kind),
            None => &[Kind::Container, Kind::Network],
        };
        inspect(client, &self.names, kinds, self.format.as_deref())
    }
}

/// Shows what of one of the kinds has these names: as JSON, or by a template each. What is not
/// is missing is reported after the others; the exit code then is 1.
pub(super) fn inspect(
    client: &mut Client,
    names: &[String],
    kinds: &[Kind],
    format: Option<&str>,
) -> Result<i32, CommandError> {
    let template = match format {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(text) => Some(Template::parse(text)?),
    };
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for name in names {
        match find(client, name, kinds) {
            Ok(value) => found.push(value),
            Err(error) => failed.push(error),
        }
    }
    match template {
        Some(template) => {
            for value in &found {
                match template.render(value) {
                    Ok(text) => print_line(&text)?,
                    Err(error) => failed.push(error.into()),
                }
            }
        }
        None => print(&pretty(&found))?,
    }
    let code = i32::from(!failed.is_empty());
    failed.into_iter().for_each(|error| complain(&error.with_near(client)));
    Ok(code)
}

fn find(client: &mut Client, name: &str, kinds: &[Kind]) -> Result<Value, CommandError> {
    for kind in kinds {
        let found = match kind {
            Kind::Container => client.container(name).map(|it| Value::of(&it)),
            Kind::Network => client.network(name).map(|it| Value::of(&it)),
        };
        match found.map_err(CommandError::from) {
            Err(error) if error.not_found() => {}
            found => return Ok(found??),
        }
    }
    let kind = match kinds {
        [Kind::Container] => "container",
        [Kind::Network] => "network",
        _ => "object",
    };
    Err(CommandError::NotFound { kind, name: name.to_owned() })
}

/// JSON in lines, indented by four spaces as Docker does.
pub(super) fn pretty(values: &[Value]) -> String {
    if values.is_empty() {
        return "[]\n".to_owned();
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Writing to memory does not fail, and any such value has its JSON.
    let _ = serde::Serialize::serialize(values, &mut serializer);
    String::from_utf8_lossy(&text).into_owned() + "\n"
}
