//! Expressions that are not interpreted: what can be said of them nevertheless.

use fairway_ruleset::compat;

/// Why a rule that asks for it may match or not.
pub const PASSED: &str = "it depends on what passed before";

/// What such an expression does.
#[derive(Debug, PartialEq, Eq)]
pub enum Opaque {
    /// Nothing that bears on where the packet goes.
    Nothing,
    /// It matches or not, and why nobody knows.
    MayMatch(String),
    /// It leaves something in a register, and why nobody knows what.
    Loads(String),
    /// Whatever it likes, and why nobody knows.
    Anything(String),
}

/// Objects of which a rule may speak (`NFT_OBJECT_*`), and the attribute that says which (`NFTA_OBJREF_IMM_TYPE`).
const OBJECT_KIND: u16 = 1;
const QUOTA: u32 = 2;
const LIMIT: u32 = 4;
const CONNECTION_LIMIT: u32 = 5;
const SYN_PROXY: u32 = 10;

/// Says what is known of an expression by its name and attributes.
pub fn classify(name: &str, attributes: &[u8]) -> Opaque {
    match name {
        "log" | "last" | "dup" | "flow_offload" => Opaque::Nothing,
        "quota" | "connlimit" => Opaque::MayMatch(PASSED.to_owned()),
        "numgen" => Opaque::Loads("it is a matter of chance".to_owned()),
        "bitwise" | "byteorder" | "exthdr" | "hash" | "inner" | "osf" | "rt" | "socket" | "tunnel"
        | "xfrm" => Opaque::Loads(format!("what the expression {name:?} gives is not known here")),
        "objref" => object(attributes),
        "match" => matching(&compat::name(attributes).unwrap_or_default()),
        "target" => target(&compat::name(attributes).unwrap_or_default()),
        _ => Opaque::Anything(format!("the expression {name:?} is not known here")),
    }
}

fn object(attributes: &[u8]) -> Opaque {
    let kind = compat::attribute(attributes, OBJECT_KIND).and_then(|value| value.try_into().ok());
    match kind.map(u32::from_be_bytes) {
        Some(QUOTA | LIMIT | CONNECTION_LIMIT) => Opaque::MayMatch(PASSED.to_owned()),
        None | Some(SYN_PROXY) => Opaque::Anything("what its object does is not known here".to_owned()),
        Some(_) => Opaque::Nothing,
    }
}

/// A match of iptables.
fn matching(name: &str) -> Opaque {
    Opaque::MayMatch(match name {
        "comment" | "nfacct" => return Opaque::Nothing,
        "statistic" => "it is a matter of chance".to_owned(),
        "limit" | "hashlimit" | "connlimit" | "connbytes" | "quota" | "recent" | "rateest" => {
            PASSED.to_owned()
        }
        "time" => "it depends on the time".to_owned(),
        "set" => "the members of its ipset are not read here".to_owned(),
        "string" | "bpf" | "u32" | "length" | "ttl" | "hl" | "tos" | "dscp" | "tcpmss" => {
            format!("the match {name:?} looks at what is not known of the packet")
        }
        name => format!("the match {name:?} is not known here"),
    })
}

/// A target of iptables. Those of the first list note something, or change what no route and no rule asks for.
fn target(name: &str) -> Opaque {
    match name {
        "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CONNSECMARK" | "DSCP" | "ECN" | "IDLETIMER" | "LED" | "LOG"
        | "NFLOG" | "RATEEST" | "SECMARK" | "SET" | "TCPMSS" | "TCPOPTSTRIP" | "TEE" | "TOS" | "TRACE"
        | "ULOG" => Opaque::Nothing,
        name => Opaque::Anything(format!("what the target {name:?} does is not known here")),
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
    fn what_notes_does_nothing_and_what_decides_is_named() {
        assert_eq!(said(&compat::target("LOG")), Opaque::Nothing);
        assert_eq!(said(&compat::matching("comment")), Opaque::Nothing);
        assert_eq!(said(&compat::matching("recent")), Opaque::MayMatch(PASSED.to_owned()));
        let Opaque::Anything(reason) = said(&compat::target("NFQUEUE")) else { panic!() };
        assert!(reason.contains("NFQUEUE"), "{reason}");
        // A counter, a limit.
        for (kind, expected) in [(1_u8, Opaque::Nothing), (4, Opaque::MayMatch(PASSED.to_owned()))] {
            assert_eq!(classify("objref", &[8, 0, 1, 0, 0, 0, 0, kind]), expected);
        }
    }
}
