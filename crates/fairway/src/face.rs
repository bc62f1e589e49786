//! Faces: interfaces for other programs. Each is a thin program that another one starts, as the program that it replaces:
//! by a link of its name (`aardvark-dns`), or by `fairway NAME`. Most ask the daemon.

pub mod aardvark;
pub mod cni;
mod container_id;
pub mod daemon;
pub mod docker_plugin;
pub mod netavark;
pub mod oci;
mod program;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// An interface for another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// podman's name server, as netavark starts it.
    Aardvark,
    /// A plugin of the Container Network Interface.
    Cni,
    /// A hook of OCI runtimes.
    OciHook,
    /// What podman starts to connect a container.
    Netavark,
}

impl Face {
    fn of(name: &OsStr) -> Option<Self> {
        match name.to_str()? {
            aardvark::NAME => Some(Self::Aardvark),
            cni::PLUGIN | cni::SUBCOMMAND => Some(Self::Cni),
            oci::NAME | oci::SUBCOMMAND => Some(Self::OciHook),
            netavark::NAME => Some(Self::Netavark),
            _ => None,
        }
    }

    /// The face that a command line calls, with its arguments from its own name on: by the name of the program, or by
    /// the first argument.
    #[must_use]
    pub fn called(mut arguments: Vec<OsString>) -> Option<(Self, Vec<OsString>)> {
        let program = arguments.first().and_then(|program| Path::new(program).file_name());
        if let Some(face) = program.and_then(Self::of) {
            return Some((face, arguments));
        }
        let face = Self::of(arguments.get(1)?)?;
        Some((face, arguments.split_off(1)))
    }

    /// Does what the arguments say, as the program that it replaces.
    #[must_use]
    pub fn run(self, arguments: &[OsString]) -> ExitCode {
        match self {
            Self::Aardvark => aardvark::main(arguments),
            Self::Cni => cni::main(),
            Self::OciHook => oci::main(arguments),
            Self::Netavark => netavark::main(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(words: &[&str]) -> Option<(Face, Vec<OsString>)> {
        Face::called(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn a_face_is_called_by_a_link_or_by_the_first_argument() {
        let all = |words: &[&str]| Some((Face::Aardvark, words.iter().map(OsString::from).collect()));
        let link = ["/usr/lib/podman/aardvark-dns", "-p", "53", "run"];
        assert_eq!(called(&link), all(&link));
        assert_eq!(called(&["fairway", "aardvark-dns", "version"]), all(&["aardvark-dns", "version"]));
        for (words, face) in [
            (&["/opt/cni/bin/fairway-cni"][..], Face::Cni),
            (&["fairway", "cni"], Face::Cni),
            (&["/opt/fairway-oci-hook"], Face::OciHook),
            (&["fairway", "oci-hook", "poststop"], Face::OciHook),
        ] {
            assert_eq!(called(words).map(|(face, _)| face), Some(face), "{words:?}");
        }
    }

    #[test]
    fn other_command_lines_call_no_face() {
        for words in [
            &[][..],
            &["fairway"],
            &["fairway", "run", "aardvark-dns"],
            &["/opt/aardvark-dns/fairway", "daemon"],
            &["fairway-aardvark-dns"],
        ] {
            assert_eq!(called(words), None, "{words:?}");
        }
    }
}
