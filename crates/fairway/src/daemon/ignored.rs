//! dockerd's flags and keys that are about containers, images or swarms: accepted, so that a command line or a file
//! of Docker's can be used as it is, and are reported to have no effect.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value.
    Value,
}
use Takes::{Switch, Value};

/// A flag of dockerd's: its name, its letter, the key of the file if that is another, and what follows it.
type Flag = (&'static str, Option<char>, Option<&'static str>, Takes);

/// What `dockerd --help` lists (20.10 to 29) and Fairway has no use for.
const FLAGS: [Flag; 47] = [
    ("add-runtime", None, Some("runtimes"), Value),
    ("allow-nondistributable-artifacts", None, None, Value),
    ("api-cors-header", None, None, Value),
    ("authorization-plugin", None, Some("authorization-plugins"), Value),
    ("cdi-spec-dir", None, Some("cdi-spec-dirs"), Value),
    ("cgroup-parent", None, None, Value),
    ("containerd", None, None, Value),
    ("containerd-namespace", None, None, Value),
    ("containerd-plugins-namespace", None, Some("containerd-plugin-namespace"), Value),
    ("cpu-rt-period", None, None, Value),
    ("cpu-rt-runtime", None, None, Value),
    ("cri-containerd", None, None, Switch),
    ("default-cgroupns-mode", None, None, Value),
    ("default-ipc-mode", None, None, Value),
    ("default-runtime", None, None, Value),
    ("default-shm-size", None, None, Value),
    ("default-ulimit", None, Some("default-ulimits"), Value),
    ("exec-opt", None, Some("exec-opts"), Value),
    ("experimental", None, None, Switch),
    ("feature", None, Some("features"), Value),
    ("http-proxy", None, None, Value),
    ("https-proxy", None, None, Value),
    ("init", None, None, Switch),
    ("init-path", None, None, Value),
    ("insecure-registry", None, Some("insecure-registries"), Value),
    ("label", None, Some("labels"), Value),
    ("live-restore", None, None, Switch),
    ("log-driver", None, None, Value),
    ("max-concurrent-downloads", None, None, Value),
    ("max-concurrent-uploads", None, None, Value),
    ("max-download-attempts", None, None, Value),
    ("network-control-plane-mtu", None, None, Value),
    ("no-new-privileges", None, None, Switch),
    ("no-proxy", None, None, Value),
    ("node-generic-resource", None, Some("node-generic-resources"), Value),
    ("oom-score-adjust", None, None, Value),
    ("raw-logs", None, None, Switch),
    ("registry-mirror", None, Some("registry-mirrors"), Value),
    ("rootless", None, None, Switch),
    ("seccomp-profile", None, None, Value),
    ("selinux-enabled", None, None, Switch),
    ("shutdown-timeout", None, None, Value),
    ("storage-driver", Some('s'), None, Value),
    ("storage-opt", None, Some("storage-opts"), Value),
    ("swarm-default-advertise-addr", None, None, Value),
    ("userland-proxy-path", None, None, Value),
    ("userns-remap", None, None, Value),
];

/// Keys of the file that have no flag, or whose flag is not the daemon's own.
const KEYS: [&str; 2] = ["builder", "proxies"];

/// Whether a key of the file means nothing here.
pub fn is_key(name: &str) -> bool {
    FLAGS.iter().any(|(flag, _, key, _)| key.unwrap_or(flag) == name) || KEYS.contains(&name)
}

/// Those of the flags that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored(Vec<&'static str>);

impl Ignored {
    /// Says of each that it means nothing.
    pub fn warn(&self) {
        for flag in &self.0 {
            tracing::warn!(flag, "ignored a flag of dockerd without effect in Fairway");
        }
    }
}

impl FromArgMatches for Ignored {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Self(FLAGS.iter().map(|flag| flag.0).filter(|name| given(name)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Ignored {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, (name, letter, _, takes)| {
            let flag = Arg::new(*name).long(*name).hide(true).action(ArgAction::Append);
            let flag = match takes {
                Switch => {
                    let flag = flag.num_args(0..=1).require_equals(true).default_missing_value("true");
                    flag.value_parser(clap::value_parser!(bool))
                }
                Value => flag.num_args(1),
            };
            command.arg(letter.iter().fold(flag, |flag, letter| flag.short(*letter)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
        let command = Ignored::augment_args(Command::new("daemon").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
        Ok(Ignored::from_arg_matches(&matches).map_err(|error| error.to_string())?.0)
    }

    #[test]
    fn flags_are_accepted_as_dockerd_takes_them() {
        let line = ["--live-restore", "--log-driver", "local", "-s", "overlay2"];
        assert_eq!(given(&line), Ok(vec!["live-restore", "log-driver", "storage-driver"]));
        assert_eq!(given(&["--live-restore=false", "--exec-opt=a=b"]), Ok(vec!["exec-opt", "live-restore"]));
        assert_eq!(given(&[]), Ok(Vec::new()));
        assert!(given(&["--live-restore=often"]).unwrap_err().contains("often"));
    }

    #[test]
    fn keys_are_those_of_the_file() {
        for name in ["storage-opts", "exec-opts", "registry-mirrors", "live-restore", "runtimes", "features"]
        {
            assert!(is_key(name), "{name}");
        }
        assert!(!is_key("bip") && !is_key("storage-opt"));
    }
}
