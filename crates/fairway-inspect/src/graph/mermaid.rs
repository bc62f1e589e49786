//! Pictures as flowcharts of Mermaid.

use std::fmt::{Result, Write};

use super::node::{Walked, drawn_members, main_members, story};
use super::picture::{Network, Picture, Way};
use super::walk::{Badge, LegKind};

/// From left to right, so that many sandboxes make it high, not wide; lines are not wrapped.
const HEAD: &str = "%%{init: {\"flowchart\": {\"wrappingWidth\": 640}}}%%\nflowchart LR\n";

/// The style of the walk, legible on light and dark pages.
const CLASSES: &str = "\
  classDef passes stroke:#9a5ee0,stroke-width:3px
  classDef rewritten stroke:#c75b1e,stroke-width:3px
  classDef delivered stroke:#2c9a4b,stroke-width:3px
  classDef lost stroke:#e0444d,stroke-width:3px
  classDef unknown stroke:#8a94a3,stroke-width:3px,stroke-dasharray:4
";

/// Writes a picture down.
pub fn write(picture: &Picture) -> String {
    let mut text = HEAD.to_owned();
    let walked = Walked::new(picture);
    // Writing to a string does not fail.
    let _ = Writer { text: &mut text, picture, walked: &walked }.whole();
    text
}

/// Lines in quotes. What could be taken for HTML, Markdown or an end of the text is written by its number.
fn quoted<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from("\"");
    for (number, line) in lines.into_iter().enumerate() {
        if number > 0 {
            text.push_str("<br/>");
        }
        for letter in line.chars() {
            match letter {
                ' ' | '.' | ':' | '-' | '/' | '(' | ')' | ',' | '+' => text.push(letter),
                letter if letter.is_control() => text.push(char::REPLACEMENT_CHARACTER),
                letter if letter.is_alphanumeric() || !letter.is_ascii() => text.push(letter),
                letter => text.push_str(&format!("#{};", u32::from(letter))),
            }
        }
    }
    text.push('"');
    text
}

struct Writer<'a> {
    text: &'a mut String,
    picture: &'a Picture,
    walked: &'a Walked,
}

impl Writer<'_> {
    fn whole(&mut self) -> Result {
        let picture = self.picture;
        for (number, uplink) in picture.uplinks.iter().enumerate() {
            let title = format!("LAN of {}", uplink.name);
            let routers: Vec<String> = uplink.routers.iter().map(|it| format!("router {it}")).collect();
            let lines = [&title].into_iter().chain(&uplink.subnets).chain(&routers).map(String::as_str);
            self.node("  ", &format!("beyond{number}"), ("([", "])"), lines)?;
        }
        writeln!(self.text, "  subgraph machine[{}]", quoted([picture.host.as_str()]))?;
        for (number, uplink) in picture.uplinks.iter().enumerate() {
            let lines = [&uplink.name].into_iter().chain(&uplink.addresses).map(String::as_str);
            self.node("    ", &format!("uplink{number}"), ("[", "]"), lines)?;
        }
        let rules = picture.rules.iter().chain(&picture.drift).map(String::as_str);
        self.node("    ", "host", ("[", "]"), ["routes and firewall"].into_iter().chain(rules))?;
        for (number, network) in picture.networks.iter().enumerate() {
            self.subgraph(number, network)?;
        }
        writeln!(self.text, "  end")?;
        for (number, uplink) in picture.uplinks.iter().enumerate() {
            writeln!(self.text, "  beyond{number} --- uplink{number}")?;
            if !uplink.taken {
                writeln!(self.text, "  uplink{number} --- host")?;
            }
        }
        for (number, network) in picture.networks.iter().enumerate() {
            self.wires(number, network)?;
        }
        self.walk()
    }

    fn node<'l>(
        &mut self,
        indent: &str,
        name: &str,
        (open, close): (&str, &str),
        lines: impl IntoIterator<Item = &'l str>,
    ) -> Result {
        let numbers = self.walked.numbers(name);
        let lines: Vec<&str> = lines.into_iter().collect();
        let label = quoted(lines.into_iter().chain(numbers.as_deref()));
        writeln!(self.text, "{indent}{name}{open}{label}{close}")
    }

    fn subgraph(&mut self, number: usize, network: &Network) -> Result {
        // A title of several lines would cover what is below it.
        let title = match &network.bridge {
            Some(_) => format!("{} · {}", network.name, network.driver),
            None => {
                [&network.name].into_iter().chain(&network.subnets).cloned().collect::<Vec<_>>().join(" · ")
            }
        };
        writeln!(self.text, "    subgraph card{number}[{}]", quoted([title.as_str()]))?;
        if let Some(bridge) = &network.bridge {
            let marks = network.marks.iter().map(|mark| &mark.word);
            let about: Vec<String> = network.lines().collect();
            let lines = [bridge].into_iter().chain(&about).chain(marks).map(String::as_str);
            self.node("      ", &format!("network{number}"), ("[[", "]]"), lines)?;
        }
        for (_, member) in main_members(self.picture, number) {
            let sandbox = &self.picture.sandboxes[member.sandbox];
            let ports: Vec<String> = sandbox.ports.iter().map(|port| port.text()).collect();
            let lines = [&sandbox.name].into_iter().chain(&ports).chain(&sandbox.notes).map(String::as_str);
            self.node("      ", &format!("sandbox{}", member.sandbox), ("(", ")"), lines)?;
        }
        let collapsed = self.picture.collapsed_lines(number);
        if !collapsed.is_empty() {
            let lines = collapsed.iter().map(String::as_str);
            self.node("      ", &format!("collapsed{number}"), ("[[", "]]"), lines)?;
        }
        writeln!(self.text, "    end")
    }

    fn wires(&mut self, number: usize, network: &Network) -> Result {
        if network.bridge.is_none() {
            return Ok(());
        }
        match network.way {
            Some(Way::Nat | Way::Open) => writeln!(self.text, "  host --- network{number}")?,
            Some(Way::HostOnly) => writeln!(self.text, "  host -.- |\"the host alone\"| network{number}")?,
            Some(Way::Own) | None => {}
        }
        if let Some(uplink) = network.uplink {
            writeln!(self.text, "  uplink{uplink} === |\"on the LAN\"| network{number}")?;
        }
        let line = if network.together { "---" } else { "-.-" };
        if !network.collapsed.is_empty() {
            writeln!(self.text, "  network{number} {line} collapsed{number}")?;
        }
        for (_, member) in drawn_members(self.picture, number) {
            let label = match &member.addresses[..] {
                [] => String::new(),
                addresses => format!(" |{}|", quoted(addresses.iter().map(String::as_str))),
            };
            writeln!(self.text, "  network{number} {line}{label} sandbox{}", member.sandbox)?;
        }
        Ok(())
    }

    fn walk(&mut self) -> Result {
        if self.picture.walk.is_none() {
            return Ok(());
        }
        for (from, to, kind) in &self.walked.legs {
            let arrow = if *kind == LegKind::Answers { "-.->" } else { "==>" };
            writeln!(self.text, "  {from} {arrow} {to}")?;
        }
        let story = story(self.picture, false);
        writeln!(self.text, "  story[{}]", quoted(story.iter().map(String::as_str)))?;
        self.text.push_str(CLASSES);
        for (node, badge) in self.walked.nodes() {
            let class = match badge {
                Badge::Passes => "passes",
                Badge::Rewritten => "rewritten",
                Badge::Delivered => "delivered",
                Badge::Lost => "lost",
                Badge::Unknown => "unknown",
            };
            writeln!(self.text, "  class {node} {class}")?;
        }
        Ok(())
    }
}
