//! Which name server to ask first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The most servers that one question goes to, as in resolv.conf(5).
const MOST: usize = 3;

/// How long a server that did not answer comes last.
const AVOIDED: Duration = Duration::from_secs(30);

/// Where our own resolvers are; asking them would be asking ourselves.
const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11));

/// What is known of name servers: those that failed come last for a while, so that one dead
/// server slows few questions down and not all.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    avoided: HashMap<IpAddr, Instant>,
}

impl Servers {
    /// The servers to ask, in this order.
    pub fn order(&mut self, configured: &[IpAddr], now: Instant) -> Vec<IpAddr> {
        let usable = configured.iter().copied().filter(|server| *server != OURS && !server.is_unspecified());
        let (mut good, mut bad): (Vec<_>, Vec<_>) =
            usable.take(MOST).partition(|server| self.avoided.get(server).is_none_or(|until| *until <= now));
        // The first question after a while tries a failed server again, alone: until it has an
        // answer, all others still avoid it.
        if let Some(first) = good.first()
            && let Some(until) = self.avoided.get_mut(first)
        {
            *until = now + AVOIDED;
        }
        good.append(&mut bad);
        good
    }

    /// A server answered.
    pub fn answered(&mut self, server: IpAddr) {
        self.avoided.remove(&server);
    }

    /// A server did not answer, or refused.
    pub fn failed(&mut self, server: IpAddr, now: Instant) {
        if self.avoided.len() >= 1_024 {
            self.avoided.retain(|_, until| *until > now);
        }
        self.avoided.insert(server, now + AVOIDED);
    }

    /// Forgets what is known, for the servers are others now.
    pub fn clear(&mut self) {
        self.avoided.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn a_server_that_failed_comes_last_and_is_tried_again_by_one() {
        let mut servers = Servers::default();
        let now = Instant::now();
        let all = [server(1), server(2)];
        servers.failed(server(1), now);
        assert_eq!(servers.order(&all, now), [server(2), server(1)]);
        let later = now + AVOIDED;
        assert_eq!(servers.order(&all, later), [server(1), server(2)]);
        assert_eq!(servers.order(&all, later), [server(2), server(1)]);
        servers.answered(server(1));
        assert_eq!(servers.order(&all, later), [server(1), server(2)]);
    }

    #[test]
    fn never_ourselves_and_never_more_than_three() {
        let mut servers = Servers::default();
        let many = [OURS, server(1), server(2), server(3), server(4)];
        assert_eq!(servers.order(&many, Instant::now()), [server(1), server(2), server(3)]);
    }
}
