//! A page of Markdown as blocks of commands and the text between them.

use std::collections::BTreeSet;

/// A page.
pub struct Page {
    parts: Vec<Part>,
}

enum Part {
    Line(String),
    Block(Block),
}

/// A block with the language `console`.
pub struct Block {
    opening: String,
    /// What it runs, in this order.
    pub steps: Vec<Step>,
    /// Whether its opening line says that all numbers vary (`console counts`).
    pub counts: bool,
}

/// A command line and what it prints.
pub struct Step {
    /// The machine: the word before `$`.
    pub prompt: String,
    /// The command, of one line or several.
    pub line: String,
    /// The lines that the page shows below it; `...` stands for any lines.
    pub output: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub fn read(text: &str) -> Page {
        let mut parts = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if !line.starts_with("```console") {
                parts.push(Part::Line(line.to_owned()));
                continue;
            }
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            parts.push(Part::Block(Block::read(line, &body)));
        }
        Page { parts }
    }

    /// The blocks of commands.
    pub fn blocks_mut(&mut self) -> impl Iterator<Item = &mut Block> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Block(block) => Some(block),
            Part::Line(_) => None,
        })
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.parts.iter().flat_map(|part| match part {
            Part::Block(block) => block.steps.as_slice(),
            Part::Line(_) => &[],
        })
    }

    /// The machines that it uses.
    pub fn prompts(&self) -> BTreeSet<String> {
        self.steps().map(|step| step.prompt.clone()).collect()
    }

    /// Whether its first command starts the daemon.
    pub fn starts_daemon(&self) -> bool {
        self.steps().next().is_some_and(|step| step.line.starts_with("fairway daemon"))
    }

    /// The page as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut push = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        for part in &self.parts {
            match part {
                Part::Line(line) => push(line),
                Part::Block(block) => {
                    push(&block.opening);
                    for step in &block.steps {
                        let prompt = format!("{}$ ", step.prompt);
                        push(&format!("{prompt}{}", step.line.replace('\n', "\n> ")));
                        step.output.iter().for_each(|line| push(line));
                    }
                    push("```");
                }
            }
        }
        text
    }
}

impl Block {
    fn read(opening: &str, body: &[&str]) -> Block {
        let mut steps: Vec<Step> = Vec::new();
        for line in body {
            let prompted = line.split_once("$ ").filter(|(prompt, _)| matches!(*prompt, "" | "lan" | "peer"));
            match (prompted, steps.last_mut()) {
                (Some((prompt, line)), _) => {
                    steps.push(Step { prompt: prompt.to_owned(), line: line.to_owned(), output: Vec::new() });
                }
                (None, Some(step)) if line.starts_with("> ") && step.output.is_empty() => {
                    step.line.push('\n');
                    step.line.push_str(&line[2..]);
                }
                (None, Some(step)) => step.output.push((*line).to_owned()),
                (None, None) => panic!("a block begins with a command, not with {line}"),
            }
        }
        Block { opening: opening.to_owned(), steps, counts: opening.contains("counts") }
    }
}
