//! Parser of resolv.conf(5).

use super::NameServer;

/// The content of a resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers, in order.
    pub nameservers: Vec<NameServer>,
    /// The search list; the last `search` or `domain` line applies.
    pub search: Vec<String>,
    /// The options of all `options` lines.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Parses the text of the file. Unknown lines are ignored, as by the C library; a keyword starts its line. `index`
    /// looks up the index of an interface by name, for servers such as `fe80::1%eth0`.
    pub fn parse(text: &str, index: impl Fn(&str) -> Option<u32>) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().filter(|keyword| line.starts_with(keyword));
            match keyword {
                Some("nameserver") => {
                    found.nameservers.extend(words.next().and_then(|word| NameServer::parse(word, &index)));
                }
                Some("search") => found.search = words.map(str::to_owned).collect(),
                Some("domain") => found.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ResolvConf {
        ResolvConf::parse(text, |name| (name == "eth0").then_some(2))
    }

    fn servers(texts: &[&str]) -> Vec<NameServer> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn servers_search_list_and_options_are_parsed_in_order() {
        let found = parse(
            "# a comment\n; another one\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\n\
             search a.example b.example\noptions ndots:2 rotate\noptions timeout:1\n",
        );
        assert_eq!(found.nameservers, servers(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(found.search, ["a.example", "b.example"]);
        assert_eq!(found.options, ["ndots:2", "rotate", "timeout:1"]);
    }

    #[test]
    fn the_last_search_or_domain_line_applies() {
        let found = parse("search a b\ndomain c d\n");
        assert_eq!(found.search, ["c"]);
        assert_eq!(parse("domain c\nsearch a b").search, ["a", "b"]);
    }

    #[test]
    fn unknown_lines_are_ignored() {
        let found = parse(
            "nameserver\nnameserver example\n nameserver 192.0.2.1\nnameserver fe80::1%eth9\n\
             #nameserver 192.0.2.2\nnameservers 192.0.2.3\n",
        );
        assert_eq!(found, ResolvConf::default());
    }

    #[test]
    fn a_scoped_server_has_the_index_of_its_interface() {
        let found = parse("nameserver fe80::1%eth0\nnameserver fe80::2%7\nnameserver 127.0.0.53\n");
        assert_eq!(found.nameservers, servers(&["fe80::1%2", "fe80::2%7", "127.0.0.53"]));
    }
}
