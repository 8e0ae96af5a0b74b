//! What the GraphQL specification says about a field that fails, section 6.4.4: it is null where it
//! may be, else the nearest value around it that may be.
//!
//! The library (7.2) leaves a failed field out of its object instead, also one that is never null,
//! and generated clients break on such an object.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo,
};
use async_graphql::{QueryPathNode, QueryPathSegment, Response, ServerError, ServerResult, Value};

/// Puts nulls where fields failed.
#[derive(Default)]
pub(crate) struct Nulls(Mutex<Failed>);

#[derive(Default)]
struct Failed {
    errors: Vec<ServerError>,
    /// The fields and list items that failed though they are never null.
    holes: Vec<Vec<Segment>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Name(String),
    Index(usize),
}

impl ExtensionFactory for Nulls {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self::default())
    }
}

#[async_trait::async_trait]
impl Extension for Nulls {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let mut response = next.run(ctx, operation_name).await;
        let Failed { errors, holes } = std::mem::take(&mut *self.failed());
        response.errors.extend(errors);
        if !holes.is_empty() {
            response.data = Value::Null;
        }
        response
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let (path, of_type) = (info.path_node, info.return_type);
        let resolved = next.run(ctx, info).await;
        let mut failed = self.failed();
        // What the library says about the type of a list's item is not true of one that may be
        // null, so items wait for the field that the list is in.
        let is_item = matches!(path.segment, QueryPathSegment::Index(_));
        let mut value = match resolved {
            Ok(value) if is_item || failed.holes.is_empty() => return Ok(value),
            Ok(value) => value.unwrap_or_default(),
            Err(error) => {
                failed.errors.push(error);
                if is_item || of_type.ends_with('!') {
                    failed.holes.push(segments(path));
                }
                // Not nothing: of an item the library expects a value.
                return Ok(Some(Value::Null));
            }
        };
        let path = segments(path);
        let (inside, elsewhere) =
            std::mem::take(&mut failed.holes).into_iter().partition(|hole| hole.starts_with(&path));
        failed.holes = elsewhere;
        let inside: Vec<Vec<Segment>> = inside;
        if inside.iter().any(|hole| null_out(&mut value, of_type, &hole[path.len()..])) {
            failed.holes.push(path);
            return Ok(Some(Value::Null));
        }
        Ok(Some(value))
    }
}

impl Nulls {
    fn failed(&self) -> MutexGuard<'_, Failed> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn segments(path: &QueryPathNode<'_>) -> Vec<Segment> {
    let nodes = std::iter::successors(Some(path), |node| node.parent);
    let segment = |node: &QueryPathNode<'_>| match node.segment {
        QueryPathSegment::Name(name) => Segment::Name(name.to_owned()),
        QueryPathSegment::Index(index) => Segment::Index(index),
    };
    let mut segments: Vec<Segment> = nodes.map(segment).collect();
    segments.reverse();
    segments
}

/// Makes the value that a hole is in null, or the nearest one around it that may be; true where
/// none may be, up to `value` itself.
fn null_out(value: &mut Value, of_type: &str, hole: &[Segment]) -> bool {
    let nullable = !of_type.ends_with('!');
    let of_type = of_type.trim_end_matches('!');
    let reaches_here = match (hole, &mut *value) {
        ([Segment::Index(index), rest @ ..], Value::List(items)) => {
            let item_type = of_type.strip_prefix('[').and_then(|of| of.strip_suffix(']'));
            let item = items.get_mut(*index);
            item.is_some_and(|item| null_out(item, item_type.unwrap_or(of_type), rest))
        }
        // Another hole has made it null.
        ([Segment::Index(_), ..], _) => false,
        _ => true,
    };
    if reaches_here && nullable {
        *value = Value::Null;
    }
    reaches_here && !nullable
}
