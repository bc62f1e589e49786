//! What a sandbox's command finds in its environment: nothing of the caller's but what was asked.

/// Docker's search path on Linux.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of a command: `PATH`, `HOSTNAME`, `HOME`, `TERM` where there is a terminal, and
/// then what the user asked for, each `NAME=VALUE`, which replaces what was there. An entry
/// without `=` takes the name away, as in Docker.
pub fn environment(
    hostname: &str,
    home: &str,
    terminal: Option<&str>,
    asked: &[String],
) -> Vec<(String, String)> {
    let mut variables =
        vec![("PATH".to_owned(), PATH.to_owned()), ("HOSTNAME".to_owned(), hostname.to_owned())];
    if let Some(terminal) = terminal {
        variables.push(("TERM".to_owned(), terminal.to_owned()));
    }
    variables.push(("HOME".to_owned(), home.to_owned()));
    for entry in asked {
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (entry.as_str(), None),
        };
        let place = variables.iter().position(|(known, _)| known == name);
        match (place, value) {
            (Some(place), Some(value)) => value.clone_into(&mut variables[place].1),
            (Some(place), None) => drop(variables.remove(place)),
            (None, Some(value)) => variables.push((name.to_owned(), value.to_owned())),
            (None, None) => {}
        }
    }
    variables
}

/// The home directory of a user in the text of a passwd(5) file; `/` for a user that is not in it.
pub fn home(passwd: &str, user: u32) -> String {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).is_some_and(|id| id.parse() == Ok(user)))
        .and_then(|fields| fields.get(5).map(|home| (*home).to_owned()))
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_replaces_adds_and_takes_away() {
        let asked = ["HOME=/srv", "MODE=a=b", "TERM", "EMPTY=", "MODE=c"].map(str::to_owned);
        let found = environment("web", "/root", Some("xterm"), &asked);
        let shown: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOSTNAME=web",
                "HOME=/srv",
                "MODE=c",
                "EMPTY="
            ]
        );
    }

    #[test]
    fn the_home_is_that_of_the_user_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:::/bin/sh\nten:x:10:0::/ten:\n";
        assert_eq!(home(passwd, 0), "/root");
        assert_eq!(home(passwd, 10), "/ten");
        assert_eq!(home(passwd, 1), "/");
        assert_eq!(home(passwd, 7), "/");
    }
}
