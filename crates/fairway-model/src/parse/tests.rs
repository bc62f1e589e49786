use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{AddressPool, PortRange, Protocol, PublishRequest};

/// A request as the text that asks for it.
fn shown(request: &PublishRequest) -> String {
    let address = match request.host_address {
        Some(IpAddr::V4(address)) => format!("{address}:"),
        Some(IpAddr::V6(address)) => format!("[{address}]:"),
        None => String::new(),
    };
    let host = match request.host_ports {
        Some(ports) => format!("{ports}:"),
        None if address.is_empty() => String::new(),
        None => ":".to_owned(),
    };
    format!("{address}{host}{}/{}", request.container_ports, request.protocol)
}

#[test]
fn what_is_published() {
    let table = [
        ("80", "80/tcp"),
        ("80/udp", "80/udp"),
        ("80/UDP", "80/udp"),
        ("80/", "80/tcp"),
        ("8080:80", "8080:80/tcp"),
        (":80", "80/tcp"),
        ("0:80", "80/tcp"),
        (":8080:80", "8080:80/tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
        ("127.0.0.1::80", "127.0.0.1::80/tcp"),
        ("127.0.0.1::80-82/udp", "127.0.0.1::80-82/udp"),
        ("[::1]:8080:80", "[::1]:8080:80/tcp"),
        ("[::]::80", "[::]::80/tcp"),
        ("::1:8080:80", "[::1]:8080:80/tcp"),
        ("8000-8001:80-81", "8000-8001:80-81/tcp"),
        ("8000-9000:80", "8000-9000:80/tcp"),
        ("1-65535:1-65535", "1-65535:1-65535/tcp"),
        ("8080-8080:80-80", "8080:80/tcp"),
    ];
    for (text, expected) in table {
        let requests = publish(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(requests.iter().map(shown).collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn what_is_to_be_published_no_more() {
    for (text, shown) in [
        ("8081", "8081/tcp"),
        ("8081/UDP", "8081/udp"),
        ("8081:80", "8081:80/tcp"),
        ("8000-8002:80-82/udp", "8000-8002:80-82/udp"),
        ("8000-8002:80", "8000-8002:80/tcp"),
        ("127.0.0.1:8081", "127.0.0.1:8081/tcp"),
        ("127.0.0.1:8081:80", "127.0.0.1:8081:80/tcp"),
        ("[::1]:8081", "[::1]:8081/tcp"),
        ("0:80", "0:80/tcp"),
        (":80", "0:80/tcp"),
    ] {
        let request = unpublish(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(request.to_string(), shown, "{text}");
        assert_eq!(unpublish(&request.to_string()), Ok(request), "{text} reads back");
    }
    for text in ["", "0", "80:", "x", "8081:80:1", "1-2:80-82", "8081/dccp", "[::1]", "1.2.3:80", "70000"] {
        assert!(unpublish(text).is_err(), "{text}");
    }
}

#[test]
fn what_cannot_be_published_is_refused_in_dockers_words() {
    let table = [
        ("", "no port specified: <empty>"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("/tcp", "no port specified: <empty>"),
        ("70000:80", "invalid hostPort: 70000: a port from 1 to 65535"),
        ("abc:80", "invalid hostPort: abc: "),
        ("+80:80", "invalid hostPort: +80: "),
        ("0-5:80", "invalid hostPort: 0-5: "),
        ("8001-8000:80-81", "invalid hostPort: 8001-8000: "),
        ("80/tcp:80", "invalid proto: tcp:80: "),
        ("8080:abc", "invalid containerPort: abc: "),
        ("8080:0", "invalid containerPort: 0: "),
        ("8080:70000", "invalid containerPort: 70000: "),
        ("8080:80-", "invalid containerPort: 80-: "),
        ("8080:1-2-3", "invalid containerPort: 1-2-3: "),
        ("80:80/xyz", "invalid proto: xyz: it can be tcp, udp or sctp"),
        ("80:80/tcp/udp", "invalid proto: tcp/udp: "),
        ("80:80/dccp", "invalid proto: dccp: it can be tcp, udp or sctp"),
        ("8000-8001:80-82", "invalid ranges specified for container and host Ports: 80-82 and 8000-8001: "),
        ("8000:80-82", "invalid ranges specified for container and host Ports: 80-82 and 8000: "),
        ("1.2.3:80:80", "invalid IP address: 1.2.3: "),
        ("localhost:80:80", "invalid IP address: localhost: "),
        ("[1.2.3.4]:80:80", "invalid IP address: [1.2.3.4]: "),
        ("[::1]:80", "invalid IP address: [::1]: "),
        ("[::1:80:80", "invalid IP address: [::1: "),
        ("[fe80::1%eth0]:80:80", "invalid IP address: [fe80::1%eth0]: "),
        ("[]:80:80", "invalid IP address: []: "),
    ];
    for (text, expected) in table {
        let error = publish(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error:?} does not start with {expected:?}");
    }
}

#[test]
fn exposed_ports_are_listed() {
    assert_eq!(expose("80"), Ok(vec![(80, Protocol::Tcp)]));
    assert_eq!(expose("53-54/udp"), Ok(vec![(53, Protocol::Udp), (54, Protocol::Udp)]));
    assert_eq!(expose("1-65535").unwrap().len(), 65535);
    for text in ["", "8080:80", "82-80", "80/dccp", "x"] {
        assert!(expose(text).is_err(), "{text:?}");
    }
}

#[test]
fn hosts_are_a_name_and_an_address() {
    let table = [
        ("db:10.1.2.3", "db", Some("10.1.2.3")),
        ("db=10.1.2.3", "db", Some("10.1.2.3")),
        ("db.example.org:fd00::3", "db.example.org", Some("fd00::3")),
        ("db:::1", "db", Some("::1")),
        ("db=[fd00::3]", "db", Some("fd00::3")),
        ("db:[fd00::3]", "db", Some("fd00::3")),
        ("me:host-gateway", "me", None),
    ];
    for (text, name, address) in table {
        let expected = (name.to_owned(), address.map(|address| address.parse().unwrap()));
        assert_eq!(add_host(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "db",
        ":10.1.2.3",
        "db:",
        "db:abc",
        "db=[10.1.2.3]",
        "a b:10.1.2.3",
        "a\nb:10.1.2.3",
        "#:10.1.2.3",
        "a..b:10.1.2.3",
        "db:10.1.2.3\n1.1.1.1 x",
    ] {
        assert!(add_host(text).is_err(), "{text:?}");
    }
}

#[test]
fn links_are_a_name_and_an_alias() {
    let table = [("c1", "c1", "c1"), ("c1:db", "c1", "db"), ("/c1:/web/db", "c1", "db"), ("/c1", "c1", "c1")];
    for (text, target, alias) in table {
        assert_eq!(link(text), Ok((target.to_owned(), alias.to_owned())), "{text}");
    }
    for text in ["", ":", "c1:", ":db", "c1:d b", "c1:a:b", "-x:db", "c1:/"] {
        assert!(link(text).is_err(), "{text:?}");
    }
}

#[test]
fn names_are_what_docker_allows() {
    for text in ["a", "0", "web_1.x-y", "A".repeat(128).as_str()] {
        assert_eq!(name(text).as_deref(), Ok(text));
    }
    for text in ["", "_a", "-a", ".a", "a b", "a/b", "é", "a\n", "A".repeat(129).as_str()] {
        assert_eq!(name(text), Err(ParseError::Name(text.to_owned())), "{text:?}");
    }
}

#[test]
fn host_names_can_stand_in_hosts_files() {
    for text in ["a", "db.example.org", "_sip._tcp", "my_db", "x".repeat(63).as_str()] {
        assert!(is_hostname(text) && is_alias(text), "{text:?}");
    }
    for text in ["", ".", "a.", "a..b", "-a", "a b", "a\tb", "a#b", "é", "x".repeat(64).as_str()] {
        assert!(!is_hostname(text) && !is_alias(text), "{text:?}");
    }
    let long = ["x".repeat(60), "y".repeat(60)].join(".");
    assert!(is_alias(&long) && !is_hostname(&long));
    assert_eq!(
        hostname("a b").unwrap_err().to_string(),
        "invalid hostname: \"a b\": letters, digits, '-', '_' and '.' are allowed, up to 64 bytes, with no empty part"
    );
}

/// The kernel takes each of the first, and some of the others.
#[test]
fn interface_names_are_of_plain_characters() {
    for text in ["a", "eth0", "fifteen-bytes-x", "eth0.100", "br-0123456789ab", "_x", "wg+1", "a@b=c"] {
        assert!(is_interface_name(text), "{text:?}");
        assert_eq!(crate::shell::quote(text), text);
    }
    for text in [
        "",
        "sixteen-bytes-xx",
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "a\u{b}b",
        "%d",
        "x%d",
        "a%b",
        "all",
        "default",
        "à",
        "a\u{a0}b",
        "a\u{1}",
        "...",
        "é",
        "-x",
        "a\"b",
        "$(id)",
        "a;id",
        "a'b",
        "`id`",
        "a&b",
    ] {
        assert!(!is_interface_name(text), "{text:?}");
    }
    let error = interface_name("averyveryverylongname").unwrap_err().to_string();
    assert!(error.starts_with("invalid interface name: \"averyveryverylongname\": 1 to 15 bytes"), "{error}");
}

#[test]
fn options_are_pairs() {
    let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
    assert_eq!(label("a=b=c"), pair("a", "b=c"));
    assert_eq!(label("a"), pair("a", ""));
    assert_eq!(option("com.docker.network.driver.mtu=1400"), pair("com.docker.network.driver.mtu", "1400"));
    assert_eq!(driver_option("a="), pair("a", ""));
    for read in [label, option, driver_option] {
        for text in ["", "=b", " =b", "a b=c"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
    let error = driver_option("a").unwrap_err().to_string();
    assert_eq!(error, "invalid key value pair format in driver options: \"a\": key=value is expected");
}

#[test]
fn pools_have_a_base_and_a_size() {
    let expected = AddressPool { base: "10.0.0.0/8".parse().unwrap(), size: 24 };
    assert_eq!(address_pool("base=10.0.0.0/8,size=24"), Ok(expected));
    assert_eq!(address_pool("size=24, Base=10.0.0.0/8"), Ok(expected));
    assert_eq!(address_pool("base=fd00::/48,size=64").map(|pool| pool.size), Ok(64));
    let table = [
        ("", "base=SUBNET,size=PREFIX-LENGTH, each once, is expected, not \"\""),
        ("base=10.0.0.0/8", "base=SUBNET,size=PREFIX-LENGTH is expected"),
        ("base=10.0.0.0/8,size=24,size=25", "base=SUBNET,size=PREFIX-LENGTH, each once"),
        ("base=10.0.0.0/8,length=24", "base=SUBNET,size=PREFIX-LENGTH, each once"),
        ("base=10.0.0.0,size=24", "base \"10.0.0.0\" is not a subnet"),
        ("base=10.0.0.0/8,size=x", "size \"x\" is not a prefix length"),
        ("base=10.0.0.1/8,size=24", "base 10.0.0.1/8 should be 10.0.0.0/8"),
        ("base=10.0.0.0/8,size=7", "size must lie between 8 and 31"),
        ("base=10.0.0.0/8,size=32", "size must lie between 8 and 31"),
        ("base=fd00::/48,size=128", "size must lie between 48 and 127"),
        ("base=224.0.0.0/8,size=24", "224.0.0.0/4 is multicast"),
    ];
    for (text, reason) in table {
        let error = address_pool(text).expect_err(text).to_string();
        let expected = format!("invalid default address pool {text:?}: {reason}");
        assert!(error.starts_with(&expected), "{error:?} does not start with {expected:?}");
    }
}

#[test]
fn addresses_and_name_servers() {
    assert_eq!(ipv4("10.1.2.3"), Ok([10, 1, 2, 3].into()));
    assert!(ipv6("fd00::3").is_ok() && address("fd00::3").is_ok() && dns_server("fd00::3").is_ok());
    assert!(ipv4("fd00::3").is_err() && ipv6("10.1.2.3").is_err());
    assert!(ipv4("abc").unwrap_err().to_string().starts_with("invalid IPv4 address: abc: "));
    for text in ["", "dns.example.org", "0.0.0.0", "::", "224.0.0.251", "10.1.2.3 ", "10.1.2.3:53"] {
        assert!(dns_server(text).is_err(), "{text:?}");
    }
    assert_eq!(mac("02:42:AC:12:00:09").unwrap().to_string(), "02:42:ac:12:00:09");
    assert!(mac("01:00:5e:00:00:01").is_err());
}

#[test]
fn resolver_settings_are_one_word_each() {
    assert_eq!(dns_search("example.org.").as_deref(), Ok("example.org"));
    assert_eq!(dns_search(".").as_deref(), Ok("."));
    assert_eq!(dns_option("ndots:2").as_deref(), Ok("ndots:2"));
    for text in ["", "a b", "a\nnameserver 1.2.3.4", ".."] {
        assert!(dns_search(text).is_err(), "{text:?}");
    }
    for text in ["", "ndots:2 rotate", "a\nnameserver 1.2.3.4", "é"] {
        assert!(dns_option(text).is_err(), "{text:?}");
    }
}

fn ports() -> impl Strategy<Value = PortRange> {
    (1u16.., 0u16..100).prop_map(|(first, more)| PortRange { first, last: first.saturating_add(more) })
}

proptest! {
    #[test]
    fn what_is_published_reads_back(
        host_address in any::<Option<IpAddr>>(),
        host in any::<Option<u16>>(),
        free_choice in any::<bool>(),
        ports in ports(),
        udp in any::<bool>(),
    ) {
        let container_ports = if free_choice { PortRange::single(ports.first) } else { ports };
        let length = u16::try_from(ports.len()).unwrap();
        let host_ports = host.map(|first| {
            let first = first.clamp(1, u16::MAX - length + 1);
            PortRange { first, last: first + (length - 1) }
        });
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let request = PublishRequest { host_address, host_ports, container_ports, protocol };
        prop_assert_eq!(publish(&shown(&request)), Ok(vec![request]));
    }

    #[test]
    fn no_text_does_harm(text in prop_oneof![
        any::<String>(),
        "[\\[\\]:0-9a-f/.%=,-]{0,40}",
        "(base|size|tcp|udp|[0-9]{1,6}|[:/=,.\\[\\]-]|é| ){0,12}",
    ]) {
        // Whatever is read from it is whole; most of it is refused.
        for request in publish(&text).into_iter().flatten() {
            prop_assert_eq!(publish(&shown(&request)), Ok(vec![request]));
        }
        prop_assert!(expose(&text).into_iter().flatten().all(|(port, _)| port != 0));
        if let Ok((name, _)) = add_host(&text) {
            prop_assert!(is_alias(&name));
        }
        if let Ok((target, known_as)) = link(&text) {
            prop_assert!(is_name(&target) && is_alias(&known_as));
        }
        for word in [dns_search(&text), dns_option(&text), hostname(&text), name(&text)].into_iter().flatten() {
            prop_assert_eq!(word.split_whitespace().collect::<Vec<_>>(), [word.as_str()]);
        }
        for (key, _) in [label(&text), option(&text), driver_option(&text)].into_iter().flatten() {
            prop_assert!(!key.is_empty());
        }
        if let Ok(pool) = address_pool(&text) {
            prop_assert!(pool.size >= pool.base.prefix_len());
        }
        prop_assert!(interface_name(&text).is_ok_and(|name| name.len() < 16) || !is_interface_name(&text));
    }
}

#[test]
fn marks_have_a_mask() {
    let mark = |value, mask| Ok(crate::PacketMark { value, mask });
    assert_eq!(packet_mark("1"), mark(1, u32::MAX));
    assert_eq!(packet_mark("2/3"), mark(2, 3));
    assert_eq!(packet_mark("0x10/0xf0"), mark(0x10, 0xf0));
    assert_eq!(packet_mark("0/1"), mark(0, 1));
    for text in ["", "x", "1/", "/1", "4/3", "0/0", "-1", "0x", "4294967296", "1/2/3"] {
        assert_eq!(packet_mark(text), Err(ParseError::Mark(text.to_owned())));
    }
}

#[test]
fn sizes_are_decimal_numbers_of_dockers_units() {
    for (text, bytes) in [
        ("32", 32),
        ("32b", 32),
        ("32 B", 32),
        ("32Kb", 32 << 10),
        ("32 kib", 32 << 10),
        ("32M", 32 << 20),
        ("32MiB", 32 << 20),
        ("1.5g", 3 << 29),
        ("1.5GiB", 3 << 29),
        (".5 TB", 1 << 39),
        ("2.p", 2 << 50),
        ("0.3k", 307),
        ("32.9", 32),
        ("1.00000000000000000000000000000000000009g", 1 << 30),
        ("8191.99P", 9_223_360_777_855_707_381),
    ] {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in
        ["", "b", ".", "-1", "+1", "1.5.g", "1e3", "inf", "1  g", " 1g", "1g ", "5é", "32kk", "32bb", "32kbi"]
    {
        assert_eq!(size(text), None, "{text}");
    }
    for text in ["8192p", "99999999999999999999", "18446744073709551615p"] {
        assert_eq!(size(text), None, "{text}");
    }
}
