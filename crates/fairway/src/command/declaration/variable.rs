//! References to variables in the values of a declaration: which of them are blank because their variable is not set.
//!
//! The YAML library replaces the references, and does not say which it found no value for.

use std::collections::HashMap;

use serde_json::Value;

/// The names of the variables that a text refers to without a default and that are not set, each once, in the order of
/// the text.
pub(in crate::command) fn unset(text: &str, variables: &HashMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    // Without the variables, values are as they are written. A text that is no YAML is refused by `read`.
    if let Ok(value) = serde_saphyr::from_str::<Value>(text) {
        in_value(&value, variables, &mut names);
    }
    names
}

/// Adds the names of a value and those within it; keys refer to no variables, as in Compose.
fn in_value(value: &Value, variables: &HashMap<String, String>, names: &mut Vec<String>) {
    match value {
        Value::String(text) => in_text(text, variables, names),
        Value::Array(items) => items.iter().for_each(|item| in_value(item, variables, names)),
        Value::Object(pairs) => pairs.values().for_each(|value| in_value(value, variables, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn in_text(text: &str, variables: &HashMap<String, String>, names: &mut Vec<String>) {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            rest = after; // A dollar sign.
            continue;
        }
        let braced = rest.strip_prefix('{');
        let (name, after) = name(braced.unwrap_or(rest));
        if name.is_empty() {
            continue;
        }
        rest = after;
        let value = variables.get(name).map(String::as_str);
        match braced.and_then(|_| is_replaced(after, value)) {
            // What replaces the value may refer to further variables.
            Some(true) => {}
            Some(false) => rest = &after[end_of_reference(after)..],
            None if value.is_none() && !names.iter().any(|known| known == name) => {
                names.push(name.to_owned())
            }
            None => {}
        }
    }
}

/// The name at the beginning of a text, and what follows it.
fn name(text: &str) -> (&str, &str) {
    let is_part =
        |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    let end = text.char_indices().find(|found| !is_part(*found)).map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// Whether the text behind an operator (`:-`, `-`, `:+`, `+`) is taken in place of the variable's value; none without
/// an operator. An error (`:?`, `?`) ends the reading.
fn is_replaced(after_name: &str, value: Option<&str>) -> Option<bool> {
    let (empty_is_unset, operator) = match after_name.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, after_name),
    };
    let is_set = value.is_some_and(|value| !(empty_is_unset && value.is_empty()));
    match operator.chars().next()? {
        '-' => Some(!is_set),
        '+' => Some(is_set),
        '?' => Some(false),
        _ => None,
    }
}

/// Where the reference ends in the text behind its name.
fn end_of_reference(after_name: &str) -> usize {
    let mut open = 1_u32;
    for (at, c) in after_name.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 1 => return at,
            '}' => open -= 1,
            _ => {}
        }
    }
    after_name.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unset_in(text: &str) -> String {
        let variables = [("SET", "a"), ("EMPTY", "")];
        unset(text, &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).join(" ")
    }

    #[test]
    fn blank_references_are_those_without_value_and_default() {
        for (text, names) in [
            ("name: ${UNSET}", "UNSET"),
            ("a: $UNSET.x\nb: ['x${OTHER}y', $UNSET]", "UNSET OTHER"),
            ("a: $SET ${SET} $EMPTY ${EMPTY}", ""),
            ("a: ${UNSET:-x} ${UNSET-} ${UNSET:+x} ${UNSET+x}", ""),
            ("a: $$UNSET $${UNSET} $ $1 ${1} ${", ""),
            ("# $UNSET\n$UNSET: 1", ""),
            // Only what is taken is replaced.
            ("a: ${UNSET:-$OTHER}", "OTHER"),
            ("a: ${EMPTY:-${OTHER:-$THIRD}} $FOURTH", "THIRD FOURTH"),
            ("a: ${SET:-${OTHER:-$THIRD}} $FOURTH", "FOURTH"),
            ("a: ${EMPTY-$OTHER}", ""),
            ("a: ${SET:+$OTHER}${EMPTY:+$THIRD}${EMPTY+$FOURTH}", "OTHER FOURTH"),
            ("a: ${SET?$OTHER} ${SET:?{}} $THIRD", "THIRD"),
            ("a: [", ""),
        ] {
            assert_eq!(unset_in(text), names, "{text}");
        }
    }
}
