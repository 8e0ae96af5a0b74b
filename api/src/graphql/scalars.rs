//! Scalars, and the ids that clients see.

use std::fmt;

use async_graphql::{ID, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::NaiveDate;
use freehold_domain::{ListingKey, PropertyId, SavedSearchId, UserId};
use freehold_ports::GlobalPosition;
use uuid::Uuid;

use super::Fault;

/// A place in a log, as a decimal string. Every event of a log has its own; a larger one is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub GlobalPosition);

/// A place in a log, as a decimal string. Every event of a log has its own; a larger one is later.
#[Scalar(name = "Position")]
impl ScalarType for Position {
    fn parse(value: Value) -> InputValueResult<Self> {
        let position = match &value {
            Value::String(text) => decimal(text).and_then(|text| text.parse().ok()),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        let advice = "send a position as this service gave it: a decimal string such as \"42\"";
        // Stores count in signed numbers.
        let position = position.filter(|position| i64::try_from(*position).is_ok());
        position.map(|p| Self(GlobalPosition(p))).ok_or_else(|| InputValueError::custom(advice))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A 64-bit whole number, as a decimal string: JSON numbers lose digits above 2^53 in many
/// languages, and an amount of money must not. Input may also be a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Long(pub i64);

/// A 64-bit whole number, as a decimal string: JSON numbers lose digits above 2^53 in many
/// languages, and an amount of money must not. Input may also be a plain number.
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::String(text) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                decimal(digits).and_then(|_| text.parse().ok())
            }
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        let advice = "send a whole number of at most 64 bits, as a decimal string or a number";
        number.map(Self).ok_or_else(|| InputValueError::custom(advice))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Digits alone: `parse` would also take a sign.
fn decimal(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// A day, `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub NaiveDate);

/// A day, `2026-11-23`.
#[Scalar(name = "Date")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        let day = match &value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        day.map(Self).ok_or_else(|| InputValueError::custom("send a day such as \"2026-11-23\""))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

/// Any JSON value.
#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(value))
    }

    fn to_value(&self) -> Value {
        self.0.clone()
    }
}

/// What a global id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A unit.
    Property,
    /// A listing period.
    Listing,
    /// An account.
    User,
    /// A search someone keeps.
    SavedSearch,
    /// An event: log and position.
    Event,
    /// A projection, by its name.
    Projection,
    /// Figures of a market: their key.
    MarketStatistics,
}

impl NodeKind {
    const ALL: [Self; 7] = [
        Self::Property,
        Self::Listing,
        Self::User,
        Self::SavedSearch,
        Self::Event,
        Self::Projection,
        Self::MarketStatistics,
    ];

    /// The name of the GraphQL type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Property => "Property",
            Self::Listing => "Listing",
            Self::User => "User",
            Self::SavedSearch => "SavedSearch",
            Self::Event => "Event",
            Self::Projection => "Projection",
            Self::MarketStatistics => "MarketStatistics",
        }
    }
}

/// An opaque id, unique among all types: the base64url text of `Type:key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalId {
    /// What it names.
    pub kind: NodeKind,
    /// Which one.
    pub key: String,
}

impl GlobalId {
    /// The id of one node.
    pub fn new(kind: NodeKind, key: impl fmt::Display) -> Self {
        Self { kind, key: key.to_string() }
    }

    /// As clients see it.
    pub fn to_id(&self) -> ID {
        ID(URL_SAFE_NO_PAD.encode(format!("{}:{}", self.kind.name(), self.key)))
    }

    /// Reads an id that clients sent in `field`.
    pub fn parse(id: &ID, field: &str) -> Result<Self, Fault> {
        let named = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id.as_str()).ok()?).ok()?;
            let (kind, key) = text.split_once(':')?;
            let kind = NodeKind::ALL.into_iter().find(|known| known.name() == kind)?;
            Some(Self { kind, key: key.to_owned() })
        };
        named().ok_or_else(|| Fault::input(field, "send an id as this service gave it"))
    }
}

/// An id whose GraphQL type is one of ours with a UUID; clients may also send the bare UUID, which
/// is what ingestion and events show.
pub trait NodeKey: Copy {
    /// The GraphQL type.
    const KIND: NodeKind;

    /// The key of a UUID.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The UUID of a key.
    fn uuid(self) -> Uuid;

    /// As clients see it.
    fn to_id(self) -> ID {
        GlobalId::new(Self::KIND, self.uuid()).to_id()
    }

    /// Reads an id that clients sent in `field`.
    fn parse(id: &ID, field: &str) -> Result<Self, Fault> {
        if let Ok(uuid) = Uuid::try_parse(id.as_str()) {
            return Ok(Self::from_uuid(uuid));
        }
        let GlobalId { kind, key } = GlobalId::parse(id, field)?;
        let uuid = (kind == Self::KIND).then(|| Uuid::try_parse(&key).ok()).flatten();
        let kind = Self::KIND.name();
        uuid.map(Self::from_uuid)
            .ok_or_else(|| Fault::input(field, format!("this id does not name a {kind}")))
    }
}

macro_rules! node_keys {
    ($($key:ident => $kind:ident),+ $(,)?) => {$(
        impl NodeKey for $key {
            const KIND: NodeKind = NodeKind::$kind;

            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            fn uuid(self) -> Uuid {
                self.0
            }
        }
    )+};
}

node_keys! {
    PropertyId => Property,
    ListingKey => Listing,
    UserId => User,
}

/// Names a saved search: its own id is unique only together with its user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SavedSearchKey {
    /// Who keeps it.
    pub user: UserId,
    /// Which of theirs.
    pub search: SavedSearchId,
}

impl SavedSearchKey {
    /// As clients see it.
    pub fn to_id(self) -> ID {
        GlobalId::new(NodeKind::SavedSearch, format!("{}:{}", self.user, self.search)).to_id()
    }

    /// Reads an id that clients sent in `field`.
    pub fn parse(id: &ID, field: &str) -> Result<Self, Fault> {
        let GlobalId { kind, key } = GlobalId::parse(id, field)?;
        let named = (kind == NodeKind::SavedSearch).then(|| Self::parse_key(&key)).flatten();
        named.ok_or_else(|| Fault::input(field, "this id does not name a SavedSearch"))
    }

    pub(crate) fn parse_key(key: &str) -> Option<Self> {
        let (user, search) = key.split_once(':')?;
        Some(Self { user: user.parse().ok()?, search: search.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_to_a_client_and_back() {
        let key = ListingKey(Uuid::now_v7());
        let id = NodeKey::to_id(key);
        assert_eq!(<ListingKey as NodeKey>::parse(&id, "id").unwrap(), key);
        assert_eq!(<ListingKey as NodeKey>::parse(&ID(key.to_string()), "id").unwrap(), key);
    }

    #[test]
    fn an_id_of_another_type_is_refused_by_name_of_the_field() {
        let id = NodeKey::to_id(UserId(Uuid::now_v7()));
        let refused = <ListingKey as NodeKey>::parse(&id, "filter.ids[2]").unwrap_err();
        let advice = "this id does not name a Listing";
        assert_eq!(refused, Fault::input("filter.ids[2]", advice));
        assert!(matches!(GlobalId::parse(&ID("x".into()), "id"), Err(Fault::BadInput(_))));
    }

    #[test]
    fn positions_and_longs_are_decimal_strings() {
        let position = |text: &str| Position::parse(Value::from(text)).ok().map(|p| p.0.0);
        assert_eq!(position("9223372036854775807"), Some(u64::MAX / 2));
        assert_eq!(position("9223372036854775808"), None);
        assert_eq!([position("-1"), position("+1"), position(""), position("1e3")], [None; 4]);
        let long = |text: &str| Long::parse(Value::from(text)).ok().map(|l| l.0);
        assert_eq!(long("-9223372036854775808"), Some(i64::MIN));
        assert_eq!([long("+5"), long("--5"), long("5.0"), long("9223372036854775808")], [None; 4]);
        assert_eq!(Long(i64::MAX).to_value(), Value::from("9223372036854775807"));
    }
}
