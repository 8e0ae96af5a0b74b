//! Names and numbers of the log.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One append-only log; logs stand side by side, each with its own positions.
///
/// - Shape: 1 to 40 of `a-z`, `0-9` and `_`, starting with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(Cow<'static, str>);

impl LogName {
    /// The log of the aggregates.
    pub const DOMAIN: Self = Self(Cow::Borrowed("domain"));
    /// Views, impressions, clicks: high volume, no rules to check.
    pub const INTERACTIONS: Self = Self(Cow::Borrowed("interactions"));

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if letters && starts && text.len() <= 40 {
            return Ok(Self(Cow::Owned(text.to_owned())));
        }
        let shape = "1 to 40 small letters, digits and underscores, a letter first";
        Err(InvalidName { what: "log name", text: text.to_owned(), shape })
    }
}

/// All events of one aggregate in order: `<category>-<id>`.
///
/// - Shape: 3 to 200 printable ASCII characters without spaces; the category is what stands before
///   the first `-`, and neither part is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// Names the stream `<category>-<id>`.
    pub fn new(category: &str, id: impl fmt::Display) -> Result<Self, InvalidName> {
        format!("{category}-{id}").parse()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `-`: `property`, `user`.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// What stands after the first `-`.
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StreamId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        let parts = text.split_once('-').is_some_and(|(c, id)| !c.is_empty() && !id.is_empty());
        if printable && parts && text.len() <= 200 {
            return Ok(Self(Arc::from(text)));
        }
        let shape = "<category>-<id>, such as property-0199, at most 200 characters of printable \
                     ASCII without spaces";
        Err(InvalidName { what: "stream", text: text.to_owned(), shape })
    }
}

/// A mark on an event that conditions and look-ups can use: `source:lucas/lucas-00001`.
///
/// - Shape: 1 to 300 bytes of text without control characters. Tags are scoped by tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 300 || text.chars().any(char::is_control) {
            let shape = "1 to 300 bytes of text without control characters";
            let text = text.chars().take(300).collect();
            return Err(InvalidName { what: "tag", text, shape });
        }
        Ok(Self(Arc::from(text)))
    }
}

/// A text is not a log name, stream or tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}, which is {shape}")]
pub struct InvalidName {
    /// What it should have been.
    pub what: &'static str,
    /// What it was.
    pub text: String,
    /// What it should have looked like.
    pub shape: &'static str,
}

macro_rules! counter {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

counter! {
    /// Place in a log, equal to commit order, counted from 1 without gaps; 0 is before the first.
    GlobalPosition,
    /// How many events a stream holds; the first event has version 1.
    StreamVersion,
}

/// The idempotency key of an append: asking twice gives the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// A new id, time-ordered so that look-ups stay local.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of whatever a sender calls by `key`, the same every time.
    pub fn from_key(scope: &str, key: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("freehold:{scope}:{key}").as_bytes()))
    }
}

impl Default for CommandId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one event, UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// A new, time-ordered id.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for EventId {
    fn default() -> Self {
        Self::new()
    }
}

/// What a caller asked for, hashed: tells a repeated command from another one under the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// What a writer believes a stream's version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// Whatever it is.
    Any,
    /// The stream holds no event yet.
    NoStream,
    /// The stream holds at least one event.
    StreamExists,
    /// The stream holds exactly so many events.
    Exactly(StreamVersion),
}

impl ExpectedVersion {
    /// Whether a stream at version `actual` is what the writer believes.
    pub fn admits(self, actual: StreamVersion) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual.0 == 0,
            Self::StreamExists => actual.0 > 0,
            Self::Exactly(version) => actual == version,
        }
    }
}

/// How a payload's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadCodec {
    /// UTF-8 JSON; personal values inside are sealed.
    Json,
}

impl PayloadCodec {
    /// The number it is stored as.
    pub fn number(self) -> u8 {
        match self {
            Self::Json => 1,
        }
    }

    /// The codec of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        (number == 1).then_some(Self::Json)
    }
}
