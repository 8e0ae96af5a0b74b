//! What one request may ask the schema for. What a document may look like (depth, aliases,
//! directives, tokens) is checked by the server, before the schema sees it.

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Pos, ServerError, Value, Variables};

use super::Fault;

/// What one request may ask the schema for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most points an operation may cost: one a field, times the size of the page it is in.
    pub complexity: usize,
    /// The most nodes of one page.
    pub page_cap: u32,
    /// Whether clients may ask for the schema, and unknown names are answered with similar ones.
    /// Off where strangers can reach the address; a single request is closed with
    /// [`Request::disable_introspection`](async_graphql::Request::disable_introspection).
    pub introspection: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { complexity: 5_000, page_cap: 200, introspection: true }
    }
}

/// A limit that no request could keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be at least 1")]
pub struct InvalidLimit(pub &'static str);

impl Limits {
    /// Checks that requests are possible at all.
    pub fn validate(self) -> Result<Self, InvalidLimit> {
        match self {
            Self { complexity: 0, .. } => Err(InvalidLimit("complexity")),
            Self { page_cap: 0, .. } => Err(InvalidLimit("page_cap")),
            limits => Ok(limits),
        }
    }
}

/// The page a client gets without asking for a size.
pub(crate) const DEFAULT_PAGE: u32 = 20;

/// What a connection costs: its children once a node. Also an empty page costs them once, as its
/// total is counted all the same.
pub(crate) fn weight(first: Option<i32>, last: Option<i32>, child_complexity: usize) -> usize {
    let asked = first.or(last).and_then(|size| usize::try_from(size).ok());
    let nodes = asked.unwrap_or(DEFAULT_PAGE as usize).max(1);
    nodes.saturating_mul(child_complexity).saturating_add(1)
}

/// What is wrong with a page that is larger than the cap.
pub(crate) fn page_fault(field: &str, cap: u32) -> Fault {
    let advice =
        format!("must be between 0 and {cap}, the most nodes of a page; page on by cursor");
    Fault::input(field, advice)
}

/// Refuses a page above the cap wherever a document asks for one: its cost alone would refuse the
/// operation without saying why.
pub(crate) fn check_pages(
    document: &ExecutableDocument,
    variables: &Variables,
    cap: u32,
) -> Result<(), ServerError> {
    let operations: Vec<&OperationDefinition> =
        document.operations.iter().map(|(_, operation)| &operation.node).collect();
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    let mut open: Vec<&SelectionSet> =
        operations.iter().map(|operation| &operation.selection_set.node).collect();
    open.extend(fragments);
    while let Some(selections) = open.pop() {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) => {
                    if let Some((at, name)) = too_large(&field.node, &operations, variables, cap) {
                        let error = async_graphql::Error::from(page_fault(name, cap));
                        return Err(error.into_server_error(at));
                    }
                    open.push(&field.node.selection_set.node);
                }
                Selection::InlineFragment(inline) => open.push(&inline.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }
    Ok(())
}

/// The argument of a field that asks for more nodes than a page may have.
fn too_large<'a>(
    field: &'a Field,
    operations: &[&OperationDefinition],
    variables: &Variables,
    cap: u32,
) -> Option<(Pos, &'a str)> {
    let given = |name: &Name| variables.get(name).cloned().or_else(|| default(operations, name));
    field.arguments.iter().find_map(|(name, argument)| {
        let is_size = ["first", "last"].contains(&name.node.as_str());
        let Ok(Value::Number(size)) =
            argument.node.clone().into_const_with(|name| given(&name).ok_or(()))
        else {
            return None;
        };
        let is_more = size.as_i64().is_some_and(|size| size > i64::from(cap));
        (is_size && is_more).then_some((argument.pos, name.node.as_str()))
    })
}

/// The value of a variable that a client did not send.
fn default(operations: &[&OperationDefinition], variable: &Name) -> Option<Value> {
    let mut definitions = operations.iter().flat_map(|one| &one.variable_definitions);
    let definition = definitions.find(|definition| definition.node.name.node == *variable)?;
    definition.node.default_value.as_ref().map(|value| value.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_page_costs_what_its_children_do() {
        assert_eq!(weight(Some(0), None, 7), 8);
        assert_eq!(weight(None, Some(0), 7), 8);
        assert_eq!(weight(Some(1), None, 7), 8);
        assert_eq!(weight(Some(3), None, 7), 22);
        assert_eq!(weight(None, None, 7), 141);
    }
}
