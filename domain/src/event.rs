//! How domain events name themselves in storage.
//!
//! A stored event is its type name, a schema version and a payload. The payload is the variant's
//! struct alone; the name and the version stand beside it, so that a reader can choose what to
//! read and an old shape can be lifted before it is parsed into today's.

use serde::{Deserializer, Serializer};

use crate::{Claim, SubjectId};

/// An enum of events that can be stored and read back; `stored_events!` writes the code.
pub trait StoredEvent: Sized {
    /// Whether any of its events may hold a [`Personal`](crate::Personal) value.
    const HOLDS_PERSONAL: bool;

    /// Every event type with the schema version that is written today.
    const TYPES: &'static [(&'static str, u16)];

    /// The name it is stored under, past tense: `ListingPublished`.
    fn event_type(&self) -> &'static str;

    /// The schema version of the payload that [`serialize_payload`](Self::serialize_payload) writes.
    fn schema_version(&self) -> u16;

    /// Writes the payload of this event, without its name.
    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads a payload stored under a name and a schema version, lifting old versions.
    ///
    /// - Errors: an unknown name or version is told apart from a malformed payload, because the
    ///   first asks for a newer program and the second for a repair.
    fn deserialize_payload<'de, D: Deserializer<'de>>(
        event_type: &str,
        schema_version: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>>;

    /// Keys that this event takes or gives back, unique within a tenant; most events have none.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// The person whose data key this event says was destroyed, if it says so.
    fn shredded_subject(&self) -> Option<SubjectId> {
        None
    }
}

/// Why a stored payload could not become an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError<E> {
    /// This program does not know the type.
    #[error("unknown event type; run a release that knows it")]
    UnknownType,
    /// This program does not know the version of the type.
    #[error("unknown schema version {0}; run a release that knows it")]
    UnknownVersion(u16),
    /// The payload does not have the shape of its version.
    #[error("malformed payload: {0}")]
    Malformed(E),
}

/// Declares an enum of stored events, each variant holding the struct of the same name.
///
/// `Name = 2 from { 1 => NameV1 }` says that version 2 is written and that a stored version 1 is
/// read as `NameV1` and lifted by `From<NameV1> for Name`: the upcaster.
macro_rules! stored_events {
    (
        $(#[$meta:meta])*
        pub enum $name:ident (personal: $personal:literal $(, claims: $claims:path)? $(, shredded: $shredded:path)?) {
            $( $variant:ident = $version:literal $( from { $( $old:literal => $lifted:ty ),+ $(,)? } )? ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs, reason = "each variant is documented at the struct of its name")]
        pub enum $name { $( $variant($variant) ),+ }

        impl $crate::StoredEvent for $name {
            const HOLDS_PERSONAL: bool = $personal;
            const TYPES: &'static [(&'static str, u16)] = &[ $( (stringify!($variant), $version) ),+ ];

            fn event_type(&self) -> &'static str {
                match self { $( Self::$variant(_) => stringify!($variant) ),+ }
            }

            fn schema_version(&self) -> u16 {
                match self { $( Self::$variant(_) => $version ),+ }
            }

            fn serialize_payload<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $( Self::$variant(event) => serde::Serialize::serialize(event, serializer) ),+ }
            }

            fn deserialize_payload<'de, D: serde::Deserializer<'de>>(
                event_type: &str,
                schema_version: u16,
                deserializer: D,
            ) -> Result<Self, $crate::PayloadError<D::Error>> {
                use serde::Deserialize as _;
                match (event_type, schema_version) {
                    $(
                        (stringify!($variant), $version) => $variant::deserialize(deserializer)
                            .map(Self::$variant)
                            .map_err($crate::PayloadError::Malformed),
                        $( $(
                            (stringify!($variant), $old) => <$lifted>::deserialize(deserializer)
                                .map(|old| Self::$variant(old.into()))
                                .map_err($crate::PayloadError::Malformed),
                        )+ )?
                        (stringify!($variant), unknown) => Err($crate::PayloadError::UnknownVersion(unknown)),
                    )+
                    _ => Err($crate::PayloadError::UnknownType),
                }
            }

            $( fn claims(&self) -> Vec<$crate::Claim> { $claims(self) } )?
            $( fn shredded_subject(&self) -> Option<$crate::SubjectId> { $shredded(self) } )?
        }

        impl cqrs_es::DomainEvent for $name {
            fn event_type(&self) -> String {
                $crate::StoredEvent::event_type(self).to_owned()
            }

            fn event_version(&self) -> String {
                $crate::StoredEvent::schema_version(self).to_string()
            }
        }

        $( impl From<$variant> for $name {
            fn from(event: $variant) -> Self { Self::$variant(event) }
        } )+
    };
}

pub(crate) use stored_events;
