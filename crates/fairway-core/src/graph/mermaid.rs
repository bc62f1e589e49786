//! Pictures as flowcharts of Mermaid.

use std::fmt::{Result, Write};

use super::picture::{Network, Picture, Way};
use super::walk::{Badge, LegKind, Spot};

/// How what is walked looks: it reads on light and dark pages.
const CLASSES: &str = "\
  classDef passes stroke:#9a5ee0,stroke-width:3px
  classDef rewritten stroke:#c75b1e,stroke-width:3px
  classDef delivered stroke:#2c9a4b,stroke-width:3px
  classDef lost stroke:#e0444d,stroke-width:3px
  classDef unknown stroke:#8a94a3,stroke-width:3px,stroke-dasharray:4
";

/// Writes a picture down.
pub fn write(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = whole(&mut text, picture);
    text
}

/// Lines in quotes. What could be taken for HTML, Markdown or an end of the text is written by its number.
fn quoted(lines: &[String]) -> String {
    let mut text = String::from("\"");
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("<br/>");
        }
        for letter in line.chars() {
            match letter {
                ' ' | '.' | ':' | '-' | '/' | '(' | ')' | ',' | '+' => text.push(letter),
                letter if letter.is_alphanumeric() || !letter.is_ascii() => text.push(letter),
                letter => text.push_str(&format!("#{};", u32::from(letter))),
            }
        }
    }
    text.push('"');
    text
}

fn whole(text: &mut String, picture: &Picture) -> Result {
    writeln!(text, "flowchart TB")?;
    for (number, uplink) in picture.uplinks.iter().enumerate() {
        let routers = uplink.routers.iter().map(|router| format!("router {router}"));
        let label: Vec<String> = [format!("LAN of {}", uplink.name)]
            .into_iter()
            .chain(uplink.subnets.clone())
            .chain(routers)
            .collect();
        writeln!(text, "  beyond{number}([{}])", quoted(&label))?;
    }
    writeln!(text, "  subgraph machine[{}]", quoted(std::slice::from_ref(&picture.host)))?;
    for (number, uplink) in picture.uplinks.iter().enumerate() {
        let label: Vec<String> = [uplink.name.clone()].into_iter().chain(uplink.addresses.clone()).collect();
        writeln!(text, "    uplink{number}[{}]", quoted(&label))?;
    }
    let stack: Vec<String> =
        ["routes and firewall".to_owned()].into_iter().chain(picture.rules.clone()).collect();
    writeln!(text, "    host[{}]", quoted(&stack))?;
    for (number, network) in picture.networks.iter().enumerate() {
        subgraph(text, picture, number, network)?;
    }
    writeln!(text, "  end")?;
    for (number, uplink) in picture.uplinks.iter().enumerate() {
        writeln!(text, "  beyond{number} --- uplink{number}")?;
        if !uplink.taken {
            writeln!(text, "  uplink{number} --- host")?;
        }
    }
    for (number, network) in picture.networks.iter().enumerate() {
        wires(text, number, network)?;
    }
    walk(text, picture)
}

fn subgraph(text: &mut String, picture: &Picture, number: usize, network: &Network) -> Result {
    let mut label = vec![format!("{} {}", network.name, network.driver).trim_end().to_owned()];
    label.extend(network.subnets.iter().cloned());
    let marks: Vec<&str> = network.marks.iter().map(|mark| mark.word.as_str()).collect();
    if !marks.is_empty() {
        label.push(marks.join(", "));
    }
    writeln!(text, "    subgraph card{number}[{}]", quoted(&label))?;
    if let Some(bridge) = &network.bridge {
        let label: Vec<String> = [bridge.clone()].into_iter().chain(network.gateways.clone()).collect();
        writeln!(text, "      network{number}[[{}]]", quoted(&label))?;
    }
    for member in network.members.iter().filter(|member| member.home) {
        let sandbox = &picture.sandboxes[member.sandbox];
        let mut label = vec![sandbox.name.clone()];
        label.extend(sandbox.ports.iter().map(|port| port.text()));
        label.extend(sandbox.notes.clone());
        writeln!(text, "      sandbox{}({})", member.sandbox, quoted(&label))?;
    }
    writeln!(text, "    end")
}

fn wires(text: &mut String, number: usize, network: &Network) -> Result {
    let end = if network.bridge.is_some() { format!("network{number}") } else { format!("card{number}") };
    match network.way {
        Some(Way::Nat | Way::Open) => writeln!(text, "  host --- {end}")?,
        Some(Way::HostOnly) => writeln!(text, "  host -.- |\"the host alone\"| {end}")?,
        Some(Way::Own) | None => {}
    }
    if let Some(uplink) = network.uplink {
        writeln!(text, "  uplink{uplink} === |\"on the LAN\"| {end}")?;
    }
    if network.bridge.is_none() {
        return Ok(());
    }
    for member in &network.members {
        let line = if network.together { "---" } else { "-.-" };
        let label = match member.addresses.is_empty() {
            true => String::new(),
            false => format!(" |{}|", quoted(&member.addresses)),
        };
        writeln!(text, "  network{number} {line}{label} sandbox{}", member.sandbox)?;
    }
    Ok(())
}

fn node(picture: &Picture, spot: Spot) -> Option<String> {
    Some(match spot {
        Spot::Member(network, member) => {
            format!("sandbox{}", picture.networks.get(network)?.members.get(member)?.sandbox)
        }
        Spot::Network(number) => format!("network{number}"),
        Spot::Host => "host".to_owned(),
        Spot::Uplink(number) => format!("uplink{number}"),
        Spot::Beyond(number) => format!("beyond{number}"),
        Spot::Elsewhere => return None,
    })
}

fn walk(text: &mut String, picture: &Picture) -> Result {
    let Some(walk) = &picture.walk else { return Ok(()) };
    let mut classes: Vec<(String, &str)> = Vec::new();
    for leg in &walk.legs {
        let arrow = if leg.kind == LegKind::Answers { "-.->" } else { "==>" };
        let mut before: Option<String> = None;
        for stop in &leg.stops {
            let Some(node) = node(picture, stop.spot) else { continue };
            if let Some(before) = before.filter(|before| *before != node) {
                writeln!(text, "  {before} {arrow}|\"{}\"| {node}", stop.number)?;
            }
            classes.retain(|(name, _)| *name != node);
            classes.push((node.clone(), class(stop.badge)));
            before = Some(node);
        }
    }
    let mut lines = vec![walk.sentence.clone()];
    lines.extend(walk.advice.as_ref().map(|advice| format!("What would help: {advice}")));
    for stop in walk.legs.iter().flat_map(|leg| &leg.stops) {
        lines.push(format!("({}) {}: {}", stop.number, stop.place, stop.lines.join("; ")));
    }
    writeln!(text, "  story[{}]", quoted(&lines))?;
    text.push_str(CLASSES);
    for (node, class) in classes {
        writeln!(text, "  class {node} {class}")?;
    }
    Ok(())
}

fn class(badge: Badge) -> &'static str {
    match badge {
        Badge::Passes => "passes",
        Badge::Rewritten => "rewritten",
        Badge::Delivered => "delivered",
        Badge::Lost => "lost",
        Badge::Unknown => "unknown",
    }
}
