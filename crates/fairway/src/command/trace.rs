//! `fairway trace`: real packets, at every place where they are seen.

mod pcapng;
mod text;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use fairway_api::Client;
use fairway_inspect::trace::{FlowSummary, Lost, TraceMessage, TraceRequest};
use serde_json::json;

use super::error::CommandError;
use super::events::duration;
use super::on_host;
use super::paint::{Colours, Paint};
use super::print::{print, print_line};
use pcapng::Writer;
use text::Text;

/// How much of a packet is kept in a file: all that there can be.
const WHOLE: usize = 65_535;

/// How what is seen is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Which packets are watched, and for how long.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fairway trace web                        all packets from and to a sandbox
  fairway trace lan web:80 --count 3       three packets from the LAN to its port 80
  fairway trace any:443 --duration 10s     a port everywhere, for ten seconds
  fairway trace web db -w packets.pcapng   to a file for Wireshark too")]
pub(super) struct TraceOptions {
    /// Source: a container of any engine, pid:NUMBER, netns:NAME, host, lan, lan:ADDRESS, an address or any;
    /// container:NAME for a container called host or lan; alone it may be either side
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// Destination: as FROM, or a name that FROM resolves; without a port, at all of them
    #[arg(value_name = "TO[:PORT[/PROTOCOL]]")]
    to: Option<String>,
    /// Write the packets to a pcapng file too, with what happened to them as comments
    #[arg(short = 'w', long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Maximum bytes of each packet to write
    #[arg(short, long, value_name = "BYTES", default_value_t = WHOLE, requires = "pcap")]
    snaplen: usize,
    /// Exit after this many packets
    #[arg(short, long, value_name = "PACKETS")]
    count: Option<u64>,
    /// Exit after this duration, such as 10s or 1m30s
    #[arg(short, long, visible_alias = "timeout", value_name = "TIME", value_parser = length_of_time)]
    duration: Option<Duration>,
    /// Show rules that only count packets or send them to another chain too
    #[arg(short, long)]
    all: bool,
    /// When to use colors
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colours,
    /// Format output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

fn length_of_time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a time such as 10s or 1m30s is expected".to_owned())
}

impl TraceOptions {
    /// Traces by the daemon, or by this program; `chosen` says that the user has named a daemon.
    pub(super) fn run(&self, client: &mut Client, chosen: bool) -> Result<i32, CommandError> {
        let request = TraceRequest {
            from: self.from.clone(),
            to: self.to.clone(),
            bytes: self.pcap.as_ref().map(|_| self.snaplen),
            count: self.count,
            duration: self.duration,
        };
        let mut seen = Seen {
            format: self.format,
            text: Text::new(Paint::new(self.color), self.all),
            file: self.pcap.as_ref().map(|path| open(path)).transpose()?,
            flows: BTreeMap::new(),
            lost: Lost::default(),
            began: false,
        };
        let interrupted = until_interrupted();
        let mut failed = None;
        let outcome = on_host::trace(client, chosen, &request, &mut |message| {
            failed = seen.take(message).err();
            failed.is_none() && !interrupted.load(Ordering::Relaxed)
        });
        match (failed, outcome) {
            (Some(error), _) => Err(error),
            (None, Err(error)) if !seen.began => Err(error.into()),
            // Also when the daemon goes away: what was seen was seen.
            (None, outcome) => seen.end().and(Ok(outcome.map(|()| 0)?)),
        }
    }
}

fn open(path: &std::path::Path) -> Result<Output, CommandError> {
    let failed = |source| CommandError::PacketFile { path: path.display().to_string(), source };
    let file = File::create(path).map_err(failed)?;
    Ok(Output { path: path.to_owned(), writer: Writer::new(BufWriter::new(file)).map_err(failed)? })
}

/// A file for packets.
struct Output {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
}

/// What was seen so far.
struct Seen {
    format: Format,
    text: Text,
    file: Option<Output>,
    flows: BTreeMap<u32, FlowSummary>,
    lost: Lost,
    /// Whether packets are watched.
    began: bool,
}

impl Seen {
    fn take(&mut self, message: TraceMessage) -> Result<(), CommandError> {
        self.began = true;
        if let (TraceMessage::Packet(timeline), Some(output)) = (&message, &mut self.file) {
            let written = output.writer.timeline(timeline).and_then(|()| output.writer.flush());
            let path = || output.path.display().to_string();
            written.map_err(|source| CommandError::PacketFile { path: path(), source })?;
        }
        match (self.format, message) {
            (_, TraceMessage::Watching(lost)) => self.lost = lost,
            (Format::Json, TraceMessage::Packet(mut timeline)) => {
                self.flows.insert(timeline.flow.number, timeline.flow.clone());
                if self.file.is_some() {
                    timeline.entries.iter_mut().for_each(|line| line.frame = None);
                }
                print_line(&json_of(&TraceMessage::Packet(timeline)))?;
            }
            (Format::Json, note) => print_line(&json_of(&note))?,
            // Whoever reads only packets from the standard output does not see it among them.
            (Format::Text, TraceMessage::Note(note)) => drop(writeln!(io::stderr(), "{note}")),
            (Format::Text, TraceMessage::Packet(timeline)) => {
                print(&self.text.timeline(&timeline))?;
                self.flows.insert(timeline.flow.number, timeline.flow);
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), CommandError> {
        match self.format {
            Format::Json => {
                let flows: Vec<FlowSummary> = self.flows.into_values().collect();
                print_line(&json!({ "End": { "Flows": flows, "Lost": self.lost } }).to_string())
            }
            Format::Text => print(&self.text.summaries(self.flows.values(), &self.lost)),
        }
    }
}

fn json_of(message: &TraceMessage) -> String {
    // It is made of texts and numbers: there is nothing that JSON cannot say.
    serde_json::to_string(message).unwrap_or_default()
}

/// Is set when the user has seen enough (Ctrl-C), or the program is asked to end: what was seen is summed up then.
fn until_interrupted() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // Without it the program ends at once.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(runtime) = runtime else { return };
        let heard = runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                heard = tokio::signal::ctrl_c() => heard,
                _ = terminate.recv() => Ok(()),
            }
        });
        flag.store(heard.is_ok(), Ordering::Relaxed);
    });
    interrupted
}
