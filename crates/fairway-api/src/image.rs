//! Images: the host's root file system, and directories that an administrator put below the daemon's data root.

use fairway_model::RefusalKind;

use crate::engine_api::Failure;

/// The name of the host's root file system.
pub const HOST_IMAGE: &str = "host";
/// The most bytes of a name: the id is made of it.
const LONGEST: usize = 32;

/// The name of an image without what Docker's clients may add: the registry's name, and the tag `latest`.
pub fn image_name(reference: &str) -> &str {
    let name = reference.strip_prefix("docker.io/library/").unwrap_or(reference);
    name.strip_suffix(":latest").unwrap_or(name)
}

/// Whether a directory of this name is an image: as Docker's references, with a tag but without a registry.
pub fn is_image_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    name.len() <= LONGEST
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// The id of an image: its name in hexadecimal digits, and zeros. None is the hash of a file system.
pub fn image_id(reference: &str) -> String {
    let digits: String = image_name(reference).bytes().map(|byte| format!("{byte:02x}")).collect();
    if digits.is_empty() { digits } else { format!("sha256:{digits:0<64}") }
}

/// Which image a name or id means. An empty one means the host's, as that of `fairway run`; for others, `images` is asked
/// which there are.
///
/// # Errors
/// None of them, in Docker's words.
pub fn find_image(images: impl FnOnce() -> Vec<String>, reference: &str) -> Result<String, Failure> {
    let name = image_name(reference);
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    let is_meant = |image: &String| {
        image == name
            || (digits.len() >= 12 && image_id(image).trim_start_matches("sha256:").starts_with(digits))
    };
    if ["", HOST_IMAGE].contains(&name) {
        return Ok(HOST_IMAGE.to_owned());
    }
    let images = images();
    images.iter().find(|image| is_meant(image)).cloned().ok_or_else(|| {
            let known = images.join(", ");
            let message = format!("No such image: {reference}: there are {known}: put its files into a directory of this name below DATA_ROOT/images");
            Failure::new(RefusalKind::NotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_and_an_id() {
        let images = ["host", "debian:12"].map(str::to_owned);
        let found =
            |reference: &str| find_image(|| images.to_vec(), reference).map_err(|failure| failure.message);
        let id = image_id("host");
        assert_eq!(id.len(), "sha256:".len() + 64);
        for name in ["host", "host:latest", "docker.io/library/host", &id, &id[7..19], ""] {
            assert_eq!(found(name).unwrap(), "host", "{name}");
        }
        for name in ["debian:12", "docker.io/library/debian:12", &image_id("debian:12")] {
            assert_eq!(found(name).unwrap(), "debian:12", "{name}");
        }
        for name in ["hosts", "host:1", "debian", "0", &id[7..15], "ffffffffffff"] {
            assert!(
                found(name)
                    .unwrap_err()
                    .starts_with(&format!("No such image: {name}: there are host, debian:12"))
            );
        }
        assert_eq!(image_id(""), "");
    }

    #[test]
    fn names_are_those_of_directories() {
        for name in ["debian", "debian:12", "a.b_c".trim_end_matches("_c"), "x-1"] {
            assert!(is_image_name(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", &"x".repeat(33)] {
            assert!(!is_image_name(name), "{name}");
        }
    }
}
