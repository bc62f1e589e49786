//! What a request asks for, by its path and query.

use fairway_inspect::graph::Collapse;

use crate::asset::{self, Asset};
use crate::guard::Purpose;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The page.
    Page(Asset),
    /// Another file of the page.
    File(Asset),
    /// What the page shows.
    Data(Data),
}

/// What the page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// The picture of all networks.
    Picture {
        /// Which of them are collapsed.
        collapse: Collapse,
    },
    /// The way of a packet, in words and drawn over the picture.
    Explain {
        /// The sender, as `explain` has it.
        from: String,
        /// The destination.
        to: String,
        /// Which networks are collapsed.
        collapse: Collapse,
    },
    /// The table of containers.
    Containers,
    /// What `doctor` finds.
    Findings,
    /// A stream of real packets.
    Trace {
        /// The sender; none for any.
        from: Option<String>,
        /// The destination.
        to: Option<String>,
    },
    /// A stream of events, one each time that something of the above has changed.
    Changes,
}

impl Route {
    /// The route of a path and a query; none if there is nothing.
    pub(crate) fn of(path: &str, query: &str) -> Option<Self> {
        if let Some(asset) = asset::find(path) {
            return Some(if path == "/" { Self::Page(asset) } else { Self::File(asset) });
        }
        let parameter = |name: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
            found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        let collapse = || parameter("collapse").and_then(|name| name.parse().ok()).unwrap_or_default();
        Some(Self::Data(match path {
            "/data/picture" => Data::Picture { collapse: collapse() },
            "/data/explain" => Data::Explain {
                from: parameter("from").unwrap_or_default(),
                to: parameter("to").unwrap_or_default(),
                collapse: collapse(),
            },
            "/data/containers" => Data::Containers,
            "/data/findings" => Data::Findings,
            "/data/trace" => Data::Trace { from: parameter("from"), to: parameter("to") },
            "/data/changes" => Data::Changes,
            _ => return None,
        }))
    }

    /// What a request of this route is for.
    pub(crate) const fn purpose(&self) -> Purpose {
        match self {
            Self::Page(_) => Purpose::Page,
            Self::File(_) => Purpose::File,
            Self::Data(_) => Purpose::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let route = Route::of("/data/explain", "from=web+1&to=%5Bfd00%3A%3A1%5D%3A80");
        let (from, to) = ("web 1".to_owned(), "[fd00::1]:80".to_owned());
        assert_eq!(route, Some(Route::Data(Data::Explain { from, to, collapse: Collapse::Large })));
        let route = Route::of("/data/picture", "collapse=never");
        assert_eq!(route, Some(Route::Data(Data::Picture { collapse: Collapse::Never })));
        let route = Route::of("/data/trace", "from=&to=web");
        assert_eq!(route, Some(Route::Data(Data::Trace { from: None, to: Some("web".to_owned()) })));
    }

    #[test]
    fn only_the_page_and_its_files_take_no_token() {
        let purpose = |path: &str| Route::of(path, "").map(|route| route.purpose());
        assert_eq!(purpose("/"), Some(Purpose::Page));
        assert_eq!(purpose("/style.css"), Some(Purpose::File));
        for name in ["picture", "explain", "containers", "findings", "trace", "changes"] {
            assert_eq!(purpose(&format!("/data/{name}")), Some(Purpose::Data), "{name}");
        }
        for path in ["/data", "/data/", "/data/picture/", "//", "/index.html", "/modules/", "/../etc/passwd"]
        {
            assert_eq!(purpose(path), None, "{path}");
        }
    }
}
