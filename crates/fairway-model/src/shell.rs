//! Shell commands for users to copy.

use std::borrow::Cow;
use std::fmt::Display;

/// Quotes a word for a POSIX shell.
pub fn quote(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The `sysctl -w` command for a path below `/proc/sys`. A path with a dot, as of interface `eth0.1`, keeps its slashes,
/// which sysctl(8) accepts.
pub fn set_sysctl(path: &str, value: impl Display) -> String {
    let name = if path.contains('.') { path.to_owned() } else { path.replace('/', ".") };
    format!("sysctl -w {}", quote(&format!("{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::{quote, set_sysctl};

    #[test]
    fn words_are_quoted_for_a_shell() {
        for plain in ["eth0", "net.ipv4.ip_forward=1", "/run/netns/a-b", "fd00::1/64", "[::1]:80"] {
            assert_eq!(quote(plain).trim_matches('\''), plain);
        }
        assert_eq!(quote("10.0.0.1:80"), "10.0.0.1:80");
        for (word, quoted) in
            [("", "''"), ("$(id)", "'$(id)'"), ("a;id", "'a;id'"), ("a b", "'a b'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn sysctls_of_interfaces_with_dots_are_written_with_slashes() {
        assert_eq!(set_sysctl("net/ipv4/ip_forward", 1), "sysctl -w net.ipv4.ip_forward=1");
        let loose = set_sysctl("net/ipv4/conf/eth0.1/rp_filter", 2);
        assert_eq!(loose, "sysctl -w net/ipv4/conf/eth0.1/rp_filter=2");
        let odd = set_sysctl("net/ipv4/conf/$(id)/rp_filter", 2);
        assert_eq!(odd, "sysctl -w 'net.ipv4.conf.$(id).rp_filter=2'");
    }

    #[test]
    fn a_shell_reads_quoted_words_back() {
        for word in ["$(id)", "a b\tc\nd", "'", "''\\'", "*", "~", "!x", "`id`", "a\"b", "é"] {
            let printed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), word);
        }
    }
}
