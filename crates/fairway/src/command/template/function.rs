//! The functions of templates.

use super::TemplateError;
use super::value::Value;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Equal,
    Index,
    Join,
    Json,
    Len,
    Lower,
    Not,
    NotEqual,
    Or,
    Println,
    Split,
    Upper,
}

const FUNCTIONS: [(&str, Function); 13] = [
    ("and", Function::And),
    ("eq", Function::Equal),
    ("index", Function::Index),
    ("join", Function::Join),
    ("json", Function::Json),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("ne", Function::NotEqual),
    ("not", Function::Not),
    ("or", Function::Or),
    ("println", Function::Println),
    ("split", Function::Split),
    ("upper", Function::Upper),
];

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
