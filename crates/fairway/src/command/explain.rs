//! `fairway explain`: where a packet goes.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use fairway_api::Client;
use fairway_api::types::Explained;

use super::error::CommandError;
use super::print::print;

/// The exit code when what is asked is not answered, or that cannot be known.
const NOT_ANSWERED: i32 = 1;

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Whose packet, and where to.
#[derive(Debug, Args)]
pub(super) struct ExplainOptions {
    /// Who asks: a sandbox, host, lan, lan:ADDRESS or an address
    #[arg(value_name = "FROM")]
    from: String,
    /// Who is asked: as FROM, or a name that FROM resolves; without a port, an ICMP echo
    #[arg(value_name = "TO[:PORT[/PROTOCOL]]")]
    to: String,
    /// Walk what should be in the kernel instead of what is
    #[arg(long)]
    plan: bool,
    /// Show the walks of the answer and of an established connection too
    #[arg(short, long)]
    all: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

impl ExplainOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let explained = client.explain(&self.from, &self.to, self.plan)?;
        match self.format {
            Format::Json => {
                let json = serde_json::to_string_pretty(&explained).unwrap_or_default();
                print(&format!("{json}\n"))?;
            }
            Format::Text => {
                let paint = Paint { colours: io::stdout().is_terminal() };
                print(&text(&explained, self.all, &paint))?;
            }
        }
        Ok(if explained.answered == Some(false) { NOT_ANSWERED } else { 0 })
    }
}

/// Colours (ECMA-48, 8.3.117), on a terminal.
struct Paint {
    colours: bool,
}

impl Paint {
    fn dress(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn title(&self, text: &str) -> String {
        self.dress("1", text)
    }

    fn capture(&self, text: &str) -> String {
        self.dress("36", text)
    }

    fn end(&self, good: Option<bool>, text: &str) -> String {
        let code = match good {
            Some(true) => "32",
            Some(false) => "31",
            None => "33",
        };
        self.dress(code, text)
    }
}

/// What is printed. Where nothing goes wrong, the walks of later packets say little that is new.
fn text(explained: &Explained, all: bool, paint: &Paint) -> String {
    let mut text = String::new();
    let widest = |width: fn(&fairway_core::path::Line) -> usize| {
        explained.parts.iter().flat_map(|part| &part.lines).map(width).max().unwrap_or_default()
    };
    let (machine, place) = (widest(|line| line.machine.len()), widest(|line| line.place.len()));
    let shown =
        |title: &str| all || title.starts_with("the first packet") || explained.answered != Some(true);
    for part in explained.parts.iter().filter(|part| shown(&part.title)) {
        text.push_str(&format!("{}\n", paint.title(&part.title)));
        for line in &part.lines {
            let words = if line.captured { paint.capture(&line.text) } else { line.text.clone() };
            text.push_str(&format!("  {:machine$}  {:place$}  {words}\n", line.machine, line.place));
        }
        text.push_str(&format!("  = {}\n\n", part.end));
    }
    text.push_str(&format!("{}\n", paint.end(explained.answered, &explained.sentence)));
    if let Some(planned) = &explained.planned {
        text.push_str(&format!(
            "By the Plan it would be otherwise: {planned}: see the daemon's log for drift.\n"
        ));
    }
    if let Some(advice) = &explained.advice {
        text.push_str(&format!("What would help: {advice}\n"));
    }
    text
}
