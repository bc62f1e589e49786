//! `fairway events`.

use clap::Args;
use fairway_api::Client;
use fairway_api::encode::instant;
use fairway_api::types::EventMessage;
use fairway_kernel::clock;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::CommandError;
use super::network::filters;
use super::print::print_line;
use super::template::{Template, Value};

/// What to show of what happens.
#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    /// Filter output, such as 'type=network', 'container=web' or 'event=die'; may be repeated
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show all events created since this time: a timestamp (2026-11-22T10:00:00Z, seconds since 1970) or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Stream events until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Format output: 'json' or a Go template such as '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl EventsOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let since = self.since.as_deref().map(moment).transpose()?;
        let until = self.until.as_deref().map(moment).transpose()?;
        let template = match self.format.as_deref() {
            None => None,
            Some("json") => Some(Template::parse("{{json .}}")?),
            Some(format) => Some(Template::parse(format)?),
        };
        let mut failed = None;
        client.events(since.as_deref(), until.as_deref(), &filters(&self.filter)?, |event| {
            let shown = match &template {
                Some(template) => show(template, &event),
                None => print_line(&line(&event)),
            };
            failed = shown.err();
            failed.is_none()
        })?;
        failed.map_or(Ok(0), Err)
    }
}

fn show(template: &Template, event: &EventMessage) -> Result<(), CommandError> {
    print_line(&template.render(&Value::of(event)?)?)
}

/// Docker's line: when, what, of whom, and what more there is to say.
fn line(event: &EventMessage) -> String {
    let at = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
    let attributes = event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}"));
    let attributes = attributes.collect::<Vec<_>>().join(", ");
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({attributes})") };
    format!("{at:.9} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

/// A time as the daemon takes it: seconds since 1970 with a fraction.
fn moment(text: &str) -> Result<String, CommandError> {
    if text.split_once('.').unwrap_or((text, "0")).0.parse::<i64>().is_ok() {
        return Ok(text.to_owned());
    }
    let time = match instant(text, &TimeZone::system()) {
        Some(time) => time,
        None => {
            let ago = duration(text).ok_or_else(|| CommandError::Moment(text.to_owned()))?;
            let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
            clock::wall().saturating_sub(ago).max(0)
        }
    };
    Ok(format!("{}.{:09}", time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000)))
}

/// A time that the user gave.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, CommandError> {
    let text = moment(text)?;
    let wrong = || CommandError::Moment(text.clone());
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let nanoseconds = format!("{fraction:0<9}").get(..9).and_then(|digits| digits.parse().ok());
    let (seconds, nanoseconds) = seconds.parse().ok().zip(nanoseconds).ok_or_else(wrong)?;
    Timestamp::new(seconds, nanoseconds).map_err(|_| wrong())
}

/// A length of time in Go's words: `1h30m`, `10s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut sum = std::time::Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let milliseconds: u64 = match &tail[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        sum = sum.checked_add(std::time::Duration::from_millis(part))?;
        rest = &tail[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use fairway_api::types::EventActor;

    use super::*;

    #[test]
    fn a_line_is_dockers() {
        let attributes = [("type", "bridge"), ("name", "app"), ("container", "abc")];
        let event = EventMessage {
            kind: "network".to_owned(),
            action: "connect".to_owned(),
            actor: EventActor {
                id: "def".to_owned(),
                attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            },
            time_nano: 1_795_312_963_489_811_000,
            ..EventMessage::default()
        };
        assert_eq!(
            line(&event),
            "2026-11-22T02:02:43.489811000Z network connect def (container=abc, name=app, type=bridge)"
        );
    }

    #[test]
    fn moments_are_times_or_lengths_of_time() {
        assert_eq!(moment("12.5").unwrap(), "12.5");
        assert_eq!(moment("2026-11-22T02:02:43.5Z").unwrap(), "1795312963.500000000");
        assert!(moment("2026-11-22T02:02").is_ok() && moment("2026-11-22").is_ok());
        assert_eq!(timestamp("12.5").unwrap().as_nanosecond(), 12_500_000_000);
        assert!(timestamp("99999999999999").is_err());
        assert!(moment("10m").is_ok() && moment("1h30m").is_ok());
        assert_eq!(duration("1h30m"), Some(std::time::Duration::from_secs(5400)));
        for wrong in ["", "soon", "10", "10x", "m"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert!(moment("soon").unwrap_err().to_string().contains("soon"));
    }
}
