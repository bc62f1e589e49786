//! The networks of each dockerd that runs, with the endpoints of its containers.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::Value;

use super::api::{self, Error};
use crate::json::{fields, list, text};
use crate::process_list;
use crate::reader::Host;

/// How long a daemon may take to answer one question.
const LIMIT: Duration = Duration::from_secs(2);

/// A dockerd that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerDaemon {
    /// The path of its socket.
    pub socket: String,
    /// The id that it keeps with its files.
    pub id: String,
    /// Its networks.
    pub networks: Vec<DockerNetwork>,
}

/// A network of Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The driver.
    pub driver: String,
    /// The IPAM driver.
    pub ipam_driver: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// The gateways and auxiliary addresses that its user chose.
    pub reserved: Vec<IpAddr>,
    /// The endpoints on it, of running containers.
    pub endpoints: Vec<DockerEndpoint>,
}

/// An endpoint of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerEndpoint {
    /// Its id.
    pub id: String,
    /// The id and name of its container; none if it belongs to none.
    pub container: Option<(String, String)>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A dockerd that runs and does not say what it has.
#[derive(Debug)]
pub struct SilentDaemon {
    /// The path of its socket.
    pub socket: String,
    /// The reason.
    pub reason: String,
}

/// Asks each dockerd on the host with this root directory for its networks; of networks for which `wanted` holds, also
/// for the endpoints.
pub fn docker_networks(
    root: &Path,
    wanted: impl Fn(&DockerNetwork) -> bool,
) -> Vec<Result<DockerDaemon, SilentDaemon>> {
    let host = Host { root: root.to_owned(), processes: process_list::list(root), deadline: Instant::now() };
    let sockets = super::sockets(&host);
    let asked = sockets.into_iter().map(|socket| {
        ask(root, &socket, &wanted).map_err(|error| SilentDaemon { socket, reason: error.to_string() })
    });
    asked.collect()
}

/// The process of a container of the dockerd at a socket; none if it does not run.
///
/// # Errors
/// Why the daemon does not say it.
pub fn docker_process(root: &Path, socket: &str, container: &str) -> Result<Option<u32>, SilentDaemon> {
    match get(root, socket, &format!("/containers/{container}/json")) {
        Ok(value) => Ok(super::record::pid(&value)),
        Err(error) => Err(SilentDaemon { socket: socket.to_owned(), reason: error.to_string() }),
    }
}

fn get(root: &Path, socket: &str, path: &str) -> Result<Value, Error> {
    api::get(&root.join(socket.trim_start_matches('/')), path, Instant::now() + LIMIT)
}

fn ask(root: &Path, socket: &str, wanted: &dyn Fn(&DockerNetwork) -> bool) -> Result<DockerDaemon, Error> {
    let info = get(root, socket, "/info")?;
    let id = text(&info, &["ID"]).ok_or(Error::NotHttp)?.to_owned();
    let listed = get(root, socket, "/networks")?;
    let mut networks: Vec<_> = listed.as_array().into_iter().flatten().filter_map(network).collect();
    for network in networks.iter_mut().filter(|network| wanted(network)) {
        match get(root, socket, &format!("/networks/{}", network.id)) {
            Ok(value) => network.endpoints = endpoints(&value),
            // It was removed meanwhile.
            Err(Error::Status(404)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(DockerDaemon { socket: socket.to_owned(), id, networks })
}

fn network(value: &Value) -> Option<DockerNetwork> {
    let subnets = list(value, &["IPAM", "Config"]).filter_map(|it| text(it, &["Subnet"])?.parse().ok());
    let reserved = list(value, &["IPAM", "Config"]).flat_map(|config| {
        let auxiliary = fields(config, &["AuxiliaryAddresses"]).map(|(_, value)| value.as_str());
        let chosen = auxiliary.chain([text(config, &["Gateway"])]).flatten();
        chosen.filter_map(|address| address.parse().ok()).collect::<Vec<IpAddr>>()
    });
    Some(DockerNetwork {
        id: text(value, &["Id"])?.to_owned(),
        name: text(value, &["Name"])?.to_owned(),
        driver: text(value, &["Driver"]).unwrap_or_default().to_owned(),
        ipam_driver: text(value, &["IPAM", "Driver"]).unwrap_or_default().to_owned(),
        subnets: subnets.collect(),
        reserved: reserved.collect(),
        endpoints: Vec::new(),
    })
}

fn endpoints(network: &Value) -> Vec<DockerEndpoint> {
    let endpoint = |(key, value): (&String, &Value)| {
        // An endpoint without a container has its own id as the key, after a prefix.
        let container = Some(key).filter(|key| !key.starts_with("ep-"));
        let name = text(value, &["Name"]).unwrap_or_default().to_owned();
        let addresses = ["IPv4Address", "IPv6Address"].into_iter().filter_map(|key| {
            let net: IpNet = text(value, &[key])?.parse().ok()?;
            Some(net.addr())
        });
        Some(DockerEndpoint {
            id: text(value, &["EndpointID"])?.to_owned(),
            container: container.map(|id| (id.clone(), name)),
            addresses: addresses.collect(),
        })
    };
    fields(network, &["Containers"]).filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_and_endpoints_are_read_as_docker_writes_them() {
        let value = json!({
            "Name": "n1", "Id": "fa97", "Driver": "fairway",
            "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.7", "AuxiliaryAddresses": {"a": "172.30.0.8"}}]},
            "Containers": {
                "1ef3": {"Name": "a1", "EndpointID": "67bb", "IPv4Address": "172.30.0.2/16", "IPv6Address": ""},
                "ep-d0e6": {"Name": "", "EndpointID": "d0e6", "IPv4Address": "172.30.0.3/16", "IPv6Address": ""}
            }
        });
        let read = network(&value).unwrap();
        assert_eq!((read.name.as_str(), read.driver.as_str(), read.subnets.len()), ("n1", "fairway", 1));
        assert_eq!(read.reserved, ["172.30.0.8", "172.30.0.7"].map(|it| it.parse::<IpAddr>().unwrap()));
        let endpoint = |id: &str, container: Option<(&str, &str)>, address: &str| DockerEndpoint {
            id: id.to_owned(),
            container: container.map(|(id, name)| (id.to_owned(), name.to_owned())),
            addresses: vec![address.parse().unwrap()],
        };
        let expected =
            [endpoint("67bb", Some(("1ef3", "a1")), "172.30.0.2"), endpoint("d0e6", None, "172.30.0.3")];
        assert_eq!(endpoints(&value), expected);
        assert_eq!(endpoints(&json!({"Containers": null})), []);
    }
}
