//! One `--network`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use fairway_model::MacAddress;
use fairway_model::parse::{self, ParseError};
use thiserror::Error;

/// A network, or what stands for one, and what is asked of the endpoint there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) ip6: Option<Ipv6Addr>,
    pub(super) mac_address: Option<MacAddress>,
    pub(super) aliases: Vec<String>,
    pub(super) driver_options: BTreeMap<String, String>,
    pub(super) gateway_priority: i32,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(super) enum InvalidAttachment {
    #[error("network name/id is not specified: name=NETWORK is expected")]
    NoName,
    #[error("invalid container format container:<name|id>")]
    NoTarget,
    #[error("invalid field {0}: key=value is expected")]
    Field(String),
    #[error("invalid field key {0}: it can be name, alias, ip, ip6, mac-address, driver-opt or gw-priority")]
    Key(String),
    #[error("invalid gw-priority {0}: a whole number is expected")]
    Priority(String),
    #[error("link-local addresses cannot be chosen: leave link-local-ip out")]
    LinkLocal,
    #[error(transparent)]
    Value(#[from] ParseError),
}

impl FromStr for Attachment {
    type Err = InvalidAttachment;

    /// Docker's two ways: a name alone, or fields when there is an equals sign.
    fn from_str(text: &str) -> Result<Self, InvalidAttachment> {
        if !text.contains('=') {
            return match text {
                "" => Err(InvalidAttachment::NoName),
                "container:" => Err(InvalidAttachment::NoTarget),
                name => Ok(Self { name: name.to_owned(), ..Self::default() }),
            };
        }
        let mut read = Self::default();
        for field in text.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| InvalidAttachment::Field(field.to_owned()))?;
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => value.clone_into(&mut read.name),
                "alias" => read.aliases.push(parse::alias(value)?),
                "ip" => read.ip = Some(parse::ipv4(value)?),
                "ip6" => read.ip6 = Some(parse::ipv6(value)?),
                "mac-address" => read.mac_address = Some(parse::mac(value)?),
                "driver-opt" => {
                    let (name, value) = parse::driver_option(value)?;
                    read.driver_options.insert(name, value);
                }
                "gw-priority" => {
                    let number = value.parse();
                    read.gateway_priority =
                        number.map_err(|_| InvalidAttachment::Priority(value.to_owned()))?;
                }
                "link-local-ip" => return Err(InvalidAttachment::LinkLocal),
                other => return Err(InvalidAttachment::Key(other.to_owned())),
            }
        }
        if read.name.is_empty() {
            return Err(InvalidAttachment::NoName);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_or_fields() {
        let named = |name: &str| Attachment { name: name.to_owned(), ..Attachment::default() };
        for name in ["app", "host", "container:web"] {
            assert_eq!(name.parse(), Ok(named(name)));
        }
        let text = "name=app,alias=a,alias=b,ip=10.1.0.9,ip6=fd00::9,mac-address=02:42:0a:01:00:09,driver-opt=k=v,gw-priority=-2";
        let expected = Attachment {
            ip: Some(Ipv4Addr::new(10, 1, 0, 9)),
            ip6: "fd00::9".parse().ok(),
            mac_address: "02:42:0a:01:00:09".parse().ok(),
            aliases: vec!["a".to_owned(), "b".to_owned()],
            driver_options: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            gateway_priority: -2,
            ..named("app")
        };
        assert_eq!(text.parse(), Ok(expected));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, part) in [
            ("", "network name/id is not specified"),
            ("alias=x", "network name/id is not specified"),
            ("container:", "invalid container format container:<name|id>"),
            ("name=app,colour=red", "invalid field key colour"),
            ("name=app,alias", "invalid field alias"),
            ("name=app,ip=abc", "invalid IPv4 address: abc"),
            ("name=app,gw-priority=high", "invalid gw-priority high"),
            ("name=app,link-local-ip=169.254.1.1", "link-local addresses cannot be chosen"),
        ] {
            let error = text.parse::<Attachment>().unwrap_err().to_string();
            assert!(error.starts_with(part), "{text:?}: {error}");
        }
    }
}
