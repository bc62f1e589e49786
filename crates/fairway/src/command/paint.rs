//! Colours on a terminal, and lines that fit it.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Colours {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// What may be said of a text by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What begins a part.
    Title,
    /// As a capture shows it.
    Captured,
    /// What changes something.
    Change,
    /// What is there for completeness.
    Faint,
    /// What ends well.
    Good,
    /// What ends badly.
    Bad,
    /// Unknown.
    Unsure,
}

/// How a text is printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    colours: bool,
    /// How many columns there are, if it is a terminal.
    width: Option<usize>,
}

impl Paint {
    /// With colors or without, in lines of any length.
    #[cfg(test)]
    pub(super) fn plain(colours: bool) -> Self {
        Self { colours, width: None }
    }

    /// For the standard output. Colours are by default for terminals of people who have not said otherwise
    /// (no-color.org).
    #[expect(clippy::disallowed_methods, reason = "NO_COLOR and TERM say whether the terminal shows colors")]
    pub(super) fn new(colours: Colours) -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = match colours {
            Colours::Auto => terminal && !refused,
            Colours::Always => true,
            Colours::Never => false,
        };
        let width = terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
        Self { colours, width: width.map(|size| size.ws_col.into()).filter(|columns| *columns > 0) }
    }

    /// A text in its colour (ECMA-48, 8.3.117).
    pub(super) fn dress(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Title => "1",
            Look::Captured => "36",
            Look::Change => "35",
            Look::Faint => "2",
            Look::Good => "32",
            Look::Bad => "31",
            Look::Unsure => "33",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A text behind `indent` columns, in lines that fit the terminal; on anything else it is one line.
    pub(super) fn fit(&self, indent: usize, text: &str) -> Vec<String> {
        /// Narrower columns cannot be read.
        const LEAST: usize = 40;
        match self.width.and_then(|width| width.checked_sub(indent)) {
            Some(width) if width >= LEAST => wrapped(text, width),
            _ => vec![text.to_owned()],
        }
    }
}

/// A text in lines of at most so many characters, but for longer words. Blanks within a line stay as they are.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_inclusive(' ') {
        let letters = word.trim_end().chars().count();
        if length > 0 && length + letters > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
        length += word.chars().count();
    }
    lines.iter().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("in   tcp 10.0.0.1:1 > 10.0.0.2:2", 40), ["in   tcp 10.0.0.1:1 > 10.0.0.2:2"]);
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("a-word-that-is-too-long or two", 8), ["a-word-that-is-too-long", "or two"]);
        let narrow = Paint { colours: false, width: Some(50) };
        assert_eq!(narrow.fit(20, "one two three four five six"), ["one two three four five six"]);
        let text = "word ".repeat(12);
        assert_eq!(narrow.fit(5, &text), ["word ".repeat(9).trim_end(), "word word word"]);
        assert_eq!(Paint { colours: false, width: None }.fit(5, text.trim_end()), [text.trim_end()]);
    }

    #[test]
    fn a_text_has_a_colour_or_none() {
        let of = |colours| Paint { colours, width: None }.dress(Look::Bad, "lost");
        assert_eq!((of(true), of(false)), ("\x1b[31mlost\x1b[0m".to_owned(), "lost".to_owned()));
    }
}
