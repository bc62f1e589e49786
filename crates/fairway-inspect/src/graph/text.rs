//! Text styles, and estimates of text widths for the usual fonts.

/// The style of a text, by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    /// The title of the picture.
    Title,
    /// The name of a network or of the host.
    Heading,
    /// The name of a sandbox or an interface.
    Name,
    /// A short remark.
    Note,
    /// An option of a network, in a frame.
    Mark,
    /// Addresses and names of interfaces.
    Address,
    /// A published port.
    Port,
    /// A step of a walk.
    Step,
    /// The result of a walk.
    Sentence,
    /// The result of a walk that is answered.
    Answered,
    /// The result of a walk that is not answered.
    Failed,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 11] = [
        Self::Title,
        Self::Heading,
        Self::Name,
        Self::Note,
        Self::Mark,
        Self::Address,
        Self::Port,
        Self::Step,
        Self::Sentence,
        Self::Answered,
        Self::Failed,
    ];

    /// The size of its font in pixels.
    pub const fn size(self) -> i32 {
        match self {
            Self::Title => 17,
            Self::Heading => 14,
            Self::Name | Self::Sentence | Self::Answered | Self::Failed => 12,
            Self::Note | Self::Address | Self::Port | Self::Step => 11,
            Self::Mark => 10,
        }
    }

    /// Whether all its letters have one width.
    pub const fn monospaced(self) -> bool {
        matches!(self, Self::Address | Self::Port | Self::Step)
    }

    /// Whether it is bold.
    pub const fn bold(self) -> bool {
        !self.monospaced() && !matches!(self, Self::Note | Self::Mark)
    }

    /// From one line of it to the next, in pixels.
    pub const fn line(self) -> i32 {
        self.size() + 5
    }

    /// How far letters reach above the baseline, in pixels.
    pub const fn ascent(self) -> i32 {
        self.size()
    }

    /// How far letters reach below the baseline, in pixels.
    pub const fn descent(self) -> i32 {
        self.size() / 4 + 1
    }
}

/// The width of a letter in thousandths of the font's size: that of DejaVu Sans, the widest of the fonts that
/// `system-ui` and `sans-serif` stand for.
const fn advance(letter: char) -> i32 {
    match letter {
        'i' | 'j' | 'l' | '\'' | '|' => 285,
        'I' | ' ' | '.' | ',' => 325,
        'f' | 't' | ':' | ';' | '/' | '-' | '!' | '\\' => 395,
        'r' | '(' | ')' | '[' | ']' => 420,
        's' | 'z' | '_' | '"' | '?' => 535,
        'c' | 'k' | 'v' | 'x' | 'y' => 600,
        'a' | 'b' | 'd' | 'e' | 'g' | 'h' | 'n' | 'o' | 'p' | 'q' | 'u' | '0'..='9' => 640,
        'E' | 'F' | 'J' | 'L' | 'S' | 'T' | 'Z' | 'P' => 640,
        'w' | '→' | '·' | '*' | '+' | '=' | '<' | '>' => 840,
        'm' | 'M' | 'W' | '@' | '%' | '…' => 1005,
        letter if letter.is_ascii() => 790,
        _ => 1050,
    }
}

/// What a bold letter has more.
const BOLD: i32 = 80;
/// The width of the widest usual monospaced font.
const MONOSPACED: i32 = 620;

/// The width of a text in pixels, rather too much than too little.
pub fn width(style: Style, text: &str) -> i32 {
    let letter = |letter: char| match style.monospaced() {
        // Arrows and dots come from another font where this one lacks them.
        true if letter.is_ascii() || letter == '…' => MONOSPACED,
        true => 1000,
        false => advance(letter) + if style.bold() { BOLD } else { 0 },
    };
    let thousandths: i32 = text.chars().map(letter).sum();
    (thousandths * style.size() + 999) / 1000
}

/// The text, or as much of its beginning and its end as fits into `space` pixels; its names often differ at the end.
pub fn fit(style: Style, text: &str, space: i32) -> String {
    if width(style, text) <= space {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let mut kept = letters.len();
    while kept > 1 {
        kept -= 1;
        let (first, last) = (kept - kept / 2, kept / 2);
        let shorter: String =
            letters[..first].iter().chain(&['…']).chain(&letters[letters.len() - last..]).collect();
        if width(style, &shorter) <= space {
            return shorter;
        }
    }
    "…".to_owned()
}

/// The text in lines of at most `space` pixels, broken between words where there are any.
pub fn wrap(style: Style, text: &str, space: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let word = fit(style, word, space);
        match lines.last_mut() {
            Some(line) if width(style, line) + width(style, " ") + width(style, &word) <= space => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_in_the_middle() {
        let name = "payments-postgres-replica-07";
        let cut = fit(Style::Name, name, 100);
        assert!(cut.starts_with("paym") && cut.ends_with("-07") && cut.contains('…'), "{cut}");
        assert!(width(Style::Name, &cut) <= 100);
        assert_eq!(fit(Style::Name, "web", 100), "web");
        assert_eq!(fit(Style::Name, "web", 1), "…");
    }

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        let text = "dropped on host by inet fairway network-in: \"port not published\"";
        let lines = wrap(Style::Step, text, 200);
        assert!(lines.len() > 2);
        assert!(lines.iter().all(|line| width(Style::Step, line) <= 200));
        assert_eq!(lines.join(" "), text);
    }
}
