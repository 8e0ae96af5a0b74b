//! A value about a person, which stays readable only as long as that person's key exists.

use serde::{Deserialize, Serialize};

use crate::SubjectId;

/// A personal value and whose it is; after its subject's key is destroyed it reads as erased.
///
/// - Shape: serialises as `{"$subject": id, "value": ...}` or `{"$subject": id, "erased": true}`.
///   The codec between aggregate and log looks for `$subject` and replaces `value` by its sealed
///   form, so a personal value never reaches a store in clear.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Wire<T>", into = "Wire<T>")]
#[serde(bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>"))]
pub enum Personal<T> {
    /// The key exists: the value as it was given.
    Known {
        /// Whose value it is.
        subject: SubjectId,
        /// What was said about them.
        value: T,
    },
    /// The key was destroyed: nobody can read the value again.
    Erased {
        /// Whose value it was.
        subject: SubjectId,
    },
}

impl<T> Personal<T> {
    /// Marks `value` as being about `subject`.
    pub fn new(subject: SubjectId, value: T) -> Self {
        Self::Known { subject, value }
    }

    /// The value, or `None` once it is erased.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Erased { .. } => None,
        }
    }

    /// Whose value it is.
    pub fn subject(&self) -> SubjectId {
        match self {
            Self::Known { subject, .. } | Self::Erased { subject } => *subject,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Wire<T> {
    #[serde(rename = "$subject")]
    subject: SubjectId,
    #[serde(default = "nothing", skip_serializing_if = "Option::is_none")]
    value: Option<T>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

fn nothing<T>() -> Option<T> {
    None
}

impl<T> From<Wire<T>> for Personal<T> {
    fn from(wire: Wire<T>) -> Self {
        match wire.value {
            Some(value) => Self::Known { subject: wire.subject, value },
            None => Self::Erased { subject: wire.subject },
        }
    }
}

impl<T> From<Personal<T>> for Wire<T> {
    fn from(personal: Personal<T>) -> Self {
        match personal {
            Personal::Known { subject, value } => {
                Self { subject, value: Some(value), erased: false }
            }
            Personal::Erased { subject } => Self { subject, value: None, erased: true },
        }
    }
}
