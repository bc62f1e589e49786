//! Reading templates.

use std::slice::Iter;

use super::TemplateError;
use super::function::Function;
use super::value::Value;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Show(Pipeline),
    Assign {
        variable: String,
        value: Pipeline,
    },
    /// `if`, or `with` when `narrow`.
    If {
        condition: Pipeline,
        narrow: bool,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        variables: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Calls, each of which gets the result of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline(pub(super) Vec<Call>);

/// A function with its arguments, or one operand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) function: Option<Function>,
    pub(super) arguments: Vec<Operand>,
}

/// Something with a value, and the fields that are taken of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    /// `$` is the variable with the empty name.
    Variable(String),
    Literal(Value),
    Nested(Pipeline),
}

/// What is between two braces each side, or outside of them.
enum Piece {
    Text(String),
    Action(String),
}

/// Reads a template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = split(text)?;
    let mut rest = pieces.iter();
    let (nodes, end) = block(&mut rest)?;
    match end {
        Ending::Text => Ok(nodes),
        Ending::End => Err(unexpected("end", "end")),
        Ending::Else(action) => Err(unexpected("else", &action)),
    }
}

fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    loop {
        let (before, after) = rest.split_once("{{").unwrap_or((rest, ""));
        let before_action = rest.len() > before.len();
        let trim_end = before_action && after.starts_with("- ");
        let mut shown = if trim { before.trim_start() } else { before };
        if trim_end {
            shown = shown.trim_end();
        }
        if !shown.is_empty() {
            pieces.push(Piece::Text(shown.to_owned()));
        }
        if !before_action {
            return Ok(pieces);
        }
        let length = action_length(after).ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
        let mut action = &after[..length];
        rest = &after[length + 2..];
        trim = action.ends_with(" -");
        action = action.strip_prefix("- ").unwrap_or(action);
        action = action.strip_suffix(" -").unwrap_or(action).trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action.to_owned()));
        }
    }
}

/// How long an action is up to its closing braces, which may also be in a quoted text.
fn action_length(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match quote {
            Some(open) => {
                if escaped {
                    escaped = false;
                } else if character == '\\' && open == '"' {
                    escaped = true;
                } else if character == open {
                    quote = None;
                }
            }
            None if character == '"' || character == '`' => quote = Some(character),
            None if text[place..].starts_with("}}") => return Some(place),
            None => {}
        }
    }
    None
}

/// How a block ended.
enum Ending {
    Text,
    End,
    /// With the whole action: `else`, or `else if .A`.
    Else(String),
}

fn block(rest: &mut Iter<'_, Piece>) -> Result<(Vec<Node>, Ending), TemplateError> {
    let mut nodes = Vec::new();
    while let Some(piece) = rest.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, arguments) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
        match word {
            "end" if arguments.is_empty() => return Ok((nodes, Ending::End)),
            "else" => return Ok((nodes, Ending::Else(action.clone()))),
            "if" => nodes.push(condition(arguments, false, rest)?),
            "with" => nodes.push(condition(arguments, true, rest)?),
            "range" => {
                let mut words = Words::read(arguments)?;
                let variables = words.declared();
                let over = words.whole()?;
                let (body, otherwise) = branches("range", rest)?;
                nodes.push(Node::Range { variables, over, body, otherwise });
            }
            _ => {
                let mut words = Words::read(action)?;
                let mut variables = words.declared();
                let value = words.whole()?;
                nodes.push(match variables.pop() {
                    Some(variable) => Node::Assign { variable, value },
                    None => Node::Show(value),
                });
            }
        }
    }
    Ok((nodes, Ending::Text))
}

fn condition(text: &str, narrow: bool, rest: &mut Iter<'_, Piece>) -> Result<Node, TemplateError> {
    let condition = Words::read(text)?.whole()?;
    let (then, otherwise) = branches(if narrow { "with" } else { "if" }, rest)?;
    Ok(Node::If { condition, narrow, then, otherwise })
}

/// The two branches of a block, up to its `end`.
fn branches(word: &'static str, rest: &mut Iter<'_, Piece>) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
    let (then, ending) = block(rest)?;
    let action = match ending {
        Ending::End => return Ok((then, Vec::new())),
        Ending::Text => return Err(TemplateError::NoEnd(word)),
        Ending::Else(action) => action,
    };
    let after = action["else".len()..].trim_start();
    if let Some(text) = after.strip_prefix("if ") {
        // Its `end` is ours, too.
        let condition = Words::read(text)?.whole()?;
        let (second, otherwise) = branches(word, rest)?;
        return Ok((then, vec![Node::If { condition, narrow: false, then: second, otherwise }]));
    }
    if !after.is_empty() {
        return Err(unexpected(after, &action));
    }
    match block(rest)? {
        (otherwise, Ending::End) => Ok((then, otherwise)),
        (_, Ending::Else(action)) => Err(unexpected("else", &action)),
        (_, Ending::Text) => Err(TemplateError::NoEnd(word)),
    }
}

fn unexpected(found: &str, action: &str) -> TemplateError {
    TemplateError::Unexpected { found: format!("{found:?}"), action: action.to_owned() }
}

/// A word of an action. White space counts only between a field and what is before it.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    Name(String),
    Variable(String),
    /// `.Name`, or `.` alone as the empty name; `true` when it follows the word before at once.
    Field(String, bool),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Comma,
    Assign,
}

struct Words<'a> {
    action: &'a str,
    words: Vec<Word>,
    place: usize,
}

impl<'a> Words<'a> {
    fn read(action: &'a str) -> Result<Self, TemplateError> {
        let mut words = Vec::new();
        let mut rest = action;
        while let Some(first) = rest.chars().next() {
            let attached = rest.len() < action.len()
                && !action[..action.len() - rest.len()].ends_with(char::is_whitespace);
            let named =
                |text: &str| text.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(text.len());
            let (word, length) = match first {
                _ if first.is_whitespace() => {
                    rest = rest.trim_start();
                    continue;
                }
                '.' => {
                    let length = named(&rest[1..]);
                    (Word::Field(rest[1..=length].to_owned(), attached), length + 1)
                }
                '$' => {
                    let length = named(&rest[1..]);
                    (Word::Variable(rest[1..=length].to_owned()), length + 1)
                }
                '(' => (Word::Open, 1),
                ')' => (Word::Close, 1),
                '|' => (Word::Pipe, 1),
                ',' => (Word::Comma, 1),
                ':' if rest.starts_with(":=") => (Word::Assign, 2),
                '=' => (Word::Assign, 1),
                '"' => {
                    let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                    match texts.next() {
                        Some(Ok(text)) => (Word::Literal(Value::Text(text)), texts.byte_offset()),
                        _ => return Err(unexpected(rest, action)),
                    }
                }
                '`' => {
                    let (text, _) = rest[1..].split_once('`').ok_or_else(|| unexpected(rest, action))?;
                    (Word::Literal(Value::Text(text.to_owned())), text.len() + 2)
                }
                '-' | '0'..='9' => {
                    let length = 1 + named(&rest[1..]);
                    let number = rest[..length].parse().map_err(|_| unexpected(&rest[..length], action))?;
                    (Word::Literal(Value::Number(number)), length)
                }
                _ if first.is_alphabetic() || first == '_' => {
                    let length = named(rest);
                    let word = match &rest[..length] {
                        "true" => Word::Literal(Value::Bool(true)),
                        "false" => Word::Literal(Value::Bool(false)),
                        "nil" => Word::Literal(Value::Null),
                        name => Word::Name(name.to_owned()),
                    };
                    (word, length)
                }
                _ => return Err(unexpected(&first.to_string(), action)),
            };
            words.push(word);
            rest = &rest[length..];
        }
        Ok(Self { action, words, place: 0 })
    }

    fn peek(&self) -> Option<&Word> {
        self.words.get(self.place)
    }

    /// Variables that are assigned to: `$a :=` and `$a, $b :=`.
    fn declared(&mut self) -> Vec<String> {
        let names = match self.words.as_slice() {
            [Word::Variable(a), Word::Assign, ..] => vec![a.clone()],
            [Word::Variable(a), Word::Comma, Word::Variable(b), Word::Assign, ..] => {
                vec![a.clone(), b.clone()]
            }
            _ => return Vec::new(),
        };
        self.place = names.len() * 2;
        names
    }

    /// A pipeline that takes all words.
    fn whole(mut self) -> Result<Pipeline, TemplateError> {
        let pipeline = self.pipeline()?;
        match self.peek() {
            None => Ok(pipeline),
            Some(word) => Err(unexpected(&format!("{word:?}"), self.action)),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let mut calls = vec![self.call()?];
        while self.peek() == Some(&Word::Pipe) {
            self.place += 1;
            calls.push(self.call()?);
        }
        // Only a function can take what comes from the left.
        if calls.iter().skip(1).any(|call| call.function.is_none()) {
            return Err(unexpected("|", self.action));
        }
        Ok(Pipeline(calls))
    }

    fn call(&mut self) -> Result<Call, TemplateError> {
        let function = match self.peek() {
            Some(Word::Name(name)) => {
                let known =
                    Function::find(name).ok_or_else(|| TemplateError::UnknownFunction(name.clone()))?;
                self.place += 1;
                Some(known)
            }
            _ => None,
        };
        let mut arguments = Vec::new();
        while let Some(operand) = self.operand()? {
            arguments.push(operand);
        }
        match (function, arguments.len()) {
            (Some(_), _) | (None, 1) => Ok(Call { function, arguments }),
            (None, 0) => Err(unexpected("end of action", self.action)),
            (None, _) => Err(unexpected("second operand", self.action)),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let mut fields = Vec::new();
        let base = match self.peek().cloned() {
            Some(Word::Field(name, _)) => {
                fields.extend((!name.is_empty()).then_some(name));
                Base::Dot
            }
            Some(Word::Variable(name)) => Base::Variable(name),
            Some(Word::Literal(value)) => Base::Literal(value),
            Some(Word::Open) => {
                self.place += 1;
                let pipeline = self.pipeline()?;
                if self.peek() != Some(&Word::Close) {
                    return Err(unexpected("end of action, without )", self.action));
                }
                Base::Nested(pipeline)
            }
            // A function without arguments would be one; none of ours is.
            Some(Word::Name(name)) => return Err(unexpected(&name, self.action)),
            _ => return Ok(None),
        };
        self.place += 1;
        while let Some(Word::Field(name, true)) = self.peek() {
            fields.push(name.clone());
            self.place += 1;
        }
        Ok(Some(Operand { base, fields }))
    }
}
