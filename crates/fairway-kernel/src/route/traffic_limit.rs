//! Limits of the traffic of veth pairs, by token buckets (tc-tbf(8)).
//!
//! The kernel queues only what an interface sends. What goes to a sandbox is sent by the host's end of its pair. What
//! comes from it is redirected to an `ifb` link, whose bucket it passes before it is received as if nothing had been.

use std::collections::BTreeMap;

use fairway_core::object::{TokenBucket, TrafficLimit};
use fairway_model::IPV6_MIN_MTU;
use rustix::io::Errno;

use super::message::{CREATE_NEW, CREATE_OR_REPLACE, DUMP, ifinfo, no_link_local};
use super::ownership::{INCOMPLETE_GROUP, check_owner};
use super::{Error, Links, Mark};
use crate::netlink::{self, Batch, Message};
use crate::traffic_control::{
    HEADER, INGRESS, INGRESS_HANDLE, REDIRECTION, ROOT, RTM_DELQDISC, RTM_GETQDISC, RTM_GETTFILTER,
    RTM_NEWQDISC, RTM_NEWTFILTER, TCA_KIND, TCA_OPTIONS, header, is_redirection, read_header,
};

/// The kind of links in which packets from sandboxes wait.
pub const BUFFER_KIND: &str = "ifb";
/// The handle of a token bucket: `1:`.
const BUCKET: u32 = 0x0001_0000;
/// `TCA_TBF_*` (linux/pkt_sched.h).
const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `struct tc_tbf_qopt`: two of `struct tc_ratespec`, each of twelve bytes with the rate last, limit, buffer, mtu.
const TBF_QOPT: usize = 36;
const RATE_AT: usize = 8;
const LIMIT_AT: usize = 24;
/// `TC_LINKLAYER_ETHERNET`, in the second byte of a `tc_ratespec`: without it a table of rates is needed.
const ETHERNET: u8 = 1;
/// `TCA_U32_SEL`, `TCA_U32_ACT` (linux/pkt_cls.h).
const U32_SEL: u16 = 5;
const U32_ACT: u16 = 7;
/// `struct tc_u32_sel` that ends the search with its first key (`TC_U32_TERMINAL`), and a key that matches all.
const ALL_PACKETS: [u8; 32] = {
    let mut selector = [0; 32];
    (selector[0], selector[2]) = (1, 1);
    selector
};
/// `TCA_ACT_KIND`, `TCA_ACT_OPTIONS`; `TCA_MIRRED_PARMS` (linux/tc_act/tc_mirred.h).
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;
/// `TC_ACT_STOLEN` (linux/pkt_cls.h), `TCA_EGRESS_REDIR` (linux/tc_act/tc_mirred.h).
const STOLEN: u32 = 4;
const EGRESS_REDIRECT: u32 = 1;

/// What of a limit an interface has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Discipline {
    /// The rate in bytes a second and the limit in bytes of its token bucket.
    pub bucket: Option<(u64, u32)>,
    /// Whether what it receives is redirected.
    pub redirects: bool,
}

impl Discipline {
    /// Whether the bucket is this one.
    pub fn is(&self, bucket: &TokenBucket) -> bool {
        self.bucket == Some((bucket.rate, bucket.limit()))
    }
}

impl Links {
    /// Limits the traffic of a veth pair, which exists.
    ///
    /// # Errors
    /// [`Error::NoTrafficControl`] if the kernel lacks a part, [`Error::NoInterface`] without the pair,
    /// [`Error::Foreign`] if the name of the buffer belongs to a link that is not Fairway's, [`Error::Netlink`].
    pub fn apply_traffic_limit(&self, limit: &TrafficLimit) -> Result<(), Error> {
        let host = self.index(&limit.host_interface)?;
        if let Some(bucket) = &limit.ingress {
            let mut batch = Batch::new();
            add_bucket(&mut batch, host, &limit.host_interface, bucket);
            self.control(&mut batch)?;
        }
        match &limit.egress {
            Some(bucket) => self.or_undo(&limit.buffer_interface(), self.limit_egress(limit, host, bucket)),
            None => Ok(()),
        }
    }

    fn limit_egress(&self, limit: &TrafficLimit, host: u32, bucket: &TokenBucket) -> Result<(), Error> {
        let name = limit.buffer_interface();
        let buffer = self.create_or_find(&name, BUFFER_KIND, |batch| {
            batch
                .message(libc::RTM_NEWLINK, CREATE_NEW, format!("create {name}, of the kind {BUFFER_KIND}"))
                .raw(&ifinfo(0, None))
                .text(libc::IFLA_IFNAME, &name)
                .u32(libc::IFLA_MTU, limit.mtu)
                .u32(libc::IFLA_GROUP, INCOMPLETE_GROUP)
                .nest(libc::IFLA_LINKINFO, |info| {
                    info.text(libc::IFLA_INFO_KIND, BUFFER_KIND);
                });
        });
        let buffer = buffer.map_err(lacking)?;
        let mark = Mark::Endpoint(limit.endpoint);
        check_owner(&buffer, BUFFER_KIND, mark)?;

        let mut batch = Batch::new();
        let mut message = batch.message(libc::RTM_NEWLINK, 0, format!("set up {name}"));
        message
            .raw(&ifinfo(buffer.index, Some(true)))
            .text(libc::IFLA_IFALIAS, &mark.to_string())
            .u32(libc::IFLA_GROUP, 0);
        if self.ipv6 && buffer.mtu >= IPV6_MIN_MTU {
            no_link_local(&mut message);
        }
        drop(message);
        add_bucket(&mut batch, buffer.index, &name, bucket);
        self.control(&mut batch)?;

        // A filter has no name: those of before go with their discipline. By its handle the kernel refuses to delete
        // one that is gone.
        let mut batch = Batch::new();
        batch
            .message(RTM_DELQDISC, 0, format!("remove the redirection of {}", limit.host_interface))
            .raw(&header(host, 0, INGRESS, 0));
        super::unless_gone(self.socket.transact_each(&mut batch)?)?;
        let mut batch = Batch::new();
        redirect(&mut batch, host, &limit.host_interface, buffer.index);
        self.control(&mut batch)
    }

    fn control(&self, batch: &mut Batch) -> Result<(), Error> {
        self.socket.transact(batch).map(drop).map_err(|error| lacking(error.into()))
    }

    /// What of limits each interface has, by index.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn disciplines(&self) -> Result<BTreeMap<u32, Discipline>, Error> {
        let mut batch = Batch::new();
        batch.message(RTM_GETQDISC, DUMP, "list the queueing disciplines").raw(&[0; HEADER]);
        let mut found: BTreeMap<u32, Discipline> = BTreeMap::new();
        for message in self.socket.dump(&mut batch)? {
            let Some([index, handle, ..]) = read_header(&message.payload) else { continue };
            if handle == BUCKET {
                found.entry(index).or_default().bucket = bucket(&message);
            } else if handle == INGRESS_HANDLE {
                let mut batch = Batch::new();
                let request = header(index, 0, INGRESS_HANDLE, 0);
                batch.message(RTM_GETTFILTER, DUMP, "list the filters").raw(&request);
                let filters = self.socket.dump(&mut batch)?;
                found.entry(index).or_default().redirects = filters.iter().any(is_redirection);
            }
        }
        Ok(found)
    }
}

/// The error of a kernel without a part of traffic control: it knows no such kind.
fn lacking(error: Error) -> Error {
    match error {
        Error::Netlink(netlink::Error::Refused(refusal))
            if matches!(refusal.errno, Errno::OPNOTSUPP | Errno::NOENT) =>
        {
            Error::NoTrafficControl { action: refusal.label, errno: refusal.errno }
        }
        error => error,
    }
}

fn add_bucket(batch: &mut Batch, index: u32, interface: &str, bucket: &TokenBucket) {
    // `rate` has 32 bits; `TCA_TBF_RATE64` is for more.
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    let mut parameters = [0; TBF_QOPT];
    parameters[1] = ETHERNET;
    parameters[RATE_AT..RATE_AT + 4].copy_from_slice(&rate.to_ne_bytes());
    parameters[LIMIT_AT..LIMIT_AT + 4].copy_from_slice(&bucket.limit().to_ne_bytes());
    batch
        .message(RTM_NEWQDISC, CREATE_OR_REPLACE, format!("limit what {interface} sends to {bucket}"))
        .raw(&header(index, BUCKET, ROOT, 0))
        .text(TCA_KIND, "tbf")
        .nest(TCA_OPTIONS, |options| {
            options.attribute(TBF_PARMS, &parameters).u32(TBF_BURST, bucket.burst);
            if bucket.rate > u32::MAX.into() {
                options.u64(TBF_RATE64, bucket.rate);
            }
        });
}

/// Sends all that an interface receives through another one.
fn redirect(batch: &mut Batch, index: u32, interface: &str, through: u32) {
    batch
        .message(RTM_NEWQDISC, CREATE_NEW, format!("redirect what {interface} receives"))
        .raw(&header(index, INGRESS_HANDLE, INGRESS, 0))
        .text(TCA_KIND, "ingress");
    // `struct tc_mirred`: index, capabilities, action, two counts; which redirection, and to where.
    let parameters = [0, 0, STOLEN, 0, 0, EGRESS_REDIRECT, through].map(u32::to_ne_bytes).concat();
    let info = (REDIRECTION << 16) | u32::from((libc::ETH_P_ALL as u16).to_be());
    batch
        .message(RTM_NEWTFILTER, CREATE_NEW, format!("redirect what {interface} receives by a filter"))
        .raw(&header(index, 0, INGRESS_HANDLE, info))
        .text(TCA_KIND, "u32")
        .nest(TCA_OPTIONS, |options| {
            options.attribute(U32_SEL, &ALL_PACKETS).nest(U32_ACT, |actions| {
                actions.nest(1, |action| {
                    action.text(ACT_KIND, "mirred").nest(ACT_OPTIONS, |options| {
                        options.attribute(MIRRED_PARMS, &parameters);
                    });
                });
            });
        });
}

/// The rate and limit of a token bucket.
fn bucket(message: &Message) -> Option<(u64, u32)> {
    let attributes = message.attributes(HEADER);
    if attributes.find(TCA_KIND)?.text()? != "tbf" {
        return None;
    }
    let options = attributes.nested(TCA_OPTIONS);
    let parameters = options.find(TBF_PARMS)?.value;
    let at = |place: usize| Some(u32::from_ne_bytes(parameters.get(place..place + 4)?.try_into().ok()?));
    let rate = options.find(TBF_RATE64).and_then(|rate| rate.u64());
    Some((rate.or_else(|| at(RATE_AT).map(u64::from))?, at(LIMIT_AT)?))
}

#[cfg(test)]
mod tests;
