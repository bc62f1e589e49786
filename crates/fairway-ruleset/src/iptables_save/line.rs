//! The lines that `iptables-save` prints, and their words.

use crate::Count;

/// A line that `iptables-save` prints. Comments and `COMMIT` are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// `*filter`: a table, to which the following lines belong.
    Table(&'a str),
    /// `:INPUT ACCEPT [0:0]`: a chain.
    Chain {
        /// Its name.
        name: &'a str,
        /// Its policy; `-` for a chain that is not built in.
        policy: &'a str,
    },
    /// `[7:420] -A INPUT -i lo -j ACCEPT`: a rule.
    Rule {
        /// What matched, where `--counters` printed it.
        count: Option<Count>,
        /// The chain.
        chain: &'a str,
        /// The rule itself, without its chain.
        text: &'a str,
    },
}

/// Reads one line; none if it is neither a table, nor a chain, nor a rule.
fn line(text: &str) -> Option<Line<'_>> {
    if let Some(name) = text.strip_prefix('*') {
        return Some(Line::Table(name.trim()));
    }
    if let Some(chain) = text.strip_prefix(':') {
        let mut words = chain.split_whitespace();
        return Some(Line::Chain { name: words.next()?, policy: words.next()? });
    }
    let counted = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let (count, text) = counted.map_or((None, text), |(count, rest)| (count.split_once(':'), rest));
    let count = count.map(|(packets, bytes)| Count {
        packets: packets.parse().unwrap_or_default(),
        bytes: bytes.parse().unwrap_or_default(),
    });
    let rule = text.strip_prefix("-A ")?.trim_end();
    let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
    Some(Line::Rule { count, chain, text })
}

/// The tables, chains and rules of what `iptables-save` printed, in order.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(line)
}

/// A word of a rule; what is in quotes is one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word without quotes.
    pub text: String,
    /// Whether any of it was in quotes.
    pub quoted: bool,
}

impl Word {
    /// Whether it begins an option of a module or target, or of the rule itself.
    pub fn is_option(&self) -> bool {
        !self.quoted && (self.text == "!" || self.text.len() > 1 && self.text.starts_with('-'))
    }
}

/// The words of a rule.
pub fn words(rule: &str) -> Vec<Word> {
    let empty = || Word { text: String::new(), quoted: false };
    let (mut words, mut word, mut within, mut escaped) = (Vec::new(), empty(), false, false);
    for letter in rule.chars() {
        match letter {
            letter if escaped => {
                word.text.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                within = !within;
                word.quoted = true;
            }
            ' ' if !within => words.push(std::mem::replace(&mut word, empty())),
            letter => word.text.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| word.quoted || !word.text.is_empty());
    words
}

/// Whether a rule jumps or goes to a chain whose name `matches`.
pub fn leads_to(rule: &str, matches: impl Fn(&str) -> bool) -> bool {
    let leads = |pair: &[Word]| match pair {
        [option, chain] => {
            option.is_option() && matches!(option.text.as_str(), "-j" | "-g") && matches(&chain.text)
        }
        _ => false,
    };
    words(rule).windows(2).any(leads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_are_one_word_and_no_option() {
        let words = words(r#"-m comment --comment "-j \"DROP\' " -j  ACCEPT"#);
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["-m", "comment", "--comment", "-j \"DROP' ", "-j", "ACCEPT"]);
        let options: Vec<bool> = words.iter().map(Word::is_option).collect();
        assert_eq!(options, [true, false, true, false, true, false]);
    }

    #[test]
    fn a_comment_leads_to_no_chain() {
        let leads = |rule| leads_to(rule, |chain| chain == "X");
        assert!(leads("-i eth0 -j X"));
        assert!(leads("-g X"));
        assert!(!leads("-m comment --comment \"-j X\" -j Y"));
    }

    #[test]
    fn lines_are_tables_chains_and_rules() {
        let text = "# Generated\n*nat\n:OUTPUT ACCEPT [0:0]\n:X -\n[7:420] -A OUTPUT -o lo -j X \n-A X -j RETURN\n-A X\nCOMMIT\n";
        let found: Vec<Line<'_>> = lines(text).collect();
        let count = Some(Count { packets: 7, bytes: 420 });
        let expected = [
            Line::Table("nat"),
            Line::Chain { name: "OUTPUT", policy: "ACCEPT" },
            Line::Chain { name: "X", policy: "-" },
            Line::Rule { count, chain: "OUTPUT", text: "-o lo -j X" },
            Line::Rule { count: None, chain: "X", text: "-j RETURN" },
            Line::Rule { count: None, chain: "X", text: "" },
        ];
        assert_eq!(found, expected);
    }
}
