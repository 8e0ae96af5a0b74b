//! Stored payloads as files: a changed byte is a reviewed diff.

use std::fmt::Debug;
use std::path::Path;
use std::{env, fs};

use freehold_domain::StoredEvent;

/// Compares the payload of each event with its golden file, byte for byte, and reads it back.
///
/// - Shape: `<folder>/<event type><case>.json` holds the payload and a line feed; a case is empty
///   or starts with a dash. Every event type must have a file.
/// - `UPDATE_GOLDEN=1` writes the files instead of comparing them.
pub(crate) fn assert_golden<E: StoredEvent + PartialEq + Debug>(folder: &str, cases: &[(&str, E)]) {
    for (event_type, _) in E::TYPES {
        let plain =
            |(case, event): &&(&str, E)| case.is_empty() && event.event_type() == *event_type;
        assert_eq!(cases.iter().filter(plain).count(), 1, "one plain case of {event_type}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    for (case, event) in cases {
        let file = folder.join(format!("{}{case}.json", event.event_type()));
        let mut payload = Vec::new();
        event
            .serialize_payload(&mut serde_json::Serializer::new(&mut payload))
            .expect("every event is a JSON object");
        payload.push(b'\n');
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&folder).expect("the folder can be made");
            fs::write(&file, &payload).expect("the file can be written");
        }
        let golden = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}; set UPDATE_GOLDEN=1", file.display()));
        assert_eq!(
            String::from_utf8(payload).expect("JSON is UTF-8"),
            golden,
            "{}",
            file.display()
        );

        let mut stored = serde_json::Deserializer::from_str(&golden);
        let (name, version) = (event.event_type(), event.schema_version());
        let read = E::deserialize_payload(name, version, &mut stored);
        assert_eq!(&read.expect("a golden file is an event"), event);
    }
    let files = fs::read_dir(&folder).expect("the folder exists").count();
    assert_eq!(files, cases.len(), "{} holds a file that no case writes", folder.display());
}
