//! Images: directories below the data root, each with the root file system of containers, and the host's root itself.

use std::fs;
use std::path::{Path, PathBuf};

use fairway_api::image::{HOST_IMAGE, find_image, is_image_name};

/// The directory below the data root.
const IMAGES: &str = "images";

/// The names of the images: the host's first.
pub fn names(data_root: &Path) -> Vec<String> {
    let entries = fs::read_dir(data_root.join(IMAGES)).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> = names.filter(|name| is_image_name(name) && name != HOST_IMAGE).collect();
    found.sort();
    found.insert(0, HOST_IMAGE.to_owned());
    found
}

/// The root directory of an image; none if that is the host's, or the image is gone.
pub fn root(data_root: &Path, image: &str) -> Option<PathBuf> {
    let name = find_image(|| names(data_root), image).ok().filter(|name| name != HOST_IMAGE)?;
    Some(data_root.join(IMAGES).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_directories() {
        let directory = tempfile::tempdir().unwrap();
        let data_root = directory.path();
        assert_eq!(names(data_root), ["host"]);
        for name in ["debian:12", "busybox", ".draft", "host"] {
            fs::create_dir_all(data_root.join(IMAGES).join(name)).unwrap();
        }
        fs::write(data_root.join(IMAGES).join("file"), "").unwrap();
        assert_eq!(names(data_root), ["host", "busybox", "debian:12"]);
        assert_eq!(root(data_root, "busybox:latest"), Some(data_root.join("images/busybox")));
        for image in ["", "host", "debian", "../images/busybox"] {
            assert_eq!(root(data_root, image), None, "{image}");
        }
    }
}
