//! The calls of the IPAM driver: pools and addresses, for networks of any driver. Pure.

use std::net::IpAddr;

use fairway_core::world::Command;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::describe::net;
use super::error::Error;
use super::protocol::{AddressRequest, PoolReference, RequestPool};

/// The prefix of a pool's id, before its subnet.
const PREFIX: &str = "fairway/";
/// The option of a request for an address, and its value for a gateway.
const TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// The address spaces: both are one, since the addresses of a host are.
pub fn address_spaces() -> Value {
    json!({"LocalDefaultAddressSpace": "fairway", "GlobalDefaultAddressSpace": "fairway"})
}

/// The command that allocates a pool.
///
/// # Errors
/// Names the value that cannot be used.
pub fn request_pool(request: &RequestPool) -> Result<Command, Error> {
    if let Some(name) = request.options.keys().next() {
        return Err(Error::Option {
            name: name.clone(),
            reason: "the IPAM driver fairway has no options: leave out --ipam-opt".to_owned(),
        });
    }
    let optional =
        |what, text: &str| Some(text).filter(|it| !it.is_empty()).map(|it| net(what, it)).transpose();
    Ok(Command::RequestPool {
        subnet: optional("subnet", &request.pool)?,
        range: optional("ip-range", &request.sub_pool)?,
        ipv6: request.v6,
    })
}

/// The answer to a request for a pool.
///
/// # Errors
/// [`Error::NotAllocated`].
pub fn pool(allocated: Option<IpNet>) -> Result<Value, Error> {
    let subnet = allocated.ok_or(Error::NotAllocated("a pool"))?;
    Ok(json!({"PoolID": format!("{PREFIX}{subnet}"), "Pool": subnet.to_string(), "Data": {}}))
}

/// The command that removes a pool.
///
/// # Errors
/// An id that is none of this driver's.
pub fn release_pool(request: &PoolReference) -> Result<Command, Error> {
    Ok(Command::ReleasePool { pool: subnet(&request.pool)? })
}

/// The command that allocates an address.
///
/// # Errors
/// Names the value that cannot be used.
pub fn request_address(request: &AddressRequest) -> Result<Command, Error> {
    let address = match request.address.as_str() {
        "" => None,
        text => Some(bare(text)?),
    };
    let gateway = request.options.get(TYPE).is_some_and(|value| value == GATEWAY);
    Ok(Command::RequestAddress { pool: subnet(&request.pool)?, address, gateway })
}

/// The answer to a request for an address.
///
/// # Errors
/// [`Error::NotAllocated`].
pub fn address(allocated: Option<IpNet>) -> Result<Value, Error> {
    let address = allocated.ok_or(Error::NotAllocated("an address"))?;
    Ok(json!({"Address": address.to_string(), "Data": {}}))
}

/// The command that frees an address.
///
/// # Errors
/// Names the value that cannot be used.
pub fn release_address(request: &AddressRequest) -> Result<Command, Error> {
    Ok(Command::ReleaseAddress { pool: subnet(&request.pool)?, address: bare(&request.address)? })
}

fn bare(value: &str) -> Result<IpAddr, Error> {
    value.parse().map_err(|_| Error::Value {
        what: "address",
        value: value.to_owned(),
        expected: "an address such as 172.20.0.2",
    })
}

/// The subnet of a pool's id.
fn subnet(id: &str) -> Result<IpNet, Error> {
    id.strip_prefix(PREFIX).and_then(|subnet| subnet.parse().ok()).ok_or_else(|| Error::Value {
        what: "pool id",
        value: id.to_owned(),
        expected: "an id of the IPAM driver fairway such as fairway/172.20.0.0/16",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::docker_plugin::call::Call;

    fn command(method: &str, body: &str) -> Result<Command, Error> {
        match Call::read(&format!("/IpamDriver.{method}"), body.as_bytes())? {
            Call::RequestPool(request) => request_pool(&request),
            Call::ReleasePool(request) => release_pool(&request),
            Call::RequestAddress(request) => request_address(&request),
            Call::ReleaseAddress(request) => release_address(&request),
            other => panic!("{other:?}"),
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn requests_are_as_dockerd_writes_them() {
        let pool = net("10.67.0.0/24");
        for (method, body, expected) in [
            (
                "RequestPool",
                r#"{"AddressSpace":"fairway","Pool":"10.67.0.0/24","SubPool":"10.67.0.128/25","Options":{},"V6":false}"#,
                Command::RequestPool { subnet: Some(pool), range: Some(net("10.67.0.128/25")), ipv6: false },
            ),
            (
                "RequestPool",
                r#"{"AddressSpace":"fairway","Pool":"","SubPool":"","Options":null,"V6":true}"#,
                Command::RequestPool { subnet: None, range: None, ipv6: true },
            ),
            (
                "RequestAddress",
                r#"{"PoolID":"fairway/10.67.0.0/24","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#,
                Command::RequestAddress { pool, address: None, gateway: true },
            ),
            (
                "RequestAddress",
                r#"{"PoolID":"fairway/10.67.0.0/24","Address":"10.67.0.5","Options":null}"#,
                Command::RequestAddress { pool, address: "10.67.0.5".parse().ok(), gateway: false },
            ),
            (
                "ReleaseAddress",
                r#"{"PoolID":"fairway/10.67.0.0/24","Address":"10.67.0.5"}"#,
                Command::ReleaseAddress { pool, address: "10.67.0.5".parse().unwrap() },
            ),
            ("ReleasePool", r#"{"PoolID":"fairway/10.67.0.0/24"}"#, Command::ReleasePool { pool }),
        ] {
            assert_eq!(command(method, body).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (method, body, text) in [
            (
                "RequestPool",
                r#"{"Options":{"io":"1"}}"#,
                "cannot use option io: the IPAM driver fairway has no options",
            ),
            ("RequestPool", r#"{"Pool":"10.0.0.0"}"#, "invalid subnet \"10.0.0.0\""),
            ("ReleasePool", r#"{"PoolID":"10.0.0.0/8"}"#, "invalid pool id \"10.0.0.0/8\""),
            ("RequestAddress", r#"{"PoolID":"fairway/10.0.0.0/8","Address":"x"}"#, "invalid address \"x\""),
        ] {
            let found = command(method, body).unwrap_err().to_string();
            assert!(found.starts_with(text), "{found}");
        }
    }

    #[test]
    fn answers_have_the_prefix_length_of_the_pool() {
        let pool = pool(Some(net("10.67.0.0/24"))).unwrap();
        assert_eq!(pool, json!({"PoolID": "fairway/10.67.0.0/24", "Pool": "10.67.0.0/24", "Data": {}}));
        assert_eq!(
            address(Some(net("10.67.0.5/24"))).unwrap(),
            json!({"Address": "10.67.0.5/24", "Data": {}})
        );
    }
}
