//! Between typed events and stored bytes: JSON, with personal values sealed.
//!
//! A [`Personal`](freehold_domain::Personal) value serialises as `{"$subject": id, "value": v}`.
//! Sealing replaces `value` by `sealed`: the base64url text of a 24-byte nonce and the
//! XChaCha20-Poly1305 ciphertext of the value's JSON under the subject's key. The event id and the
//! subject are authenticated with it, so that a sealed value cannot be moved to another event.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chacha20poly1305::aead::KeyInit as _;
use chacha20poly1305::{Key, XChaCha20Poly1305};
use freehold_domain::{PayloadError, StoredEvent, SubjectId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    EventId, KeyVault, KeyedHash, PayloadCodec, RecordedEvent, SubjectKey, VaultError, sealing,
};

const SUBJECT: &str = "$subject";
const VALUE: &str = "value";
const SEALED: &str = "sealed";
const ERASED: &str = "erased";

/// Turns events into stored bytes and back.
#[derive(Clone)]
pub struct EventCodec {
    vault: Arc<dyn KeyVault>,
}

/// A payload ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPayload {
    /// How to read the bytes.
    pub codec: PayloadCodec,
    /// The bytes.
    pub payload: Bytes,
    /// Whose sealed values are inside, each once.
    pub subjects: Vec<SubjectId>,
}

/// A personal text outside its event and still sealed, as read models keep it.
///
/// It opens with the key of its subject alone, so destroying that key erases every copy at once:
/// also one in a backup, or in tables that nobody fills any more.
///
/// - Shape: as text `<subject>.<event id>.<sealed>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SealedText {
    subject: SubjectId,
    place: Uuid,
    sealed: Arc<str>,
}

impl SealedText {
    /// Reads its text form; `None` if that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (subject, place) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { subject, place, sealed: Arc::from(parts.next()?) })
    }
}

impl fmt::Display for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, place, sealed } = self;
        write!(f, "{subject}.{place}.{sealed}")
    }
}

/// The keys that a page of events needs, fetched in one go.
#[derive(Clone, Debug, Default)]
pub struct SubjectKeys(HashMap<SubjectId, SubjectKey>);

/// Why an event could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The vault gave no key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// This program cannot read the payload.
    #[error("event {event_type} at position {position}: {reason}")]
    Unreadable {
        /// The event's type.
        event_type: Arc<str>,
        /// The event's position.
        position: u64,
        /// What is wrong.
        reason: PayloadError<serde_json::Error>,
    },
    /// A value has no JSON form.
    #[error("a value cannot be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    /// Stored state does not have the shape it should.
    #[error("a stored state cannot be read: {0}")]
    UnreadableState(serde_json::Error),
    /// A sealed value was changed or moved after it was written.
    #[error("a sealed value of subject {subject} does not open; the log was changed")]
    Tampered {
        /// Whose value it is.
        subject: SubjectId,
    },
}

impl EventCodec {
    /// A codec whose keys come from `vault`.
    pub fn new(vault: Arc<dyn KeyVault>) -> Self {
        Self { vault }
    }

    /// Encodes an event, sealing its personal values; makes keys for subjects that have none yet.
    pub async fn encode<E: StoredEvent>(
        &self,
        event: &E,
        event_id: EventId,
    ) -> Result<EncodedPayload, CodecError> {
        if !E::HOLDS_PERSONAL {
            let mut bytes = Vec::with_capacity(256);
            event
                .serialize_payload(&mut serde_json::Serializer::new(&mut bytes))
                .map_err(CodecError::Unwritable)?;
            let payload = Bytes::from(bytes);
            return Ok(EncodedPayload { codec: PayloadCodec::Json, payload, subjects: Vec::new() });
        }
        let json = event
            .serialize_payload(serde_json::value::Serializer)
            .map_err(CodecError::Unwritable)?;
        let (payload, subjects) = self.seal_json(json, event_id.0).await?;
        Ok(EncodedPayload { codec: PayloadCodec::Json, payload, subjects })
    }

    /// Fetches the keys that decoding `events` needs; most pages need none.
    pub async fn keys_for(&self, events: &[RecordedEvent]) -> Result<SubjectKeys, CodecError> {
        let mut subjects: Vec<SubjectId> =
            events.iter().flat_map(|event| event.subjects.iter().copied()).collect();
        if subjects.is_empty() {
            return Ok(SubjectKeys::default());
        }
        subjects.sort_unstable();
        subjects.dedup();
        Ok(SubjectKeys(self.vault.keys_for_reading(&subjects).await?))
    }

    /// Decodes an event with keys from [`keys_for`](Self::keys_for); without a subject's key that
    /// subject's values read as erased.
    pub fn decode<E: StoredEvent>(
        &self,
        event: &RecordedEvent,
        keys: &SubjectKeys,
    ) -> Result<E, CodecError> {
        let unreadable = |reason| unreadable(event, reason);
        if event.subjects.is_empty() {
            let mut json = serde_json::Deserializer::from_slice(&event.payload);
            return E::deserialize_payload(&event.event_type, event.schema_version, &mut json)
                .map_err(unreadable);
        }
        let json = self.open_payload(event, keys)?;
        E::deserialize_payload(&event.event_type, event.schema_version, json).map_err(unreadable)
    }

    /// Decodes an event without any key: each of its personal texts is the text form of a
    /// [`SealedText`].
    pub fn decode_sealed<E: StoredEvent>(&self, event: &RecordedEvent) -> Result<E, CodecError> {
        if event.subjects.is_empty() {
            return self.decode(event, &SubjectKeys::default());
        }
        let mut json = parse(event)?;
        carry(&mut json, event.event_id.0)?;
        E::deserialize_payload(&event.event_type, event.schema_version, json)
            .map_err(|reason| unreadable(event, reason))
    }

    /// What a sealed text says; `None` once it is erased.
    pub async fn open_text(&self, text: &SealedText) -> Result<Option<String>, CodecError> {
        let SealedText { subject, place, sealed } = text;
        let keys = self.vault.keys_for_reading(&[*subject]).await?;
        let Some(key) = keys.get(subject) else { return Ok(None) };
        let clear = open_bytes(key, *subject, *place, sealed);
        let text = clear.and_then(|clear| serde_json::from_slice(&clear).ok());
        text.map(Some).ok_or(CodecError::Tampered { subject: *subject })
    }

    /// An event's payload as JSON with personal values opened, or erased where the key is gone.
    pub fn open_payload(
        &self,
        event: &RecordedEvent,
        keys: &SubjectKeys,
    ) -> Result<Value, CodecError> {
        let mut json = parse(event)?;
        open(&mut json, event.event_id.0, keys)?;
        Ok(json)
    }

    /// Encodes a state (a snapshot), sealing its personal values; `place` is authenticated with
    /// them, so that a sealed value cannot be moved to another state.
    pub async fn encode_state<S: Serialize + Sync>(
        &self,
        state: &S,
        place: Uuid,
    ) -> Result<Bytes, CodecError> {
        let json = serde_json::to_value(state).map_err(CodecError::Unwritable)?;
        Ok(self.seal_json(json, place).await?.0)
    }

    /// Decodes a state that [`encode_state`](Self::encode_state) wrote for the same `place`.
    pub async fn decode_state<S: DeserializeOwned>(
        &self,
        bytes: &[u8],
        place: Uuid,
    ) -> Result<S, CodecError> {
        let mut json = serde_json::from_slice(bytes).map_err(CodecError::UnreadableState)?;
        let mut subjects = Vec::new();
        collect_subjects(&json, &mut subjects);
        if !subjects.is_empty() {
            let keys = SubjectKeys(self.vault.keys_for_reading(&subjects).await?);
            open(&mut json, place, &keys)?;
        }
        serde_json::from_value(json).map_err(CodecError::UnreadableState)
    }

    /// A hash that only this deployment can make; for look-ups of personal keys.
    pub fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        self.vault.keyed_hash(purpose, text)
    }

    async fn seal_json(
        &self,
        mut json: Value,
        place: Uuid,
    ) -> Result<(Bytes, Vec<SubjectId>), CodecError> {
        let mut subjects = Vec::new();
        collect_subjects(&json, &mut subjects);
        if !subjects.is_empty() {
            let keys = self.vault.keys_for_writing(&subjects).await?;
            seal(&mut json, place, &keys)?;
        }
        let bytes = serde_json::to_vec(&json).map_err(CodecError::Unwritable)?;
        Ok((Bytes::from(bytes), subjects))
    }
}

/// An edited payload changes, adds or moves a personal value, which only a command can seal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: personal values stay as they are sealed, or are left out; they cannot be changed")]
pub struct ChangedPersonal {
    /// Where, from the root of the payload: `contact.phones[1]`.
    pub path: String,
}

/// Whose sealed values an edited payload keeps, each once: every one of them as it stands at the
/// same place of the original.
pub fn kept_personal(original: &Value, edited: &Value) -> Result<Vec<SubjectId>, ChangedPersonal> {
    check_personal(Some(original), edited, &mut String::new())?;
    let mut subjects = Vec::new();
    collect_subjects(edited, &mut subjects);
    Ok(subjects)
}

fn check_personal(
    original: Option<&Value>,
    edited: &Value,
    path: &mut String,
) -> Result<(), ChangedPersonal> {
    let is_personal = |value: &Value| value.get(SUBJECT).is_some();
    let was_personal = original.is_some_and(is_personal);
    // A clear text in the place of a sealed one would be stored for ever.
    if is_personal(edited) || (was_personal && !edited.is_null()) {
        let same = original == Some(edited);
        let path = || if path.is_empty() { ".".to_owned() } else { path.clone() };
        return if same { Ok(()) } else { Err(ChangedPersonal { path: path() }) };
    }
    let end = path.len();
    match edited {
        Value::Object(fields) => {
            for (name, value) in fields {
                if end > 0 {
                    path.push('.');
                }
                path.push_str(name);
                check_personal(original.and_then(|whole| whole.get(name)), value, path)?;
                path.truncate(end);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                path.push_str(&format!("[{place}]"));
                check_personal(original.and_then(|whole| whole.get(place)), value, path)?;
                path.truncate(end);
            }
        }
        _ => {}
    }
    Ok(())
}

fn parse(event: &RecordedEvent) -> Result<Value, CodecError> {
    let json = serde_json::from_slice(&event.payload);
    json.map_err(|error| unreadable(event, PayloadError::Malformed(error)))
}

fn unreadable(event: &RecordedEvent, reason: PayloadError<serde_json::Error>) -> CodecError {
    let (event_type, position) = (event.event_type.clone(), event.position.0);
    CodecError::Unreadable { event_type, position, reason }
}

/// The subject of a personal value that is there to be sealed or opened, if `object` is one.
fn subject_of(object: &Map<String, Value>) -> Option<SubjectId> {
    object.get(SUBJECT)?.as_str()?.parse().ok()
}

/// Collects whose personal values are inside, each once, leaving out the erased ones.
fn collect_subjects(json: &Value, found: &mut Vec<SubjectId>) {
    match json {
        Value::Object(object) => match subject_of(object) {
            Some(subject) if object.contains_key(VALUE) || object.contains_key(SEALED) => {
                if !found.contains(&subject) {
                    found.push(subject);
                }
            }
            Some(_) => {}
            None => object.values().for_each(|inner| collect_subjects(inner, found)),
        },
        Value::Array(items) => items.iter().for_each(|inner| collect_subjects(inner, found)),
        _ => {}
    }
}

fn seal(
    json: &mut Value,
    place: Uuid,
    keys: &HashMap<SubjectId, SubjectKey>,
) -> Result<(), CodecError> {
    match json {
        Value::Object(object) => match subject_of(object) {
            Some(subject) => {
                let Some(value) = object.remove(VALUE) else { return Ok(()) };
                let key = keys.get(&subject).ok_or(VaultError::Destroyed { subject })?;
                let clear = serde_json::to_vec(&value).map_err(CodecError::Unwritable)?;
                object.insert(
                    SEALED.to_owned(),
                    Value::String(seal_bytes(key, subject, place, &clear)),
                );
                Ok(())
            }
            None => object.values_mut().try_for_each(|inner| seal(inner, place, keys)),
        },
        Value::Array(items) => items.iter_mut().try_for_each(|inner| seal(inner, place, keys)),
        _ => Ok(()),
    }
}

fn open(json: &mut Value, place: Uuid, keys: &SubjectKeys) -> Result<(), CodecError> {
    match json {
        Value::Object(object) => match subject_of(object) {
            Some(subject) => {
                let Some(sealed) = take_sealed(object, subject)? else { return Ok(()) };
                match keys.0.get(&subject) {
                    Some(key) => {
                        let clear = open_bytes(key, subject, place, &sealed)
                            .ok_or(CodecError::Tampered { subject })?;
                        let value = serde_json::from_slice(&clear)
                            .map_err(|_| CodecError::Tampered { subject })?;
                        object.insert(VALUE.to_owned(), value);
                    }
                    None => {
                        object.insert(ERASED.to_owned(), Value::Bool(true));
                    }
                }
                Ok(())
            }
            None => object.values_mut().try_for_each(|inner| open(inner, place, keys)),
        },
        Value::Array(items) => items.iter_mut().try_for_each(|inner| open(inner, place, keys)),
        _ => Ok(()),
    }
}

/// Puts the text forms of [`SealedText`]s where values would stand if they were opened.
fn carry(json: &mut Value, place: Uuid) -> Result<(), CodecError> {
    match json {
        Value::Object(object) => match subject_of(object) {
            Some(subject) => {
                if let Some(sealed) = take_sealed(object, subject)? {
                    let text = SealedText { subject, place, sealed: sealed.into() };
                    object.insert(VALUE.to_owned(), Value::String(text.to_string()));
                }
                Ok(())
            }
            None => object.values_mut().try_for_each(|inner| carry(inner, place)),
        },
        Value::Array(items) => items.iter_mut().try_for_each(|inner| carry(inner, place)),
        _ => Ok(()),
    }
}

/// Takes the sealed text out of a personal value, if it has one. Anything else in its place would
/// read as erased, without a word.
fn take_sealed(
    object: &mut Map<String, Value>,
    subject: SubjectId,
) -> Result<Option<String>, CodecError> {
    match object.remove(SEALED) {
        None => Ok(None),
        Some(Value::String(sealed)) => Ok(Some(sealed)),
        Some(_) => Err(CodecError::Tampered { subject }),
    }
}

fn authenticated(subject: SubjectId, place: Uuid) -> [u8; 32] {
    let mut both = [0; 32];
    both[..16].copy_from_slice(subject.0.as_bytes());
    both[16..].copy_from_slice(place.as_bytes());
    both
}

fn seal_bytes(key: &SubjectKey, subject: SubjectId, place: Uuid, clear: &[u8]) -> String {
    let cipher = XChaCha20Poly1305::new(&Key::from(key.0));
    URL_SAFE_NO_PAD.encode(sealing::seal(&cipher, &authenticated(subject, place), clear))
}

fn open_bytes(key: &SubjectKey, subject: SubjectId, place: Uuid, sealed: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let cipher = XChaCha20Poly1305::new(&Key::from(key.0));
    sealing::open(&cipher, &authenticated(subject, place), &bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edit_keeps_personal_values_where_they_are_or_leaves_them_out() {
        let person = Uuid::from_u128(1);
        let sealed = |text: &str| json!({SUBJECT: person, SEALED: text});
        let original = json!({"name": sealed("a"), "phones": [sealed("b"), sealed("c")], "n": 1});
        let kept =
            |edited: Value| kept_personal(&original, &edited).map_err(|refused| refused.path);
        let all = Ok(vec![SubjectId(person)]);
        assert_eq!(kept(original.clone()), all);
        let less = json!({"phones": [sealed("b")], "name": null, "n": "2", "more": {"x": [1]}});
        assert_eq!(kept(less), all);
        assert_eq!(kept(json!({"n": 2})), Ok(vec![]));
        for (edited, path) in [
            (json!({"name": sealed("b")}), "name"),
            (json!({"name": "Ann"}), "name"),
            (json!({"name": {"value": "Ann"}}), "name"),
            (json!({"name": {SUBJECT: person, VALUE: "Ann"}}), "name"),
            (json!({"name": {SUBJECT: person, ERASED: true}}), "name"),
            (json!({"nick": sealed("a")}), "nick"),
            (json!({"phones": [sealed("c")]}), "phones[0]"),
            (json!({"phones": [null, {"of": sealed("c")}]}), "phones[1]"),
            (json!({"more": [{"deep": {SUBJECT: person}}]}), "more[0].deep"),
            (sealed("a"), "."),
        ] {
            assert_eq!(kept(edited.clone()), Err(path.to_owned()), "{edited}");
        }
    }

    #[test]
    fn a_sealed_value_that_is_no_text_is_found_out_and_not_read_as_erased() {
        let (person, place) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let personal = |sealed: Value| json!([{"name": {SUBJECT: person, SEALED: sealed}}]);
        let keys = SubjectKeys::default();
        for forged in [json!(null), json!(7), json!(["text"]), json!({"text": "text"})] {
            let carried = carry(&mut personal(forged.clone()), place);
            assert!(matches!(carried, Err(CodecError::Tampered { .. })), "{forged}");
            let opened = open(&mut personal(forged.clone()), place, &keys);
            assert!(matches!(opened, Err(CodecError::Tampered { .. })), "{forged}");
        }
        let mut text = personal(json!("text"));
        carry(&mut text, place).unwrap();
        assert_eq!(text[0]["name"][VALUE], json!(format!("{person}.{place}.text")));
        let mut erased = json!({SUBJECT: person, ERASED: true});
        carry(&mut erased, place).unwrap();
        assert_eq!(erased, json!({SUBJECT: person, ERASED: true}));
    }
}
