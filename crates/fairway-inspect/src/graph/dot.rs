//! Pictures in the language of Graphviz.

use std::fmt::{Result, Write};

use super::node::{Walked, drawn_members, main_members, story};
use super::picture::{Network, Picture, Way};
use super::walk::{Badge, LegKind};

/// The style of all elements: usual fonts, few colors, from left to right so that many sandboxes make it high, not wide.
const LOOK: &str = r##"  graph [fontname="Helvetica", fontsize=12, labeljust=l, rankdir=LR, nodesep=0.15, ranksep=0.7];
  node [fontname="Helvetica", fontsize=10, shape=box, style="rounded,filled", color="#8a94a3", fillcolor="#f1f4f8"];
  edge [fontname="Helvetica", fontsize=9, color="#8a94a3", dir=none];
"##;

/// Writes a picture down.
pub fn write(picture: &Picture) -> String {
    let mut text = String::new();
    let walked = Walked::new(picture);
    // Writing to a string does not fail.
    let _ = Writer { text: &mut text, picture, walked: &walked }.whole();
    text
}

/// A text for use in quotes, where `\` begins an escape.
fn escaped(line: &str) -> String {
    line.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ").replace('\0', "\u{fffd}")
}

/// Lines in quotes.
fn quoted<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines: Vec<String> = lines.into_iter().map(escaped).collect();
    format!("\"{}\"", lines.join("\\n"))
}

struct Writer<'a> {
    text: &'a mut String,
    picture: &'a Picture,
    walked: &'a Walked,
}

impl<'a> Writer<'a> {
    fn whole(&mut self) -> Result {
        let picture = self.picture;
        let title = match &picture.walk {
            Some(walk) => format!("{}: {}", picture.host, walk.question),
            None => format!("Networks of {}", picture.host),
        };
        writeln!(self.text, "digraph {} {{", quoted([title.as_str()]))?;
        self.text.push_str(LOOK);
        self.caption()?;
        writeln!(self.text, "  subgraph cluster_host {{")?;
        let host = quoted([picture.host.as_str()]);
        writeln!(self.text, "    labelloc=t; label={host}; style=rounded; color=\"#8a94a3\";")?;
        let rules = picture.rules.iter().chain(&picture.drift).map(String::as_str);
        self.node("    ", "host", ["routes and firewall"].into_iter().chain(rules), "")?;
        for (number, uplink) in picture.uplinks.iter().enumerate() {
            let lines = [&uplink.name].into_iter().chain(&uplink.addresses).map(String::as_str);
            self.node("    ", &format!("uplink{number}"), lines, "")?;
        }
        for (number, network) in picture.networks.iter().enumerate() {
            self.cluster(number, network)?;
        }
        writeln!(self.text, "  }}")?;
        self.outside()?;
        for (number, network) in picture.networks.iter().enumerate() {
            self.wires(number, network)?;
        }
        self.walk()?;
        writeln!(self.text, "}}")
    }

    fn node<'l>(
        &mut self,
        indent: &str,
        name: &str,
        lines: impl IntoIterator<Item = &'l str>,
        look: &str,
    ) -> Result {
        let numbers = self.walked.numbers(name);
        let lines: Vec<&str> = lines.into_iter().collect();
        let label = quoted(lines.into_iter().chain(numbers.as_deref()));
        writeln!(self.text, "{indent}{name} [label={label}{look}];")
    }

    /// The walk in words, below.
    fn caption(&mut self) -> Result {
        let lines: Vec<String> = story(self.picture, true).iter().map(|line| escaped(line)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        // A line that ends in \l begins at the left.
        writeln!(self.text, "  labelloc=b; label=\"{}\\l\";", lines.join("\\l"))
    }

    fn cluster(&mut self, number: usize, network: &'a Network) -> Result {
        let picture = self.picture;
        let title = format!("{}  {}", network.name, network.driver);
        let marks: Vec<&str> = network.marks.iter().map(|mark| mark.word.as_str()).collect();
        let marks = marks.join(", ");
        let about: Vec<String> = network.lines().collect();
        let lines = [title.trim_end()]
            .into_iter()
            .chain(about.iter().map(String::as_str))
            .chain(Some(marks.as_str()).filter(|it| !it.is_empty()));
        writeln!(self.text, "    subgraph cluster_network{number} {{")?;
        writeln!(self.text, "      labelloc=t; label={}; style=rounded; color=\"#cdd3db\";", quoted(lines))?;
        let name = format!("network{number}");
        match &network.bridge {
            Some(bridge) => {
                let lines = [bridge].into_iter().chain(&network.gateways).map(String::as_str);
                self.node("      ", &name, lines, ", style=filled")?;
            }
            None => writeln!(self.text, "      {name} [shape=point, style=invis];")?,
        }
        for (_, member) in main_members(picture, number) {
            let sandbox = &self.picture.sandboxes[member.sandbox];
            let ports: Vec<String> = sandbox.ports.iter().map(|port| port.text()).collect();
            let lines = [&sandbox.name].into_iter().chain(&ports).chain(&sandbox.notes).map(String::as_str);
            let look = if sandbox.running { "" } else { ", style=\"rounded,dashed\"" };
            self.node("      ", &format!("sandbox{}", member.sandbox), lines, look)?;
        }
        let collapsed = picture.collapsed_lines(number);
        if !collapsed.is_empty() {
            let lines = collapsed.iter().map(String::as_str);
            self.node("      ", &format!("collapsed{number}"), lines, ", penwidth=2")?;
        }
        writeln!(self.text, "    }}")
    }

    fn outside(&mut self) -> Result {
        for (number, uplink) in self.picture.uplinks.iter().enumerate() {
            let title = format!("LAN of {}", uplink.name);
            let routers: Vec<String> = uplink.routers.iter().map(|it| format!("router {it}")).collect();
            let lines = [&title].into_iter().chain(&uplink.subnets).chain(&routers).map(String::as_str);
            self.node("  ", &format!("beyond{number}"), lines, ", style=\"rounded,dashed\"")?;
            writeln!(self.text, "  beyond{number} -> uplink{number};")?;
            if !uplink.taken {
                writeln!(self.text, "  uplink{number} -> host;")?;
            }
        }
        Ok(())
    }

    fn wires(&mut self, number: usize, network: &Network) -> Result {
        let look = network.way.map(|way| match way {
            Way::Nat => "color=\"#2364b8\"",
            Way::Open => "color=\"#0e7a61\"",
            Way::HostOnly => "color=\"#8d5200\", style=dashed, label=\"the host alone\"",
            Way::Own => "style=invis",
        });
        if let Some(look) = look {
            writeln!(self.text, "  host -> network{number} [{look}];")?;
        }
        if let Some(uplink) = network.uplink {
            let look = "color=\"#0e7a61\", penwidth=3, label=\"on the LAN\"";
            writeln!(self.text, "  uplink{uplink} -> network{number} [{look}];")?;
        }
        let look = match (&network.bridge, network.together) {
            (None, _) => ", style=invis",
            (Some(_), true) => "",
            (Some(_), false) => ", style=dotted, color=\"#8d5200\"",
        };
        if !network.collapsed.is_empty() {
            writeln!(self.text, "  network{number} -> collapsed{number} [label=\"\"{look}];")?;
        }
        for (_, member) in drawn_members(self.picture, number) {
            let label = quoted(member.addresses.iter().map(String::as_str));
            writeln!(self.text, "  network{number} -> sandbox{} [label={label}{look}];", member.sandbox)?;
        }
        Ok(())
    }

    fn walk(&mut self) -> Result {
        for (from, to, kind) in &self.walked.legs {
            let style = if *kind == LegKind::Answers { ", style=dashed" } else { "" };
            let look = "dir=forward, color=\"#7a35c2\", penwidth=2, constraint=false";
            writeln!(self.text, "  {from} -> {to} [{look}{style}];")?;
        }
        for (node, badge) in self.walked.nodes() {
            let colour = match badge {
                Badge::Passes => "#7a35c2",
                Badge::Rewritten => "#9c3d12",
                Badge::Delivered => "#1a7f37",
                Badge::Lost => "#c62835",
                Badge::Unknown => "#59636f",
            };
            writeln!(self.text, "  {node} [color=\"{colour}\", penwidth=2];")?;
        }
        Ok(())
    }
}
