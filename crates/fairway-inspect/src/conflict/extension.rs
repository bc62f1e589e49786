//! Extensions of iptables in rules of nf_tables (`nft_compat`).

use super::registers::Answer;
use fairway_ruleset::{CtState, compat};

/// The effect of an extension on a sample.
pub(super) enum Effect {
    /// It matches, or not.
    Match(Answer),
    /// It drops the packet.
    Drop,
    /// Its verdict is not known.
    Unknown,
}

/// `NFTA_MATCH_INFO`.
const DATA: u16 = 3;

/// The effect of an extension with these attributes on the first packet of a flow.
pub(super) fn effect(name: &str, attributes: &[u8]) -> Effect {
    let own = compat::name(attributes).unwrap_or_default();
    match (name, own.as_str()) {
        ("match", "comment") => Effect::Match(Answer::Yes),
        ("match", "conntrack") => {
            Effect::Match(compat::attribute(attributes, DATA).and_then(new_flow).unwrap_or(Answer::Maybe))
        }
        ("match", _) => Effect::Match(Answer::Maybe),
        ("target", "REJECT") => Effect::Drop,
        // A queue may return any verdict; the other targets only log or change something.
        ("target", "NFQUEUE" | "SYNPROXY" | "TARPIT") | ("queue" | "synproxy", _) => Effect::Unknown,
        ("target", _) | ("log" | "objref" | "dup" | "last" | "flow_offload" | "tproxy", _) => {
            Effect::Match(Answer::Yes)
        }
        _ => Effect::Match(Answer::Maybe),
    }
}

/// Whether `-m conntrack` matches a new flow, if it matches states only (`struct
/// xt_conntrack_mtinfo3` of linux/netfilter/xt_conntrack.h; the earlier revisions differ only in the widths of
/// the last fields).
fn new_flow(data: &[u8]) -> Option<Answer> {
    const MATCH_FLAGS: usize = 146;
    const INVERT_FLAGS: usize = 148;
    const STATES: usize = 150;
    const STATE: u16 = 1;
    let number = |at: usize| Some(u16::from_ne_bytes([*data.get(at)?, *data.get(at + 1)?]));
    if number(MATCH_FLAGS)? != STATE {
        return None;
    }
    let asked = u32::from(number(STATES)?) & CtState::New.number() != 0;
    let inverted = number(INVERT_FLAGS)? & STATE != 0;
    Some(if asked == inverted { Answer::No } else { Answer::Yes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_from_the_match() {
        let mut data = vec![0; 160];
        data[146..148].copy_from_slice(&1_u16.to_ne_bytes());
        for (states, inverted, expected) in
            [(6_u16, 0_u16, Answer::No), (8, 0, Answer::Yes), (8, 1, Answer::No), (6, 1, Answer::Yes)]
        {
            data[148..150].copy_from_slice(&inverted.to_ne_bytes());
            data[150..152].copy_from_slice(&states.to_ne_bytes());
            assert_eq!(new_flow(&data), Some(expected), "{states} {inverted}");
        }
        data[146] = 3;
        assert_eq!(new_flow(&data), None, "it matches more than states");
    }
}
