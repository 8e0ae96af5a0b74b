//! What one request may ask for, and the codes of requests that never reach a resolver.
//!
//! Depth and complexity are the library's; aliases are counted here. What belongs to HTTP (body
//! size, tokens, time) is the server's.

use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery, NextValidation,
};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Response, ServerError, ServerResult, ValidationResult, Variables};

use super::fault::BAD_INPUT;

/// What one request may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep fields may be nested.
    pub depth: usize,
    /// The most points a request may cost: one a field, times the size of the page it is in.
    pub complexity: usize,
    /// The most aliases in a document.
    pub aliases: usize,
    /// The most directives on one field.
    pub directives: usize,
    /// The most nodes of one connection in one page.
    pub page_cap: u32,
    /// Whether clients may ask for the schema, and unknown names are answered with similar ones.
    /// Off where strangers can reach the address; a single request is closed with
    /// [`Request::disable_introspection`](async_graphql::Request::disable_introspection).
    pub introspection: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The introspection query of common tools is 15 deep.
            depth: 20,
            complexity: 50_000,
            aliases: 50,
            directives: 20,
            page_cap: 200,
            introspection: true,
        }
    }
}

/// A limit that no request could keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("graphql.{0} must be at least 1")]
pub struct InvalidLimit(pub &'static str);

impl Limits {
    /// Checks that requests are possible at all.
    pub fn validate(&self) -> Result<(), InvalidLimit> {
        let limits = [
            ("depth", self.depth > 0),
            ("complexity", self.complexity > 0),
            ("page_cap", self.page_cap > 0),
        ];
        limits.into_iter().find(|(_, valid)| !valid).map_or(Ok(()), |(n, _)| Err(InvalidLimit(n)))
    }
}

/// The page a client gets without asking for a size.
pub(crate) const DEFAULT_PAGE: u32 = 20;

/// What a connection costs: its children once a node.
pub(crate) fn weight(first: Option<i32>, last: Option<i32>, child_complexity: usize) -> usize {
    let asked = first.or(last).and_then(|size| usize::try_from(size).ok());
    asked.unwrap_or(DEFAULT_PAGE as usize).saturating_mul(child_complexity).saturating_add(1)
}

/// Counts aliases, and gives the library's own errors a code.
pub(crate) struct Doorkeeper {
    pub(crate) aliases: usize,
}

impl ExtensionFactory for Doorkeeper {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self { aliases: self.aliases })
    }
}

#[async_trait::async_trait]
impl Extension for Doorkeeper {
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let parsed = next.run(ctx, query, variables).await;
        let document = parsed.map_err(|error| coded(error, "GRAPHQL_PARSE_FAILED"))?;
        let fragments = document.fragments.values().map(|f| &f.node.selection_set.node);
        let operations = document.operations.iter().map(|(_, o)| &o.node.selection_set.node);
        let aliases: usize = fragments.chain(operations).map(aliases).sum();
        if aliases > self.aliases {
            let refused =
                format!("{aliases} aliases in one document; the limit is {}", self.aliases);
            return Err(coded(ServerError::new(refused, None), "TOO_MANY_ALIASES"));
        }
        Ok(document)
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let code = |error: ServerError| match error.message.as_str() {
            "Query is nested too deep." | "Query is too complex." => {
                coded(error, "QUERY_TOO_EXPENSIVE")
            }
            _ => coded(error, "GRAPHQL_VALIDATION_FAILED"),
        };
        next.run(ctx).await.map_err(|errors| errors.into_iter().map(code).collect())
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let mut response = next.run(ctx, operation_name).await;
        // Resolvers give every error its code: what has none is an argument that did not parse.
        response.errors = response.errors.into_iter().map(|e| coded(e, BAD_INPUT)).collect();
        response
    }
}

fn aliases(selections: &SelectionSet) -> usize {
    let of = |selection: &Selection| match selection {
        Selection::Field(field) => {
            usize::from(field.node.alias.is_some()) + aliases(&field.node.selection_set.node)
        }
        Selection::InlineFragment(inline) => aliases(&inline.node.selection_set.node),
        Selection::FragmentSpread(_) => 0,
    };
    selections.items.iter().map(|selection| of(&selection.node)).sum()
}

fn coded(mut error: ServerError, code: &str) -> ServerError {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code);
    }
    error
}
