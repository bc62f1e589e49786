//! Targets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::matches::{mark, mask};
use super::options::Given;
use super::{octets, range};
use crate::{
    CtKey, Expression, Family, Load, MetaKey, NatFlags, NatKind, Register, RegisterRange, Reject, compat,
};

const FIRST: Register = Register::FIRST;

/// What a target does; none if it is not understood.
pub fn read(family: Family, chain: &str, name: &str, options: &[Given]) -> Option<Vec<Expression>> {
    let option = |name: &str| options.iter().find_map(|option| option.one(name));
    let is_given = |name: &str| options.iter().any(|option| option.name == name);
    let given = [
        ("--random", NatFlags::RANDOM),
        ("--random-fully", NatFlags::FULLY_RANDOM),
        ("--persistent", NatFlags::PERSISTENT),
    ];
    let flags = given.into_iter().filter(|(name, _)| is_given(name));
    let flags = NatFlags(flags.fold(0, |all, (_, flag)| all | flag.0));
    match name {
        "REJECT" => Some(vec![Expression::Reject(reject(family, option("--reject-with"))?)]),
        "MASQUERADE" => {
            let (mut expressions, _, port) = match option("--to-ports") {
                // Which of several it gets does not matter: none of them was requested before.
                Some(ports) if !ports.contains('-') => target(&format!(":{ports}"))?,
                _ => (Vec::new(), None, None),
            };
            expressions.push(Expression::Masquerade { port, flags });
            Some(expressions)
        }
        "REDIRECT" => {
            let (mut expressions, _, port) = match option("--to-ports") {
                Some(ports) => target(&format!(":{ports}"))?,
                None => (Vec::new(), None, None),
            };
            expressions.push(Expression::Redirect { port, flags });
            Some(expressions)
        }
        "DNAT" | "SNAT" => {
            let source = name == "SNAT";
            let to = option(if source { "--to-source" } else { "--to-destination" })?;
            let (mut expressions, address, mut port) = target(to)?;
            // As above.
            if source && port.is_some_and(|port| port.first != port.last) {
                port = None;
            }
            let kind = if source { NatKind::Source } else { NatKind::Destination };
            expressions.push(Expression::Nat { kind, family, address, port, flags });
            Some(expressions)
        }
        "NETMAP" => network(family, chain, option("--to")?),
        "NOTRACK" => Some(vec![Expression::Notrack]),
        "CT" if is_given("--notrack") => Some(vec![Expression::Notrack]),
        // Helpers and timeouts do not change where a packet goes.
        "CT" if !options.iter().any(|option| option.name.starts_with("--zone")) => {
            Some(vec![compat::target("LOG")])
        }
        "MARK" => {
            let (value, mask) = mark(option("--set-xmark").or_else(|| option("--set-mark"))?)?;
            Some(set(Load::Meta(MetaKey::Mark), value, mask, MARK))
        }
        "CONNMARK" => {
            let (packet, flow) = (mask(options, "--nfmask")?, mask(options, "--ctmask")?);
            if is_given("--save-mark") {
                return Some(merged(
                    Load::Ct(CtKey::Mark, None),
                    flow,
                    Load::Meta(MetaKey::Mark),
                    packet,
                    FLOW_MARK,
                ));
            }
            if is_given("--restore-mark") {
                return Some(merged(
                    Load::Meta(MetaKey::Mark),
                    packet,
                    Load::Ct(CtKey::Mark, None),
                    flow,
                    MARK,
                ));
            }
            let (value, mask) = mark(option("--set-xmark").or_else(|| option("--set-mark"))?)?;
            Some(set(Load::Ct(CtKey::Mark, None), value, mask, FLOW_MARK))
        }
        _ => None,
    }
}

/// Another network in the place of the packet's own, with the same host: of the destination or the source, by the hook
/// (`netmap_tg4` in net/netfilter/xt_NETMAP.c), which the name of a built-in chain says.
fn network(family: Family, chain: &str, to: &str) -> Option<Vec<Expression>> {
    let kind = match chain {
        "PREROUTING" | "OUTPUT" => NatKind::Destination,
        "POSTROUTING" | "INPUT" => NatKind::Source,
        _ => return None,
    };
    let net = to.parse::<IpNet>().or_else(|_| to.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let (first, last) = (octets(net.network()), octets(net.broadcast()));
    let behind = FIRST.after(first.len())?;
    Some(vec![
        Expression::Immediate { to: FIRST, value: first },
        Expression::Immediate { to: behind, value: last },
        Expression::Nat {
            kind,
            family,
            address: Some(RegisterRange { first: FIRST, last: behind }),
            port: None,
            flags: NatFlags::NETMAP,
        },
    ])
}

const MARK: Expression = Expression::MetaSet { key: MetaKey::Mark, from: FIRST };
const FLOW_MARK: Expression = Expression::CtSet { key: CtKey::Mark, direction: None, from: FIRST };

/// `(it & !mask) ^ value`.
fn set(load: Load, value: u32, mask: u32, to: Expression) -> Vec<Expression> {
    let value = value.to_ne_bytes().to_vec();
    if mask == u32::MAX {
        return vec![Expression::Immediate { to: FIRST, value }, to];
    }
    let mask = (!mask).to_ne_bytes().to_vec();
    vec![load.into_register(FIRST), Expression::Bitwise { from: FIRST, to: FIRST, mask, xor: value }, to]
}

/// `(into & !into_mask) ^ (from & from_mask)`.
fn merged(into: Load, into_mask: u32, from: Load, from_mask: u32, to: Expression) -> Vec<Expression> {
    if into_mask == u32::MAX && from_mask == u32::MAX {
        return vec![from.into_register(FIRST), to];
    }
    let second = FIRST.after(4).unwrap_or(FIRST);
    let masked = |register, mask: u32| Expression::Bitwise {
        from: register,
        to: register,
        mask: mask.to_ne_bytes().to_vec(),
        xor: vec![0; 4],
    };
    vec![
        into.into_register(FIRST),
        masked(FIRST, !into_mask),
        from.into_register(second),
        masked(second, from_mask),
        Expression::ExclusiveOr { one: FIRST, other: second, to: FIRST, length: 4 },
        to,
    ]
}

fn reject(family: Family, how: Option<&str>) -> Option<Reject> {
    Some(match (how, family) {
        (Some("tcp-reset"), _) => Reject::TcpReset,
        (None | Some("icmp-port-unreachable"), Family::Ip) => Reject::Unreachable(3),
        (Some("icmp-net-unreachable"), _) => Reject::Unreachable(0),
        (Some("icmp-host-unreachable"), _) => Reject::Unreachable(1),
        (Some("icmp-proto-unreachable"), _) => Reject::Unreachable(2),
        (Some("icmp-net-prohibited"), _) => Reject::Unreachable(9),
        (Some("icmp-host-prohibited"), _) => Reject::Unreachable(10),
        (Some("icmp-admin-prohibited"), _) => Reject::Unreachable(13),
        (None | Some("icmp6-port-unreachable"), _) => Reject::Unreachable(4),
        (Some("icmp6-no-route"), _) => Reject::Unreachable(0),
        (Some("icmp6-adm-prohibited"), _) => Reject::Unreachable(1),
        (Some("icmp6-addr-unreachable"), _) => Reject::Unreachable(3),
        (Some("icmp6-policy-fail"), _) => Reject::Unreachable(5),
        (Some("icmp6-reject-route"), _) => Reject::Unreachable(6),
        _ => return None,
    })
}

type Target = (Vec<Expression>, Option<RegisterRange>, Option<RegisterRange>);

/// What `--to-destination` and its like say: `ADDRESS[-ADDRESS][:PORT[-PORT[/BASE]]]`, addresses of IPv6 in brackets
/// where a port follows.
fn target(text: &str) -> Option<Target> {
    let (address, ports) = match (text.strip_prefix('['), text.matches(':').count()) {
        (Some(rest), _) => {
            let (address, ports) = rest.split_once(']')?;
            (address, ports.strip_prefix(':'))
        }
        (None, 0) => (text, None),
        (None, 1) => text.split_once(':').map(|(address, ports)| (address, Some(ports)))?,
        (None, _) => (text, None),
    };
    let mut expressions = Vec::new();
    let mut load = |slot: u8, first: Vec<u8>, last: Vec<u8>| {
        let (to, width) = (Register::at(slot)?, first.len());
        let at = if first == last { to } else { to.after(width)? };
        expressions.push(Expression::Immediate { to, value: first });
        if at != to {
            expressions.push(Expression::Immediate { to: at, value: last });
        }
        Some(RegisterRange { first: to, last: at })
    };
    let address = match address {
        "" => None,
        text => {
            let (first, last) = range::<IpAddr>(text, '-')?;
            Some(load(0, octets(first), octets(last))?)
        }
    };
    let ports = match ports {
        None => None,
        Some(text) if text.contains('/') => {
            let (ports, base) = text.split_once('/')?;
            let ((first, last), to) = (range::<u16>(ports, '-')?, Register::at(8)?);
            expressions.push(Expression::MovedPort { base: base.parse().ok()?, first, last, to });
            Some(to.into())
        }
        Some(text) => {
            let (first, last) = range::<u16>(text, '-')?;
            Some(load(8, first.to_be_bytes().into(), last.to_be_bytes().into())?)
        }
    };
    Some((expressions, address, ports))
}
