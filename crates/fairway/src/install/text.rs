//! What the files say. Sources: systemd.network(5), systemd.link(5), systemd.service(5),
//! systemd.exec(5), NetworkManager.conf(5).

use std::path::Path;

use fairway_core::world::{BRIDGE_PREFIX, DEFAULT_BRIDGE};
use fairway_model::{HANDED_OVER_PREFIX, HOST_INTERFACE_DIGITS, HOST_INTERFACE_PREFIX};

/// The first line of each file of ours.
pub const MARK: &str = "# Made by fairway install";

const NETWORK_MANAGER: &str = "/etc/NetworkManager/conf.d/fairway.conf";
const NETWORK: &str = "/etc/systemd/network/05-fairway.network";
const LINK: &str = "/etc/systemd/network/05-fairway.link";
const UNIT: &str = "/etc/systemd/system/fairway.service";

const SOCKET_UNIT: &str = "/etc/systemd/system/fairway.socket";

/// Where the files are, in the order in which they are written and reported.
pub const PATHS: [&str; 5] = [NETWORK_MANAGER, NETWORK, LINK, UNIT, SOCKET_UNIT];

/// A file that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its absolute path.
    pub path: &'static str,
    /// All of it.
    pub text: String,
}

/// The files for a daemon that is started as this program; none if a unit cannot name it without
/// quoting (systemd.service(5), "Command lines").
#[must_use]
pub fn files(program: &Path) -> Option<Vec<File>> {
    let program = program.to_str().filter(|path| path.starts_with('/') && path.bytes().all(is_plain))?;
    let file = |path| {
        let body = match path {
            NETWORK_MANAGER => network_manager(),
            NETWORK => network(),
            LINK => link(),
            SOCKET_UNIT => SOCKET.to_owned(),
            _ => unit(program),
        };
        File { path, text: format!("{MARK}\n{body}") }
    };
    Some(PATHS.into_iter().map(file).collect())
}

/// Whether a byte of a path needs no quoting.
pub(super) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte)
}

/// Globs for the names of our links: the default bridge, bridges of networks, and the host's ends
/// of pairs and stand-ins, and ends that dockerd moves into containers. Digits are `?`: of globs NetworkManager knows that and `*` alone, and
/// udev ignores a glob that is itself longer than a name may be, 15 bytes, as `[0-9a-f]` twelve
/// times is.
fn names() -> [String; 4] {
    let digits = "?".repeat(HOST_INTERFACE_DIGITS);
    [
        DEFAULT_BRIDGE.to_owned(),
        format!("{BRIDGE_PREFIX}{digits}"),
        format!("{HOST_INTERFACE_PREFIX}{digits}"),
        format!("{HANDED_OVER_PREFIX}{digits}"),
    ]
}

/// A section of its own, not `[keyfile] unmanaged-devices`: of that one there is only one value, so
/// a file that sets it takes it from all files before, and loses it to each one after.
fn network_manager() -> String {
    let devices = names().map(|name| format!("interface-name:{name}")).join(";");
    format!(
        "\
# NetworkManager leaves the links of Fairway alone.

[device-fairway]
match-device={devices}
managed=0
"
    )
}

fn network() -> String {
    format!(
        "\
# systemd-networkd leaves the links of Fairway alone, whatever later files match.

[Match]
Name={}

[Link]
Unmanaged=yes
",
        names().join(" ")
    )
}

/// The file of ours is the first that matches, and thus the only one: names and hardware addresses
/// stay those that the links are made with, and no alternative names are added. With that nothing
/// is left for a udev rule.
fn link() -> String {
    format!(
        "\
# udev leaves names and hardware addresses of the links of Fairway as they are.

[Match]
OriginalName={}

[Link]
NamePolicy=keep
MACAddressPolicy=none
",
        names().join(" ")
    )
}

/// The daemon takes the socket over; without this unit it makes one.
const SOCKET: &str = "\
# Starts the daemon with the first request, and keeps requests that come between two daemons. Not needed for a daemon
# that starts with the system: systemctl enable fairway. The group has to exist: groupadd --system fairway.

[Unit]
Description=Socket of Fairway, container networking
# An on-demand daemon has the socket.
ConditionPathExists=!/run/fairway/on-demand

[Socket]
ListenStream=/run/fairway/api.sock
Symlinks=/run/fairway.sock
SocketMode=0660
SocketGroup=fairway
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
";

fn unit(program: &str) -> String {
    format!(
        "\
# Settings of the daemon belong into /etc/fairway/daemon.json, changes of this unit into
# a file below fairway.service.d (systemctl edit fairway).

[Unit]
Description=Fairway, container networking
# Those that load a whole firewall when they start go first.
After=network-pre.target firewalld.service nftables.service ufw.service iptables.service

[Service]
Type=notify
ExecStart={program} daemon
# Waits for the result, and fails with the reason. Flags of ExecStart that name a file or socket belong here too.
ExecReload={program} daemon --reload
TimeoutStartSec=0
Restart=always
RestartSec=2
# The daemon reports each third of that time that it has answered a request. Without a report it is started again.
WatchdogSec=60
# The relay carries connections on, and sandboxes run on, while there is no daemon.
KillMode=process
# One descriptor for each published port and family, in the daemon and in the relay.
LimitNOFILE=262144
TasksMax=infinity
# No option that gives a service mounts of its own (Private*=, most of Protect*=): the daemon mounts
# namespaces below /run/netns, where others shall see them, and writes settings of the kernel.
# What is started by Docker's API inherits what follows. So no option that takes from programs what Docker leaves them
# (NoNewPrivileges=, RestrictSUIDSGID=, MemoryDenyWriteExecute=, UMask=, the system calls of @debug and @resources).
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
ProtectClock=yes
RestrictNamespaces=~user cgroup
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID
CapabilityBoundingSet=CAP_KILL CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID
CapabilityBoundingSet=CAP_SETPCAP CAP_SETUID CAP_SYS_ADMIN CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_RESOURCE

[Install]
WantedBy=multi-user.target
"
    )
}
