//! What a page shows against what was printed, apart from what differs from run to run.

/// Whether the lines of a page are those that were printed; a line `...` stands for any number of lines.
pub fn agrees(shown: &[String], printed: &str, counts: bool) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| constant(line, counts)).collect();
    let printed: Vec<String> = printed.trim_end().lines().map(|line| constant(line, counts)).collect();
    lines_agree(&shown, &printed)
}

fn lines_agree(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=printed.len()).any(|skipped| lines_agree(rest, &printed[skipped..]))
        }
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, others)| first == line && lines_agree(rest, others))
        }
    }
}

/// A line without what differs from run to run: identifiers, times, source ports, handles, MAC and drawn IPv6
/// addresses, the width of columns; with `counts` also without numbers.
fn constant(line: &str, counts: bool) -> String {
    let line = line.replace("Less than a second", "1 second").replace("seconds", "second");
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let counted = words.last().is_some_and(|last| last.ends_with("handle") || last.ends_with("process"));
        let number = word.trim_matches(|c: char| !c.is_ascii_digit());
        let is_time = word.len() > 19 && word.as_bytes()[10] == b'T' && word.starts_with("20");
        words.push(match word {
            _ if is_time => "TIME".to_owned(),
            _ if counted && !number.is_empty() => word.replace(number, "N"),
            _ => constant_word(word, counts),
        });
    }
    // "1 second ago" and "12 second ago".
    for at in 1..words.len() {
        if words[at] == "second" {
            "N".clone_into(&mut words[at - 1]);
        }
    }
    words.join(" ")
}

fn constant_word(word: &str, counts: bool) -> String {
    let mut result = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(rest.len());
        let Some(piece) = rest.get(..length.max(first.len_utf8())) else { break };
        rest = &rest[piece.len()..];
        // The index of a veth pair's other end (eth0@if5), and a process (/proc/55).
        let varies = piece.starts_with("if") && result.ends_with('@') || result.ends_with("/proc/");
        result.push_str(&if varies { "N".to_owned() } else { constant_piece(piece, counts) });
    }
    result
}

/// Letters, digits and colons.
fn constant_piece(piece: &str, counts: bool) -> String {
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let groups: Vec<&str> = piece.split(':').collect();
    let is_address = piece.contains("::") && groups.iter().all(|group| is_hex(group));
    if groups.len() == 6 && groups.iter().all(|group| group.len() == 2 && is_hex(group)) {
        return "MAC".to_owned();
    }
    if is_address && (groups[0] == "fe80" || groups[0].starts_with("fd") && groups[1].len() > 2) {
        return "ADDRESS".to_owned();
    }
    let constant = groups.iter().map(|group| match group.strip_prefix("fw").unwrap_or(group) {
        id if is_hex(id) && matches!(id.len(), 12 | 64) => "ID".to_owned(),
        digits if digits.len() > 4 && digits.chars().all(|c| c.is_ascii_digit()) => "N".to_owned(),
        digits if counts && !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) => {
            "N".to_owned()
        }
        _ => (*group).to_owned(),
    });
    constant.collect::<Vec<_>>().join(":")
}

#[test]
fn what_differs_from_run_to_run_agrees() {
    let same = [
        ("Up 3 seconds   0.0.0.0:8080->80/tcp", "Up Less than a second  0.0.0.0:8080->80/tcp"),
        ("br-4903bffc5888 fw52ec7de349d9", "br-956871d72ea5 fw51c1324888a9"),
        ("inet fairway: drop (handle 66).", "inet fairway: drop (handle 7)."),
        ("tcp 10.10.50.1:44654 > 10.10.50.99:8080", "tcp 10.10.50.1:52268 > 10.10.50.99:8080"),
        ("\"fd76:27cb:2772::1\"", "\"fd01:1234:9::1\""),
    ];
    for (shown, printed) in same {
        assert!(agrees(&[shown.to_owned()], printed, false), "{shown}\n{printed}");
    }
    let others = [("0.0.0.0:8080", "0.0.0.0:8081"), ("172.18.0.2", "172.18.0.3"), ("fd50::1", "fd50::2")];
    for (shown, printed) in others {
        assert!(!agrees(&[shown.to_owned()], printed, false), "{shown}\n{printed}");
    }
    let lines = ["a", "...", "c"].map(str::to_owned);
    assert!(agrees(&lines, "a\nb\nb\nc", false) && !agrees(&lines, "a\nb", false));
}
