//! Files of packets for Wireshark and its like (draft-ietf-opsawg-pcapng): one interface for each place, and what happened
//! to a packet behind that place as its comment.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fairway_inspect::trace::{FrameBytes, PacketTimeline};
use fairway_walk::StepRecord;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET` and `LINKTYPE_RAW`.
const LINK_TYPES: (u16, u16) = (1, 101);
/// Options: of all blocks, of a section, of an interface, of a packet.
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;
/// Times are in 10 to the power of minus this.
const NANOSECONDS: u8 = 9;
/// Whether a packet came in or went out (`epb_flags`).
const DIRECTIONS: (u32, u32) = (1, 2);
/// What an option can hold.
const LONGEST: usize = 65_535;

/// Writes such a file.
pub(super) struct Writer<W: Write> {
    inner: W,
    /// By namespace and name, and whether its packets are those of Ethernet.
    interfaces: BTreeMap<(String, String, bool), u32>,
}

impl<W: Write> Writer<W> {
    /// Begins the file.
    pub(super) fn new(inner: W) -> io::Result<Self> {
        let mut writer = Self { inner, interfaces: BTreeMap::new() };
        let mut body = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        // How long it will be is not known.
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, APPLICATION, format!("fairway {}", env!("CARGO_PKG_VERSION")).as_bytes());
        end_options(&mut body);
        writer.block(SECTION_HEADER, &body)?;
        Ok(writer)
    }

    /// Writes a packet as often as it was captured.
    pub(super) fn timeline(&mut self, timeline: &PacketTimeline) -> io::Result<()> {
        let mut comments = comments(timeline).into_iter();
        for entry in &timeline.entries {
            let Some(frame) = &entry.frame else { continue };
            let interface = self.interface(&entry.step, frame.ethernet)?;
            self.packet(interface, entry.at, frame, &comments.next().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Flushes what was written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn interface(&mut self, step: &StepRecord, ethernet: bool) -> io::Result<u32> {
        let key = (step.namespace.clone(), step.location().to_owned(), ethernet);
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        let link_type = if ethernet { LINK_TYPES.0 } else { LINK_TYPES.1 };
        let mut body = u32::from(link_type).to_le_bytes().to_vec();
        // No limit.
        body.extend(0u32.to_le_bytes());
        option(&mut body, NAME, format!("{} {}", step.namespace, step.location()).as_bytes());
        option(&mut body, RESOLUTION, &[NANOSECONDS]);
        end_options(&mut body);
        self.block(INTERFACE_DESCRIPTION, &body)?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(key, number);
        Ok(number)
    }

    fn packet(&mut self, interface: u32, at: u64, frame: &FrameBytes, comment: &str) -> io::Result<()> {
        let captured = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((at >> 32) as u32).to_le_bytes());
        body.extend((at as u32).to_le_bytes());
        body.extend(captured.to_le_bytes());
        body.extend(frame.length.max(captured).to_le_bytes());
        body.extend(&frame.bytes);
        pad(&mut body);
        let direction = if frame.outgoing { DIRECTIONS.1 } else { DIRECTIONS.0 };
        option(&mut body, FLAGS, &direction.to_le_bytes());
        if !comment.is_empty() {
            let end = comment.floor_char_boundary(LONGEST);
            option(&mut body, COMMENT, &comment.as_bytes()[..end]);
        }
        end_options(&mut body);
        self.block(ENHANCED_PACKET, &body)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        // Kind, and the length before and behind.
        let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
        for part in [&kind.to_le_bytes()[..], &length, body, &length] {
            self.inner.write_all(part)?;
        }
        Ok(())
    }
}

fn option(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // What is too long is cut before.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(kind.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The comment of each capture: what happened between it and the next one; before the first one that too, and behind the
/// last one how it ends.
fn comments(timeline: &PacketTimeline) -> Vec<String> {
    let mut comments: Vec<Vec<String>> = Vec::new();
    let mut before = vec![format!("flow {}", timeline.flow.number)];
    for entry in &timeline.entries {
        let step = &entry.step;
        let words = format!("{} {}: {}", step.namespace, step.location(), entry.text());
        match (entry.frame.is_some(), comments.last_mut()) {
            (true, _) => comments.push(std::mem::take(&mut before)),
            (false, _) if step.is_captured() => {}
            (false, Some(last)) => last.push(words),
            (false, None) => before.push(words),
        }
    }
    if let Some(last) = comments.last_mut() {
        last.push(format!("= {}", timeline.end.text));
    }
    comments.into_iter().map(|lines| lines.join("\n")).collect()
}

#[cfg(test)]
mod tests;
