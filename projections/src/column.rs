//! Which Rust types a column can hold.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use freehold_ports::{ColumnKind, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A type that is a column of a read model.
pub trait ColumnValue: Sized {
    /// What the column holds.
    const KIND: ColumnKind;

    /// The value as it is stored.
    fn to_value(&self) -> Value;

    /// The value that was stored; `None` if it is of another kind.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! column_value {
    ($($type:ty = $kind:ident, $to:expr, $from:pat => $back:expr;)+) => {$(
        impl ColumnValue for $type {
            const KIND: ColumnKind = ColumnKind::$kind;

            fn to_value(&self) -> Value {
                let to: fn(&$type) -> Value = $to;
                to(self)
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $from => Some($back),
                    _ => None,
                }
            }
        }
    )+};
}

column_value! {
    bool = Bool, |value| Value::Bool(*value), Value::Bool(value) => value;
    i64 = Integer, |value| Value::Integer(*value), Value::Integer(value) => value;
    f64 = Real, |value| Value::Real(*value), Value::Real(value) => value;
    String = Text, |value| Value::Text(Arc::from(value.as_str())), Value::Text(value) => value.to_string();
    Arc<str> = Text, |value| Value::Text(value.clone()), Value::Text(value) => value;
    Uuid = Uuid, |value| Value::Uuid(*value), Value::Uuid(value) => value;
    DateTime<Utc> = Timestamp, |value| Value::Timestamp(*value), Value::Timestamp(value) => value;
    // A date is the moment it begins, so that dates and moments compare alike.
    NaiveDate = Timestamp, |value| Value::Timestamp(value.and_time(NaiveTime::MIN).and_utc()),
        Value::Timestamp(value) => value.date_naive();
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    const KIND: ColumnKind = T::KIND;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// Anything with a JSON form, as a column that is not searched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> ColumnValue for Json<T> {
    const KIND: ColumnKind = ColumnKind::Json;

    fn to_value(&self) -> Value {
        // Rows hold lists, numbers and text; only a map with keys that are no text would fail.
        serde_json::to_string(&self.0).map_or(Value::Null, |json| Value::Text(Arc::from(json)))
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(json) => serde_json::from_str(&json).ok().map(Self),
            _ => None,
        }
    }
}
