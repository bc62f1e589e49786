//! Transport protocols by name in JSON: `tcp`, or the number of one without a name here.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

use super::{ICMP, ICMPV6, SCTP, TCP, UDP};

const NAMES: [(u8, &str); 5] =
    [(TCP, "tcp"), (UDP, "udp"), (SCTP, "sctp"), (ICMP, "icmp"), (ICMPV6, "icmpv6")];

pub(super) fn serialize<S: Serializer>(protocol: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    match NAMES.iter().find(|(number, _)| number == protocol) {
        Some((_, name)) => serializer.serialize_str(name),
        None => serializer.serialize_str(&protocol.to_string()),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let text = String::deserialize(deserializer)?;
    match NAMES.iter().find(|(_, name)| *name == text) {
        Some((number, _)) => Ok(*number),
        None => text.parse().map_err(D::Error::custom),
    }
}
