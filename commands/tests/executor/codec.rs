//! Between typed events and stored bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use freehold_domain::user::{LegalHoldPlaced, SearchRenamed, UserEvent};
use freehold_domain::{LegalHoldId, Personal, SavedSearchId, StoredEvent, SubjectId};
use freehold_ports::{
    CodecError, CommandId, EventCodec, EventId, GlobalPosition, KeyVault, Provenance,
    RecordedEvent, SealedText, StreamId, StreamVersion, VaultError,
};
use freehold_test_stores::Place;
use uuid::Uuid;

use crate::samples::{ADA, BOB, noon};

/// Keys, what seals with them, and where they are kept.
async fn codec() -> (Place, Arc<dyn KeyVault>, EventCodec) {
    let place = Place::in_memory();
    let vault = place.vault().await;
    (place, vault.clone(), EventCodec::new(vault))
}

async fn stored(codec: &EventCodec, event: &UserEvent) -> RecordedEvent {
    let event_id = EventId::new();
    let encoded = codec.encode(event, event_id).await.unwrap();
    RecordedEvent {
        position: GlobalPosition(1),
        stream: StreamId::new("user", ADA).unwrap(),
        version: StreamVersion(1),
        event_id,
        event_type: event.event_type().into(),
        schema_version: event.schema_version(),
        command_id: CommandId::new(),
        provenance: Provenance {
            tenant: "acme".into(),
            actor: "web".into(),
            correlation_id: None,
            causation_id: None,
        },
        occurred_at: noon(),
        recorded_at: noon(),
        subjects: encoded.subjects,
        tags: Vec::new(),
        codec: encoded.codec,
        payload: encoded.payload,
    }
}

async fn read(codec: &EventCodec, event: &RecordedEvent) -> Result<UserEvent, CodecError> {
    let keys = codec.keys_for(std::slice::from_ref(event)).await?;
    codec.decode(event, &keys)
}

fn renamed(subject: impl Into<SubjectId>, name: &str) -> UserEvent {
    let search = SavedSearchId(Uuid::from_u128(2));
    SearchRenamed { search, name: Personal::new(subject.into(), name.to_owned()) }.into()
}

/// Every golden payload of a user's events, as the domain's tests keep them.
fn golden_events() -> Vec<UserEvent> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden/user");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let event_type = name.split('-').next().unwrap();
            let (_, version) = UserEvent::TYPES.iter().find(|(t, _)| *t == event_type).unwrap();
            let json = fs::read_to_string(&file).unwrap();
            let mut json = serde_json::Deserializer::from_str(&json);
            UserEvent::deserialize_payload(event_type, *version, &mut json).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn every_event_reads_back_as_it_was_written() {
    let (_place, _, codec) = codec().await;
    let events = golden_events();
    assert!(events.len() >= UserEvent::TYPES.len());
    for event in events {
        let stored = stored(&codec, &event).await;
        assert_eq!(read(&codec, &stored).await.unwrap(), event);
        codec.decode_sealed::<UserEvent>(&stored).unwrap();
        let clear = String::from_utf8(stored.payload.to_vec()).unwrap();
        assert!(!clear.contains("\"value\""), "{clear}");
        assert_eq!(clear.contains("\"sealed\""), !stored.subjects.is_empty());
    }
}

#[tokio::test]
async fn a_sealed_value_that_is_moved_or_changed_is_found_out() {
    let (_place, _, codec) = codec().await;
    let one = stored(&codec, &renamed(ADA, "Near work")).await;
    let other = stored(&codec, &renamed(ADA, "Near school")).await;

    let moved = RecordedEvent { payload: one.payload.clone(), ..other.clone() };
    let text = String::from_utf8(one.payload.to_vec()).unwrap();
    let of_bob = text.replace(&ADA.to_string(), &BOB.to_string());
    codec.encode(&renamed(BOB, "x"), EventId::new()).await.unwrap();
    let of_bob =
        RecordedEvent { payload: of_bob.into(), subjects: vec![BOB.into()], ..one.clone() };
    let sealed = text.find("\"sealed\":\"").unwrap() + 10;
    let mut flipped = text.clone().into_bytes();
    flipped[sealed + 40] = if flipped[sealed + 40] == b'A' { b'B' } else { b'A' };
    let flipped = RecordedEvent { payload: flipped.into(), ..one.clone() };
    let cut = text.replace(&text[sealed..sealed + 20], "");
    let cut = RecordedEvent { payload: cut.into(), ..one.clone() };

    for forged in [moved, of_bob, flipped, cut] {
        let found = read(&codec, &forged).await;
        assert!(matches!(found, Err(CodecError::Tampered { .. })), "{found:?}");
    }
    assert_eq!(read(&codec, &one).await.unwrap(), renamed(ADA, "Near work"));
}

#[tokio::test]
async fn a_text_outside_its_event_opens_with_its_key_and_in_its_place_alone() {
    let (_place, vault, codec) = codec().await;
    let event = stored(&codec, &renamed(ADA, "Near work")).await;
    let UserEvent::SearchRenamed(sealed) = codec.decode_sealed(&event).unwrap() else {
        panic!("another event")
    };
    let text = sealed.name.known().unwrap();
    assert!(!text.contains("Near work"));
    let moved = text.replace(&event.event_id.0.to_string(), &Uuid::nil().to_string());
    let [text, moved] = [text, &moved].map(|text| SealedText::parse(text).unwrap());
    assert_eq!(SealedText::parse(&text.to_string()), Some(text.clone()));
    for clear in ["", "Near work", "Near. work. today"] {
        assert_eq!(SealedText::parse(clear), None);
    }

    assert_eq!(codec.open_text(&text).await.unwrap().as_deref(), Some("Near work"));
    assert!(matches!(codec.open_text(&moved).await, Err(CodecError::Tampered { .. })));
    vault.destroy(ADA.into()).await.unwrap();
    assert_eq!(codec.open_text(&text).await.unwrap(), None);
}

#[tokio::test]
async fn a_value_is_sealed_anew_each_time() {
    let (_place, _, codec) = codec().await;
    let event = renamed(ADA, "Near work");
    let (one, other) = (EventId::new(), EventId::new());
    let first = codec.encode(&event, one).await.unwrap();
    assert_ne!(first, codec.encode(&event, one).await.unwrap());
    assert_ne!(first, codec.encode(&event, other).await.unwrap());
}

#[tokio::test]
async fn a_destroyed_key_erases_one_person_and_nobody_else() {
    let (_place, vault, codec) = codec().await;
    let of_ada = stored(&codec, &renamed(ADA, "Near work")).await;
    let of_bob = stored(&codec, &renamed(BOB, "Near school")).await;
    vault.destroy(ADA.into()).await.unwrap();

    let UserEvent::SearchRenamed(read_ada) = read(&codec, &of_ada).await.unwrap() else {
        panic!("another event")
    };
    assert_eq!(read_ada.name, Personal::Erased { subject: ADA.into() });
    assert_eq!(read(&codec, &of_bob).await.unwrap(), renamed(BOB, "Near school"));
}

#[tokio::test]
async fn nothing_personal_is_written_about_a_person_whose_key_is_destroyed() {
    let (_place, vault, codec) = codec().await;
    vault.destroy(ADA.into()).await.unwrap();
    let reason = Personal::new(ADA.into(), "Court order 7".to_owned());
    let placed = UserEvent::from(LegalHoldPlaced { hold: LegalHoldId(Uuid::nil()), reason });

    let refused = codec.encode(&placed, EventId::new()).await;

    let destroyed = VaultError::Destroyed { subject: ADA.into() }.to_string();
    assert!(matches!(&refused, Err(CodecError::Vault(e)) if e.to_string() == destroyed));
    let erased = Personal::<String>::Erased { subject: ADA.into() };
    let erased = LegalHoldPlaced { hold: LegalHoldId(Uuid::nil()), reason: erased };
    codec.encode(&UserEvent::from(erased), EventId::new()).await.unwrap();
}

#[tokio::test]
async fn a_state_reads_back_only_where_it_was_written_for() {
    let (_place, _, codec) = codec().await;
    let state = Personal::new(ADA.into(), "Ada L.".to_owned());
    let (place, elsewhere) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let bytes = codec.encode_state(&state, place).await.unwrap();

    assert_eq!(codec.decode_state::<Personal<String>>(&bytes, place).await.unwrap(), state);
    let moved = codec.decode_state::<Personal<String>>(&bytes, elsewhere).await;
    assert!(matches!(moved, Err(CodecError::Tampered { .. })));
}
