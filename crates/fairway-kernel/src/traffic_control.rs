//! What messages of traffic control have in common (`<linux/rtnetlink.h>`, `<linux/pkt_sched.h>`, `<linux/pkt_cls.h>`).

use crate::netlink::Message;

/// Creates or changes a queueing discipline.
pub const RTM_NEWQDISC: u16 = 36;
/// Deletes a queueing discipline.
pub const RTM_DELQDISC: u16 = 37;
/// Reads queueing disciplines.
pub const RTM_GETQDISC: u16 = 38;
/// Creates or changes a filter.
pub const RTM_NEWTFILTER: u16 = 44;
/// Reads filters.
pub const RTM_GETTFILTER: u16 = 46;
/// The kind of a discipline or filter.
pub const TCA_KIND: u16 = 1;
/// Its options.
pub const TCA_OPTIONS: u16 = 2;

/// The parent of the discipline that orders what an interface sends.
pub const ROOT: u32 = 0xffff_ffff;
/// The parent of the discipline of what an interface receives.
pub const INGRESS: u32 = 0xffff_fff1;
/// The handle of that discipline, which is the parent of its filters.
pub const INGRESS_HANDLE: u32 = 0xffff_0000;

/// The preference of the filter that redirects what is limited; the routes of Fairway have the protocol of the same
/// number.
pub const REDIRECTION: u32 = 70;

/// The length of `struct tcmsg`.
pub const HEADER: usize = 20;

/// `struct tcmsg`: family, padding, interface, handle, parent, info.
pub fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (place, value) in [(4, index), (8, handle), (12, parent), (16, info)] {
        header[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

/// The interface, handle, parent and info of a `struct tcmsg`.
pub fn read_header(payload: &[u8]) -> Option<[u32; 4]> {
    let header: &[u8; HEADER] = payload.first_chunk()?;
    let at = |place: usize| {
        u32::from_ne_bytes([header[place], header[place + 1], header[place + 2], header[place + 3]])
    };
    Some([at(4), at(8), at(12), at(16)])
}

/// Whether a filter redirects what is limited.
pub fn is_redirection(filter: &Message) -> bool {
    let kind = || filter.attributes(HEADER).find(TCA_KIND)?.text();
    let preference = read_header(&filter.payload).map(|[.., info]| info >> 16);
    preference == Some(REDIRECTION) && kind() == Some("u32")
}
