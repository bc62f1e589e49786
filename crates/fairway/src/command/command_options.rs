//! Options about the command of a sandbox as a whole: its user, its limits, how it is stopped and started again.

use clap::Args;
use fairway_api::types::{ContainerCreate, RestartPolicy as AskedRestart};
use fairway_model::process::{cpus, memory, sysctl};
use fairway_model::{ResourceLimits, RestartPolicy};

/// How the command of a new sandbox runs.
#[derive(Debug, Clone, Args)]
pub(super) struct CommandOptions {
    /// Add additional groups to join; may be repeated
    #[arg(long, value_name = "GROUP", help_heading = "Process")]
    group_add: Vec<String>,
    /// Run an init inside the sandbox that forwards signals and reaps processes
    #[arg(long, help_heading = "Process")]
    init: bool,
    /// Sysctl of the sandbox's network namespace (net.core.somaxconn=1024); may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl, help_heading = "Process")]
    sysctl: Vec<(String, String)>,
    /// Signal to stop the sandbox [default: SIGTERM]
    #[arg(long, value_name = "SIGNAL", help_heading = "Process")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop the sandbox, -1 for none [default: 10]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = "Process")]
    stop_timeout: Option<i64>,
    #[command(flatten)]
    limits: LimitOptions,
}

/// The limits and the restart policy of a sandbox.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LimitOptions {
    /// Memory limit (512m)
    #[arg(short, long, value_name = "BYTES", value_parser = memory, help_heading = "Limits")]
    memory: Option<u64>,
    /// Number of CPUs (1.5)
    #[arg(long, value_name = "NUMBER", value_parser = cpus, help_heading = "Limits")]
    cpus: Option<u64>,
    /// Limit of processes and threads, -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pids_limit: Option<i64>,
    /// Restart policy when the command exits: no, on-failure[:COUNT], always or unless-stopped [default: no]
    #[arg(long, value_name = "POLICY", value_parser = RestartPolicy::parse, help_heading = "Limits")]
    restart: Option<RestartPolicy>,
}

impl CommandOptions {
    /// Adds them to a request.
    pub(super) fn add_to(self, request: &mut ContainerCreate) {
        let LimitOptions { memory, cpus, pids_limit, restart } = self.limits;
        request.stop_signal = self.stop_signal.unwrap_or_default();
        request.stop_timeout = self.stop_timeout;
        let host = &mut request.host_config;
        host.group_add = self.group_add;
        host.init = self.init.then_some(true);
        host.sysctls = self.sysctl.into_iter().collect();
        host.memory = signed(memory);
        host.nano_cpus = signed(cpus);
        host.pids_limit = pids_limit;
        host.restart_policy = restart.map(asked).unwrap_or_default();
    }
}

impl LimitOptions {
    /// The body of a request that changes what is given.
    pub(super) fn update(self) -> fairway_api::types::ContainerUpdate {
        fairway_api::types::ContainerUpdate {
            memory: signed(self.memory),
            nano_cpus: signed(self.cpus),
            pids_limit: self.pids_limit,
            restart_policy: self.restart.map(asked).unwrap_or_default(),
        }
    }

    /// Whether nothing is given.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_none() && self.cpus.is_none() && self.pids_limit.is_none() && self.restart.is_none()
    }
}

/// A limit as a request has it: 0 if it is not given.
fn signed(limit: Option<u64>) -> i64 {
    limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn asked(restart: RestartPolicy) -> AskedRestart {
    AskedRestart { name: restart.name().to_owned(), maximum_retry_count: restart.most().into() }
}

/// The limits of a sandbox that the daemon knows.
pub(super) fn limits_of(host: &fairway_api::types::HostConfig) -> ResourceLimits {
    fairway_api::decode::limits(host.memory, host.nano_cpus, host.pids_limit)
}
