//! What is not about one network or sandbox.

use fairway_core::model::{Backend, SandboxState};

use super::reply::Reply;
use super::{API_VERSION, MINIMUM_API_VERSION, look};
use crate::control::{Control, Failure};
use crate::types::{FirewallBackend, Info, Version};

pub(super) fn ping(head: bool) -> Reply {
    if head { Reply::empty(hyper::StatusCode::OK) } else { Reply::text("OK") }
}

pub(super) fn version(control: &dyn Control) -> Result<Reply, Failure> {
    let about = control.about();
    Reply::json(&Version {
        version: about.version,
        api_version: API_VERSION.to_owned(),
        min_api_version: MINIMUM_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch: about.architecture,
        kernel_version: about.kernel,
    })
}

pub(super) fn info(control: &dyn Control) -> Result<Reply, Failure> {
    let about = control.about();
    let mut info = look(control, |world| {
        let running = world.sandboxes().filter(|sandbox| sandbox.running()).count();
        let stopped = world.sandboxes().filter(|it| matches!(it.state, SandboxState::Exited { .. })).count();
        let driver = match (world.settings().filters(), world.settings().backend) {
            (false, _) => "none",
            (true, Backend::Nftables) => "nftables",
            (true, Backend::Iptables) => "iptables",
        };
        Ok(Info {
            name: world.host().hostname.clone(),
            containers: world.sandboxes().count(),
            containers_running: running,
            containers_stopped: stopped,
            firewall_backend: FirewallBackend { driver: driver.to_owned() },
            ..Info::default()
        })
    })?;
    info.server_version = about.version;
    info.os_type = "linux".to_owned();
    info.architecture = about.architecture;
    info.kernel_version = about.kernel;
    info.docker_root_dir = about.data_root;
    info.warnings = about.warnings;
    Reply::json(&info)
}
