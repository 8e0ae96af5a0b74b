//! What a word is to a text search, the same for every adapter.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The words of a text, each after a space, without case and accents.
///
/// - Shape: `"Straße 5b, Zürich"` gives `" strasse 5b zurich"`; a text without letters and digits
///   gives the empty string. So a word begins with `query` where the result contains `" query"`.
pub fn search_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 1);
    let mut within = false;
    if text.is_ascii() {
        for byte in text.bytes() {
            let is_letter = byte.is_ascii_alphanumeric();
            if is_letter {
                if !within {
                    words.push(' ');
                }
                words.push(char::from(byte.to_ascii_lowercase()));
            }
            within = is_letter;
        }
        return words;
    }
    // Upper case first: it alone folds the final sigma and the sharp s.
    let folded = (text.nfkd().filter(|c| !is_accent(*c)))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .filter(|c| !is_accent(*c));
    for c in folded {
        let is_letter = c.is_alphanumeric() || is_combining_mark(c);
        if is_letter {
            if !within {
                words.push(' ');
            }
            words.push(c);
        }
        within = is_letter;
    }
    words
}

/// Marks that Latin, Greek and Cyrillic letters carry; those of other scripts are letters in effect.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036f}')
}

#[cfg(test)]
mod tests {
    use super::search_words;

    #[test]
    fn case_accents_and_punctuation_do_not_matter() {
        assert_eq!(search_words("Straße 5b, Zürich"), " strasse 5b zurich");
        assert_eq!(search_words("STRASSE 5B -- ZURICH!"), " strasse 5b zurich");
        assert_eq!(search_words("ΟΔΟΣ οδός"), " οδοσ οδοσ");
        assert_eq!(search_words("½ m² \0 \"AND\" ok*"), " 1 2 m2 and ok");
    }

    #[test]
    fn a_text_without_letters_and_digits_has_no_words() {
        assert_eq!(search_words(" \"'*() -- 🏠"), "");
    }
}
