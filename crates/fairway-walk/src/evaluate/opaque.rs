//! Classifies expressions that the walker does not interpret by their possible effects.

use fairway_ruleset::{Register, compat};

/// The reason why a rule on earlier traffic may match or not.
pub const PASSED: &str = "the match depends on earlier packets";

/// The possible effect of such an expression.
#[derive(Debug, PartialEq, Eq)]
pub enum Opaque {
    /// No effect on the way of the packet.
    Nothing,
    /// Matches or not, with the reason why that is not known.
    MayMatch(String),
    /// Loads a value into a register, with the reason why the value is not known.
    Loads(String),
    /// Matches packets of these conntrack states (bits of `XT_CONNTRACK_STATE_*`), or of all others.
    States {
        /// The states.
        states: u32,
        /// Whether it matches the others.
        inverted: bool,
    },
    /// Goes on with the next rule, and changes something in a way that is not known, with the reason.
    Changes(String),
    /// Drops the packet, and its sender gets a refusal that is not known, with the reason.
    Refuses(String),
    /// Ends the evaluation with a verdict that is not known, with the reason.
    Decides(String),
    /// Any effect, with the reason why that is not known.
    Anything(String),
}

/// Kinds of objects that a rule may reference (`NFT_OBJECT_*`), and the attribute with the kind
/// (`NFTA_OBJREF_IMM_TYPE`).
const OBJECT_KIND: u16 = 1;
/// `NFTA_OBJREF_SET_SREG` and `NFTA_OBJREF_SET_NAME`.
const OBJECT_KEY: u16 = 3;
const OBJECT_MAP: u16 = 4;
const QUOTA: u32 = 2;
const LIMIT: u32 = 4;
const CONNECTION_LIMIT: u32 = 5;
const SYN_PROXY: u32 = 10;

/// The statements for each element of a set (`NFTA_DYNSET_EXPR`, `NFTA_DYNSET_EXPRESSIONS`).
const DYNAMIC_EXPRESSIONS: [u16; 2] = [7, 10];
/// Where `meta` and `ct` load a value, if they do not set it (`NFTA_META_DREG`, `NFTA_CT_DREG`).
const TO: u16 = 1;

/// Classifies an expression by its name and attributes.
pub fn classify(name: &str, attributes: &[u8]) -> Opaque {
    match name {
        "log" | "last" | "dup" | "flow_offload" => Opaque::Nothing,
        // What it only puts into a set or takes from it, later packets find.
        "dynset" if DYNAMIC_EXPRESSIONS.into_iter().all(|it| compat::attribute(attributes, it).is_none()) => {
            Opaque::Nothing
        }
        "dynset" => Opaque::MayMatch(PASSED.to_owned()),
        // Labels, timeouts and such that are set.
        "ct" | "meta" if compat::attribute(attributes, TO).is_none() => Opaque::Nothing,
        "quota" | "connlimit" => Opaque::MayMatch(PASSED.to_owned()),
        "numgen" => Opaque::Loads("the value is random".to_owned()),
        "bitwise" | "byteorder" | "ct" | "exthdr" | "hash" | "meta" | "inner" | "osf" | "rt" | "socket"
        | "tunnel" | "xfrm" => Opaque::Loads(format!("the value of the expression {name:?} is not known")),
        "objref" => object(attributes),
        "match" => matching(&compat::name(attributes).unwrap_or_default(), attributes),
        "target" => target(&compat::name(attributes).unwrap_or_default()),
        "queue" | "synproxy" => Opaque::Decides(format!("a program decides ({name})")),
        "tproxy" => Opaque::Changes(format!("a program may take it ({name})")),
        _ => Opaque::Anything(format!("the expression {name:?} is not known")),
    }
}

fn object(attributes: &[u8]) -> Opaque {
    let kind = compat::attribute(attributes, OBJECT_KIND).and_then(|value| value.try_into().ok());
    kind.map(u32::from_be_bytes)
        .map_or_else(|| Opaque::Anything("the effect of its object is not known".to_owned()), of_object_kind)
}

/// The effect of an object of that kind.
pub fn of_object_kind(kind: u32) -> Opaque {
    match kind {
        QUOTA | LIMIT | CONNECTION_LIMIT => Opaque::MayMatch(PASSED.to_owned()),
        SYN_PROXY => Opaque::Decides("a program decides (synproxy)".to_owned()),
        _ => Opaque::Nothing,
    }
}

/// The map and the register of its key, if a rule finds its object in a map.
pub fn object_map(attributes: &[u8]) -> Option<(String, Register)> {
    let number = compat::attribute(attributes, OBJECT_KEY)?.try_into().ok().map(u32::from_be_bytes)?;
    let name = compat::attribute(attributes, OBJECT_MAP)?.split(|byte| *byte == 0).next()?;
    Some((String::from_utf8(name.to_vec()).ok()?, Register::from_number(number)?))
}

/// A match of iptables.
fn matching(name: &str, attributes: &[u8]) -> Opaque {
    Opaque::MayMatch(match (name, states(attributes)) {
        ("comment" | "nfacct", _) => return Opaque::Nothing,
        ("conntrack", Some((states, inverted))) => return Opaque::States { states, inverted },
        (name, _) => unknown_match(name),
    })
}

/// The states that `-m conntrack` matches, and whether it matches the others; none if it matches more than states
/// (`struct xt_conntrack_mtinfo3` of linux/netfilter/xt_conntrack.h; the earlier revisions differ only in the widths of
/// the last fields).
fn states(attributes: &[u8]) -> Option<(u32, bool)> {
    /// `NFTA_MATCH_INFO`.
    const DATA: u16 = 3;
    const MATCH_FLAGS: usize = 146;
    const INVERT_FLAGS: usize = 148;
    const STATES: usize = 150;
    const STATE: u16 = 1;
    let data = compat::attribute(attributes, DATA)?;
    let number = |at: usize| Some(u16::from_ne_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let only_states = number(MATCH_FLAGS)? == STATE;
    only_states.then_some((u32::from(number(STATES)?), number(INVERT_FLAGS)? & STATE != 0))
}

/// Why it is not known whether a match of iptables matches.
pub fn unknown_match(name: &str) -> String {
    match name {
        "statistic" => "the match is random".to_owned(),
        "limit" | "hashlimit" | "connlimit" | "connbytes" | "quota" | "recent" | "rateest" => {
            PASSED.to_owned()
        }
        "time" => "the match depends on the time".to_owned(),
        "set" => "the members of its ipset are not read".to_owned(),
        "string" | "bpf" | "u32" | "length" | "ttl" | "hl" | "tos" | "dscp" | "tcpmss" => {
            format!("the match {name:?} looks at a field of the packet that is not known")
        }
        name => format!("the match {name:?} is not known"),
    }
}

/// A target of iptables. Those of the first list only log or count, or change fields that no route and no rule reads.
fn target(name: &str) -> Opaque {
    match name {
        "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CONNSECMARK" | "DSCP" | "ECN" | "IDLETIMER" | "LED" | "LOG"
        | "NFLOG" | "RATEEST" | "SECMARK" | "SET" | "TCPMSS" | "TCPOPTSTRIP" | "TEE" | "TOS" | "TRACE"
        | "ULOG" => Opaque::Nothing,
        "CONNMARK" | "CT" | "HL" | "HMARK" | "MARK" | "NOTRACK" | "TTL" => {
            Opaque::Changes(format!("the effect of the target {name:?} is not known"))
        }
        "REJECT" => Opaque::Refuses(format!("the effect of the target {name:?} is not known")),
        "NFQUEUE" | "SYNPROXY" | "TARPIT" => Opaque::Decides(format!("a program decides ({name})")),
        "TPROXY" => Opaque::Changes(format!("a program may take it ({name})")),
        name => Opaque::Anything(format!("the effect of the target {name:?} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_ruleset::Expression;

    fn classified(expression: &Expression) -> Opaque {
        match expression {
            Expression::Unknown { name, attributes } => classify(name, attributes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn logging_targets_have_no_effect_and_unknown_targets_are_named() {
        assert_eq!(classified(&compat::target("LOG")), Opaque::Nothing);
        assert_eq!(classified(&compat::matching("comment")), Opaque::Nothing);
        assert_eq!(classified(&compat::matching("recent")), Opaque::MayMatch(PASSED.to_owned()));
        let Opaque::Decides(reason) = classified(&compat::target("NFQUEUE")) else { panic!() };
        assert!(reason.contains("NFQUEUE"), "{reason}");
        // A counter and a limit.
        for (kind, expected) in [(1_u8, Opaque::Nothing), (4, Opaque::MayMatch(PASSED.to_owned()))] {
            assert_eq!(classify("objref", &[8, 0, 1, 0, 0, 0, 0, kind]), expected);
        }
    }
}
