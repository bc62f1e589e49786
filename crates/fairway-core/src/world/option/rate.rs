//! The limits of an endpoint's traffic: `fairway.ingress_rate` and its like.

use std::collections::BTreeMap;

use super::Given;
use crate::world::Refusal;
use fairway_model::{EndpointOptions, Network, RateLimit};

const INGRESS_RATE: &str = "fairway.ingress_rate";
const INGRESS_BURST: &str = "fairway.ingress_burst";
const EGRESS_RATE: &str = "fairway.egress_rate";
const EGRESS_BURST: &str = "fairway.egress_burst";

/// The units of tc(8); the last one ends all others.
const UNITS: [(&str, u64); 4] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
/// The lowest number of bits: the kernel counts bytes.
const LOWEST: u64 = 8;

/// Whether an option belongs to a limit.
pub(super) fn is_option(name: &str) -> bool {
    [INGRESS_RATE, INGRESS_BURST, EGRESS_RATE, EGRESS_BURST].contains(&name)
}

/// The limits of the traffic to a sandbox, and of that from it.
pub(super) fn limits(
    options: &BTreeMap<String, String>,
) -> Result<(Option<RateLimit>, Option<RateLimit>), Refusal> {
    Ok((limit(options, INGRESS_RATE, INGRESS_BURST)?, limit(options, EGRESS_RATE, EGRESS_BURST)?))
}

fn limit(options: &BTreeMap<String, String>, rate: &str, burst: &str) -> Result<Option<RateLimit>, Refusal> {
    let given = |name| options.get_key_value(name).map(|(name, value)| Given { name, value });
    match (given(rate), given(burst)) {
        (None, None) => Ok(None),
        (None, Some(burst)) => Err(burst.refused(format!("a burst needs a rate: give {rate} too"))),
        (Some(rate), burst) => Ok(Some(RateLimit { rate: bits(rate)?, burst: burst.map(bits).transpose()? })),
    }
}

/// Parses a number of bits: `10mbit`.
fn bits(given: Given<'_>) -> Result<u64, Refusal> {
    let text = given.value.to_ascii_lowercase();
    let of_unit = |(name, bits): &(&str, u64)| Some((text.strip_suffix(name)?.to_owned(), *bits));
    let (number, unit) = UNITS.iter().find_map(of_unit).unwrap_or((text.clone(), 1));
    let bits = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    bits.filter(|bits| *bits >= LOWEST).ok_or_else(|| {
        given.refused(format!("a number of bits from {LOWEST} on is expected, as 500kbit, 10mbit or 1gbit"))
    })
}

/// Refuses limits where the driver makes no interface on the host to apply them at.
pub(in crate::world) fn check_can_be_limited(
    network: &Network,
    options: &EndpointOptions,
) -> Result<(), Refusal> {
    let limit = |name, limit: Option<RateLimit>| limit.map(|limit| (name, limit.rate.to_string()));
    match limit(INGRESS_RATE, options.ingress).or_else(|| limit(EGRESS_RATE, options.egress)) {
        Some((name, value)) if !network.driver.has_bridge() => Err(Given { name, value: &value }
            .refused(format!("with the driver {} a container has no interface on the host", network.driver))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[(&str, &str)]) -> Result<(Option<RateLimit>, Option<RateLimit>), String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        limits(&given.iter().map(own).collect()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn units_are_those_of_tc() {
        let rate = |rate| Some(RateLimit { rate, burst: None });
        assert_eq!(parsed(&[]), Ok((None, None)));
        assert_eq!(parsed(&[(INGRESS_RATE, "8")]), Ok((rate(8), None)));
        assert_eq!(parsed(&[(EGRESS_RATE, "500kbit")]), Ok((None, rate(500_000))));
        assert_eq!(parsed(&[(EGRESS_RATE, "10Mbit")]), Ok((None, rate(10_000_000))));
        assert_eq!(parsed(&[(EGRESS_RATE, "1gbit")]), Ok((None, rate(1_000_000_000))));
        assert_eq!(parsed(&[(EGRESS_RATE, "64bit")]), Ok((None, rate(64))));
        let both = parsed(&[(INGRESS_RATE, "1mbit"), (INGRESS_BURST, "2147483647")]);
        assert_eq!(both, Ok((Some(RateLimit { rate: 1_000_000, burst: Some(2_147_483_647) }), None)));
    }

    #[test]
    fn what_is_no_limit_is_refused_by_name() {
        for value in ["", "0", "7", "-1", "1.5mbit", "10 mbit", "mbit", "20000000000gbit", "10mbps"] {
            let refusal = parsed(&[(EGRESS_RATE, value)]).unwrap_err();
            assert!(refusal.contains("fairway.egress_rate") && refusal.contains("as 500kbit"), "{refusal}");
        }
        let refusal = parsed(&[(INGRESS_BURST, "8000")]).unwrap_err();
        assert!(refusal.ends_with("a burst needs a rate: give fairway.ingress_rate too"), "{refusal}");
    }
}
