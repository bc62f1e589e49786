//! Requests to `/version` and `/info`.

use fairway_model::{Backend, LOG_DRIVER};

use super::reply::Reply;
use super::{API_VERSION, MINIMUM_API_VERSION, look};
use crate::encode;
use crate::engine_api::{EngineApi, Failure};
use crate::types::{Component, FirewallBackend, Info, Platform, Version};

/// The network drivers.
const DRIVERS: [&str; 7] = ["bridge", "host", "lan", "macvlan", "null", "ptp", "routed"];

pub(super) fn ping(head: bool) -> Reply {
    Reply::ping(if head { "" } else { "OK" })
}

pub(super) fn version(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    let about = engine.about();
    let mut version = Version {
        platform: Platform { name: "Fairway".to_owned() },
        version: about.version,
        api_version: API_VERSION.to_owned(),
        min_api_version: MINIMUM_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch: go_architecture(&about.architecture).to_owned(),
        kernel_version: about.kernel,
        components: Vec::new(),
    };
    let details = [
        ("ApiVersion", &version.api_version),
        ("Arch", &version.arch),
        ("KernelVersion", &version.kernel_version),
        ("MinAPIVersion", &version.min_api_version),
        ("Os", &version.os),
    ];
    version.components.push(Component {
        name: "Engine".to_owned(),
        version: version.version.clone(),
        details: details.map(|(name, value)| (name.to_owned(), value.clone())).into(),
    });
    Reply::json(&version)
}

/// Go's name of a machine name of uname(2).
pub(super) fn go_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv5tel" | "armv6l" | "armv7l" | "armv8l" => "arm",
        "i386" | "i486" | "i586" | "i686" => "386",
        "loongarch64" => "loong64",
        other => other,
    }
}

pub(super) fn info(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    let about = engine.about();
    let mut info = look(engine, |world| {
        let running = world.sandboxes().filter(|sandbox| sandbox.running()).count();
        let driver = match (world.settings().has_firewall(), world.settings().backend) {
            (false, _) => "none",
            (true, Backend::Nftables) => "nftables",
            (true, Backend::Iptables) => "iptables",
        };
        Ok(Info {
            // The network `none` exists from the start, and its id is unique to the World.
            id: world.find_network("none").map(|network| network.id.to_string()).unwrap_or_default(),
            name: world.host().hostname.clone(),
            containers: world.sandboxes().count(),
            containers_running: running,
            // As in Docker, those that never ran too.
            containers_stopped: world.sandboxes().count() - running,
            firewall_backend: FirewallBackend { driver: driver.to_owned() },
            default_network_options: world.settings().network_options.clone(),
            ..Info::default()
        })
    })?;
    let can_limit = |controller: &str| about.controllers.iter().any(|known| known == controller);
    info.memory_limit = can_limit("memory");
    info.cpu_cfs_period = can_limit("cpu");
    info.cpu_cfs_quota = can_limit("cpu");
    info.pids_limit = can_limit("pids");
    info.logging_driver = LOG_DRIVER.to_owned();
    info.plugins.log = vec![LOG_DRIVER.to_owned()];
    info.server_version = about.version;
    info.os_type = "linux".to_owned();
    info.architecture = about.architecture;
    info.kernel_version = about.kernel;
    info.docker_root_dir = about.data_root;
    info.warnings = about.warnings;
    info.operating_system = about.operating_system;
    info.ncpu = about.processors;
    info.mem_total = about.memory;
    info.system_time = encode::rfc3339(Some(engine.now()));
    // The host's root file system.
    info.images = 1;
    info.live_restore_enabled = true;
    info.swarm.local_node_state = "inactive".to_owned();
    info.plugins.network = DRIVERS.map(str::to_owned).to_vec();
    Reply::json(&info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_gos() {
        for (machine, expected) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm"),
            ("i686", "386"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(go_architecture(machine), expected);
        }
    }
}
