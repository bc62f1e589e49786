//! Decodes limits and other expressions whose result depends on earlier packets.

use fairway_ruleset::{Expression, LimitRate, UndecidedState};

use crate::netlink::Attributes;
use crate::nftables::numbers as n;

/// Decodes a quota, a limit of connections, or a limit for each element of a set; none for others.
pub fn undecided(name: &str, data: Attributes<'_>) -> Option<Expression> {
    let (holds, fails, inverted) = match name {
        "quota" => {
            let bytes = data.find(n::quota::BYTES)?.be64()?;
            let text = |when: &str| format!("{when} {bytes} bytes have passed");
            (text("until"), text("after"), number(data, n::quota::FLAGS).unwrap_or(0) & n::quota::OVER != 0)
        }
        "connlimit" => {
            let most = number(data, n::connection_limit::COUNT)?;
            let text = |how: &str| format!("while there are {how} {most} connections");
            let flags = number(data, n::connection_limit::FLAGS).unwrap_or(0);
            (text("at most"), text("more than"), flags & n::connection_limit::OVER != 0)
        }
        "dynset" => {
            let set = data.find(n::dynamic::SET)?.text()?;
            let own = data.find(n::dynamic::EXPRESSION)?.nested();
            if own.find(n::expression::NAME)?.text()? != "limit" {
                return None;
            }
            let limit = limit(own.nested(n::expression::DATA))?;
            let text = |side: &str| format!("while {side} the limit of {limit} for each element of {set}");
            (text("below"), text("above"), limit.inverted)
        }
        _ => return None,
    };
    let state = UndecidedState::OfRule;
    Some(Expression::Undecided { name: name.to_owned(), holds, fails, inverted, state })
}

/// Decodes a number of 32 bits.
pub fn number(data: Attributes<'_>, kind: u16) -> Option<u32> {
    data.find(kind)?.be32()
}

/// Decodes the data of a limit.
pub fn limit(data: Attributes<'_>) -> Option<LimitRate> {
    Some(LimitRate {
        amount: data.find(n::limit::RATE)?.be64()?,
        seconds: data.find(n::limit::UNIT)?.be64()?,
        burst: number(data, n::limit::BURST).unwrap_or(0),
        bytes: number(data, n::limit::TYPE).unwrap_or(0) == n::limit::OF_BYTES,
        inverted: number(data, n::limit::FLAGS).unwrap_or(0) & n::limit::INVERTED != 0,
    })
}
