//! The resolver's configuration file, resolv.conf(5).

use std::net::IpAddr;

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers, in order. Those of IPv6 with a zone (`fe80::1%eth0`) are left out: they mean
    /// nothing elsewhere.
    pub nameservers: Vec<IpAddr>,
    /// The search list; the last `search` or `domain` line counts.
    pub search: Vec<String>,
    /// The options of all `options` lines.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of the file. Lines that say nothing known are passed over, as by the C
    /// library; a keyword begins its line.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().filter(|keyword| line.starts_with(keyword));
            match keyword {
                Some("nameserver") => {
                    found.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search") => found.search = words.map(str::to_owned).collect(),
                Some("domain") => found.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }

    /// Whether all servers are the host's own loopback, where sandboxes cannot reach them.
    pub fn only_loopback(&self) -> bool {
        !self.nameservers.is_empty() && self.nameservers.iter().all(IpAddr::is_loopback)
    }

    /// The servers that are not on loopback.
    pub fn reachable_nameservers(&self) -> impl Iterator<Item = IpAddr> {
        self.nameservers.iter().copied().filter(|address| !address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn servers_search_and_options_are_read_in_order() {
        let found = ResolvConf::parse(
            "# made by somebody\n; and another\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\n\
             search a.example b.example\noptions ndots:2 rotate\noptions timeout:1\n",
        );
        assert_eq!(found.nameservers, addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(found.search, ["a.example", "b.example"]);
        assert_eq!(found.options, ["ndots:2", "rotate", "timeout:1"]);
        assert!(!found.only_loopback());
    }

    #[test]
    fn the_last_search_or_domain_counts() {
        let found = ResolvConf::parse("search a b\ndomain c d\n");
        assert_eq!(found.search, ["c"]);
        assert_eq!(ResolvConf::parse("domain c\nsearch a b").search, ["a", "b"]);
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let found = ResolvConf::parse(
            "nameserver\nnameserver example\n nameserver 192.0.2.1\nnameserver fe80::1%eth0\n\
             #nameserver 192.0.2.2\nnameservers 192.0.2.3\n",
        );
        assert_eq!(found, ResolvConf::default());
        assert!(!found.only_loopback());
    }

    #[test]
    fn loopback_servers_are_told_apart() {
        let found = ResolvConf::parse("nameserver 127.0.0.53\nnameserver ::1\n");
        assert!(found.only_loopback());
        assert_eq!(found.reachable_nameservers().count(), 0);
        let found = ResolvConf::parse("nameserver 127.0.0.1\nnameserver 192.0.2.1\n");
        assert!(!found.only_loopback());
        assert_eq!(found.reachable_nameservers().collect::<Vec<_>>(), addresses(&["192.0.2.1"]));
    }
}
