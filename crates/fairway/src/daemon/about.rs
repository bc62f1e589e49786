//! What `/version` and `/info` say of the daemon and the host.

use std::num::NonZero;

use fairway_api::About;
use fairway_run::cgroup;

/// Describes the daemon and the host.
pub(super) fn about(data_root: String, warnings: Vec<String>) -> About {
    let (uname, memory) = (rustix::system::uname(), rustix::system::sysinfo());
    // Where /etc has none, as os-release(5) says.
    let release = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        operating_system: pretty_name(&release).unwrap_or("Linux").to_owned(),
        processors: std::thread::available_parallelism().map_or(0, NonZero::get),
        memory: memory.totalram.saturating_mul(memory.mem_unit.into()),
        controllers: cgroup::controllers(),
        data_root,
        warnings,
    }
}

/// The name of a distribution for people, from the text of its os-release.
fn pretty_name(release: &str) -> Option<&str> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described() {
        assert_eq!(
            pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(pretty_name("NAME=x"), None);
        let about = about("/var/lib/fairway".to_owned(), Vec::new());
        assert!(about.processors > 0 && about.memory > 1 << 20, "{about:?}");
    }
}
