//! Between aggregates of any name and streams, whose names have a shape.

use freehold_ports::{InvalidName, StreamId};

/// An aggregate's name has no stream, or a stream's no aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAStream {
    name: String,
    why: String,
}

impl std::fmt::Display for NotAStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} cannot name a stream: {}", self.name, self.why)
    }
}

impl std::error::Error for NotAStream {}

/// The stream of an aggregate: `<type>-<id>`.
///
/// What a stream's name may not have stands there as `%` and two hexadecimal digits for each of
/// its bytes: spaces, what is not ASCII, `%`, and `-` in the type, whose first `-` ends it.
///
/// - Errors: an empty type or id, or more than 200 characters in all.
pub fn stream_of(aggregate_type: &str, aggregate_id: &str) -> Result<StreamId, NotAStream> {
    let category = escaped(aggregate_type, |byte| byte != b'-');
    let id = escaped(aggregate_id, |_| true);
    StreamId::new(&category, id).map_err(|InvalidName { text, shape, .. }| NotAStream {
        name: text,
        why: format!("it is not {shape}"),
    })
}

/// The type and id of the aggregate that [`stream_of`] gave this stream.
pub fn aggregate_of(stream: &StreamId) -> Result<(String, String), NotAStream> {
    let not_ours = || NotAStream {
        name: stream.as_str().to_owned(),
        why: "it is not one of an aggregate of cqrs-es".to_owned(),
    };
    let aggregate_type = unescaped(stream.category()).ok_or_else(not_ours)?;
    Ok((aggregate_type, unescaped(stream.id()).ok_or_else(not_ours)?))
}

/// The category of the streams of all aggregates of a type.
pub(crate) fn category_of(aggregate_type: &str) -> String {
    escaped(aggregate_type, |byte| byte != b'-')
}

fn escaped(text: &str, allowed: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' && allowed(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back_and_no_two_share_a_stream() {
        let mut seen = std::collections::HashSet::new();
        let names = ["a", "-", "a-b", "%", "%2D", "ä b", "a%2Db", "\n", "--", "2D", "/:?"];
        for aggregate_type in names {
            for id in names {
                let stream = stream_of(aggregate_type, id).unwrap();
                let (of_type, of_id) = aggregate_of(&stream).unwrap();
                assert_eq!((&*of_type, &*of_id), (aggregate_type, id));
                assert_eq!(stream.category(), category_of(aggregate_type));
                assert!(seen.insert(stream));
            }
        }
        assert_eq!(stream_of("account", "A-1 ö").unwrap().as_str(), "account-A-1%20%C3%B6");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(stream_of("", "1").is_err());
        assert!(stream_of("account", "").is_err());
        assert!(stream_of("account", &"x".repeat(200)).is_err());
        for broken in ["account-%", "account-%2", "account-%zz", "account-%ff", "acc%-1"] {
            assert!(aggregate_of(&broken.parse().unwrap()).is_err(), "{broken}");
        }
    }
}
