//! A code for every error of the library, so that no client has to read messages.

use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery, NextValidation,
};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Response, ServerError, ServerResult, ValidationResult, Variables};

use super::fault::BAD_USER_INPUT;
use super::limits::{Limits, check_pages};

/// Gives the library's own errors a code.
pub(crate) struct Codes;

impl ExtensionFactory for Codes {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Codes {
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let document = next.run(ctx, query, variables).await?;
        check_pages(&document, variables, ctx.data_unchecked::<Limits>().page_cap)?;
        Ok(document)
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let limits = ctx.data_unchecked();
        let refused = |error| refused(error, limits);
        next.run(ctx).await.map_err(|errors| errors.into_iter().map(refused).collect())
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let mut response = next.run(ctx, operation_name).await;
        // Resolvers give every error its code: what has none is an argument that did not parse.
        response.errors = response.errors.into_iter().map(|e| coded(e, BAD_USER_INPUT)).collect();
        response
    }
}

/// The library tells its refusals apart by their words alone.
fn refused(mut error: ServerError, limits: &Limits) -> ServerError {
    if error.message == "Query is too complex." {
        error.message = format!(
            "costs more than {} points, one a field, times the size of the page it is in; ask for \
             smaller pages or fewer fields",
            limits.complexity
        );
        return coded(error, "OPERATION_TOO_LARGE");
    }
    let argument = error.message.strip_prefix("Invalid value for argument \"");
    match argument.and_then(|rest| rest.split('"').next()).map(str::to_owned) {
        Some(field) => {
            let mut error = coded(error, BAD_USER_INPUT);
            error.extensions.get_or_insert_default().set("field", field);
            error
        }
        None => coded(error, "GRAPHQL_VALIDATION_FAILED"),
    }
}

fn coded(mut error: ServerError, code: &str) -> ServerError {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code);
    }
    error
}
