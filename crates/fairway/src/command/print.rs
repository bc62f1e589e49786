//! What commands print: lines, warnings, tables.

use std::io::{self, Write};

use clap::Args;

use super::error::CommandError;
use super::template::{Template, Value};

/// The least width of a column, and the space after it: Docker's.
const LEAST: usize = 10;
const GAP: usize = 3;

/// Prints a text to the standard output.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    print_bytes(text.as_bytes())
}

/// Writes a file to the standard output.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CommandError::Print)
}

/// Prints a line to the standard output.
pub(super) fn print_line(text: &str) -> Result<(), CommandError> {
    print(&format!("{text}\n"))
}

/// Prints what the user should know to the standard error.
pub(super) fn warn(text: &str) {
    // That nobody reads it is no reason to fail.
    let _ = writeln!(io::stderr(), "WARNING: {text}");
}

/// Prints a failure that does not end the command to the standard error.
pub(super) fn complain(error: &CommandError) {
    let _ = writeln!(io::stderr(), "{error}");
}

/// Does the same for each name, or what there is of it. Prints the error of each that fails and goes on. Returns
/// the exit code.
pub(super) fn each<T>(
    names: impl IntoIterator<Item = T>,
    mut act: impl FnMut(T) -> Result<(), CommandError>,
) -> Result<i32, CommandError> {
    let mut code = 0;
    for name in names {
        match act(name) {
            Err(error) if error.unheard() => return Err(error),
            Err(error) => {
                complain(&error);
                code = 1;
            }
            Ok(()) => {}
        }
    }
    Ok(code)
}

/// How a list is to be shown.
#[derive(Debug, Clone, Args)]
pub(super) struct ListOptions {
    /// Only show IDs
    #[arg(short, long)]
    quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// A column of a table: the field that it shows, and what stands above it.
pub(super) type Column = (&'static str, &'static str);

impl ListOptions {
    /// The text of a list. The rows are objects; `fields` are all that they have, and `columns`
    /// those that are shown unless the user says otherwise.
    pub(super) fn show(
        &self,
        columns: &[&str],
        fields: &[Column],
        rows: &[Value],
    ) -> Result<String, CommandError> {
        if self.quiet && self.format.is_none() {
            return lines(&Template::parse("{{.ID}}")?, rows);
        }
        let usual = || columns.iter().map(|it| format!("{{{{.{it}}}}}")).collect::<Vec<_>>().join("\t");
        let template = match self.format.as_deref().unwrap_or("table") {
            "json" => return lines(&Template::parse("{{json .}}")?, rows),
            "table" => usual(),
            format => match format.strip_prefix("table ") {
                Some(template) => template.trim_start().to_owned(),
                None => return lines(&Template::parse(format)?, rows),
            },
        };
        let template = Template::parse(&template)?;
        let header = Value::texts(fields.iter().map(|(name, title)| (*name, (*title).to_owned())));
        let mut lines = vec![template.render(&header)?];
        for row in rows {
            lines.push(template.render(row)?);
        }
        Ok(table(&lines.join("\n")))
    }
}

fn lines(template: &Template, rows: &[Value]) -> Result<String, CommandError> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&template.render(row)?);
        text.push('\n');
    }
    Ok(text)
}

/// Aligns cells that tabs end, as Docker does. The last cell of a line is as long as it is.
pub(super) fn table(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].chars().count());
        (cells.max().unwrap_or(0) + GAP).max(LEAST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut aligned = String::new();
    for row in &rows {
        for (place, cell) in row.iter().enumerate() {
            aligned.push_str(cell);
            if place + 1 < row.len() {
                aligned.extend(std::iter::repeat_n(' ', widths[place].saturating_sub(cell.chars().count())));
            }
        }
        aligned.push('\n');
    }
    aligned
}

/// The first twelve digits of an identifier, unless all are wanted.
pub(super) fn identifier(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { id.chars().take(12).collect() }
}

/// Labels in Docker's short form.
pub(super) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_dockers() {
        let text = "NETWORK ID\tNAME\tDRIVER\tSCOPE\nf9c885c7643e\tapp\tbridge\tlocal";
        assert_eq!(
            table(text),
            "NETWORK ID     NAME      DRIVER    SCOPE\nf9c885c7643e   app       bridge    local\n"
        );
    }

    fn show(format: Option<&str>, quiet: bool) -> Result<String, CommandError> {
        let row = Value::texts([("ID", "1".to_owned()), ("Name", "web".to_owned())]);
        let options = ListOptions { quiet, no_trunc: false, format: format.map(str::to_owned) };
        options.show(&["ID", "Name"], &[("ID", "THE ID"), ("Name", "NAME")], &[row])
    }

    #[test]
    fn a_list_is_shown_as_asked() {
        for (format, quiet, expected) in [
            (None, false, "THE ID    NAME\n1         web\n"),
            (Some("table"), false, "THE ID    NAME\n1         web\n"),
            (Some("table {{.Name}}"), false, "NAME\nweb\n"),
            (Some("{{.Name}}/{{.ID}}"), false, "web/1\n"),
            (Some("json"), false, "{\"ID\":\"1\",\"Name\":\"web\"}\n"),
            (None, true, "1\n"),
        ] {
            assert_eq!(show(format, quiet).unwrap(), expected, "{format:?}");
        }
        assert_eq!(
            show(Some("{{.Nmae}}"), false).unwrap_err().to_string(),
            "template: at <.Nmae>: map has no entry for key \"Nmae\": there are ID, Name"
        );
    }
}
