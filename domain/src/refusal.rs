//! How the business says no.

/// A refusal: an answer, not a failure. It names itself and the input field it is about.
pub trait Refusal: std::error::Error {
    /// A stable code for programs: `LISTING_ALREADY_OPEN`.
    fn code(&self) -> &'static str;

    /// The field of the command that the refusal is about, in `snake_case`, with indexes where a
    /// list is meant (`media[1].order`); `None` when it is about the state.
    fn field(&self) -> Option<String>;
}
