//! Domain values as columns, so that rows are typed and queries see names and numbers.

use std::sync::Arc;

use freehold_domain::property::{
    CoordinatePrecision, Furnished, ListingStatus, LocationVisibility, PetsAllowed, PropertyType,
};
use freehold_domain::user::{
    AlertPauseReason, AlertSchedule, IdentityFailure, IdentityMethod, ListingPreference, Standing,
};
use freehold_domain::{
    AreaUnit, Currency, FeeFrequency, ListingKey, PropertyId, SavedSearchId, UserId,
};
use freehold_ports::{ColumnKind, GlobalPosition, SealedText, StreamVersion, Value};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::account::Erasure;
use super::market::PriceBasis;
use crate::ColumnValue;

macro_rules! identifiers {
    ($($type:ident),+ $(,)?) => {$(
        impl ColumnValue for $type {
            const KIND: ColumnKind = ColumnKind::Uuid;

            fn to_value(&self) -> Value {
                Value::Uuid(self.0)
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Uuid(id) => Some(Self(id)),
                    _ => None,
                }
            }
        }
    )+};
}

identifiers! { ListingKey, PropertyId, SavedSearchId, UserId }

macro_rules! counters {
    ($($type:ident),+ $(,)?) => {$(
        impl ColumnValue for $type {
            const KIND: ColumnKind = ColumnKind::Integer;

            fn to_value(&self) -> Value {
                Value::Integer(self.0.cast_signed())
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Integer(count) => u64::try_from(count).ok().map(Self),
                    _ => None,
                }
            }
        }
    )+};
}

counters! { GlobalPosition, StreamVersion }

macro_rules! names {
    ($($type:ty = $name:expr, $from:expr;)+) => {$(
        impl ColumnValue for $type {
            const KIND: ColumnKind = ColumnKind::Text;

            fn to_value(&self) -> Value {
                let name: fn(&$type) -> &str = $name;
                Value::Text(Arc::from(name(self)))
            }

            fn from_value(value: Value) -> Option<Self> {
                let from: fn(&str) -> Option<$type> = $from;
                match value {
                    Value::Text(name) => from(&name),
                    _ => None,
                }
            }
        }
    )+};
}

names! {
    CoordinatePrecision = |value| value.name(), CoordinatePrecision::from_name;
    Furnished = |value| value.name(), Furnished::from_name;
    ListingStatus = |value| value.name(), ListingStatus::from_name;
    LocationVisibility = |value| value.name(), LocationVisibility::from_name;
    PetsAllowed = |value| value.name(), PetsAllowed::from_name;
    PropertyType = |value| value.name(), PropertyType::from_name;
    FeeFrequency = |value| value.name(), FeeFrequency::from_name;
    Currency = |value| value.code(), Currency::from_code;
}

impl ColumnValue for SealedText {
    const KIND: ColumnKind = ColumnKind::Text;

    fn to_value(&self) -> Value {
        Value::Text(Arc::from(self.to_string()))
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Self::parse(&text),
            _ => None,
        }
    }
}

/// Enums that have no names of their own are stored under those of their JSON form.
macro_rules! serialized_names {
    ($($type:ty),+ $(,)?) => {$(
        impl ColumnValue for $type {
            const KIND: ColumnKind = ColumnKind::Text;

            fn to_value(&self) -> Value {
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(name)) => Value::Text(Arc::from(name)),
                    // An enum without fields is a name in JSON.
                    _ => Value::Null,
                }
            }

            fn from_value(value: Value) -> Option<Self> {
                let Value::Text(name) = value else { return None };
                let name: StrDeserializer<'_, Error> = (*name).into_deserializer();
                Self::deserialize(name).ok()
            }
        }
    )+};
}

serialized_names! {
    AlertPauseReason, AlertSchedule, AreaUnit, Erasure, IdentityFailure, IdentityMethod,
    ListingPreference, PriceBasis, Standing,
}
