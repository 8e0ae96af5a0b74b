//! An event as a record: CloudEvents 1.0, Kafka protocol binding, binary mode.
//!
//! The value is the payload's bytes; everything else of an event stands in headers, in UTF-8.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{DateTime, SecondsFormat, Utc};
use freehold_ports::{GlobalPosition, LogName, PayloadCodec, RecordedEvent};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

/// The most bytes of one header. An event may have any number of tags and people; a record that
/// the broker refuses would stop all that come after it.
const MOST_HEADER_BYTES: usize = 64 << 10;

/// How names of topics with events end.
pub(crate) const EVENTS: &str = "-events";

/// What records of a log name as their source.
pub(crate) fn source_of(log: &LogName) -> String {
    format!("/freehold/{log}")
}

/// The topic of a category; what Kafka allows in no name becomes `_`.
pub(crate) fn topic_of(prefix: &str, category: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_');
    let category = category.chars().map(|letter| if allowed(letter) { letter } else { '_' });
    prefix.chars().chain(category).chain(EVENTS.chars()).collect()
}

/// Gives each header of an event, in the same order always.
///
/// - Shape: `source` is the log's; `previous` is the position of the record before it in its
///   partition, 0 if there is none.
pub(crate) fn each_header(
    event: &RecordedEvent,
    source: &str,
    previous: GlobalPosition,
    mut give: impl FnMut(&'static str, &str),
) {
    let mut text = String::with_capacity(64);
    let mut written = |name, value: &dyn std::fmt::Display, give: &mut dyn FnMut(_, &str)| {
        text.clear();
        // Writing into memory does not fail.
        let _ = write!(text, "{value}");
        give(name, &text);
    };
    give("ce_specversion", "1.0");
    written("ce_id", &event.event_id.0, &mut give);
    give("ce_source", source);
    give("ce_type", &event.event_type);
    give("ce_subject", event.stream.as_str());
    give("ce_time", &time(event.occurred_at));
    let (name, version) = (&event.event_type, event.schema_version);
    written("ce_dataschema", &format_args!("urn:freehold:{name}:{version}"), &mut give);
    give("content-type", content_type(event.codec));
    written("ce_position", &event.position, &mut give);
    written("ce_previousposition", &previous, &mut give);
    written("ce_streamversion", &event.version, &mut give);
    written("ce_schemaversion", &event.schema_version, &mut give);
    written("ce_commandid", &event.command_id, &mut give);
    if let Some(correlation_id) = event.provenance.correlation_id {
        written("ce_correlationid", &correlation_id, &mut give);
    }
    if let Some(causation_id) = event.provenance.causation_id {
        written("ce_causationid", &causation_id, &mut give);
    }
    give("ce_tenant", &event.provenance.tenant);
    give("ce_actor", &event.provenance.actor);
    give("ce_recordedtime", &time(event.recorded_at));
    let mut omitted = Vec::new();
    let mut list = |name, values: Option<String>| match values {
        Some(values) if !values.is_empty() => give(name, &values),
        Some(_) => {}
        None => omitted.push(name),
    };
    list("ce_persons", joined(event.subjects.iter().map(|subject| subject.0), ","));
    list("ce_tags", joined(event.tags.iter().map(|tag| tag.as_str()), "\n"));
    if !omitted.is_empty() {
        // Who needs them finds them in the log, by the position.
        give("ce_omitted", &omitted.join(","));
    }
}

/// What stands beside a record's value under names that are text; others mean nothing here.
pub(crate) fn headers_of<'a>(record: &'a BorrowedMessage<'_>) -> Vec<(&'a str, &'a [u8])> {
    let Some(headers) = record.headers() else { return Vec::new() };
    // The driver panics at names that are not UTF-8, which brokers let anybody send.
    let named = |index| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(index))).ok()?;
        Some((header.key, header.value.unwrap_or_default()))
    };
    (0..headers.count()).filter_map(named).collect()
}

/// Values in one text, unless that is larger than a header may be.
fn joined(values: impl Iterator<Item = impl std::fmt::Display>, between: &str) -> Option<String> {
    let mut text = String::new();
    for value in values {
        let between = if text.is_empty() { "" } else { between };
        // Writing into memory does not fail.
        let _ = write!(text, "{between}{value}");
        if text.len() > MOST_HEADER_BYTES {
            return None;
        }
    }
    Some(text)
}

fn content_type(codec: PayloadCodec) -> &'static str {
    match codec {
        PayloadCodec::Json => "application/json",
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use freehold_ports::{CommandId, EventId, Provenance, StreamVersion, Tag};
    use uuid::Uuid;

    use super::*;

    fn an_event(tags: Vec<Tag>) -> RecordedEvent {
        let id =
            |last: u8| Uuid::from_u128(0x0199f1a2_7b3c_7def_8123_456789abcd00 + u128::from(last));
        RecordedEvent {
            position: GlobalPosition(59_528),
            stream: "property-0199f1a2".parse().unwrap(),
            version: StreamVersion(3),
            event_id: EventId(id(1)),
            event_type: "ListingPublished".into(),
            schema_version: 2,
            command_id: CommandId(id(2)),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "crm".into(),
                correlation_id: Some(id(3)),
                causation_id: None,
            },
            occurred_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            recorded_at: DateTime::from_timestamp_micros(1_700_000_001_000_000).unwrap(),
            subjects: Vec::new(),
            tags,
            codec: PayloadCodec::Json,
            payload: "{}".into(),
        }
    }

    fn headers(event: &RecordedEvent) -> Vec<String> {
        let mut headers = Vec::new();
        each_header(event, "/freehold/domain", GlobalPosition(59_520), |name, value| {
            headers.push(format!("{name}: {value}"));
        });
        headers
    }

    /// Readers in other languages rely on every line.
    #[test]
    fn an_event_has_the_headers_it_always_had() {
        let tags = ["source:lucas/1", "kind:flat"].map(|tag| tag.parse().unwrap());
        let expected = "\
ce_specversion: 1.0
ce_id: 0199f1a2-7b3c-7def-8123-456789abcd01
ce_source: /freehold/domain
ce_type: ListingPublished
ce_subject: property-0199f1a2
ce_time: 2023-11-14T22:13:20.000001Z
ce_dataschema: urn:freehold:ListingPublished:2
content-type: application/json
ce_position: 59528
ce_previousposition: 59520
ce_streamversion: 3
ce_schemaversion: 2
ce_commandid: 0199f1a2-7b3c-7def-8123-456789abcd02
ce_correlationid: 0199f1a2-7b3c-7def-8123-456789abcd03
ce_tenant: default
ce_actor: crm
ce_recordedtime: 2023-11-14T22:13:21.000000Z
ce_tags: source:lucas/1
kind:flat";
        assert_eq!(headers(&an_event(tags.into())).join("\n"), expected);
    }

    /// One event with a hundred thousand tags must not stop the log.
    #[test]
    fn headers_are_bounded() {
        let tags = (0..100_000).map(|tag| format!("tag:{tag}").parse().unwrap()).collect();
        let headers = headers(&an_event(tags));
        assert_eq!(headers.last().unwrap(), "ce_omitted: ce_tags");
        assert!(headers.iter().map(String::len).sum::<usize>() < MOST_HEADER_BYTES);
    }

    #[test]
    fn a_category_names_its_topic() {
        assert_eq!(topic_of("", "property"), "property-events");
        assert_eq!(topic_of("test.", "bank:accounts"), "test.bank_accounts-events");
    }
}
