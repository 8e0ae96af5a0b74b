//! What stands around an item's data: whose it is, what happened, when.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use serde::ser::{Serialize, Serializer};

use super::answer::{Notice, Notices};
use super::json::{Fields, Json};
use super::names::{ENVELOPE_FIELDS, EnvelopeField, Names};
use super::read::Reader;
use crate::moments::{self, Impossible};

/// A sender's clock may be so far ahead of ours without a word.
const SKEW_TOLERATED: TimeDelta = TimeDelta::minutes(5);

/// An item, apart from what its data means.
pub(super) struct Envelope<'a, F> {
    pub(super) reference: Option<String>,
    pub(super) user: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) occurred_at: Option<DateTime<Utc>>,
    pub(super) data: SentFields<'a, F>,
    /// What was sent, readable or not.
    said: Vec<Sent<'a, EnvelopeField>>,
}

impl<F> Envelope<'_, F> {
    /// Whether the sender said something there: if it is absent all the same, nobody could read
    /// it, which an error says already.
    pub(super) fn says(&self, field: EnvelopeField) -> bool {
        self.path_of(field).is_some()
    }

    /// Where the sender said it.
    pub(super) fn path_of(&self, field: EnvelopeField) -> Option<String> {
        self.said.iter().find(|sent| sent.field == field).map(Sent::path)
    }
}

/// The fields of an item's data that have a meaning, each once.
pub(super) struct SentFields<'a, F>(Vec<Sent<'a, F>>);

/// One field as it was sent.
pub(super) struct Sent<'a, F> {
    pub(super) field: F,
    name: Cow<'a, str>,
    in_data: bool,
    pub(super) value: Json<'a>,
}

impl<F> Sent<'_, F> {
    /// Where it stands in the item.
    pub(super) fn path(&self) -> String {
        if self.in_data { format!("data.{}", self.name) } else { self.name.clone().into_owned() }
    }
}

impl<'a, F: Copy + PartialEq> SentFields<'a, F> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent<'a, F>> {
        self.0.iter()
    }

    pub(super) fn get(&self, field: F) -> Option<&Sent<'a, F>> {
        self.0.iter().find(|sent| sent.field == field)
    }

    /// Keeps the last of several values, as JSON does, but not without a word.
    fn put(&mut self, sent: Sent<'a, F>, notices: &mut Notices) {
        let Some(earlier) = self.0.iter_mut().find(|earlier| earlier.field == sent.field) else {
            self.0.push(sent);
            return;
        };
        if earlier.value != sent.value {
            let message =
                format!("is sent again as {}, with another value; the last counts", sent.path());
            notices.warn(Notice::new("DUPLICATE_FIELD", message).at(earlier.path()));
        }
        *earlier = sent;
    }
}

/// For the fingerprint of a request: what it says, by our names or the sender's.
impl<F> Serialize for SentFields<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|sent| (&sent.name, &sent.value)))
    }
}

/// Parses an item; nothing when it is not an object.
///
/// A field that is known neither here nor to `names` is left out with a warning, and so are those
/// that `names` calls `personal`. Fields of the data may also stand beside the envelope's, as in a
/// flat record.
pub(super) fn open<'a, F: Copy + PartialEq>(
    item: &'a [u8],
    names: &Names<F>,
    personal: Option<F>,
    now: DateTime<Utc>,
    notices: &mut Notices,
) -> Option<Envelope<'a, F>> {
    let fields = match serde_json::from_slice::<Json<'a>>(item) {
        Ok(Json::Object(fields)) => fields,
        Ok(other) => {
            let message = format!("an item is an object, not {}", other.kind());
            notices.refuse(Notice::new("NOT_AN_OBJECT", message).sent(&other));
            return None;
        }
        Err(error) => {
            let excerpt: String = String::from_utf8_lossy(item).chars().take(100).collect();
            let message = format!("this is not JSON: {error}");
            let notice = Notice::new("MALFORMED_JSON", message);
            notices.refuse(Notice { value: Some(excerpt.into()), ..notice });
            return None;
        }
    };
    let mut opening = Opening {
        envelope: Envelope {
            reference: None,
            user: None,
            event_type: None,
            event_id: None,
            source: None,
            occurred_at: None,
            data: SentFields(Vec::with_capacity(fields.len())),
            said: Vec::new(),
        },
        names,
        personal,
        notices,
        now,
    };
    opening.read(fields);
    Some(opening.envelope)
}

struct Opening<'a, 'n, F: 'static> {
    envelope: Envelope<'a, F>,
    names: &'n Names<F>,
    personal: Option<F>,
    notices: &'n mut Notices,
    now: DateTime<Utc>,
}

impl<'a, F: Copy + PartialEq> Opening<'a, '_, F> {
    fn read(&mut self, fields: Fields<'a>) {
        let mut data = Vec::new();
        for (name, value) in fields {
            match ENVELOPE_FIELDS.find(&name) {
                Some(EnvelopeField::Data) => match value {
                    Json::Object(fields) => data.extend(fields),
                    Json::Null => {}
                    other => {
                        let message = format!("must be an object, not {}", other.kind());
                        let notice = Notice::new("WRONG_TYPE", message);
                        self.notices.refuse(notice.at(name).sent(&other));
                    }
                },
                Some(field) => self.say(Sent { field, name, in_data: false, value }),
                None => self.data_field(name, value, false),
            }
        }
        for (name, value) in data {
            self.data_field(name, value, true);
        }
        let said = std::mem::take(&mut self.envelope.said);
        for sent in &said {
            let path = if sent.in_data { sent.path().into() } else { Cow::Borrowed(&*sent.name) };
            self.envelope_field(sent.field, &path, &sent.value);
        }
        self.envelope.said = said;
    }

    /// Keeps what stands around the data, each field once.
    ///
    /// One name with two values is refused: whichever was meant, the other names another property
    /// or asks for something else. Of two names for a field the one nearer to ours counts.
    fn say(&mut self, mut sent: Sent<'a, EnvelopeField>) {
        if sent.value == Json::Null || sent.field == EnvelopeField::Ignored {
            return;
        }
        let Some(earlier) = self.envelope.said.iter_mut().find(|one| one.field == sent.field)
        else {
            return self.envelope.said.push(sent);
        };
        if earlier.value == sent.value {
            return;
        }
        // What stands outside the data counts before what the data says about the same.
        if earlier.in_data == sent.in_data {
            let rank = |one: &Sent<'_, EnvelopeField>| ENVELOPE_FIELDS.rank(&one.name);
            if rank(earlier) == rank(&sent) {
                let message = "is sent twice with different values; send it once";
                let notice = Notice::new("DUPLICATE_FIELD", message).at(sent.path());
                return self.notices.refuse(notice.sent(&sent.value));
            }
            if rank(earlier) > rank(&sent) {
                std::mem::swap(earlier, &mut sent);
            }
        }
        self.notices.warn(left_out(sent.path(), &earlier.path()));
    }

    fn data_field(&mut self, name: Cow<'a, str>, value: Json<'a>, in_data: bool) {
        let known = self.names.find(&name);
        if let Some(field) = known
            && known != self.personal
        {
            self.envelope.data.put(Sent { field, name, in_data, value }, self.notices);
            return;
        }
        let path = if in_data { format!("data.{name}") } else { name.clone().into_owned() };
        if known.is_some() {
            self.notices.warn(personal_field_dropped(path));
            return;
        }
        match ENVELOPE_FIELDS.find(&name) {
            // Thousands of unknown names are not compared with every known one.
            Some(EnvelopeField::Data) | None if !self.notices.take_warnings() => {}
            Some(EnvelopeField::Data) | None => {
                // Its value is not repeated: nobody knows what, or who, it is about.
                let nearest = self.names.nearest(&name);
                let hint = nearest.map(|ours| format!("; did you mean {ours}?"));
                let message = format!("is not known and was left out{}", hint.unwrap_or_default());
                let path = path.chars().take(100).collect::<String>();
                self.notices.warn(Notice::new("UNKNOWN_FIELD", message).at(path));
            }
            Some(field) => self.say(Sent { field, name, in_data, value }),
        }
    }

    fn envelope_field(&mut self, field: EnvelopeField, path: &str, value: &Json<'_>) {
        let mut reader = Reader { notices: self.notices };
        let envelope = &mut self.envelope;
        let place = match field {
            EnvelopeField::Data | EnvelopeField::Ignored => return,
            EnvelopeField::OccurredAt => {
                if let Some(moment) = reader.moment(path, value) {
                    let possible = check_moment(path, value, moment, self.now, self.notices);
                    envelope.occurred_at = possible.then_some(moment);
                }
                return;
            }
            EnvelopeField::Property => &mut envelope.reference,
            EnvelopeField::User => &mut envelope.user,
            EnvelopeField::EventType => &mut envelope.event_type,
            EnvelopeField::EventId => &mut envelope.event_id,
            EnvelopeField::Source => &mut envelope.source,
        };
        let Some(text) = reader.text(path, value) else { return };
        if text.chars().count() > 200 || text.chars().any(char::is_control) {
            let message = "must be one line of at most 200 characters";
            self.notices.refuse(Notice::new("MALFORMED", message).at(path).sent(value));
        } else {
            *place = Some(text);
        }
    }
}

/// Of two values for one thing, the one that does not count.
pub(super) fn left_out(path: String, counts: &str) -> Notice {
    let message = format!("is another value than {counts} has and was left out");
    Notice::new("DUPLICATE_FIELD", message).at(path)
}

/// What was dropped is not repeated, as answers are often logged.
pub(super) fn personal_field_dropped(path: String) -> Notice {
    let message = "may say who someone is; it was dropped and is stored nowhere";
    Notice::new("PERSONAL_FIELD_DROPPED", message).at(path)
}

/// Whether something can have happened then; a clock that runs ahead is worth a warning.
pub(super) fn check_moment(
    path: &str,
    value: &Json<'_>,
    moment: DateTime<Utc>,
    now: DateTime<Utc>,
    notices: &mut Notices,
) -> bool {
    if let Err(impossible) = moments::check(moment, now) {
        let code = match impossible {
            Impossible::TooEarly => "TIMESTAMP_OUT_OF_RANGE",
            Impossible::InFuture => "TIMESTAMP_IN_FUTURE",
        };
        notices.refuse(Notice::new(code, impossible.to_string()).at(path).sent(value));
        return false;
    }
    let ahead = moment - now;
    if ahead > SKEW_TOLERATED {
        let message = format!("is {} s ahead of our clock; check yours", ahead.num_seconds());
        notices.warn(Notice::new("CLOCK_SKEW", message).at(path).sent(value));
    }
    true
}
