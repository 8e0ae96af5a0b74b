//! The parameters of a GraphQL request, from a body, a query string or a WebSocket message.

use async_graphql::{Request, Variables};
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::Problem;

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    // Read so that a wrong type is refused; this release has no extension that takes parameters.
    #[serde(default, rename = "extensions")]
    _extensions: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InQuery {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

impl Parameters {
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(bad("batching is off; send one operation at a time"));
        }
        serde_json::from_slice(body).map_err(|error| bad(format!("the body is not right: {error}")))
    }

    pub(super) fn from_query(query: &str) -> Result<Self, Problem> {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        let uri = uri.map_err(|_| bad("the query string is not well formed"))?;
        let Query(given) = Query::<InQuery>::try_from_uri(&uri)
            .map_err(|error| bad(format!("the query string is not right: {error}")))?;
        let map = |name: &str, text: Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| bad(format!("{name} must be a JSON object: {error}"))),
        };
        Ok(Self {
            query: given.query.ok_or_else(|| bad("there is no query parameter"))?,
            operation_name: given.operation_name.filter(|name| !name.is_empty()),
            variables: map("variables", given.variables)?,
            _extensions: map("extensions", given.extensions)?,
        })
    }

    /// Whether a variable has a value other than null.
    pub(super) fn gives(&self, variable: &str) -> bool {
        let value = self.variables.as_ref().and_then(|variables| variables.get(variable));
        value.is_some_and(|value| !value.is_null())
    }

    pub(super) fn into_request(self) -> Request {
        let variables = Value::Object(self.variables.unwrap_or_default());
        let mut request = Request::new(self.query).variables(Variables::from_json(variables));
        request.operation_name = self.operation_name;
        request
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail)
}
