//! The only image: `host`, the host's root file system.

/// Its name.
pub const HOST_IMAGE: &str = "host";
/// Its id: that of no other image, since it is the hash of nothing.
pub const HOST_IMAGE_ID: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Whether a name or id means the host's root file system.
pub fn is_host_image(name: &str) -> bool {
    let names = ["host:latest", "docker.io/library/host", "docker.io/library/host:latest", HOST_IMAGE_ID];
    let digits = HOST_IMAGE_ID.strip_prefix("sha256:").unwrap_or_default();
    name == HOST_IMAGE || names.contains(&name) || (name.len() >= 12 && digits.starts_with(name))
}

/// The id of an image that a container names; empty for none.
pub fn image_id(name: &str) -> String {
    if is_host_image(name) { HOST_IMAGE_ID.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_a_name_and_an_id() {
        for name in ["host", "host:latest", "docker.io/library/host", HOST_IMAGE_ID, "000000000000"] {
            assert_eq!(image_id(name), HOST_IMAGE_ID, "{name}");
        }
        for name in ["", "hosts", "host:1", "0", "00000000000x"] {
            assert_eq!(image_id(name), "", "{name}");
        }
    }
}
