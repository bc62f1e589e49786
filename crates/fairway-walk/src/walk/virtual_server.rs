//! Packets for a virtual server of IPVS.

use super::refusal::{How, unreachable};
use super::{InFlight, Walker};
use crate::choice::{Alternative, Condition};
use crate::probability::Probability;
use crate::step::End;
use crate::topology::NamespaceId;

impl Walker<'_> {
    /// The end of a packet that IPVS takes in the hook `input` (`ip_vs_remote_request` in
    /// net/netfilter/ipvs/ip_vs_core.c); none if no virtual server is at its destination. The way from there is not
    /// walked: IPVS routes and translates by connections of its own.
    pub(super) fn meet_virtual_server(
        &mut self,
        namespace: NamespaceId,
        input: u32,
        in_flight: &InFlight,
    ) -> Option<End> {
        let tuple = in_flight.tuple();
        let place = self.namespace(namespace);
        let server = place.virtual_servers.iter().find(|it| it.takes(&tuple))?;
        let available: Vec<_> = server.available().collect();
        if available.is_empty() {
            let code = if tuple.destination.is_ipv4() { unreachable::PORT } else { unreachable::PORT_IPV6 };
            self.refuse(namespace, in_flight, Some(input), How::Unreachable(code));
            return Some(End::NoListener { namespace, tuple });
        }
        let name = |taken: usize| available.get(taken).map_or(String::new(), |it| it.address.to_string());
        let taken = match (&self.choices, available.len()) {
            (_, 1) => Some(0),
            (None, _) => None,
            (Some(choices), count) => Some(choices.take(count, |taken| {
                let share = available.get(taken).and_then(|it| server.share(it));
                let rule = format!("the virtual server {} of IPVS", tuple.destination_text());
                let text = format!("if IPVS takes {} (scheduler {})", name(taken), server.scheduler);
                Alternative {
                    probability: share.map(|(share, of)| Probability::new(share, of)),
                    condition: share.is_none().then_some(Condition { rule, text }),
                }
            })),
        };
        let to = match taken {
            Some(taken) => {
                let forwarding = available.get(taken).map_or("", |it| it.forwarding.as_str());
                format!("{} ({forwarding})", name(taken))
            }
            None => format!("one of {}", (0..available.len()).map(name).collect::<Vec<_>>().join(", ")),
        };
        let reason = format!("IPVS sends it on to {to}: its way from there is not walked");
        Some(End::Unknown { namespace, reason })
    }
}
