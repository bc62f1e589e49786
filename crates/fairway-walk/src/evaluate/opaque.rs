//! Classifies expressions that the walker does not interpret by their possible effects.

use fairway_ruleset::compat;

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
    /// Any effect, with the reason why that is not known.
    Anything(String),
}

/// Kinds of objects that a rule may reference (`NFT_OBJECT_*`), and the attribute with the kind
/// (`NFTA_OBJREF_IMM_TYPE`).
const OBJECT_KIND: u16 = 1;
const QUOTA: u32 = 2;
const LIMIT: u32 = 4;
const CONNECTION_LIMIT: u32 = 5;
const SYN_PROXY: u32 = 10;

/// Classifies an expression by its name and attributes.
pub fn classify(name: &str, attributes: &[u8]) -> Opaque {
    match name {
        "log" | "last" | "dup" | "flow_offload" => Opaque::Nothing,
        "quota" | "connlimit" => Opaque::MayMatch(PASSED.to_owned()),
        "numgen" => Opaque::Loads("the value is random".to_owned()),
        "bitwise" | "byteorder" | "exthdr" | "hash" | "inner" | "osf" | "rt" | "socket" | "tunnel"
        | "xfrm" => Opaque::Loads(format!("the value of the expression {name:?} is not known")),
        "objref" => object(attributes),
        "match" => matching(&compat::name(attributes).unwrap_or_default()),
        "target" => target(&compat::name(attributes).unwrap_or_default()),
        _ => Opaque::Anything(format!("the expression {name:?} is not known")),
    }
}

fn object(attributes: &[u8]) -> Opaque {
    let kind = compat::attribute(attributes, OBJECT_KIND).and_then(|value| value.try_into().ok());
    match kind.map(u32::from_be_bytes) {
        Some(QUOTA | LIMIT | CONNECTION_LIMIT) => Opaque::MayMatch(PASSED.to_owned()),
        None | Some(SYN_PROXY) => Opaque::Anything("the effect of its object is not known".to_owned()),
        Some(_) => Opaque::Nothing,
    }
}

/// A match of iptables.
fn matching(name: &str) -> Opaque {
    Opaque::MayMatch(match name {
        "comment" | "nfacct" => return Opaque::Nothing,
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
    })
}

/// A target of iptables. Those of the first list only log or count, or change fields that no route and no rule reads.
fn target(name: &str) -> Opaque {
    match name {
        "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CONNSECMARK" | "DSCP" | "ECN" | "IDLETIMER" | "LED" | "LOG"
        | "NFLOG" | "RATEEST" | "SECMARK" | "SET" | "TCPMSS" | "TCPOPTSTRIP" | "TEE" | "TOS" | "TRACE"
        | "ULOG" => Opaque::Nothing,
        name => Opaque::Anything(format!("the effect of the target {name:?} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_ruleset::Expression;

    fn said(expression: &Expression) -> Opaque {
        match expression {
            Expression::Unknown { name, attributes } => classify(name, attributes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn logging_targets_have_no_effect_and_unknown_targets_are_named() {
        assert_eq!(said(&compat::target("LOG")), Opaque::Nothing);
        assert_eq!(said(&compat::matching("comment")), Opaque::Nothing);
        assert_eq!(said(&compat::matching("recent")), Opaque::MayMatch(PASSED.to_owned()));
        let Opaque::Anything(reason) = said(&compat::target("NFQUEUE")) else { panic!() };
        assert!(reason.contains("NFQUEUE"), "{reason}");
        // A counter and a limit.
        for (kind, expected) in [(1_u8, Opaque::Nothing), (4, Opaque::MayMatch(PASSED.to_owned()))] {
            assert_eq!(classify("objref", &[8, 0, 1, 0, 0, 0, 0, kind]), expected);
        }
    }
}
