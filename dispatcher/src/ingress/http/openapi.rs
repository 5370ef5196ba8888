//! `/openapi.json`: the description of every route, for people and generators. Owns the document, which is kept by hand
//! in `openapi.json`; a test compares it with the route table.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

/// OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::routes;
    use super::DOCUMENT;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// Routes of the gateway's admin side, which standalone serves on the same listener.
    const ADMIN: [(&str, &str); 6] = [
        ("get", "/v1/connections"),
        ("delete", "/v1/connections"),
        ("get", "/v1/trace"),
        ("get", "/metrics"),
        ("get", "/healthz"),
        ("get", "/readyz"),
    ];

    /// Neither a route without description nor a description without route.
    #[test]
    fn the_document_describes_exactly_the_routes() {
        let own = routes().into_iter().map(|(method, path, _, _)| (method.as_str().to_lowercase(), path.into()));
        let admin = ADMIN.iter().map(|&(method, path)| (method.into(), path.into()));
        let served: BTreeSet<(String, String)> = own.chain(admin).collect();
        let document = document();
        let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        });
        assert_eq!(served, described.collect());
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_the_version_is_ours() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["openapi"], "3.1.0");
    }
}
