//! What someone did on a page, read from an item, without what says who it was.

use chrono::{DateTime, Utc};
use freehold_domain::interaction::{ActorType, DeviceType, EventSource, ObjectType};

use super::answer::{Notice, Notices};
use super::envelope::{self, SentFields, check_moment, left_out, personal_field_dropped};
use super::json::Json;
use super::names::{
    ACTOR_TYPES, CHANNELS, DEVICE_TYPES, EnvelopeField, OBJECT_TYPES, USER_EVENTS, USER_FIELDS,
    UserEventType, UserField, is_bot,
};
use super::property::unknown_event_type;
use super::read::Reader;

/// One item about what someone did.
pub(super) struct UserItem<'a> {
    pub(super) event_type: UserEventType,
    pub(super) source: Option<String>,
    /// The sender's reference of the user.
    pub(super) user: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) about: About,
    pub(super) data: SentFields<'a, UserField>,
}

/// What it was done to, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// The sender's reference of the property, or our id of it.
    pub(super) reference: Option<String>,
    /// Our key of the listing period.
    pub(super) listing: Option<String>,
    /// Whose reference it is, where it is not the sender's own.
    pub(super) property_source: Option<String>,
    /// What tells this visit from others: hashed before it is stored.
    pub(super) session: Option<String>,
    pub(super) occurred_at: Option<DateTime<Utc>>,
    pub(super) reported_at: Option<DateTime<Utc>>,
    pub(super) actor_type: Option<ActorType>,
    pub(super) object_type: Option<ObjectType>,
    pub(super) device_type: Option<DeviceType>,
    pub(super) channel: Option<EventSource>,
    pub(super) page_position: Option<u16>,
}

/// Reads an item; nothing when it has errors, which are then among the notices.
pub(super) fn read<'a>(
    item: &'a [u8],
    now: DateTime<Utc>,
    notices: &mut Notices,
) -> Option<UserItem<'a>> {
    let mut envelope = envelope::open(item, &USER_FIELDS, Some(UserField::Personal), now, notices)?;
    let event_type = match envelope.event_type.as_deref() {
        None if envelope.says(EnvelopeField::EventType) => return None,
        name => event_type(name, notices)?,
    };
    let mut about = About { occurred_at: envelope.occurred_at, ..About::default() };
    let mut bot = false;
    for sent in envelope.data.iter().filter(|sent| sent.value != Json::Null) {
        let (path, value) = (sent.path(), &sent.value);
        let mut reader = Reader { notices };
        match sent.field {
            UserField::Property => about.reference = line(&mut reader, &path, value),
            UserField::Listing => about.listing = line(&mut reader, &path, value),
            UserField::PropertySource => about.property_source = line(&mut reader, &path, value),
            UserField::Session => about.session = line(&mut reader, &path, value),
            UserField::ActorType => about.actor_type = reader.named(&path, value, &ACTOR_TYPES),
            UserField::IsBot => bot |= reader.boolean(&path, value).unwrap_or_default(),
            UserField::UserAgent => {
                bot |= matches!(value, Json::Text(agent) if is_bot(agent));
                notices.warn(personal_field_dropped(path));
            }
            UserField::ObjectType => about.object_type = reader.named(&path, value, &OBJECT_TYPES),
            UserField::DeviceType => about.device_type = reader.named(&path, value, &DEVICE_TYPES),
            UserField::Channel => about.channel = channel(&mut reader, &path, value),
            UserField::PagePosition => about.page_position = reader.count(&path, value),
            UserField::OccurredAt => {
                let moment = moment(&mut reader, &path, value, now);
                if let (Some(_), Some(outside)) = (moment, about.occurred_at)
                    && moment != Some(outside)
                {
                    notices.warn(left_out(path, "the item"));
                }
                about.occurred_at = about.occurred_at.or(moment);
            }
            UserField::ReportedAt => about.reported_at = moment(&mut reader, &path, value, now),
            // Dropped when the item was opened.
            UserField::Personal => {}
        }
    }
    if bot {
        about.actor_type = Some(ActorType::Bot);
    }
    match (&about.reference, envelope.reference.take()) {
        (None, outside) => about.reference = outside,
        (Some(inside), Some(outside)) if *inside != outside => {
            let path = envelope.path_of(EnvelopeField::Property).unwrap_or_default();
            notices.warn(left_out(path, "the data"));
        }
        (Some(_), _) => {}
    }
    if let UserEventType::Preference(_) = event_type {
        let missing = |field: &str, message| Notice::new("REFERENCE_MISSING", message).at(field);
        if envelope.user.is_none() && !envelope.says(EnvelopeField::User) {
            let message = "a preference belongs to a user; send your reference of them";
            notices.refuse(missing("user_id", message));
        }
        let says = |field| envelope.data.get(field).is_some_and(|sent| sent.value != Json::Null);
        let unreadable = says(UserField::Property) || says(UserField::Listing);
        if about.reference.is_none() && about.listing.is_none() && !unreadable {
            let message = "a preference is about a property; send its reference";
            notices.refuse(missing("data.property_id", message));
        }
    }
    notices.errors.is_empty().then_some(UserItem {
        event_type,
        source: envelope.source,
        user: envelope.user,
        event_id: envelope.event_id,
        about,
        data: envelope.data,
    })
}

fn moment(
    reader: &mut Reader<'_>,
    path: &str,
    value: &Json<'_>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let moment = reader.moment(path, value)?;
    check_moment(path, value, moment, now, reader.notices).then_some(moment)
}

fn event_type(name: Option<&str>, notices: &mut Notices) -> Option<UserEventType> {
    let Some(name) = name else {
        let message = "what happened is needed, such as property_viewed";
        notices.refuse(Notice::new("EVENT_TYPE_MISSING", message).at("event_type"));
        return None;
    };
    let found = USER_EVENTS.find(name);
    if found.is_none() {
        notices.refuse(unknown_event_type(name, USER_EVENTS.nearest(name)));
    }
    found
}

/// A text that may become part of a key.
fn line(reader: &mut Reader<'_>, path: &str, value: &Json<'_>) -> Option<String> {
    let text = reader.text(path, value)?;
    if text.chars().count() <= 200 && !text.chars().any(char::is_control) {
        return Some(text);
    }
    let message = "must be one line of at most 200 characters";
    reader.notices.refuse(Notice::new("MALFORMED", message).at(path).sent(value));
    None
}

/// Senders have many words for where a visitor came from; one we do not know costs nothing else.
fn channel(reader: &mut Reader<'_>, path: &str, value: &Json<'_>) -> Option<EventSource> {
    let text = reader.text(path, value)?;
    let found = CHANNELS.find(&text);
    if found.is_none() {
        let message = "is not an event source we know and was left out";
        reader.notices.warn(Notice::new("UNKNOWN_VALUE", message).at(path).sent(value));
    }
    found
}
