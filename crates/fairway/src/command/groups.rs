//! The help of the program: its commands in groups, as `docker --help` has them.

use clap::Command;

/// The headings with their commands, in the order in which they are printed. Each command has one place.
pub(super) const GROUPS: [(&str, &[&str]); 6] = [
    ("Common Commands", &["run", "exec", "ps", "logs", "publish", "explain", "doctor"]),
    ("Networking Commands", &["attach", "detach", "port", "unpublish", "apply", "export"]),
    ("Diagnosis Commands", &["trace", "graph", "plan", "ui", "events"]),
    (
        "Sandbox Commands",
        &["start", "stop", "restart", "kill", "rm", "rename", "update", "wait", "top", "inspect"],
    ),
    ("Management Commands", &["network", "sandbox", "system", "daemon", "store", "install", "uninstall"]),
    ("Other Commands", &["demo", "version", "info", "completion"]),
];

/// The command line with its help in groups; clap has no headings for commands.
pub(super) fn grouped(command: Command) -> Command {
    let width = command.get_subcommands().map(|it| it.get_name().len()).max().unwrap_or_default();
    let line = |name: &&str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        format!("  {name:width$}  {}\n", about.map(ToString::to_string).unwrap_or_default())
    };
    let groups = GROUPS
        .map(|(heading, names)| format!("{heading}:\n{}\n", names.iter().map(line).collect::<String>()));
    command.help_template(format!(
        "{{about-with-newline}}\nUsage: {{usage}}\n\n{}Options:\n{{options}}\n\n\
         Run 'fairway COMMAND --help' for more information on a command.\n",
        groups.concat()
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::command::Arguments;

    #[test]
    fn each_command_is_in_one_group() {
        let command = Arguments::command();
        let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
        let known: Vec<&str> = shown.map(Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        assert_eq!(grouped.iter().collect::<BTreeSet<_>>(), known.iter().collect::<BTreeSet<_>>());
        assert_eq!(grouped.len(), known.len(), "a command is in two groups");
    }

    #[test]
    fn a_command_fits_a_line() {
        for command in Arguments::command().get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            assert!(about.chars().count() <= 82, "{}: {about}", command.get_name());
        }
    }
}
