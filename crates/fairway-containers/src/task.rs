//! The directories of containerd's running tasks: one for each container that has a process.

use crate::reader::Reader;

/// Where containerd keeps its tasks: its own state directory, that of Docker's containerd where Docker runs its own, and
/// those of k3s and MicroK8s.
pub(crate) const DIRECTORIES: [&str; 4] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
    "/run/k3s/containerd/io.containerd.runtime.v2.task",
    "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
];

/// The first process of a container, if it runs.
pub(crate) fn pid(reader: &mut Reader<'_>, namespace: &str, id: &str) -> Option<u32> {
    DIRECTORIES
        .iter()
        .find_map(|directory| reader.pid_file(&format!("{directory}/{namespace}/{id}/init.pid")))
}
