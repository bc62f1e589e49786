//! The description of the API, and that the server answers so.

use std::collections::HashSet;

use fairway_api::openapi::document;
use serde_json::{Value, json};

use crate::clients::{create, get, request, start};
use crate::engine::RunningServer;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");

/// The operations: method, path and description.
fn operations() -> Vec<(String, String, Value)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().clone();
    let of_path = |(path, methods): (String, Value)| {
        let methods = methods.as_object().unwrap().clone();
        methods
            .into_iter()
            .map(move |(method, operation)| (method, path.clone(), operation))
            .collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(of_path).collect()
}

#[test]
fn the_page_is_the_description() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    #[expect(clippy::disallowed_methods, reason = "a test is asked to write the page by its environment")]
    let update = std::env::var_os("UPDATE_PAGES").is_some();
    if update {
        std::fs::write(PAGE, &text).unwrap();
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    assert!(page == text, "{PAGE} is not the description of the API: UPDATE_PAGES=1 writes it");
}

#[test]
fn each_operation_has_a_route() {
    let server = RunningServer::start();
    // These answer when something happens.
    let streams = ["/events", "/fairway/trace"];
    for (method, path, _) in operations() {
        let at = path.replace("{id}", "nothing");
        if streams.contains(&path.as_str()) {
            continue;
        }
        let (_, text) = request(&server, &method.to_uppercase(), &at, "");
        assert!(!text.contains("page not found"), "{method} {path}");
    }
}

#[test]
fn each_route_is_described() {
    let described: HashSet<(String, String)> = operations()
        .into_iter()
        .map(|(method, path, _)| (method.to_uppercase(), path.replace("{id}", "{}")))
        .collect();
    // A route is written as `("GET", ["networks", id]) => …`, or with `"GET" | "HEAD"`.
    let routes: Vec<(String, String)> = include_str!("../../src/server/route.rs")
        .lines()
        .filter_map(|line| {
            let (method, path) = line.trim().strip_prefix("(\"")?.split_once(", [")?;
            let parts = path.split_once(']')?.0.split(", ").map(|part| match part.strip_prefix('"') {
                Some(literal) => format!("/{}", literal.trim_end_matches('"')),
                None => "/{}".to_owned(),
            });
            Some((method.split('"').next()?.to_owned(), parts.collect()))
        })
        .collect();
    assert!(routes.len() > 40, "{routes:?}");
    for route in routes {
        assert!(described.contains(&route), "{route:?} is not in {described:?}");
    }
}

#[test]
fn replies_are_as_described() {
    let server = RunningServer::start();
    create(&server, "web", r#"{"Image":"host","Cmd":["true"],"ExposedPorts":{"80/tcp":{}}}"#);
    create(&server, "old", r#"{"Image":"host","Labels":{"a":"b"}}"#);
    start(&server, "web", 5);
    let made = request(&server, "POST", "/containers/web/exec", r#"{"Cmd":["true"]}"#).1;
    let exec = serde_json::from_str::<Value>(&made).unwrap()["Id"].as_str().unwrap().to_owned();
    let components = &document()["components"];
    let mut checked = Vec::new();
    for (method, path, operation) in operations() {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let of_kernel =
            ["/events", "/fairway/explain", "/fairway/doctor", "/fairway/plan/diff", "/fairway/stats"];
        if method != "get" || schema.is_null() || of_kernel.contains(&path.as_str()) {
            continue;
        }
        let id = match path.split('/').nth(1) {
            Some("networks") => "bridge",
            Some("exec") => &exec,
            _ => "web",
        };
        let at = path.replace("{id}", id).replace("/stats", "/stats?stream=0&one-shot=1");
        let reply = get(&server, &at);
        let mut whole = schema.clone();
        whole["components"] = components.clone();
        let validator = jsonschema::validator_for(&whole).unwrap();
        let errors: Vec<String> = validator.iter_errors(&reply).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}\n{reply}");
        // Keys that are not described would be accepted.
        let mut unknown = Vec::new();
        undescribed(&whole, &whole, &reply, &path, &mut unknown);
        assert!(unknown.is_empty(), "{path}: not described: {unknown:?}");
        checked.push(path);
    }
    assert!(checked.len() > 8, "{checked:?}");
    let refused = request(&server, "GET", "/networks/nothing", "");
    assert_eq!(refused, (404, json!({"message": "network nothing not found"}).to_string()));
}

/// Collects the keys of objects that their schema does not have.
fn undescribed(whole: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        undescribed(whole, choice, value, at, found);
    }
    for item in value.as_array().into_iter().flatten() {
        undescribed(whole, &schema["items"], item, at, found);
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for (key, value) in object {
        match properties.get(key) {
            Some(schema) => undescribed(whole, schema, value, &format!("{at} {key}"), found),
            None => found.push(format!("{at} {key}")),
        }
    }
}
