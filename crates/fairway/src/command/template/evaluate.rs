//! What a template says about a value.

use super::TemplateError;
use super::parse::{Base, Call, Node, Operand, Pipeline};
use super::value::Value;

pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { variables: vec![(String::new(), value.clone())], text: String::new() };
    scope.show(nodes, value)?;
    Ok(scope.text)
}

struct Scope {
    variables: Vec<(String, Value)>,
    text: String,
}

impl Scope {
    fn show(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outer = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.text.push_str(text),
                Node::Show(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    self.text.push_str(&value.to_string());
                }
                Node::Assign { variable, value } => {
                    let value = self.pipeline(value, dot)?;
                    self.variables.push((variable.clone(), value));
                }
                Node::If { condition, narrow, then, otherwise } => {
                    let value = self.pipeline(condition, dot)?;
                    let inner = if *narrow { &value } else { dot };
                    match value.truth() {
                        true => self.show(then, inner)?,
                        false => self.show(otherwise, dot)?,
                    }
                }
                Node::Range { variables, over, body, otherwise } => {
                    let entries = entries(self.pipeline(over, dot)?)?;
                    if entries.is_empty() {
                        self.show(otherwise, dot)?;
                    }
                    for (key, value) in entries {
                        let before = self.variables.len();
                        match variables.as_slice() {
                            [] => {}
                            [one] => self.variables.push((one.clone(), value.clone())),
                            [first, second, ..] => {
                                self.variables.push((first.clone(), key));
                                self.variables.push((second.clone(), value.clone()));
                            }
                        }
                        self.show(body, &value)?;
                        self.variables.truncate(before);
                    }
                }
            }
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for call in &pipeline.0 {
            piped = Some(self.call(call, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    fn call(&self, call: &Call, piped: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let mut values = Vec::new();
        for operand in &call.arguments {
            values.push(self.operand(operand, dot)?);
        }
        values.extend(piped);
        match &call.function {
            Some(function) => function.call(values),
            None => Ok(values.pop().unwrap_or(Value::Null)),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let nested;
        let mut value = match &operand.base {
            Base::Dot => dot,
            Base::Literal(value) => value,
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                &found.ok_or_else(|| TemplateError::UndefinedVariable(format!("${name}")))?.1
            }
            Base::Nested(pipeline) => {
                nested = self.pipeline(pipeline, dot)?;
                &nested
            }
        };
        for field in &operand.fields {
            value = value.field(field).ok_or_else(|| no_field(value, field))?;
        }
        Ok(value.clone())
    }
}

fn no_field(value: &Value, field: &str) -> TemplateError {
    match value {
        Value::Object(pairs) => {
            let known = pairs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            TemplateError::NoField(field.to_owned(), known)
        }
        other => TemplateError::NotAnObject { field: field.to_owned(), kind: other.kind() },
    }
}

/// What `range` goes over: keys and values.
fn entries(value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(place, item)| (Value::Number(place.into()), item))
            .collect()),
        Value::Object(pairs) => Ok(pairs.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()),
        other => Err(TemplateError::Call {
            function: "range",
            reason: format!("cannot go over {}: a list or a map is expected", other.kind()),
        }),
    }
}
