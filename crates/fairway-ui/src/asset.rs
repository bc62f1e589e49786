//! The files of the page, which are in the program.

use std::borrow::Cow;

/// A file of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asset {
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its text.
    pub(crate) text: Cow<'static, str>,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files by their paths, except the style sheet.
const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/modules/answer.js", SCRIPT, include_str!("page/modules/answer.js")),
    ("/modules/containers.js", SCRIPT, include_str!("page/modules/containers.js")),
    ("/modules/element.js", SCRIPT, include_str!("page/modules/element.js")),
    ("/modules/findings.js", SCRIPT, include_str!("page/modules/findings.js")),
    ("/modules/link.js", SCRIPT, include_str!("page/modules/link.js")),
    ("/modules/main.js", SCRIPT, include_str!("page/modules/main.js")),
    ("/modules/picture.js", SCRIPT, include_str!("page/modules/picture.js")),
    ("/modules/server.js", SCRIPT, include_str!("page/modules/server.js")),
    ("/modules/trace.js", SCRIPT, include_str!("page/modules/trace.js")),
];

/// The path of the style sheet.
const STYLE: &str = "/style.css";

/// The file at a path.
pub(crate) fn find(path: &str) -> Option<Asset> {
    if path == STYLE {
        let picture = fairway_inspect::graph::style_sheet();
        let text = format!("{}\n.picture{{{picture}}}\n", include_str!("page/style.css"));
        return Some(Asset { media_type: CSS, text: text.into() });
    }
    let (_, media_type, text) = FILES.into_iter().find(|(known, ..)| *known == path)?;
    Some(Asset { media_type, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_exist() {
        let page = find("/").unwrap().text;
        let named = ["href=\"", "src=\""].into_iter().flat_map(|it| page.split(it).skip(1));
        let named: Vec<&str> = named.map(|rest| rest.split('"').next().unwrap()).collect();
        let files: Vec<&&str> = named.iter().filter(|it| !it.starts_with('#')).collect();
        assert!(files.len() >= 3, "{named:?}");
        for file in files {
            assert!(find(&format!("/{file}")).is_some(), "{file}");
        }
    }

    #[test]
    fn modules_import_only_modules_that_exist_and_each_is_imported() {
        let mut imported = vec!["/modules/main.js".to_owned()];
        for (path, ..) in FILES.into_iter().filter(|(path, ..)| path.ends_with(".js")) {
            let text = find(path).unwrap().text.into_owned();
            for rest in text.split(" from \"./").skip(1) {
                let module = format!("/modules/{}", rest.split('"').next().unwrap());
                assert!(find(&module).is_some(), "{path} imports {module}");
                imported.push(module);
            }
        }
        for (path, ..) in FILES.into_iter().filter(|(path, ..)| path.ends_with(".js")) {
            assert!(imported.iter().any(|it| it == path), "{path} is imported");
        }
    }

    #[test]
    fn the_policy_allows_what_the_files_do() {
        for (path, _, text) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "Function(",
                "://",
                " style=",
                "<style",
                " on",
            ] {
                let text =
                    text.replace("http://www.w3.org/2000/svg", "").replace(" on ", "").replace(" only", "");
                let found = word == " on"
                    && text.lines().any(|it| it.contains(" onclick=") || it.contains(" onload="));
                assert!(if word == " on" { !found } else { !text.contains(word) }, "{path}: {word}");
            }
        }
        let sheet = find(STYLE).unwrap().text.replace("url(#", "");
        assert!(!sheet.contains("url(") && !sheet.contains("@import"), "the style sheet loads nothing");
    }

    #[test]
    fn the_modules_are_small() {
        let modules = FILES.into_iter().filter(|(path, ..)| path.ends_with(".js"));
        let lines: usize = modules.map(|(.., text)| text.lines().count()).sum();
        assert!(lines < 1500, "{lines} lines");
    }

    #[test]
    fn the_style_sheet_has_the_classes_of_pictures() {
        let sheet = find(STYLE).unwrap();
        assert_eq!(sheet.media_type, CSS);
        assert!(sheet.text.contains(".trail{") && sheet.text.contains("prefers-color-scheme"));
        assert_eq!(find("/modules/../index.html"), None);
        assert_eq!(find("/style"), None);
    }
}
