//! Pictures in the language of Graphviz.

use std::fmt::{Result, Write};

use super::picture::{Member, Network, Picture, Uplink, Way};
use super::walk::{Badge, LegKind, Spot};

/// How everything looks: fonts that are there, few colours.
const LOOK: &str = r##"  graph [fontname="Helvetica", fontsize=12, labeljust=l, nodesep=0.25, ranksep=0.5, compound=true, newrank=true];
  node [fontname="Helvetica", fontsize=10, shape=box, style="rounded,filled", color="#8a94a3", fillcolor="#f1f4f8"];
  edge [fontname="Helvetica", fontsize=9, color="#8a94a3", dir=none];
"##;

/// Writes a picture down.
pub fn write(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = whole(&mut text, picture);
    text
}

/// A text in quotes; `\` begins an escape there.
fn quoted(lines: &[String]) -> String {
    let escaped = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    let lines: Vec<String> = lines.iter().map(escaped).collect();
    format!("\"{}\"", lines.join("\\n"))
}

fn whole(text: &mut String, picture: &Picture) -> Result {
    let title = match &picture.walk {
        Some(walk) => format!("{}: {}", picture.host, walk.question),
        None => format!("Networks of {}", picture.host),
    };
    writeln!(text, "digraph {} {{", quoted(&[title]))?;
    text.push_str(LOOK);
    caption(text, picture)?;
    writeln!(text, "  subgraph cluster_host {{")?;
    writeln!(
        text,
        "    label={}; style=rounded; color=\"#8a94a3\";",
        quoted(std::slice::from_ref(&picture.host))
    )?;
    let stack: Vec<String> =
        ["routes and firewall".to_owned()].into_iter().chain(picture.rules.clone()).collect();
    writeln!(text, "    host [label={}];", quoted(&stack))?;
    for (number, uplink) in picture.uplinks.iter().enumerate() {
        let label: Vec<String> = [uplink.name.clone()].into_iter().chain(uplink.addresses.clone()).collect();
        writeln!(text, "    uplink{number} [label={}];", quoted(&label))?;
    }
    for (number, network) in picture.networks.iter().enumerate() {
        cluster(text, picture, number, network)?;
    }
    writeln!(text, "  }}")?;
    for (number, uplink) in picture.uplinks.iter().enumerate() {
        let Uplink { name, subnets, routers, taken, .. } = uplink;
        let routers = routers.iter().map(|router| format!("router {router}"));
        let label: Vec<String> =
            [format!("LAN of {name}")].into_iter().chain(subnets.clone()).chain(routers).collect();
        writeln!(text, "  beyond{number} [label={}, style=\"rounded,dashed\"];", quoted(&label))?;
        writeln!(text, "  beyond{number} -> uplink{number};")?;
        if !taken {
            writeln!(text, "  uplink{number} -> host;")?;
        }
    }
    for (number, network) in picture.networks.iter().enumerate() {
        wires(text, picture, number, network)?;
    }
    walk(text, picture)?;
    writeln!(text, "}}")
}

fn caption(text: &mut String, picture: &Picture) -> Result {
    let Some(walk) = &picture.walk else { return Ok(()) };
    let mut lines = vec![walk.sentence.clone()];
    lines.extend(walk.advice.as_ref().map(|advice| format!("What would help: {advice}")));
    for stop in walk.legs.iter().flat_map(|leg| &leg.stops) {
        let mut said = stop.lines.iter();
        let first = said.next().map_or("", String::as_str);
        lines.push(format!("{}  {}: {first}", stop.number, stop.place));
        lines.extend(said.map(|line| format!("      {line}")));
    }
    // Left-justified lines end with \l.
    let text_of_lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let quoted = quoted(std::slice::from_ref(line));
            quoted[1..quoted.len() - 1].to_owned()
        })
        .collect();
    writeln!(text, "  labelloc=b; label=\"{}\\l\";", text_of_lines.join("\\l"))
}

fn cluster(text: &mut String, picture: &Picture, number: usize, network: &Network) -> Result {
    let marks: Vec<&str> = network.marks.iter().map(|mark| mark.word.as_str()).collect();
    let mut label = vec![format!("{}  {}", network.name, network.driver).trim_end().to_owned()];
    label.extend(network.subnets.iter().cloned());
    if !marks.is_empty() {
        label.push(marks.join(", "));
    }
    writeln!(text, "    subgraph cluster_network{number} {{")?;
    writeln!(text, "      label={}; style=rounded; color=\"#cdd3db\";", quoted(&label))?;
    match &network.bridge {
        Some(bridge) => {
            let label: Vec<String> = [bridge.clone()].into_iter().chain(network.gateways.clone()).collect();
            writeln!(text, "      network{number} [label={}, style=filled];", quoted(&label))?;
        }
        None => writeln!(text, "      network{number} [shape=point, style=invis];")?,
    }
    for member in network.members.iter().filter(|member| member.home) {
        let sandbox = &picture.sandboxes[member.sandbox];
        let mut label = vec![sandbox.name.clone()];
        label.extend(sandbox.ports.iter().map(|port| port.text()));
        label.extend(sandbox.notes.clone());
        let style = if sandbox.running { "" } else { ", style=\"rounded,dashed\"" };
        writeln!(text, "      sandbox{} [label={}{style}];", member.sandbox, quoted(&label))?;
    }
    writeln!(text, "    }}")
}

fn wires(text: &mut String, picture: &Picture, number: usize, network: &Network) -> Result {
    let look = match network.way {
        Some(Way::Nat) => Some("color=\"#2364b8\""),
        Some(Way::Open) => Some("color=\"#0e7a61\""),
        Some(Way::HostOnly) => Some("color=\"#8d5200\", style=dashed, label=\"the host alone\""),
        Some(Way::Own) => Some("style=invis"),
        None => None,
    };
    if let Some(look) = look {
        writeln!(text, "  host -> network{number} [{look}];")?;
    }
    if let Some(uplink) = network.uplink {
        writeln!(text, "  uplink{uplink} -> network{number} [color=\"#0e7a61\", label=\"on the LAN\"];")?;
    }
    for member in &network.members {
        let Member { sandbox, addresses, .. } = member;
        let look = match (&network.bridge, network.together) {
            (None, _) => ", style=invis",
            (Some(_), true) => "",
            (Some(_), false) => ", style=dotted, color=\"#8d5200\"",
        };
        let label = quoted(addresses);
        writeln!(text, "  network{number} -> sandbox{sandbox} [label={label}{look}];")?;
    }
    // Sandboxes that are drawn elsewhere only by way of an edge are drawn there.
    debug_assert!(network.members.iter().all(|it| it.sandbox < picture.sandboxes.len()));
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
    let mut numbers: Vec<(String, Vec<String>, Badge)> = Vec::new();
    for leg in picture.walk.iter().flat_map(|walk| &walk.legs) {
        let style = if leg.kind == LegKind::Answers { ", style=dashed" } else { "" };
        let mut before: Option<String> = None;
        for stop in &leg.stops {
            let Some(node) = node(picture, stop.spot) else { continue };
            if let Some(before) = before.filter(|before| *before != node) {
                writeln!(
                    text,
                    "  {before} -> {node} [dir=forward, color=\"#7a35c2\", fontcolor=\"#7a35c2\", penwidth=2, constraint=false, label=\"{}\"{style}];",
                    stop.number
                )?;
            }
            match numbers.iter_mut().find(|(name, ..)| *name == node) {
                Some((_, numbers, badge)) => {
                    numbers.push(stop.number.to_string());
                    *badge = stop.badge;
                }
                None => numbers.push((node.clone(), vec![stop.number.to_string()], stop.badge)),
            }
            before = Some(node);
        }
    }
    for (node, numbers, badge) in numbers {
        let colour = match badge {
            Badge::Passes => "#7a35c2",
            Badge::Rewritten => "#9c3d12",
            Badge::Delivered => "#1a7f37",
            Badge::Lost => "#c62835",
            Badge::Unknown => "#59636f",
        };
        let label = quoted(&[numbers.join(" ")]);
        writeln!(text, "  {node} [xlabel={label}, fontcolor=\"{colour}\", color=\"{colour}\", penwidth=2];")?;
    }
    Ok(())
}
