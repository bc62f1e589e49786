//! The calls of the protocol: a path and a body.

use fairway_api::json;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::protocol::{
    AddressRequest, CreateEndpoint, CreateNetwork, EndpointReference, ExternalConnectivity, Join,
    NetworkReference, PoolReference, RequestPool,
};

/// A request of dockerd.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `Plugin.Activate`.
    Activate,
    /// `NetworkDriver.GetCapabilities`.
    NetworkCapabilities,
    /// `NetworkDriver.CreateNetwork`.
    CreateNetwork(CreateNetwork),
    /// `NetworkDriver.DeleteNetwork`.
    DeleteNetwork(NetworkReference),
    /// `NetworkDriver.CreateEndpoint`.
    CreateEndpoint(CreateEndpoint),
    /// `NetworkDriver.DeleteEndpoint`.
    DeleteEndpoint(EndpointReference),
    /// `NetworkDriver.EndpointOperInfo`.
    EndpointInfo(EndpointReference),
    /// `NetworkDriver.Join`.
    Join(Join),
    /// `NetworkDriver.Leave`.
    Leave(EndpointReference),
    /// `NetworkDriver.ProgramExternalConnectivity`.
    ProgramExternalConnectivity(ExternalConnectivity),
    /// `NetworkDriver.RevokeExternalConnectivity`.
    RevokeExternalConnectivity(EndpointReference),
    /// `IpamDriver.GetCapabilities`.
    IpamCapabilities,
    /// `IpamDriver.GetDefaultAddressSpaces`.
    AddressSpaces,
    /// `IpamDriver.RequestPool`.
    RequestPool(RequestPool),
    /// `IpamDriver.ReleasePool`.
    ReleasePool(PoolReference),
    /// `IpamDriver.RequestAddress`.
    RequestAddress(AddressRequest),
    /// `IpamDriver.ReleaseAddress`.
    ReleaseAddress(AddressRequest),
    /// `NetworkDriver.DiscoverNew` and `DiscoverDelete`: other nodes of a swarm, which do not matter here.
    Discover,
}

impl Call {
    /// Reads a request. A body may be missing where the call takes none.
    ///
    /// # Errors
    /// [`Error::Method`], [`Error::Json`].
    pub fn read(path: &str, body: &[u8]) -> Result<Self, Error> {
        let method = path.trim_start_matches('/');
        Ok(match method {
            "Plugin.Activate" => Self::Activate,
            "NetworkDriver.GetCapabilities" => Self::NetworkCapabilities,
            "NetworkDriver.CreateNetwork" => Self::CreateNetwork(read(method, body)?),
            "NetworkDriver.DeleteNetwork" => Self::DeleteNetwork(read(method, body)?),
            "NetworkDriver.CreateEndpoint" => Self::CreateEndpoint(read(method, body)?),
            "NetworkDriver.DeleteEndpoint" => Self::DeleteEndpoint(read(method, body)?),
            "NetworkDriver.EndpointOperInfo" => Self::EndpointInfo(read(method, body)?),
            "NetworkDriver.Join" => Self::Join(read(method, body)?),
            "NetworkDriver.Leave" => Self::Leave(read(method, body)?),
            "NetworkDriver.ProgramExternalConnectivity" => {
                Self::ProgramExternalConnectivity(read(method, body)?)
            }
            "NetworkDriver.RevokeExternalConnectivity" => {
                Self::RevokeExternalConnectivity(read(method, body)?)
            }
            "IpamDriver.GetCapabilities" => Self::IpamCapabilities,
            "IpamDriver.GetDefaultAddressSpaces" => Self::AddressSpaces,
            "IpamDriver.RequestPool" => Self::RequestPool(read(method, body)?),
            "IpamDriver.ReleasePool" => Self::ReleasePool(read(method, body)?),
            "IpamDriver.RequestAddress" => Self::RequestAddress(read(method, body)?),
            "IpamDriver.ReleaseAddress" => Self::ReleaseAddress(read(method, body)?),
            "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Self::Discover,
            other => return Err(Error::Method(other.to_owned())),
        })
    }
}

fn read<T: DeserializeOwned>(method: &str, body: &[u8]) -> Result<T, Error> {
    json::from_slice(body).map_err(|source| Error::Json { method: method.to_owned(), source })
}
