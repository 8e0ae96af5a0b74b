//! How the business says no.

/// A refusal: an answer, not a failure. It names itself and the input field it is about.
pub trait Refusal: std::error::Error {
    /// A stable code for programs: `LISTING_ALREADY_OPEN`.
    fn code(&self) -> &'static str;

    /// The field of the command that the refusal is about, in `snake_case`, with indexes where a
    /// list is meant (`media[1].order`); `None` when it is about the state.
    fn field(&self) -> Option<String>;

    /// Everything that is wrong, each thing on its own: a form with three bad fields has three.
    fn complaints(&self) -> Vec<Complaint> {
        vec![Complaint { code: self.code(), field: self.field(), message: self.to_string() }]
    }
}

/// One thing that is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// As in [`Refusal::code`].
    pub code: &'static str,
    /// As in [`Refusal::field`].
    pub field: Option<String>,
    /// What to do about it, for people.
    pub message: String,
}
