//! IPv6 and the MTU of a link: the kernel removes IPv6, with its sysctls, from a link whose MTU is below the minimum.

use fairway_model::IPV6_MIN_MTU;

use super::message::ifinfo;
use super::{Error, Link, Links};
use crate::netlink::Batch;

/// Checks that a link with this MTU can have IPv6.
///
/// # Errors
/// [`Error::MtuWithoutIpv6`].
pub(super) fn check_ipv6_mtu(name: &str, mtu: u32) -> Result<(), Error> {
    match mtu < IPV6_MIN_MTU {
        true => Err(Error::MtuWithoutIpv6 { name: name.to_owned(), mtu }),
        false => Ok(()),
    }
}

impl Links {
    /// Raises the MTU of a link that has no IPv6 because of its MTU: the sysctls of IPv6 exist from then on.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub(super) fn bring_ipv6_back(&self, link: &Link, mtu: u32) -> Result<(), Error> {
        if link.mtu >= IPV6_MIN_MTU || mtu < IPV6_MIN_MTU {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, 0, format!("set the MTU of {}", link.name))
            .raw(&ifinfo(link.index, None))
            .u32(libc::IFLA_MTU, mtu);
        self.socket.transact(&mut batch)?;
        Ok(())
    }
}
