//! Which requests are answered: those that name this host, come from the page itself, and have the token.
//!
//! - The `Host` header has to name loopback, or the host of the address that a proxy serves the page at. A name of another
//!   site that was made to mean 127.0.0.1 (DNS rebinding) is refused.
//! - A request that a browser makes for a page of another origin is refused. The page itself may be opened by a link.
//! - All data takes the token, in a header. Browsers add no such header by themselves, as they add cookies.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Method, StatusCode, Uri};
use thiserror::Error;

use crate::token::Token;

/// Why an address at which a proxy serves the page is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid URL {0:?}: one such as https://fairway.example.com/ is expected, without a path")]
pub struct InvalidUrl(String);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// It could change something.
    #[error("this server only answers GET: nothing can be changed here")]
    Method,
    /// It names another host.
    #[error(
        "the Host header names another host than this server's: open the address that fairway ui printed, or start it with --url"
    )]
    Host,
    /// It comes from a page of another site.
    #[error("requests of other sites are refused: open the address that fairway ui printed")]
    Site,
    /// The token is missing or wrong.
    #[error("the token is missing or of another run: open the address that fairway ui printed")]
    Token,
}

impl Refused {
    /// The HTTP status.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Site => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The page, which a link of another site may open. It holds nothing secret.
    Page,
    /// Another file of the page.
    File,
    /// What the page shows.
    Data,
}

/// Decides which requests are answered.
#[derive(Debug, Clone)]
pub struct Guard {
    token: Token,
    /// Host and port of the address at which a proxy serves the page.
    proxied: Option<String>,
}

impl Guard {
    /// A guard of a server on loopback, or behind a proxy that serves it at this URL.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn new(token: Token, url: Option<&str>) -> Result<Self, InvalidUrl> {
        let authority = |text: &str| {
            let url: Uri = text.parse().ok()?;
            let plain = matches!(url.path(), "" | "/") && url.query().is_none();
            let scheme = matches!(url.scheme_str(), Some("http" | "https"));
            let authority = url.authority().filter(|it| plain && scheme && !it.as_str().contains('@'))?;
            Some(authority.as_str().to_ascii_lowercase())
        };
        let proxied = url.map(|text| authority(text).ok_or_else(|| InvalidUrl(text.to_owned())));
        Ok(Self { token, proxied: proxied.transpose()? })
    }

    /// Whether a request is to be answered.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        purpose: Purpose,
    ) -> Result<(), Refused> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refused::Method);
        }
        let host = only(headers, &HOST).ok_or(Refused::Host)?;
        if !self.is_own(host) || uri.authority().is_some_and(|named| named.as_str() != host) {
            return Err(Refused::Host);
        }
        if !is_from_page(headers, host, purpose) {
            return Err(Refused::Site);
        }
        let token = only(headers, &AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        if purpose == Purpose::Data && !token.is_some_and(|text| self.token.is(text)) {
            return Err(Refused::Token);
        }
        Ok(())
    }

    /// Whether a `Host` header names this server.
    fn is_own(&self, host: &str) -> bool {
        if self.proxied.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return true;
        }
        // Any port: what `ssh -L` forwards has one of the other host.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => name,
            Some(_) if !host.ends_with(']') => return false,
            _ => host,
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        match address.unwrap_or(name).parse::<IpAddr>() {
            Ok(found) => found.is_loopback() && found.is_ipv6() == address.is_some(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a browser makes the request for the page itself, or because its user opens the page. Other programs than
/// browsers send none of these headers.
fn is_from_page(headers: &HeaderMap, host: &str, purpose: Purpose) -> bool {
    let same_origin = |origin: &str| {
        let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        named.is_some_and(|named| named.eq_ignore_ascii_case(host))
    };
    if headers.contains_key(ORIGIN) && !only(headers, &ORIGIN).is_some_and(same_origin) {
        return false;
    }
    let fetch = |name: &'static str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match fetch("sec-fetch-site") {
        None | Some("same-origin" | "none") => true,
        Some(_) => purpose == Purpose::Page && fetch("sec-fetch-dest") == Some("document"),
    }
}

#[cfg(test)]
mod tests;
