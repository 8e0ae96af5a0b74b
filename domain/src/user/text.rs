//! Turns text as it was sent into text worth storing.

use super::UserRefused;
use super::value::UserSource;

/// Brings an e-mail address into the one shape it is stored, compared and looked up in.
///
/// - Shape: trimmed, lower case, at most 254 characters; a name, one `@`, a domain with a dot.
///   Whether mail arrives there is found out by sending some.
pub fn normalize_email(text: &str) -> Result<String, UserRefused> {
    let email = text.trim().to_lowercase();
    let clean = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = email.chars().count() <= 254
        && email.split_once('@').is_some_and(|(name, domain)| {
            (1..=64).contains(&name.chars().count())
                && name.chars().all(clean)
                && domain.contains('.')
                && domain.split('.').all(label)
        });
    if valid { Ok(email) } else { Err(UserRefused::EmailInvalid) }
}

/// Brings a phone number into E.164.
///
/// - Shape: a plus and 8 to 15 digits, not starting with 0; spaces, dots, dashes, slashes and
///   brackets are left out.
pub fn normalize_phone(text: &str) -> Result<String, UserRefused> {
    let separator = |c: &char| c.is_whitespace() || matches!(c, '.' | '-' | '/' | '(' | ')');
    let phone: String = text.chars().filter(|c| !separator(c)).collect();
    let valid = phone.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    });
    if valid { Ok(phone) } else { Err(UserRefused::PhoneInvalid) }
}

/// One line of text: trimmed, 1 to `max` characters, no control characters.
pub(super) fn line(text: &str, max: usize) -> Option<String> {
    let text = text.trim();
    let fits = (1..=max).contains(&text.chars().count());
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// A reference that is stored in clear; one with an `@` could be an e-mail address and is refused.
pub(super) fn reference(text: &str, max: usize) -> Option<String> {
    line(text, max).filter(|reference| !reference.contains('@'))
}

/// A reason in someone's words: trimmed, 1 to 2000 characters, lines allowed.
pub(super) fn reason(text: &str) -> Result<String, UserRefused> {
    let text = text.trim();
    let fits = (1..=2_000).contains(&text.chars().count());
    let clean = !text.chars().any(|c| c.is_control() && c != '\n');
    if fits && clean { Ok(text.to_owned()) } else { Err(UserRefused::ReasonInvalid) }
}

/// A sender's reference within a source; the source's name has no slash, so no two keys meet.
pub(super) fn source(source: &UserSource) -> Result<UserSource, UserRefused> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name = line(&source.source, 64).filter(|name| name.chars().all(named));
    let reference = reference(&source.reference, 200);
    match (name, reference) {
        (Some(source), Some(reference)) => Ok(UserSource { source, reference }),
        _ => Err(UserRefused::SourceInvalid),
    }
}

/// A BCP 47 tag, checked for its shape only.
pub(super) fn language(text: &str) -> Result<String, UserRefused> {
    let tag = text.trim();
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let primary = tag.split('-').next().unwrap_or_default();
    let valid = tag.len() <= 35
        && primary.len() >= 2
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && tag.split('-').all(subtag);
    if valid { Ok(tag.to_owned()) } else { Err(UserRefused::LanguageInvalid) }
}

/// An ISO 3166-1 alpha-2 or 3166-2 code, upper case, checked for its shape only.
pub(super) fn jurisdiction(text: &str) -> Result<String, UserRefused> {
    let code = text.trim().to_ascii_uppercase();
    let (country, region) = match code.split_once('-') {
        Some((country, region)) => (country, Some(region)),
        None => (code.as_str(), None),
    };
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_region = region.is_none_or(|region| {
        (1..=3).contains(&region.len()) && region.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if is_country && is_region { Ok(code) } else { Err(UserRefused::JurisdictionInvalid) }
}
