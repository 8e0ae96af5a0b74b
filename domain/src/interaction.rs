//! A view, a click, a share: what someone did on a page, as a fact without rules.
//!
//! Names follow RESO `InternetTracking`; each kind is stored as an event of its own name, in a log
//! of its own, because interactions come in high volume and nothing is decided on them. Absent on
//! purpose: everything that says who it was. Network address, e-mail, phone, user agent, exact
//! coordinates and search words have no field here; they are truncated or dropped at the door, and
//! a keyed hash stands for the visitor. A favourite also changes the account, through its command.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ListingKey, PayloadError, PropertyId, StoredEvent};

/// One interaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    /// What happened; the event type it is stored under.
    pub kind: InteractionKind,
    /// Who did it, to what, when; the payload.
    pub details: InteractionDetails,
}

/// Who interacted, with what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionDetails {
    /// What kind of visitor.
    pub actor_type: ActorType,
    /// What kind of thing.
    pub object_type: ObjectType,
    /// The property, when we know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<PropertyId>,
    /// The listing period, when we know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListingKey>,
    /// What the sender calls the thing, when that is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What kind of device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<EventSource>,
    /// A keyed hash of the visit, made at the door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Where on the page the thing stood, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_position: Option<u32>,
    /// When it happened, by the visitor's clock.
    pub event_timestamp: DateTime<Utc>,
    /// When the sender told us, by the sender's clock.
    pub reported_timestamp: DateTime<Utc>,
}

macro_rules! interaction_kinds {
    ($($(#[$doc:meta])* $kind:ident),+ $(,)?) => {
        /// What happened, after RESO `EventType` (Data Dictionary 2.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum InteractionKind { $( $(#[$doc])* $kind ),+ }

        impl InteractionKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[ $( Self::$kind ),+ ];

            /// The name it is stored under: `DetailedView`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$kind => stringify!($kind) ),+ }
            }
        }

        const TYPES: &[(&str, u16)] = &[ $( (stringify!($kind), 1) ),+ ];
    };
}

interaction_kinds! {
    /// The thing was shown among others.
    Impression,
    /// The thing was shown by itself.
    DetailedView,
    /// The view of the thing was left.
    ExitDetailedView,
    /// The thing was marked as wanted.
    Favorited,
    /// The thing was marked as perhaps wanted.
    Maybe,
    /// The thing was marked as not wanted.
    Discard,
    /// The thing was passed on.
    Share,
    /// A search was run.
    Search,
    /// The page was scrolled.
    ScrolledDepth,
    /// The photos were looked through.
    PhotoGallery,
    /// The virtual tour was opened.
    VirtualTour,
    /// A video was played.
    PropertyVideos,
    /// Directions were asked for.
    DrivingDirections,
    /// The page was printed.
    Printed,
    /// A comment was written.
    Comments,
    /// The e-mail address was clicked.
    ClickedOnEmailAddress,
    /// The phone number was clicked.
    ClickedOnPhoneNumber,
    /// The visitor went on to the site that hosts the thing.
    ClickToPrimaryHostedSite,
    /// A contact form was sent.
    SubmissionOfLeadForm,
    /// The thing was changed.
    ObjectModified,
    /// The visitor signed in.
    SignIn,
    /// The visitor signed out.
    SignOut,
}

impl InteractionKind {
    /// The kind of that name, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// What kind of visitor, after RESO `ActorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActorType {
    /// Someone who lets property for a living.
    Agent,
    /// A program.
    Bot,
    /// Someone with an account.
    Client,
    /// Someone without an account.
    Consumer,
    /// The sender does not say.
    Unknown,
}

/// What kind of thing was interacted with, after RESO `ObjectType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectType {
    /// A document.
    Document,
    /// A listing.
    Listing,
    /// An open house.
    OpenHouse,
    /// A photo.
    Photo,
    /// A property, whether or not it is listed.
    Property,
    /// A search.
    SavedSearch,
    /// A virtual tour.
    VirtualTour,
}

/// What kind of device, after RESO `DeviceType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceType {
    /// A desktop or a laptop.
    Desktop,
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// A watch or glasses.
    Wearable,
    /// The sender cannot tell.
    Unknown,
}

/// What led to the interaction, after RESO `EventSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventSource {
    /// A suggestion by artificial intelligence.
    #[serde(rename = "AI")]
    Ai,
    /// Where the visitor stood.
    #[serde(rename = "GPS")]
    Gps,
    /// A list of results.
    List,
    /// A map.
    Map,
    /// A search engine.
    SearchEngine,
    /// A voice assistant.
    VoiceAssistant,
}

impl StoredEvent for Interaction {
    const HOLDS_PERSONAL: bool = false;
    const TYPES: &'static [(&'static str, u16)] = TYPES;

    fn event_type(&self) -> &'static str {
        self.kind.name()
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.details.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        event_type: &str,
        schema_version: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>> {
        let kind = InteractionKind::ALL.iter().copied().find(|kind| kind.name() == event_type);
        let kind = kind.ok_or(PayloadError::UnknownType)?;
        match schema_version {
            1 => InteractionDetails::deserialize(deserializer)
                .map(|details| Self { kind, details })
                .map_err(PayloadError::Malformed),
            unknown => Err(PayloadError::UnknownVersion(unknown)),
        }
    }
}

/// How many streams the interactions of one day are spread over.
pub const STREAMS_PER_DAY: u64 = 64;

/// The stream an interaction of `day` belongs to: `interactions-2026-11-23-07`.
///
/// - Shape: the same key always meets the same stream of a day, so what one visit did stays in
///   order; the last part is the bucket, 00 to 63.
pub fn interaction_stream(day: NaiveDate, key: &str) -> String {
    // FNV-1a: the bucket is part of stored names, so it must not change with a library.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("interactions-{day}-{:02}", hash % STREAMS_PER_DAY)
}
