//! The words of a line.

/// A word; what is in quotes is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// It, without quotes.
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

/// The words of a line.
pub fn split(line: &str) -> Vec<Word> {
    let empty = || Word { text: String::new(), quoted: false };
    let (mut words, mut word, mut within, mut escaped) = (Vec::new(), empty(), false, false);
    for letter in line.chars() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_are_one_word_and_no_option() {
        let words = split(r#"FORWARD -m comment --comment "-j \"DROP\' " -j  ACCEPT"#);
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let expected = ["FORWARD", "-m", "comment", "--comment", "-j \"DROP' ", "-j", "ACCEPT"];
        assert_eq!(texts, expected);
        let options: Vec<bool> = words.iter().map(Word::is_option).collect();
        assert_eq!(options, [false, true, false, true, false, true, false]);
    }
}
