//! A record as an event again: what [`each_header`](crate::records::each_header) wrote.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use freehold_ports::{
    CommandId, EventFilter, EventId, GlobalPosition, PayloadCodec, Provenance, RecordedEvent,
    StreamId, StreamVersion,
};
use uuid::Uuid;

/// What is read.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The log, as records name it.
    pub(super) source: String,
    /// Which of its events.
    pub(super) filter: EventFilter,
}

/// A record of the log that is read.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) position: GlobalPosition,
    /// The position of the record before it in its partition.
    pub(super) previous: GlobalPosition,
    pub(super) content: Content,
    /// What it takes while it waits.
    pub(super) bytes: usize,
}

/// What a record is about.
#[derive(Debug)]
pub(super) enum Content {
    /// An event.
    Event(Box<RecordedEvent>),
    /// An event that nobody here wants.
    Unwanted,
    /// An event of which not everything is there, or cannot be read.
    Unreadable,
}

impl Wanted {
    /// What stands in a record; none if it says of no position of the log that it is there.
    pub(super) fn decode<'a>(
        &self,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        payload: Option<&[u8]>,
    ) -> Option<Arrival> {
        let headers = Headers(headers.into_iter().collect());
        if headers.text("ce_source")? != self.source {
            return None;
        }
        let position: GlobalPosition = headers.number("ce_position").map(GlobalPosition)?;
        let (previous, content) = match self.content(&headers, position, payload) {
            Some((previous, content)) => (previous, content),
            None => (position, Content::Unreadable),
        };
        let bytes = 512
            + match &content {
                Content::Event(_) => headers.bytes() + payload.map_or(0, <[u8]>::len),
                Content::Unwanted | Content::Unreadable => 0,
            };
        Some(Arrival { position, previous, content, bytes })
    }

    fn content(
        &self,
        headers: &Headers<'_>,
        position: GlobalPosition,
        payload: Option<&[u8]>,
    ) -> Option<(GlobalPosition, Content)> {
        let previous = headers.number("ce_previousposition").map(GlobalPosition)?;
        let stream: StreamId = headers.parsed("ce_subject")?;
        let event_type = headers.text("ce_type")?;
        if headers.text("ce_specversion")? != "1.0" {
            return None;
        }
        if !self.filter.admits(&stream, event_type) {
            return Some((previous, Content::Unwanted));
        }
        if headers.get("ce_omitted").is_some() {
            return None;
        }
        let event = RecordedEvent {
            position,
            stream,
            version: headers.number("ce_streamversion").map(StreamVersion)?,
            event_id: headers.parsed("ce_id").map(EventId)?,
            event_type: event_type.into(),
            schema_version: headers.parsed("ce_schemaversion")?,
            command_id: headers.parsed("ce_commandid").map(CommandId)?,
            provenance: Provenance {
                tenant: headers.text("ce_tenant")?.into(),
                actor: headers.text("ce_actor")?.into(),
                correlation_id: headers.id("ce_correlationid").ok()?,
                causation_id: headers.id("ce_causationid").ok()?,
            },
            occurred_at: headers.parsed::<DateTime<Utc>>("ce_time")?,
            recorded_at: headers.parsed::<DateTime<Utc>>("ce_recordedtime")?,
            subjects: headers.list("ce_persons", ',')?,
            tags: headers.list("ce_tags", '\n')?,
            codec: codec(headers.text("content-type")?)?,
            payload: payload?.to_vec().into(),
        };
        Some((previous, Content::Event(Box::new(event))))
    }
}

fn codec(content_type: &str) -> Option<PayloadCodec> {
    match content_type {
        "application/json" => Some(PayloadCodec::Json),
        _ => None,
    }
}

/// What stands beside a value; `None` where something is not there or cannot be read.
struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

/// Something is there and cannot be read.
struct Damaged;

impl<'a> Headers<'a> {
    fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.parsed(name)
    }

    /// An id that need not be there.
    fn id(&self, name: &str) -> Result<Option<Uuid>, Damaged> {
        match self.get(name) {
            Some(_) => self.parsed(name).map(Some).ok_or(Damaged),
            None => Ok(None),
        }
    }

    /// Values in one text, which is not there if there are none.
    fn list<T: FromStr>(&self, name: &str, between: char) -> Option<Vec<T>> {
        match self.get(name) {
            Some(_) => self.text(name)?.split(between).map(|value| value.parse().ok()).collect(),
            None => Some(Vec::new()),
        }
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::records::each_header;

    fn wanted(filter: EventFilter) -> Wanted {
        Wanted { source: "/freehold/domain".to_owned(), filter }
    }

    type Written = Vec<(&'static str, Vec<u8>)>;

    fn written(event: &RecordedEvent, previous: u64) -> Written {
        let mut headers = Vec::new();
        each_header(event, "/freehold/domain", GlobalPosition(previous), |name, value| {
            headers.push((name, value.as_bytes().to_vec()));
        });
        headers
    }

    fn read(wanted: &Wanted, headers: &Written, payload: Option<&[u8]>) -> Option<Arrival> {
        wanted.decode(headers.iter().map(|(name, value)| (*name, &value[..])), payload)
    }

    fn id() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    /// Of the years that have four digits, to the microsecond, as the port has it.
    fn time() -> impl Strategy<Value = DateTime<Utc>> {
        let years = -62_135_596_800_000_000_i64..253_402_300_800_000_000;
        years.prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap())
    }

    fn provenance() -> impl Strategy<Value = Provenance> {
        let text = || "\\PC{0,12}|[\\x00-\\x7f]{0,5}";
        let ids = || proptest::option::of(id());
        (text(), text(), ids(), ids()).prop_map(|(tenant, actor, correlation_id, causation_id)| {
            let (tenant, actor) = (tenant.into(), actor.into());
            Provenance { tenant, actor, correlation_id, causation_id }
        })
    }

    prop_compose! {
        fn an_event()(
            numbers in (1..u64::MAX, any::<u64>(), any::<u16>()),
            names in ("[!-,.-~]{1,20}-[!-~]{1,30}", "\\PC{0,20}"),
            ids in (id(), id()),
            provenance in provenance(),
            times in (time(), time()),
            subjects in vec(id(), 0..4),
            tags in vec("[^\\pC]{1,30}", 0..5),
            payload in vec(any::<u8>(), 0..200),
        ) -> RecordedEvent {
            // A subject's type is not of this crate.
            let subjects = subjects.iter().map(|id| id.to_string().parse().unwrap()).collect();
            RecordedEvent {
                position: GlobalPosition(numbers.0),
                stream: names.0.parse().unwrap(),
                version: StreamVersion(numbers.1),
                event_id: EventId(ids.0),
                event_type: names.1.into(),
                schema_version: numbers.2,
                command_id: CommandId(ids.1),
                provenance,
                occurred_at: times.0,
                recorded_at: times.1,
                subjects,
                tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
                codec: PayloadCodec::Json,
                payload: payload.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(event in an_event(), previous in any::<u64>()) {
            let headers = written(&event, previous);
            let arrival = read(&wanted(EventFilter::all()), &headers, Some(&event.payload)).unwrap();
            prop_assert_eq!(arrival.position, event.position);
            prop_assert_eq!(arrival.previous, GlobalPosition(previous));
            prop_assert!(arrival.bytes > event.payload.len());
            match arrival.content {
                Content::Event(read) => prop_assert_eq!(*read, event),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        /// One header gone, or no text: the event as it was, or none of that place.
        #[test]
        fn what_is_damaged_is_not_taken_for_an_event(
            event in an_event(),
            number in any::<prop::sample::Index>(),
            damage in proptest::option::of(vec(248..=255_u8, 1..4)),
        ) {
            let mut headers = written(&event, 7);
            let at = number.index(headers.len());
            let (name, _) = headers[at];
            match damage {
                Some(bytes) => headers[at].1 = bytes,
                None => { headers.remove(at); }
            }
            let arrival = read(&wanted(EventFilter::all()), &headers, Some(&event.payload));
            match (name, arrival.map(|arrival| (arrival.position, arrival.content))) {
                ("ce_source" | "ce_position", read) => prop_assert!(read.is_none()),
                (_, Some((position, Content::Unreadable))) => {
                    prop_assert_eq!(position, event.position);
                }
                // It says nothing that the others do not say.
                ("ce_dataschema", Some((_, Content::Event(read)))) => {
                    prop_assert_eq!(*read, event);
                }
                // Nobody can tell that they were there.
                ("ce_correlationid" | "ce_causationid" | "ce_persons" | "ce_tags", Some(_)) => {
                    prop_assert_eq!(headers.iter().find(|(other, _)| *other == name), None);
                }
                (name, read) => prop_assert!(false, "{} {:?}", name, read),
            }
        }

        #[test]
        fn a_record_of_anybody_is_survived(
            names in vec("ce_[a-z]{0,5}|ce_position|ce_source|\\PC{0,9}", 0..9),
            value in vec(any::<u8>(), 0..40),
            payload in proptest::option::of(vec(any::<u8>(), 0..9)),
        ) {
            let headers = names.iter().map(|name| (&**name, &value[..]));
            let read = wanted(EventFilter::all()).decode(headers, payload.as_deref());
            prop_assert!(read.is_none());
        }
    }

    fn some_event() -> RecordedEvent {
        RecordedEvent {
            position: GlobalPosition(9),
            stream: "property-1".parse().unwrap(),
            version: StreamVersion(1),
            event_id: EventId::new(),
            event_type: "ListingPublished".into(),
            schema_version: 1,
            command_id: CommandId::new(),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "test".into(),
                correlation_id: None,
                causation_id: None,
            },
            occurred_at: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: "{}".into(),
        }
    }

    #[test]
    fn an_event_without_its_payload_or_all_of_its_tags_is_in_the_log_only() {
        let mut event = some_event();
        let all = wanted(EventFilter::all());
        let deleted = read(&all, &written(&event, 4), None).unwrap();
        assert!(matches!(deleted.content, Content::Unreadable), "{deleted:?}");
        event.tags = (0..100_000).map(|tag| format!("tag:{tag}").parse().unwrap()).collect();
        let omitted = read(&all, &written(&event, 4), Some(b"{}")).unwrap();
        assert!(matches!(omitted.content, Content::Unreadable), "{omitted:?}");
        assert_eq!(omitted.position, GlobalPosition(9));
    }

    #[test]
    fn who_wants_others_is_not_given_it() {
        let event = some_event();
        for (categories, event_types, is_wanted) in [
            (vec![], vec![], true),
            (vec!["property".into()], vec!["ListingPublished".into()], true),
            (vec!["user".into()], vec![], false),
            (vec![], vec!["ListingWithdrawn".into()], false),
        ] {
            let wanted = wanted(EventFilter { categories, event_types });
            let arrival = read(&wanted, &written(&event, 4), Some(b"{}")).unwrap();
            assert_eq!(arrival.previous, GlobalPosition(4));
            assert_eq!(matches!(arrival.content, Content::Event(_)), is_wanted);
            assert_eq!(matches!(arrival.content, Content::Unwanted), !is_wanted);
        }
    }

    #[test]
    fn a_record_of_another_log_is_none_of_this_one() {
        let mut wanted = wanted(EventFilter::all());
        wanted.source = "/freehold/interactions".to_owned();
        assert!(read(&wanted, &written(&some_event(), 4), Some(b"{}")).is_none());
    }
}
