//! What `fairway install` puts on a host for each other program that uses Fairway: links to this program, and files. Pure.
//!
//! Sources: containers.conf(5), oci-hooks(5), the CNI specification ("Network configuration format").

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::text::{MARK, is_plain};
use super::{Found, InstallError};
use crate::daemon::DOCKER_PLUGIN_VARIABLE;
use crate::face::{aardvark, cni, netavark, oci};

/// The directory of libexec where podman finds the programs.
const HELPERS: &str = "libexec/fairway/podman";
/// Where podman and its kin look for programs unless they are configured otherwise (containers.conf(5),
/// `helper_binaries_dir`).
const DEFAULT_HELPERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];
/// The file name of this program.
const PROGRAM: &str = "fairway";

/// A program that uses Fairway for its networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// podman: its networks and names are Fairway's
    Netavark,
    /// CNI: a plugin and a network for containerd, Kubernetes and nerdctl
    Cni,
    /// Hook of OCI runtimes: podman's annotated containers, and bundles of runc and crun
    OciHook,
    /// Docker Engine: networks and addresses by `-d fairway` and `--ipam-driver fairway`
    DockerPlugin,
}

/// A link or file that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it is.
    pub content: Content,
}

/// What is installed at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A symbolic link to the program.
    Link(PathBuf),
    /// A file whose first line says that it is Fairway's.
    Marked(String),
    /// A file of JSON, which has no comments.
    Json {
        /// What is before the program's path.
        before: String,
        /// The program's path, as far as the file names it.
        program: String,
        /// What is after it.
        after: String,
        /// A word that only files for Fairway have.
        word: &'static str,
    },
}

/// Whose the thing at a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Fairway's, as it is installed now.
    Current,
    /// Fairway's, of another time.
    Former,
    /// Fairway's, changed by a user.
    Edited,
    /// Another program's or a user's.
    Foreign,
}

impl Content {
    /// The text of a file, or the target of a link.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Link(target) => target.display().to_string(),
            Self::Marked(text) => text.clone(),
            Self::Json { before, program, after, .. } => format!("{before}{program}{after}"),
        }
    }

    /// Whose the thing is that was found; none if there is none.
    #[must_use]
    pub fn owner(&self, found: &Found) -> Option<Owner> {
        match (self, found) {
            (_, Found::Nothing) => None,
            (Self::Link(target), Found::Link(is)) if is == target => Some(Owner::Current),
            (Self::Link(_), Found::Link(is)) if is.file_name() == Some(PROGRAM.as_ref()) => {
                Some(Owner::Former)
            }
            (Self::Marked(_) | Self::Json { .. }, Found::File(bytes)) => {
                Some(self.owner_of_text(bytes, found))
            }
            _ => Some(Owner::Foreign),
        }
    }

    fn owner_of_text(&self, bytes: &[u8], found: &Found) -> Owner {
        if bytes == self.text().as_bytes() {
            return Owner::Current;
        }
        match self {
            Self::Marked(_) if found.is_ours() => Owner::Former,
            Self::Json { before, after, word, .. } => {
                let text = String::from_utf8_lossy(bytes);
                match text.split(before.as_str()).nth(1).map(|rest| rest.strip_suffix(after.as_str())) {
                    Some(Some(path)) if text.starts_with(before.as_str()) && !path.contains(['"', '\n']) => {
                        Owner::Former
                    }
                    _ if text.contains(word) => Owner::Edited,
                    _ => Owner::Foreign,
                }
            }
            _ => Owner::Foreign,
        }
    }
}

impl Component {
    /// What is installed for it. `prefix` is the directory of podman's links.
    ///
    /// # Errors
    /// [`InstallError::Path`] for a path that the files cannot name as it is.
    pub fn items(self, program: &Path, prefix: &Path) -> Result<Vec<Item>, InstallError> {
        let (text, link) = (plain(program)?, Content::Link(program.to_owned()));
        let item = |path: &str, content: Content| Item { path: PathBuf::from(path), content };
        Ok(match self {
            Self::Netavark => {
                let directory = format!("{}/{HELPERS}", plain(prefix)?.trim_end_matches('/'));
                let names = [netavark::NAME, aardvark::NAME];
                let links = names.map(|name| item(&format!("{directory}/{name}"), link.clone()));
                let configuration = Content::Marked(podman_configuration(&directory));
                links.into_iter().chain([item(PODMAN_CONFIGURATION, configuration)]).collect()
            }
            Self::Cni => {
                let plugin = format!("/opt/cni/bin/{}", cni::PLUGIN);
                let network = Content::Json {
                    before: cni::CONFLIST.to_owned(),
                    program: String::new(),
                    after: String::new(),
                    word: cni::PLUGIN,
                };
                vec![item(&plugin, link), item(cni::CONFLIST_PATH, network)]
            }
            Self::OciHook => vec![
                item(&format!("{HOOKS_DIRECTORY}/fairway.json"), podman_hook(text)),
                item(PODMAN_HOOKS, Content::Marked(podman_hook_directories())),
            ],
            Self::DockerPlugin => vec![item(DOCKER_PLUGIN, Content::Marked(docker_plugin()))],
        })
    }

    /// The directories that hold nothing but what is installed, the inner ones first.
    #[must_use]
    pub fn directories(self, prefix: &Path) -> Vec<PathBuf> {
        let inner = prefix.join(HELPERS);
        match self {
            Self::Netavark => inner.ancestors().take(2).map(Path::to_owned).collect(),
            Self::Cni | Self::OciHook => Vec::new(),
            Self::DockerPlugin => Path::new(DOCKER_PLUGIN).parent().map(Path::to_owned).into_iter().collect(),
        }
    }

    /// What the user does next, if anything.
    #[must_use]
    pub fn next(self, program: &Path) -> String {
        match self {
            Self::Netavark => "\
New containers of podman are on Fairway. If containers run already, have the former netavark disconnect them:
  fairway uninstall netavark && podman stop --all && fairway install netavark"
                .to_owned(),
            Self::Cni => "\
Runtimes use the first file of /etc/cni/net.d. containerd and CRI-O read it without a restart."
                .to_owned(),
            Self::OciHook => format!(
                "\
podman calls the hook for containers with the annotation fairway.network, such as:
  podman run --network none --annotation fairway.network=app IMAGE
For a bundle of runc or crun, add to its config.json:
{}",
                oci::HOOKS.replace(oci::HOOKS_PROGRAM, &program.display().to_string())
            ),
            Self::DockerPlugin => "\
The daemon's unit serves the plugin from its next start on, before Docker Engine starts:
  systemctl daemon-reload && systemctl restart fairway
  docker network create -d fairway NETWORK"
                .to_owned(),
        }
    }
}

const PODMAN_CONFIGURATION: &str = "/etc/containers/containers.conf.d/50-fairway.conf";
const PODMAN_HOOKS: &str = "/etc/containers/containers.conf.d/50-fairway-hooks.conf";
/// Settings that systemd adds to those of the daemon's unit.
const DOCKER_PLUGIN: &str = "/etc/systemd/system/fairway.service.d/docker-plugin.conf";
const HOOKS_DIRECTORY: &str = "/etc/containers/oci/hooks.d";
/// The only directory of hooks that podman reads by default.
const DEFAULT_HOOKS_DIRECTORY: &str = "/usr/share/containers/oci/hooks.d";

/// A path as text, if files can name it without quoting.
fn plain(path: &Path) -> Result<&str, InstallError> {
    let text = path.to_str().filter(|text| text.starts_with('/') && text.bytes().all(is_plain));
    text.ok_or_else(|| InstallError::Path(path.to_owned()))
}

/// dockerd that finds no plugin for a network that it has waits for half a minute at its start.
fn docker_plugin() -> String {
    format!(
        "{MARK}\n\
         # The daemon serves the network plugin of Docker Engine.\n\n\
         [Unit]\nBefore=docker.service\n\n\
         [Service]\nEnvironment={DOCKER_PLUGIN_VARIABLE}=true\n"
    )
}

/// The directories are named anew, because a list in one file takes the place of that in another.
fn podman_configuration(directory: &str) -> String {
    let directories = [directory].into_iter().chain(DEFAULT_HELPERS);
    let directories: String = directories.map(|directory| format!("  \"{directory}\",\n")).collect();
    format!(
        "{MARK}\n\
         # Networks of podman are Fairway's. podman's other programs are where they were.\n\n\
         [network]\nnetwork_backend = \"netavark\"\n\n\
         [engine]\nhelper_binaries_dir = [\n{directories}]\n"
    )
}

fn podman_hook_directories() -> String {
    format!(
        "{MARK}\n\
         # podman reads hooks of the administrator too.\n\n\
         [engine]\nhooks_dir = [\n  \"{DEFAULT_HOOKS_DIRECTORY}\",\n  \"{HOOKS_DIRECTORY}\",\n]\n"
    )
}

/// One call for each stage, which the hook knows by the container's status: the format has one list of arguments for all.
fn podman_hook(program: &str) -> Content {
    Content::Json {
        before: "{\n  \"version\": \"1.0.0\",\n  \"hook\": {\n    \"path\": \"".to_owned(),
        program: program.to_owned(),
        after: "\",\n    \"args\": [\"fairway\", \"oci-hook\"]\n  },\n  \"when\": {\n    \"annotations\": {\n      \
                \"^fairway\\\\.network$\": \".*\"\n    }\n  },\n  \"stages\": [\"createRuntime\", \"poststop\"]\n}\n"
            .to_owned(),
        word: oci::SUBCOMMAND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Found {
        Found::File(text.as_bytes().to_vec())
    }

    fn items(component: Component, program: &str) -> Vec<Item> {
        component.items(Path::new(program), Path::new("/usr/local")).unwrap()
    }

    #[test]
    fn what_is_found_is_current_former_edited_or_foreign() {
        let [link, _, configuration] = items(Component::Netavark, "/usr/bin/fairway").try_into().unwrap();
        let to = |target: &str| Found::Link(PathBuf::from(target));
        assert_eq!(link.content.owner(&Found::Nothing), None);
        assert_eq!(link.content.owner(&to("/usr/bin/fairway")), Some(Owner::Current));
        assert_eq!(link.content.owner(&to("/opt/fairway")), Some(Owner::Former));
        assert_eq!(link.content.owner(&to("/usr/lib/podman/netavark")), Some(Owner::Foreign));
        assert_eq!(link.content.owner(&file("/usr/bin/fairway")), Some(Owner::Foreign));
        let text = configuration.content.text();
        assert_eq!(configuration.content.owner(&file(&text)), Some(Owner::Current));
        assert_eq!(configuration.content.owner(&file(&format!("{MARK}\n[network]\n"))), Some(Owner::Former));
        assert_eq!(configuration.content.owner(&file("[network]\n")), Some(Owner::Foreign));
        assert_eq!(configuration.content.owner(&Found::Other), Some(Owner::Foreign));
    }

    #[test]
    fn json_of_another_program_path_is_former_and_any_other_change_is_a_users() {
        let [hook, _] = items(Component::OciHook, "/usr/bin/fairway").try_into().unwrap();
        let [former, _] = items(Component::OciHook, "/opt/fairway").try_into().unwrap();
        let former = former.content.text();
        assert_eq!(hook.content.owner(&file(&former)), Some(Owner::Former));
        let edited = former.replace("poststop", "poststart");
        assert_eq!(hook.content.owner(&file(&edited)), Some(Owner::Edited));
        assert_eq!(hook.content.owner(&file(&former.replace("/opt", "/a\",\n\"b"))), Some(Owner::Edited));
        assert_eq!(hook.content.owner(&file("{}")), Some(Owner::Foreign));
        let [_, network] = items(Component::Cni, "/usr/bin/fairway").try_into().unwrap();
        let edited = network.content.text().replace("10.22.0.0/16", "10.23.0.0/16");
        assert_eq!(network.content.owner(&file(&edited)), Some(Owner::Edited));
        assert_eq!(network.content.owner(&file("{\"type\": \"bridge\"}")), Some(Owner::Foreign));
    }

    #[test]
    fn json_is_valid() {
        for item in items(Component::OciHook, "/usr/bin/fairway").iter().chain(&items(Component::Cni, "/b")) {
            if let Content::Json { .. } = item.content {
                let value: serde_json::Value = serde_json::from_str(&item.content.text()).unwrap();
                assert!(value.is_object());
            }
        }
        let hooks = oci::HOOKS.replace(oci::HOOKS_PROGRAM, "/usr/bin/fairway");
        let value: serde_json::Value = serde_json::from_str(&format!("{{{hooks}}}")).unwrap();
        assert_eq!(value["hooks"]["poststop"][0]["path"], "/usr/bin/fairway");
    }
}
