//! Matches that depend on chance, on earlier packets, or on what is not read.

use super::options::Given;
use crate::{Expression, UndecidedState};

/// Matches no packet.
const NEVER: Expression = Expression::OneOf { ways: Vec::new(), inverted: false };
/// The numbers that `xt_statistic` compares have 31 bits.
const WHOLE: f64 = 2_147_483_648.0;
/// The largest denominator of a probability that is taken for a fraction of small numbers.
const LARGEST_DENOMINATOR: u32 = 10_000;

/// What a match asks that neither the packet nor the rules answer.
pub fn read(name: &str, options: &[Given]) -> Vec<Expression> {
    let option = |name: &str| options.iter().find_map(|option| Some((option.one(name)?, option.inverted)));
    let (holds, fails, inverted) = match name {
        "statistic" => {
            if let Some(chance) = chance(option("--probability"), option("--every")) {
                return vec![chance];
            }
            whatever(name, options)
        }
        "limit" => {
            let rate = option("--limit").map_or("3/hour", |(rate, _)| rate);
            let burst = option("--limit-burst").map_or("5", |(burst, _)| burst);
            limits(&format!("the limit of {rate} burst {burst}"), false)
        }
        "hashlimit" => {
            let above = option("--hashlimit-above");
            let rate = above.or(option("--hashlimit-upto")).map_or("", |(rate, _)| rate);
            let per =
                option("--hashlimit-mode").map_or(String::new(), |(mode, _)| format!(" for each {mode}"));
            limits(&format!("the limit of {rate}{per}"), above.is_some())
        }
        "connlimit" => {
            let (most, above) = match (option("--connlimit-above"), option("--connlimit-upto")) {
                (Some((most, inverted)), _) => (most, !inverted),
                (_, Some((most, inverted))) => (most, inverted),
                _ => ("", false),
            };
            let texts =
                ["at most", "more than"].map(|how| format!("while there are {how} {most} connections"));
            let [holds, fails] = texts;
            (holds, fails, above)
        }
        "quota" => match option("--quota") {
            Some((bytes, inverted)) => (
                format!("until {bytes} bytes have passed"),
                format!("after {bytes} bytes have passed"),
                inverted,
            ),
            None => whatever(name, options),
        },
        "time" => {
            let when = shown(options);
            (format!("at the times {when}"), format!("at other times than {when}"), false)
        }
        // No packet here comes or goes by IPsec.
        "policy" if option("--pol").is_some_and(|(pol, inverted)| (pol == "none") != inverted) => {
            return Vec::new();
        }
        "policy" => return vec![NEVER],
        // No packet here has extension headers.
        "rt" | "frag" | "hbh" | "dst" | "mh" => return vec![NEVER],
        "recent" => return recent(options),
        "set" => match options.iter().find(|it| it.name == "--match-set") {
            Some(asked) => return vec![ipset(asked, options)],
            None => whatever(name, options),
        },
        _ => whatever(name, options),
    };
    vec![of_rule(name, holds, fails, inverted)]
}

fn of_rule(name: &str, holds: String, fails: String, inverted: bool) -> Expression {
    Expression::Undecided { name: name.to_owned(), holds, fails, inverted, state: UndecidedState::OfRule }
}

type Texts = (String, String, bool);

fn limits(what: &str, above: bool) -> Texts {
    (format!("while below {what}"), format!("while above {what}"), above)
}

fn whatever(name: &str, options: &[Given]) -> Texts {
    let what = format!("-m {name} {}", shown(options));
    (format!("if {what} matches"), format!("if {what} does not match"), false)
}

/// Options as they were given.
fn shown(options: &[Given]) -> String {
    let option = |option: &Given| {
        let not = if option.inverted { "! " } else { "" };
        [&[format!("{not}{}", option.name)], option.arguments.as_slice()].concat().join(" ")
    };
    options.iter().map(option).collect::<Vec<_>>().join(" ")
}

/// Packets at random, or each of so many in turn.
fn chance(probability: Option<(&str, bool)>, every: Option<(&str, bool)>) -> Option<Expression> {
    let ((numerator, denominator), inverted) = match (probability, every) {
        (Some((text, inverted)), _) => (fraction(text.parse().ok()?), inverted),
        (None, Some((text, inverted))) => ((1, text.parse::<u32>().ok()?.max(1)), inverted),
        _ => return None,
    };
    let numerator = if inverted { denominator - numerator } else { numerator };
    Some(Expression::Chance { numerator, denominator })
}

/// The fraction of smallest denominator that the kernel keeps as about the same number.
fn fraction(probability: f64) -> (u32, u32) {
    let kept = (probability.clamp(0.0, 1.0) * WHOLE).round();
    let of = |denominator: u32| (kept / WHOLE * f64::from(denominator)).round();
    // It is written with ten digits before it is kept.
    let is_same =
        |denominator: &u32| (of(*denominator) / f64::from(*denominator) * WHOLE - kept).abs() <= 1.0;
    match (1..=LARGEST_DENOMINATOR).find(is_same) {
        Some(denominator) => (of(denominator) as u32, denominator),
        None => (kept as u32, 1 << 31),
    }
}

/// The address of the packet in a list that rules keep: `recent_mt` in net/netfilter/xt_recent.c.
fn recent(options: &[Given]) -> Vec<Expression> {
    let given = |name: &str| options.iter().find(|option| option.name == name);
    if let Some(set) = given("--set") {
        // It always matches.
        return if set.inverted {
            vec![Expression::Chance { numerator: 0, denominator: 1 }]
        } else {
            Vec::new()
        };
    }
    let inverted =
        ["--rcheck", "--update", "--remove"].into_iter().any(|it| given(it).is_some_and(|it| it.inverted));
    let name = given("--name").and_then(|it| it.arguments.first()).map_or("DEFAULT", String::as_str);
    let limits = [("--seconds", "within", "seconds"), ("--hitcount", "at least", "times")];
    let asked: String = limits
        .into_iter()
        .filter_map(|(option, before, after)| {
            Some(format!(" {before} {} {after}", given(option)?.arguments.first()?))
        })
        .collect();
    let source = given("--rdest").is_none();
    let side = if source { "source" } else { "destination" };
    let list = format!("recent {name}{asked} {side}");
    let text = |not: &str| format!("while its {side} is {not}in the list {name}{asked}");
    vec![Expression::Undecided {
        name: "recent".to_owned(),
        holds: text(""),
        fails: text("not "),
        inverted,
        state: UndecidedState::Member { list, source },
    }]
}

/// Fields of the packet in an ipset, which only `ipset` reads.
fn ipset(asked: &Given, options: &[Given]) -> Expression {
    let [name, fields] = [0, 1].map(|place| asked.arguments.get(place).map_or("", String::as_str));
    let others: Vec<Given> = options.iter().filter(|it| it.name != "--match-set").cloned().collect();
    let also = if others.is_empty() { String::new() } else { format!(" ({})", shown(&others)) };
    let what = match fields {
        "src" => "its source",
        "dst" => "its destination",
        other => other,
    };
    let text = |not: &str| format!("if {what} is {not}in the ipset {name}{also}");
    Expression::Undecided {
        name: "set".to_owned(),
        holds: text(""),
        fails: text("not "),
        inverted: asked.inverted,
        state: match others.as_slice() {
            [] => UndecidedState::IpSet { name: name.to_owned(), sides: fields.to_owned() },
            _ => UndecidedState::Member {
                list: format!("ipset {name} {fields}{also}"),
                source: fields == "src",
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_of_31_bits_is_the_fraction_that_was_meant() {
        for count in 1..=2_000_u32 {
            // As kube-proxy writes it, and as iptables-save prints what the kernel keeps.
            let written = format!("{:.10}", 1.0 / f64::from(count));
            let kept = (written.parse::<f64>().unwrap() * WHOLE).round() / WHOLE;
            for text in [written, format!("{kept:.11}")] {
                assert_eq!(fraction(text.parse().unwrap()), (1, count), "{text}");
            }
        }
        assert_eq!(fraction(0.33333333349), (1, 3));
        assert_eq!((fraction(0.0), fraction(1.0), fraction(7.0)), ((0, 1), (1, 1), (1, 1)));
        assert_eq!(fraction(100.0 / WHOLE), (100, 1 << 31));
    }
}
