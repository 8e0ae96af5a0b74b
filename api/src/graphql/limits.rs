//! What one request may ask the schema for. What a document may look like (depth, aliases,
//! directives, tokens) is checked by the server, before the schema sees it.

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

/// What a connection costs: its children once a node.
pub(crate) fn weight(first: Option<i32>, last: Option<i32>, child_complexity: usize) -> usize {
    let asked = first.or(last).and_then(|size| usize::try_from(size).ok());
    asked.unwrap_or(DEFAULT_PAGE as usize).saturating_mul(child_complexity).saturating_add(1)
}
