//! The description of the API in OpenAPI 3.1, made of the types of its bodies.

mod operations;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::types::ErrorMessage;
use operations::{Body, OPERATIONS, Operation};

/// The description of the API.
pub fn document() -> Value {
    // OpenAPI 3.1 has the schemas of this draft.
    let settings = SchemaSettings::draft2020_12();
    let mut generator =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), described);
        }
    }
    let error = generator.subschema_for::<ErrorMessage>();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fairway",
            "description": "Docker's API for networks and containers, and Fairway's own requests.",
            "version": crate::API_VERSION,
        },
        "servers": [{"url": format!("/v{}", crate::API_VERSION)}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": {
                "description": "The request is refused or failed",
                "content": {"application/json": {"schema": error}},
            }},
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| parameter(name, "path"));
    let in_query = operation.query.iter().map(|name| parameter(name, "query"));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut described = Map::new();
    described.insert("summary".to_owned(), json!(operation.summary));
    described.insert("parameters".to_owned(), json!(parameters));
    if let Some(content) = content(operation.sends, generator) {
        described.insert("requestBody".to_owned(), json!({"content": content}));
    }
    let success = match content(operation.gets, generator) {
        Some(content) => json!({"description": "Success", "content": content}),
        None => json!({"description": "Success"}),
    };
    let error = json!({"$ref": "#/components/responses/Error"});
    let responses = json!({(operation.status.to_string()): success, "default": error});
    described.insert("responses".to_owned(), responses);
    Value::Object(described)
}

fn content(body: Body, generator: &mut SchemaGenerator) -> Option<Value> {
    let binary = json!({"schema": {"type": "string", "format": "binary"}});
    Some(match body {
        Body::None => return None,
        Body::Json(make) => json!({"application/json": {"schema": make(generator)}}),
        Body::Output => json!({
            "application/vnd.docker.multiplexed-stream": binary,
            "application/vnd.docker.raw-stream": binary,
        }),
        Body::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    })
}
