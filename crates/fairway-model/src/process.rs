//! How the command of a sandbox runs: as which user, within which limits, and what happens when it ends.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::parse::{ParseError, size};

/// The least `--memory`, as in Docker.
pub const LEAST_MEMORY: u64 = 6 << 20;
/// The prefix of the sysctls that a sandbox has a value of its own of, in its network namespace.
const NETWORK_SYSCTLS: &str = "net.";

/// The options of the command of a sandbox. The engine stores them; only the restart policy is its own affair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessOptions {
    /// `--entrypoint`: how many of the first words of the command it is; shown only.
    pub entrypoint: usize,
    /// `--user`: `USER[:GROUP]`, by name or number; empty means root.
    pub user: String,
    /// `--group-add`: further groups, by name or number.
    pub groups: Vec<String>,
    /// `--init`: whether the first process is one of Fairway's, which reaps orphans and passes signals on.
    pub init: bool,
    /// `--interactive`: whether a detached command has an input that clients can attach to; without one its input is
    /// empty.
    pub open_stdin: bool,
    /// The first size of the terminal in rows and columns, that of the client's; 0 is unknown.
    pub console_size: [u16; 2],
    /// Whether the input ends with the first client that ends its own.
    pub stdin_once: bool,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--stop-signal`, by name or number; empty means SIGTERM.
    pub stop_signal: String,
    /// `--stop-timeout` in seconds; negative means forever, none 10 seconds.
    pub stop_timeout: Option<i64>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--memory`, `--cpus` and `--pids-limit`.
    pub limits: ResourceLimits,
}

/// The limits of what the processes of a sandbox use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceLimits {
    /// `--memory`, in bytes.
    pub memory: Option<u64>,
    /// `--cpus`, in thousand-millionths of a processor.
    pub nano_cpus: Option<u64>,
    /// `--pids-limit`: the number of processes and threads.
    pub pids: Option<u64>,
}

/// What happens when the command of a sandbox ends, or the daemon starts (`--restart`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if its exit code was not 0.
    OnFailure {
        /// How often, one time after the other; none means without limit.
        most: Option<u32>,
    },
    /// It is started again, also with the daemon.
    Always,
    /// It is started again, with the daemon unless a user stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Parses `--restart`, such as `on-failure:3`.
    ///
    /// # Errors
    /// [`ParseError::Restart`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let refused = |reason: &str| ParseError::Restart { text: text.to_owned(), reason: reason.to_owned() };
        let (name, most) = match text.split_once(':') {
            Some((name, count)) => {
                let count = count.parse().map_err(|_| match count.parse::<i64>() {
                    Ok(..0) => refused("maximum retry count cannot be negative"),
                    _ => refused("maximum retry count must be an integer"),
                })?;
                (name, Some(count))
            }
            None => (text, None),
        };
        Self::named(name, most).ok_or_else(|| match most {
            Some(_) => refused("maximum retry count can only be used with 'on-failure'"),
            None => refused("use one of 'no', 'always', 'on-failure[:COUNT]', or 'unless-stopped'"),
        })
    }

    /// The policy of this name, with a number of retries; 0 is no limit. None if there is no such policy, or it takes
    /// no number.
    pub fn named(name: &str, most: Option<u32>) -> Option<Self> {
        let most = most.filter(|most| *most > 0);
        match (name, most) {
            ("" | "no", None) => Some(Self::No),
            ("always", None) => Some(Self::Always),
            ("unless-stopped", None) => Some(Self::UnlessStopped),
            ("on-failure", most) => Some(Self::OnFailure { most }),
            _ => None,
        }
    }

    /// Docker's name of the policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Whether it starts a sandbox again whose command ended with this code, after so many restarts.
    pub fn restarts_after(self, code: i32, restarts: u32, stopped_by_user: bool) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { most } => {
                !stopped_by_user && code != 0 && most.is_none_or(|most| restarts < most)
            }
            Self::Always | Self::UnlessStopped => !stopped_by_user,
        }
    }

    /// Whether it starts a sandbox with the daemon, whose command had ended with this code. As in Docker, `always` then
    /// starts also what a user stopped.
    pub fn starts_with_daemon(self, code: i32, restarts: u32, stopped_by_user: bool) -> bool {
        self == Self::Always || self.restarts_after(code, restarts, stopped_by_user)
    }

    /// The highest number of retries; 0 without limit.
    pub fn most(self) -> u32 {
        match self {
            Self::OnFailure { most } => most.unwrap_or_default(),
            _ => 0,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most() {
            0 => f.write_str(self.name()),
            most => write!(f, "{}:{most}", self.name()),
        }
    }
}

/// Parses `--memory`, such as `512m` or `1.5g`.
///
/// # Errors
/// [`ParseError::Limit`].
pub fn memory(text: &str) -> Result<u64, ParseError> {
    let refused = |reason| ParseError::Limit { what: "--memory", text: text.to_owned(), reason };
    let bytes = size(text).ok_or_else(|| refused("a size such as 512m or 1.5g is expected"))?;
    check_memory(bytes).then_some(bytes).ok_or_else(|| refused(TOO_LITTLE_MEMORY))
}

/// What Docker says of less than [`LEAST_MEMORY`].
pub const TOO_LITTLE_MEMORY: &str = "Minimum memory limit allowed is 6MB";

/// Whether a limit of memory is high enough; 0 is none.
pub fn check_memory(bytes: u64) -> bool {
    bytes == 0 || bytes >= LEAST_MEMORY
}

/// Parses `--cpus`, such as `1.5`, to thousand-millionths.
///
/// # Errors
/// [`ParseError::Limit`].
pub fn cpus(text: &str) -> Result<u64, ParseError> {
    let refused = || ParseError::Limit {
        what: "--cpus",
        text: text.to_owned(),
        reason: "a number of processors such as 1.5 is expected, of at most nine decimal places",
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 9 || !digits(whole) || !digits(fraction) || (whole.len() + fraction.len() == 0) {
        return Err(refused());
    }
    format!("{whole}{fraction:0<9}").parse().map_err(|_| refused())
}

/// Parses `--sysctl`, such as `net.ipv4.tcp_syncookies=0`.
///
/// # Errors
/// [`ParseError::Sysctl`].
pub fn sysctl(text: &str) -> Result<(String, String), ParseError> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    check_sysctl(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Checks a sysctl of a sandbox.
///
/// # Errors
/// [`ParseError::Sysctl`]: it is no sysctl of network namespaces, or no value is given.
pub fn check_sysctl(name: &str, value: &str) -> Result<(), ParseError> {
    let is_part = |part: &str| {
        !part.is_empty() && part != ".." && part.bytes().all(|it| it.is_ascii_graphic() && it != b'/')
    };
    let known = name.strip_prefix(NETWORK_SYSCTLS).is_some_and(|rest| rest.split('.').all(is_part));
    match (known, value.is_empty()) {
        (true, false) => Ok(()),
        (true, true) => Err(ParseError::Sysctl { text: name.to_owned(), reason: "NAME=VALUE is expected" }),
        (false, _) => Err(ParseError::Sysctl {
            text: name.to_owned(),
            reason: "only sysctls of network namespaces (net.*) can be set for one container",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(RestartPolicy::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RestartPolicy::parse("").unwrap(), RestartPolicy::No);
        assert_eq!(RestartPolicy::parse("on-failure:0").unwrap().to_string(), "on-failure");
        for (text, reason) in [
            ("sometimes", "use one of"),
            ("always:3", "can only be used with 'on-failure'"),
            ("on-failure:x", "must be an integer"),
            ("on-failure:-1", "cannot be negative"),
        ] {
            let error = RestartPolicy::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid restart policy: {text}: ")), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn policies_start_what_ended() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let twice = OnFailure { most: Some(2) };
        let cases = [
            (No, 1, 0, false, false, false),
            (Always, 0, 9, false, true, true),
            (Always, 0, 9, true, false, true),
            (UnlessStopped, 0, 9, false, true, true),
            (UnlessStopped, 0, 9, true, false, false),
            (OnFailure { most: None }, 0, 0, false, false, false),
            (OnFailure { most: None }, 1, 9, false, true, true),
            (twice, 1, 1, false, true, true),
            (twice, 1, 2, false, false, false),
            (twice, 1, 0, true, false, false),
        ];
        for (policy, code, restarts, stopped, again, with_daemon) in cases {
            let found = (
                policy.restarts_after(code, restarts, stopped),
                policy.starts_with_daemon(code, restarts, stopped),
            );
            assert_eq!(found, (again, with_daemon), "{policy} {code} {restarts} {stopped}");
        }
    }

    #[test]
    fn limits_are_numbers() {
        assert_eq!((memory("6m").unwrap(), memory("1.5g").unwrap()), (6 << 20, 3 << 29));
        assert!(memory("5m").unwrap_err().to_string().ends_with(TOO_LITTLE_MEMORY));
        assert!(memory("much").is_err());
        for (text, nano) in [("1", 1_000_000_000), ("1.5", 1_500_000_000), (".25", 250_000_000), ("0", 0)] {
            assert_eq!(cpus(text).unwrap(), nano, "{text}");
        }
        for text in ["", ".", "-1", "1e3", "1.0000000001", "99999999999999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sysctls_are_of_network_namespaces() {
        let parsed = sysctl("net.ipv4.ip_local_port_range=1024 65535").unwrap();
        assert_eq!(parsed, ("net.ipv4.ip_local_port_range".to_owned(), "1024 65535".to_owned()));
        for text in ["kernel.panic=1", "net.x", "net.x=", "net.=1", "net.a/b=1", "net.a....b=1", "netx.a=1"] {
            assert!(sysctl(text).is_err(), "{text}");
        }
    }
}
