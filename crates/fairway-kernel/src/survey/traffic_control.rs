//! Traffic control: filters and disciplines at interfaces that may change, delay or drop packets (tc(8)).

use std::collections::BTreeMap;

use fairway_walk::LinkProgram;

use crate::netlink::{Batch, Error, Message, Protocol, Socket};
use crate::traffic_control::{
    HEADER, RTM_GETQDISC, RTM_GETTFILTER, TCA_KIND, TCA_OPTIONS, header, is_redirection, read_header,
};

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// `TCA_BPF_NAME` (linux/pkt_cls.h).
const BPF_NAME: u16 = 7;
/// The hooks of clsact and ingress: `TC_H_MAJ(TC_H_CLSACT) | TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS`.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Disciplines that do more than to order packets.
const CHANGING: [&str; 3] = ["netem", "tbf", "plug"];

/// The programs of traffic control, by the index of their interface, in the namespace of the calling thread.
pub(super) fn programs() -> Result<BTreeMap<u32, Vec<LinkProgram>>, Error> {
    let mut found: BTreeMap<u32, Vec<LinkProgram>> = BTreeMap::new();
    let socket = Socket::open(Protocol::Route)?;
    let mut batch = Batch::new();
    batch.message(RTM_GETQDISC, DUMP, "list the queueing disciplines").raw(&[0; HEADER]);
    for message in socket.dump(&mut batch)? {
        let Some((index, kind, _)) = read(&message) else { continue };
        if CHANGING.contains(&kind.as_str()) {
            let what = if kind == "tbf" {
                "the limit of traffic (tbf)".to_owned()
            } else {
                format!("the discipline {kind}")
            };
            let program = LinkProgram { what, input: false, output: true };
            found.entry(index).or_default().push(program);
        }
        if !["clsact", "ingress"].contains(&kind.as_str()) {
            continue;
        }
        for (parent, input) in [(INGRESS, true), (EGRESS, false)] {
            if kind == "ingress" && !input {
                continue;
            }
            let mut batch = Batch::new();
            batch.message(RTM_GETTFILTER, DUMP, "list the filters").raw(&header(index, 0, parent, 0));
            let filters = socket.dump(&mut batch)?;
            let mut names: Vec<String> = filters.iter().filter_map(read).map(|it| it.2).collect();
            names.sort();
            names.dedup();
            let programs = names.into_iter().map(|what| LinkProgram { what, input, output: !input });
            found.entry(index).or_default().extend(programs);
        }
    }
    Ok(found)
}

/// The interface, kind and name of a discipline or filter.
fn read(message: &Message) -> Option<(u32, String, String)> {
    let [index, ..] = read_header(&message.payload)?;
    let attributes = message.attributes(HEADER);
    let kind = attributes.find(TCA_KIND)?.text()?.to_owned();
    let name = attributes.nested(TCA_OPTIONS).find(BPF_NAME).and_then(|it| it.text().map(str::to_owned));
    let what = match name {
        Some(name) => format!("the tc program {name}"),
        None if is_redirection(message) => "the limit of traffic (ifb)".to_owned(),
        None => format!("the tc filter {kind}"),
    };
    Some((index, kind, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_namespace;

    fn message(index: u32, attributes: &[(u16, &[u8])]) -> Message {
        let mut payload = header(index, 0, INGRESS, 0).to_vec();
        for (kind, value) in attributes {
            payload.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            payload.extend(kind.to_ne_bytes());
            payload.extend(*value);
            payload.resize(payload.len().next_multiple_of(4), 0);
        }
        Message { kind: 44, flags: 0, port: 0, payload }
    }

    #[test]
    fn a_program_of_bpf_has_its_name_and_another_filter_its_kind() {
        // TCA_OPTIONS with TCA_BPF_NAME "cil_from_container".
        let mut options = vec![23, 0, 7, 0];
        options.extend(b"cil_from_container\0");
        let bpf = message(7, &[(TCA_KIND, b"bpf\0"), (TCA_OPTIONS, &options)]);
        let named = Some((7, "bpf".to_owned(), "the tc program cil_from_container".to_owned()));
        assert_eq!(read(&bpf), named);
        let flower = message(7, &[(TCA_KIND, b"flower\0"), (TCA_OPTIONS, &[])]);
        assert_eq!(read(&flower).unwrap().2, "the tc filter flower");
        assert_eq!(read(&message(7, &[])), None);
    }

    #[test]
    fn a_namespace_with_ordinary_disciplines_has_no_programs() {
        in_new_namespace(|| assert_eq!(programs().unwrap(), BTreeMap::new()));
    }
}
