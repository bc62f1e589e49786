//! The functions of templates.

use std::cmp::Ordering;

use serde_json::Number;

use super::TemplateError;
use super::value::Value;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Equal,
    Greater,
    GreaterOrEqual,
    Index,
    Join,
    Json,
    Len,
    Less,
    LessOrEqual,
    Lower,
    Not,
    NotEqual,
    Or,
    Pad,
    Print,
    Println,
    Split,
    Title,
    Truncate,
    Upper,
}

const FUNCTIONS: [(&str, Function); 21] = [
    ("and", Function::And),
    ("eq", Function::Equal),
    ("ge", Function::GreaterOrEqual),
    ("gt", Function::Greater),
    ("index", Function::Index),
    ("join", Function::Join),
    ("json", Function::Json),
    ("le", Function::LessOrEqual),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("lt", Function::Less),
    ("ne", Function::NotEqual),
    ("not", Function::Not),
    ("or", Function::Or),
    ("pad", Function::Pad),
    ("print", Function::Print),
    ("println", Function::Println),
    ("split", Function::Split),
    ("title", Function::Title),
    ("truncate", Function::Truncate),
    ("upper", Function::Upper),
];

/// The most spaces that `pad` adds on one side.
const WIDEST_PADDING: usize = 1000;

/// A number of characters; 0 for what is none.
fn length(number: &Number) -> usize {
    number.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
}

/// The text with the first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut before = ' ';
    let capital = |letter: char| {
        let former = std::mem::replace(&mut before, letter);
        let begins = !former.is_alphanumeric() && former != '_';
        if begins { letter.to_uppercase().collect() } else { letter.to_string() }
    };
    text.chars().map(capital).collect()
}

/// The values as Go's `print` writes them: with a space between two of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut printed = String::new();
    let mut after_text = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !after_text && !is_text {
            printed.push(' ');
        }
        printed.push_str(&value.to_string());
        after_text = is_text;
    }
    printed
}

/// The order of two numbers: exact for integers, for which floating-point numbers are too coarse.
fn order(first: &Number, second: &Number) -> Option<Ordering> {
    match (first.as_i128(), second.as_i128()) {
        (Some(first), Some(second)) => Some(first.cmp(&second)),
        _ => first.as_f64().partial_cmp(&second.as_f64()),
    }
}

/// All names, for people.
pub(super) fn names() -> String {
    FUNCTIONS.map(|(name, _)| name).join(", ")
}

impl Function {
    /// The function of this name.
    pub(super) fn find(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// What it makes of its arguments.
    pub(super) fn call(self, arguments: Vec<Value>) -> Result<Value, TemplateError> {
        let text = |value: String| Ok(Value::Text(value));
        match (self, arguments.as_slice()) {
            (Self::Json, [value]) => text(value.json()),
            (Self::Len, [value]) => match value {
                Value::Text(text) => Ok(Value::Number(text.len().into())),
                Value::List(items) => Ok(Value::Number(items.len().into())),
                Value::Object(pairs) => Ok(Value::Number(pairs.len().into())),
                Value::Null => Ok(Value::Number(0.into())),
                other => Err(self.fails(format!("{} has no length", other.kind()))),
            },
            (Self::Index, [value, keys @ ..]) => self.index(value, keys),
            (Self::Equal, [first, others @ ..]) if !others.is_empty() => {
                Ok(Value::Bool(others.contains(first)))
            }
            (Self::NotEqual, [first, second]) => Ok(Value::Bool(first != second)),
            (Self::Not, [value]) => Ok(Value::Bool(!value.truth())),
            (Self::And, [.., last]) => {
                Ok(arguments.iter().find(|value| !value.truth()).unwrap_or(last).clone())
            }
            (Self::Or, [.., last]) => {
                Ok(arguments.iter().find(|value| value.truth()).unwrap_or(last).clone())
            }
            (Self::Join, [Value::List(items), Value::Text(separator)]) => {
                text(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator))
            }
            (Self::Split, [Value::Text(whole), Value::Text(separator)]) => Ok(Value::List(
                whole.split(separator.as_str()).map(|it| Value::Text(it.to_owned())).collect(),
            )),
            (Self::Lower, [Value::Text(value)]) => text(value.to_lowercase()),
            (Self::Upper, [Value::Text(value)]) => text(value.to_uppercase()),
            (Self::Title, [Value::Text(value)]) => text(title(value)),
            (Self::Pad, [Value::Text(value), Value::Number(before), Value::Number(after)]) => {
                let spaces = |number| " ".repeat(length(number).min(WIDEST_PADDING));
                // As in Docker, nothing stays nothing.
                text(if value.is_empty() { String::new() } else { spaces(before) + value + &spaces(after) })
            }
            (Self::Truncate, [Value::Text(value), Value::Number(most)]) => {
                text(value.chars().take(length(most)).collect())
            }
            (Self::Less, [first, second]) => self.compare(first, second, Ordering::is_lt),
            (Self::LessOrEqual, [first, second]) => self.compare(first, second, Ordering::is_le),
            (Self::Greater, [first, second]) => self.compare(first, second, Ordering::is_gt),
            (Self::GreaterOrEqual, [first, second]) => self.compare(first, second, Ordering::is_ge),
            (Self::Print, values) => text(print(values)),
            (Self::Println, values) => {
                text(values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n")
            }
            (_, values) => {
                let given = values.iter().map(Value::kind).collect::<Vec<_>>().join(", ");
                let given = if given.is_empty() { "nothing".to_owned() } else { given };
                Err(self.fails(format!("it cannot be given {given}")))
            }
        }
    }

    /// Compares two numbers or two texts.
    fn compare(
        self,
        first: &Value,
        second: &Value,
        is_so: fn(Ordering) -> bool,
    ) -> Result<Value, TemplateError> {
        let order = match (first, second) {
            (Value::Text(first), Value::Text(second)) => Some(first.cmp(second)),
            (Value::Number(first), Value::Number(second)) => order(first, second),
            _ => None,
        };
        let (first, second) = (first.kind(), second.kind());
        let order = order.ok_or_else(|| self.fails(format!("{first} cannot be compared with {second}")))?;
        Ok(Value::Bool(is_so(order)))
    }

    fn index(self, value: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
        let mut found = value;
        for key in keys {
            found = match (found, key) {
                (Value::Object(pairs), Value::Text(name)) => {
                    // As in Go, a map gives nothing for a key that it does not have.
                    pairs.iter().find(|(known, _)| known == name).map_or(&Value::Null, |(_, value)| value)
                }
                (Value::List(items), Value::Number(place)) => place
                    .as_u64()
                    .and_then(|place| usize::try_from(place).ok())
                    .and_then(|place| items.get(place))
                    .ok_or_else(|| self.fails(format!("index out of range: {place} of {}", items.len())))?,
                (other, key) => {
                    return Err(self.fails(format!(
                        "{} cannot be indexed with {}",
                        other.kind(),
                        key.kind()
                    )));
                }
            };
        }
        Ok(found.clone())
    }

    fn fails(self, reason: String) -> TemplateError {
        TemplateError::Call { function: self.name(), reason }
    }
}
