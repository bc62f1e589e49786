//! The options of modules and targets.

use super::line::Word;

/// An option with what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its name, with `--`.
    pub name: String,
    /// Whether `!` stands before it.
    pub inverted: bool,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Options whose argument may be any text, even one like an option: it is only put in quotes when it has to be.
const FREE: [&str; 5] = ["--comment", "--log-prefix", "--nflog-prefix", "--string", "--name"];

impl Given {
    /// The argument of the option of that name, if it is this one and has one argument.
    pub fn one(&self, name: &str) -> Option<&str> {
        match self.arguments.as_slice() {
            [only] if self.name == name => Some(only),
            _ => None,
        }
    }
}

/// Takes the options that come next; what belongs to the rule itself stays.
pub fn take(words: &mut &[Word]) -> Vec<Given> {
    let mut found: Vec<Given> = Vec::new();
    loop {
        let is_own = |word: &Word| !word.quoted && word.text.starts_with("--");
        let (inverted, behind) = match words {
            [not, option, behind @ ..] if !not.quoted && not.text == "!" && is_own(option) => {
                (true, (option, behind))
            }
            [option, behind @ ..] if is_own(option) => (false, (option, behind)),
            _ => return found,
        };
        let (option, mut behind) = behind;
        let mut arguments = Vec::new();
        while let [argument, rest @ ..] = behind {
            let is_free = arguments.is_empty() && FREE.contains(&option.text.as_str());
            if argument.is_option() && !is_free {
                break;
            }
            arguments.push(argument.text.clone());
            behind = rest;
        }
        found.push(Given { name: option.text.clone(), inverted, arguments });
        *words = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables_save::words;

    #[test]
    fn options_end_where_the_rule_goes_on() {
        let words =
            words("--tcp-flags FIN,SYN SYN ! --sport 1:2 --syn -m comment --comment --dport ! -s 1.2.3.4");
        let mut rest = words.as_slice();
        let found = take(&mut rest);
        let names: Vec<(&str, bool, usize)> =
            found.iter().map(|it| (it.name.as_str(), it.inverted, it.arguments.len())).collect();
        assert_eq!(names, [("--tcp-flags", false, 2), ("--sport", true, 1), ("--syn", false, 0)]);
        assert_eq!(rest[0].text, "-m");
        rest = &rest[2..];
        assert_eq!(take(&mut rest)[0].one("--comment"), Some("--dport"));
        assert_eq!(rest[0].text, "!");
    }
}
