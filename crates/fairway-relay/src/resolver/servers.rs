//! The order in which one sandbox's name servers are queried.

use std::time::{Duration, Instant};

use fairway_model::NameServer;

/// The most servers that one query goes to, as in resolv.conf(5).
const MOST: usize = 3;

/// How long a server that did not answer is queried last.
const AVOIDED: Duration = Duration::from_secs(30);

/// The most servers whose state is kept.
const KNOWN: usize = 16;

/// The address of Fairway's own resolvers; querying them would be a loop.
const OURS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11));

/// The state of one server.
#[derive(Debug)]
struct Known {
    server: NameServer,
    /// When it last answered in time.
    answered: Option<Instant>,
    /// Until when the other servers go first.
    avoided: Option<Instant>,
}

/// The state of one sandbox's name servers. They are queried in the order of its configuration; only a server that
/// does not answer at all comes last for a while, so that it delays few queries.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    known: Vec<Known>,
}

impl Servers {
    /// The servers to query, in this order.
    pub fn order(&mut self, configured: &[NameServer], now: Instant) -> Vec<NameServer> {
        let usable = configured.iter().copied();
        let usable = usable.filter(|server| server.address != OURS && !server.address.is_unspecified());
        let (mut good, mut bad): (Vec<_>, Vec<_>) =
            usable.take(MOST).partition(|server| self.avoided(*server).is_none_or(|until| until <= now));
        // One query at a time tries a silent server again after a while: until it has an answer, the others still
        // avoid that server.
        if let Some(first) = good.first()
            && let Some(known) = self.known.iter_mut().find(|known| known.server == *first)
            && known.avoided.is_some()
        {
            known.avoided = Some(now + AVOIDED);
        }
        good.append(&mut bad);
        good
    }

    fn avoided(&self, server: NameServer) -> Option<Instant> {
        self.known.iter().find(|known| known.server == server)?.avoided
    }

    /// Records that a server answered in time, whatever the answer.
    pub fn answered(&mut self, server: NameServer, now: Instant) {
        if let Some(known) = self.known(server) {
            (known.answered, known.avoided) = (Some(now), None);
        }
    }

    /// Records that a server did not answer the query sent at `asked`. A server that answers other queries is not
    /// avoided.
    pub fn silent(&mut self, server: NameServer, asked: Instant, now: Instant) {
        if let Some(known) = self.known(server)
            && known.answered.is_none_or(|answered| answered < asked)
        {
            known.avoided = Some(now + AVOIDED);
        }
    }

    fn known(&mut self, server: NameServer) -> Option<&mut Known> {
        if !self.known.iter().any(|known| known.server == server) {
            if self.known.len() >= KNOWN {
                self.known.remove(0);
            }
            self.known.push(Known { server, answered: None, avoided: None });
        }
        self.known.iter_mut().find(|known| known.server == server)
    }

    /// Clears the state of all servers.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> NameServer {
        NameServer::from(std::net::IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn a_silent_server_comes_last_and_is_tried_again_by_one() {
        let mut servers = Servers::default();
        let now = Instant::now();
        let all = [server(1), server(2)];
        servers.silent(server(1), now, now);
        assert_eq!(servers.order(&all, now), [server(2), server(1)]);
        let later = now + AVOIDED;
        assert_eq!(servers.order(&all, later), [server(1), server(2)]);
        assert_eq!(servers.order(&all, later), [server(2), server(1)]);
        servers.answered(server(1), later);
        assert_eq!(servers.order(&all, later), [server(1), server(2)]);
    }

    #[test]
    fn a_server_that_answers_other_queries_is_not_avoided() {
        let mut servers = Servers::default();
        let asked = Instant::now();
        let later = asked + Duration::from_secs(4);
        servers.answered(server(1), asked + Duration::from_secs(1));
        servers.silent(server(1), asked, later);
        assert_eq!(servers.order(&[server(1), server(2)], later), [server(1), server(2)]);
    }

    #[test]
    fn the_state_of_servers_is_bounded() {
        let mut servers = Servers::default();
        let now = Instant::now();
        (0..100).for_each(|n| servers.silent(server(n), now, now));
        assert_eq!(servers.known.len(), KNOWN);
        assert_eq!(servers.order(&[server(99), server(1)], now), [server(1), server(99)]);
    }

    #[test]
    fn own_resolvers_are_skipped_and_at_most_three_servers_are_queried() {
        let mut servers = Servers::default();
        let many = [OURS.into(), server(1), server(2), server(3), server(4)];
        assert_eq!(servers.order(&many, Instant::now()), [server(1), server(2), server(3)]);
    }
}
