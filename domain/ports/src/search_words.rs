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
    // Upper case first: it alone folds the final sigma.
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
            match spelled_plainly(c) {
                Some(letters) => words.push_str(letters),
                None => words.push(c),
            }
        }
        within = is_letter;
    }
    words
}

/// The words of what [`search_words`] gave, each still after its space.
pub fn split_words(words: &str) -> impl Iterator<Item = &str> {
    let ends = words.char_indices().skip(1).filter(|(_, c)| *c == ' ').map(|(at, _)| at);
    let mut begin = 0;
    ends.chain((!words.is_empty()).then_some(words.len())).map(move |end| {
        let word = &words[begin..end];
        begin = end;
        word
    })
}

/// Latin letters that Unicode does not take apart, as people without them on their keyboard type
/// them.
fn spelled_plainly(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ł' => "l",
        'ø' => "o",
        'œ' => "oe",
        'ß' => "ss",
        'ŧ' => "t",
        'þ' => "th",
        _ => return None,
    })
}

/// Marks that Latin, Greek and Cyrillic letters carry; those of other scripts are letters in effect.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::search_words;

    #[test]
    fn case_accents_and_punctuation_do_not_matter() {
        assert_eq!(search_words("Straße 5b, Zürich"), " strasse 5b zurich");
        assert_eq!(search_words("STRASSE 5B -- ZURICH!"), " strasse 5b zurich");
        assert_eq!(search_words("ΟΔΟΣ οδός"), " οδοσ οδοσ");
        assert_eq!(search_words("½ m² \0 \"AND\" ok*"), " 1 2 m2 and ok");
    }

    #[test]
    fn letters_that_are_no_accents_are_found_as_people_type_them() {
        assert_eq!(search_words("Łódź ŁÓDŹ lodz"), " lodz lodz lodz");
        assert_eq!(search_words("Ærøskøbing Þórshöfn"), " aeroskobing thorshofn");
        assert_eq!(search_words("Đakovo Sauðárkrókur Ħamrun"), " dakovo saudarkrokur hamrun");
        assert_eq!(
            search_words("Œuvre STRAẞE Diyarbakır IĞDIR"),
            " oeuvre strasse diyarbakir igdir"
        );
    }

    #[test]
    fn a_text_without_letters_and_digits_has_no_words() {
        assert_eq!(search_words(" \"'*() -- 🏠"), "");
    }

    proptest! {
        /// Whoever copies what is shown finds it, and case never matters.
        #[test]
        fn words_are_words_of_themselves(text in any::<String>()) {
            let words = search_words(&text);
            prop_assert_eq!(&search_words(&words), &words);
        }

        #[test]
        fn the_words_of_european_letters_are_ascii(text in "[ !-~À-ÖØ-öø-ķĹ-ňŌ-ſ]*") {
            let words = search_words(&text);
            prop_assert!(words.is_ascii(), "{} gives {}", text, words);
            prop_assert_eq!(search_words(&text.to_uppercase()), words);
        }
    }
}
