//! From the bytes of a request to the bytes of its items.
//!
//! Items are told apart before they are parsed, so that a malformed one loses only itself.

/// The most items one request may have.
pub const MAX_ITEMS: usize = 10_000;

/// The items of a request, each still to be parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The items in order; a part that is no item at all stands in its place.
    pub items: Vec<&'a [u8]>,
    /// Whether it was one object by itself, neither a list nor lines.
    pub single: bool,
}

/// Why a request has no items at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefused {
    /// There is nothing in it.
    #[error("the body is empty; send one JSON object, an array of them, or one a line")]
    Empty,
    /// There is too much in it.
    #[error("more than {MAX_ITEMS} items in one request; send less at a time")]
    TooManyItems,
}

/// Finds the items of a body: one object, an array, or lines (NDJSON).
///
/// - Shape: `lines` says that the sender calls it NDJSON; otherwise its shape tells.
pub fn split(body: &[u8], lines: bool) -> Result<Body<'_>, BodyRefused> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let (items, single) = match body.first() {
        None => return Err(BodyRefused::Empty),
        Some(b'[') if !lines => (split_array(body), false),
        Some(_) if lines || is_lines(body) => (split_lines(body), false),
        Some(_) => (vec![body], true),
    };
    if items.len() > MAX_ITEMS {
        return Err(BodyRefused::TooManyItems);
    }
    Ok(Body { items, single })
}

/// Whether a body that begins with a value goes on with another one on a line of its own.
fn is_lines(body: &[u8]) -> bool {
    let value = value_here(body);
    let line_end = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
    // A line that is never closed may be followed by others that are.
    value.end < body.len()
        || (!value.closed && body[line_end..].trim_ascii_start().starts_with(b"{"))
}

fn split_lines(body: &[u8]) -> Vec<&[u8]> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).take(MAX_ITEMS + 1).collect()
}

fn split_array(body: &[u8]) -> Vec<&[u8]> {
    let mut items = Vec::new();
    let mut rest = body[1..].trim_ascii_start();
    if let Some(after) = rest.strip_prefix(b"]") {
        rest = after.trim_ascii_start();
    } else {
        loop {
            let (item, after) = rest.split_at(value_here(rest).end);
            items.push(item.trim_ascii());
            match after.first() {
                Some(b',') if items.len() <= MAX_ITEMS => rest = after[1..].trim_ascii_start(),
                Some(b']') => {
                    rest = after[1..].trim_ascii_start();
                    break;
                }
                // Nobody knows what a body that broke off has lost: an empty item says so.
                _ => return items.into_iter().chain([&[][..]]).collect(),
            }
        }
    }
    // What follows the array is no item, and must not pass for one that was taken.
    if !rest.is_empty() {
        items.push(rest);
    }
    items
}

/// A value as its brackets tell it, well-formed or not.
struct Extent {
    end: usize,
    /// Whether every bracket and every text in it ends.
    closed: bool,
}

/// How far the value reaches that begins here: to the first comma, bracket or line end outside it.
fn value_here(text: &[u8]) -> Extent {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let closed_at = |end| Extent { end, closed: true };
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return closed_at(index),
            b'}' | b']' => depth -= 1,
            b'\n' if depth == 0 => match text[index..].trim_ascii_start().first() {
                // Inside an array a line may end before its comma.
                Some(b',' | b']') | None => {}
                Some(_) => return closed_at(index),
            },
            _ => {}
        }
    }
    Extent { end: text.len(), closed: depth == 0 && !in_text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(body: &str) -> Vec<&str> {
        let items = split(body.as_bytes(), false).unwrap().items;
        items.into_iter().map(|item| std::str::from_utf8(item).unwrap()).collect()
    }

    #[test]
    fn an_object_alone_is_single_however_it_is_written() {
        for body in [
            "{\"a\":1}",
            " {\n \"a\":\n{\"b\": [1,\n 2]}\n}\n",
            "\u{feff}{}",
            "{\"a\":\"}\\\"\\n{\"}",
        ] {
            assert!(split(body.as_bytes(), false).unwrap().single, "{body}");
        }
    }

    #[test]
    fn an_array_comes_apart_at_its_own_commas() {
        assert_eq!(
            items("[{\"a\":\"],\"} , {\"b\":[1,2]}\n,\n{}]"),
            ["{\"a\":\"],\"}", "{\"b\":[1,2]}", "{}"]
        );
        assert_eq!(items("[]"), [""; 0]);
        assert_eq!(items("[ ]\n"), [""; 0]);
    }

    #[test]
    fn a_malformed_element_loses_only_itself() {
        assert_eq!(items("[{}, {\"a\": NaN}, {}]"), ["{}", "{\"a\": NaN}", "{}"]);
        assert_eq!(items("[{},,{}]"), ["{}", "", "{}"]);
    }

    #[test]
    fn an_array_that_breaks_off_says_so_with_an_item_of_its_own() {
        assert_eq!(items("[{}, {\"a\":"), ["{}", "{\"a\":", ""]);
        assert_eq!(items("[{}"), ["{}", ""]);
    }

    #[test]
    fn what_follows_an_array_is_an_item_that_is_refused() {
        assert_eq!(items("[{}] x"), ["{}", "x"]);
    }

    #[test]
    fn lines_are_told_by_their_shape_or_by_their_sender() {
        assert_eq!(items("{\"a\":1}\n\n{\"b\":2}\r\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(items("{\"a\":\n{\"b\":2}\n"), ["{\"a\":", "{\"b\":2}"]);
        let called = split(b"{\"a\":1}", true).unwrap();
        assert!(!called.single);
    }

    #[test]
    fn nothing_and_too_much_are_refused_as_a_whole() {
        assert_eq!(split(b" \n", false), Err(BodyRefused::Empty));
        let many = format!("[{}{{}}]", "{},".repeat(MAX_ITEMS));
        assert_eq!(split(many.as_bytes(), false), Err(BodyRefused::TooManyItems));
        let lines = "{}\n".repeat(MAX_ITEMS + 1);
        assert_eq!(split(lines.as_bytes(), false), Err(BodyRefused::TooManyItems));
    }
}
