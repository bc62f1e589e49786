//! Files, read by the reader of another library.

use fairway_inspect::trace::{FlowSummary, TimelineEntry};
use fairway_walk::{EndRecord, StepKind};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

fn captured(namespace: &str, place: &str, at: u64, outgoing: bool, bytes: &[u8]) -> TimelineEntry {
    let frame = FrameBytes { ethernet: place != "tun0", outgoing, length: 1000, bytes: bytes.to_vec() };
    let kind = if outgoing { StepKind::Out } else { StepKind::In };
    let (namespace, interface) = (namespace.to_owned(), Some(place.to_owned()));
    let step = StepRecord { kind, namespace, interface, ..StepRecord::default() };
    TimelineEntry { at, step, frame: Some(frame), ..TimelineEntry::default() }
}

fn conntrack(text: &str) -> TimelineEntry {
    let (kind, state) = (StepKind::Conntrack, Some(text.to_owned()));
    let step = StepRecord { kind, namespace: "host".to_owned(), state, ..StepRecord::default() };
    TimelineEntry { step, ..TimelineEntry::default() }
}

#[test]
fn each_place_is_an_interface_and_each_decision_a_comment() {
    let at = 1_795_312_963_489_811_622;
    let timeline = PacketTimeline {
        entries: vec![
            conntrack("made"),
            captured("host", "eth0", at, false, &[1, 2, 3]),
            conntrack("one"),
            conntrack("two"),
            captured("web", "tun0", at + 1000, true, &[4; 8]),
        ],
        end: EndRecord { text: "arrives".to_owned(), ..EndRecord::default() },
        flow: FlowSummary { number: 7, ..FlowSummary::default() },
        ..PacketTimeline::default()
    };
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file).unwrap();
    writer.timeline(&timeline).unwrap();
    writer.timeline(&timeline).unwrap();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(found) => {
                let name = found.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                names.push((name.unwrap(), u32::from(found.linktype)));
            }
            Block::EnhancedPacket(found) => {
                let comment = found.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                    _ => None,
                });
                let flags = found.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Flags(flags) => Some(*flags),
                    _ => None,
                });
                let time = found.timestamp.as_nanos();
                let read = (found.interface_id, time, found.original_len, found.data.to_vec());
                packets.push((read, flags.unwrap(), comment.unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names, [("host eth0".to_owned(), 1), ("web tun0".to_owned(), 101)]);
    let first = "flow 7\nhost conntrack: made\nhost conntrack: one\nhost conntrack: two".to_owned();
    let expected = [
        ((0, at.into(), 1000, vec![1, 2, 3]), 1, first.trim_start_matches("flow 7\n").to_owned()),
        ((1, u128::from(at) + 1000, 1000, vec![4; 8]), 2, "= arrives".to_owned()),
    ];
    assert_eq!(packets.len(), 4);
    assert_eq!(packets[1], expected[1]);
    assert_eq!((&packets[0].0, packets[0].1, &packets[0].2), (&expected[0].0, 1, &first));
}
