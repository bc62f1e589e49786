use hyper::header::HeaderValue;

use super::*;

/// The outcome of a GET request with these headers; the token is `TOKEN` there.
fn asked(url: Option<&str>, purpose: Purpose, headers: &[(&'static str, &str)]) -> Result<(), Refused> {
    let token = Token::random().unwrap();
    let guard = Guard::new(token.clone(), url).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = value.replace("TOKEN", token.text());
        map.append(*name, HeaderValue::from_str(&value).unwrap());
    }
    guard.check(&Method::GET, &"/".parse().unwrap(), &map, purpose)
}

fn page(host: &str) -> Result<(), Refused> {
    asked(None, Purpose::Page, &[("host", host)])
}

#[test]
fn loopback_and_localhost_are_this_server() {
    for host in
        ["127.0.0.1:4000", "127.0.0.1", "localhost:4000", "LOCALHOST", "[::1]:4000", "[::1]", "127.0.0.2"]
    {
        assert_eq!(page(host), Ok(()), "{host}");
    }
}

#[test]
fn names_of_other_sites_are_refused_whatever_they_resolve_to() {
    for host in [
        "evil.example:4000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.",
        "10.10.50.99:4000",
        "0.0.0.0:4000",
        "[::ffff:127.0.0.1]:4000",
        "::1",
        "[127.0.0.1]",
        "localhost:",
        "localhost:80x",
        "evil@localhost",
        "",
    ] {
        assert_eq!(page(host), Err(Refused::Host), "{host}");
    }
    assert_eq!(asked(None, Purpose::Page, &[]), Err(Refused::Host));
    let twice = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(asked(None, Purpose::Page, &twice), Err(Refused::Host));
}

#[test]
fn a_request_target_with_another_host_is_refused() {
    let guard = Guard::new(Token::random().unwrap(), None).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost:4000"));
    let check = |uri: &str| guard.check(&Method::GET, &uri.parse().unwrap(), &headers, Purpose::Page);
    assert_eq!(check("http://localhost:4000/"), Ok(()));
    assert_eq!(check("http://evil.example/"), Err(Refused::Host));
}

#[test]
fn the_host_of_a_proxy_is_accepted_when_it_was_given() {
    let url = Some("https://Fairway.example.com/");
    assert_eq!(asked(url, Purpose::Page, &[("host", "fairway.example.com")]), Ok(()));
    assert_eq!(asked(url, Purpose::Page, &[("host", "localhost:80")]), Ok(()));
    for host in ["fairway.example.com:8443", "example.com", "fairway.example.com.evil.example"] {
        assert_eq!(asked(url, Purpose::Page, &[("host", host)]), Err(Refused::Host), "{host}");
    }
    for url in ["fairway.example.com", "ftp://a", "https://a/path", "https://a/?b", "https://b@a/", ""] {
        assert_eq!(Guard::new(Token::random().unwrap(), Some(url)).unwrap_err(), InvalidUrl(url.to_owned()));
    }
}

#[test]
fn requests_of_other_origins_are_refused() {
    let host = ("host", "127.0.0.1:4000");
    for origin in ["http://127.0.0.1:4000", "https://127.0.0.1:4000"] {
        assert_eq!(asked(None, Purpose::File, &[host, ("origin", origin)]), Ok(()), "{origin}");
    }
    for origin in ["http://evil.example", "http://127.0.0.1:9999", "http://localhost:4000", "null", ""] {
        for purpose in [Purpose::Page, Purpose::File, Purpose::Data] {
            let headers = [host, ("origin", origin), ("authorization", "Bearer TOKEN")];
            assert_eq!(asked(None, purpose, &headers), Err(Refused::Site), "{origin} {purpose:?}");
        }
    }
    let twice = [host, ("origin", "http://127.0.0.1:4000"), ("origin", "http://evil.example")];
    assert_eq!(asked(None, Purpose::File, &twice), Err(Refused::Site));
}

#[test]
fn a_link_of_another_site_opens_the_page_and_nothing_else() {
    let host = ("host", "127.0.0.1:4000");
    let link = [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
    assert_eq!(asked(None, Purpose::Page, &link), Ok(()));
    assert_eq!(asked(None, Purpose::File, &link), Err(Refused::Site));
    for site in ["cross-site", "same-site", "strange"] {
        let frame = [host, ("sec-fetch-site", site), ("sec-fetch-dest", "iframe")];
        assert_eq!(asked(None, Purpose::Page, &frame), Err(Refused::Site), "{site}");
        let script = [host, ("sec-fetch-site", site), ("authorization", "Bearer TOKEN")];
        assert_eq!(asked(None, Purpose::Data, &script), Err(Refused::Site), "{site}");
    }
    for site in ["same-origin", "none"] {
        assert_eq!(asked(None, Purpose::File, &[host, ("sec-fetch-site", site)]), Ok(()), "{site}");
    }
}

#[test]
fn data_takes_the_token() {
    let host = ("host", "localhost");
    let data = |token: &str| asked(None, Purpose::Data, &[host, ("authorization", token)]);
    assert_eq!(data("Bearer TOKEN"), Ok(()));
    for token in ["TOKEN", "Bearer TOKEN1", "Bearer ", "bearer TOKEN", "Basic TOKEN", "Bearer"] {
        assert_eq!(data(token), Err(Refused::Token), "{token}");
    }
    assert_eq!(asked(None, Purpose::Data, &[host]), Err(Refused::Token));
    let twice = [host, ("authorization", "Bearer TOKEN"), ("authorization", "Bearer TOKEN")];
    assert_eq!(asked(None, Purpose::Data, &twice), Err(Refused::Token));
    assert_eq!(asked(None, Purpose::File, &[host]), Ok(()));
}

#[test]
fn nothing_can_be_changed() {
    let guard = Guard::new(Token::random().unwrap(), None).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let checked = guard.check(&method, &"/".parse().unwrap(), &headers, Purpose::Page);
        assert_eq!(checked, Err(Refused::Method), "{method}");
    }
    assert_eq!(guard.check(&Method::HEAD, &"/".parse().unwrap(), &headers, Purpose::Page), Ok(()));
}
