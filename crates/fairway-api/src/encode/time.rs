//! Times, as Docker writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since 1970 as RFC 3339; none is Go's zero time.
pub fn rfc3339(nanoseconds: Option<i64>) -> String {
    nanoseconds
        .and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds.into()).ok())
        .map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// Reads a point in time as Docker does, in nanoseconds since 1970: RFC 3339, or a date with or without a time of day,
/// in UTC with `Z` at its end, else in `zone`.
pub fn instant(text: &str, zone: &TimeZone) -> Option<i64> {
    let local = || match text.strip_suffix('Z') {
        Some(date) => TimeZone::UTC.to_timestamp(date.parse().ok()?).ok(),
        None => zone.to_timestamp(text.parse().ok()?).ok(),
    };
    let time = text.parse::<Timestamp>().ok().or_else(local)?;
    // Years that 64 bits cannot count (after 2262) are as good as the last one.
    Some(time.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// A length of time in the words of `docker ps`: the largest unit only.
pub fn human(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) / 1_000_000_000;
    let minutes = seconds / 60;
    // Hours are rounded, as Docker does: 90 minutes are "2 hours".
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_all_their_digits() {
        assert_eq!(rfc3339(Some(1_795_312_963_489_811_622)), "2026-11-22T02:02:43.489811622Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn times_without_a_zone_are_local() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let hours = |hours: i64| Some(1_795_305_600_000_000_000 + hours * 3_600_000_000_000);
        for (text, expected) in [
            ("2026-11-22T00:00:00Z", hours(0)),
            ("2026-11-22T00:00:00+01:00", hours(-1)),
            ("2026-11-22T00:00:00", hours(-2)),
            ("2026-11-22T03:00:00.000", hours(1)),
            ("2026-11-22T03:00", hours(1)),
            ("2026-11-22T03", hours(1)),
            ("2026-11-22", hours(-2)),
            ("2026-11-22Z", hours(0)),
            ("10m", None),
            ("soon", None),
        ] {
            assert_eq!(instant(text, &east), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_largest_unit() {
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3600, "About an hour"),
            (3600 * 5, "5 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 15, "2 weeks"),
            (86_400 * 70, "2 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human(seconds * 1_000_000_000), text, "{seconds} s");
        }
    }
}
