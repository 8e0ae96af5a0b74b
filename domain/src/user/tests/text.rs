use super::super::text::{jurisdiction, language, line, reason, source};
use super::*;

#[test]
fn an_email_address_has_a_name_and_a_domain_with_a_dot() {
    let long_name = format!("{}@example.com", "a".repeat(65));
    let long_domain = format!("ada@{}.com", "a".repeat(250));
    for refused in [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@example.",
        "ada@.com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@exam_ple.com",
        "a da@example.com",
        "a\0da@example.com",
        "ada@bob@example.com",
        &long_name,
        &long_domain,
    ] {
        assert_eq!(normalize_email(refused), Err(UserRefused::EmailInvalid), "{refused:?}");
    }
    for (sent, stored) in [
        ("Ada.L+flats@Mail.Example.COM\n", "ada.l+flats@mail.example.com"),
        ("jörg@müller-söhne.de", "jörg@müller-söhne.de"),
    ] {
        assert_eq!(normalize_email(sent).as_deref(), Ok(stored));
    }
}

#[test]
fn a_phone_number_has_a_country_code_and_8_to_15_digits() {
    for refused in [
        "",
        "+",
        "030 123456",
        "+030123456",
        "+4930123",
        "+4930123456789012",
        "+49x0123456",
        "++49",
    ] {
        assert_eq!(normalize_phone(refused), Err(UserRefused::PhoneInvalid), "{refused:?}");
    }
    for (sent, stored) in [
        ("+49 (30) 12-34.56", "+4930123456"),
        ("+44/20/7946/0958", "+442079460958"),
        ("+12345678", "+12345678"),
        ("+123456789012345", "+123456789012345"),
    ] {
        assert_eq!(normalize_phone(sent).as_deref(), Ok(stored));
    }
}

#[test]
fn a_language_has_the_shape_of_a_tag() {
    for refused in ["", "d", "4de", "de_DE", "de-", "de--DE", "languages1", "de-toolongtag"] {
        assert_eq!(language(refused), Err(UserRefused::LanguageInvalid), "{refused:?}");
    }
    for accepted in ["de", "en-GB", "zh-Hant-TW", "sr-Latn-RS"] {
        assert_eq!(language(accepted).as_deref(), Ok(accepted));
    }
}

#[test]
fn a_jurisdiction_is_a_country_or_a_part_of_one() {
    for refused in ["", "D", "DEU", "D1", "DE-", "US-CALI", "US-C A", "US-CA-LA"] {
        assert_eq!(jurisdiction(refused), Err(UserRefused::JurisdictionInvalid), "{refused:?}");
    }
    for (sent, stored) in [("de", "DE"), ("us-ca", "US-CA"), (" GB-ENG ", "GB-ENG")] {
        assert_eq!(jurisdiction(sent).as_deref(), Ok(stored));
    }
}

#[test]
fn a_line_is_bounded_in_characters_and_a_reason_may_have_several() {
    assert_eq!(line(" köln ", 4).as_deref(), Some("köln"));
    assert_eq!(line("kölns", 4), None);
    assert_eq!(line("a\nb", 4), None);
    assert_eq!(reason("a\nb").as_deref(), Ok("a\nb"));
    assert_eq!(reason("a\0b"), Err(UserRefused::ReasonInvalid));
    assert_eq!(reason(&"x".repeat(2_001)), Err(UserRefused::ReasonInvalid));
}

#[test]
fn a_source_has_a_plain_name_and_a_reference_may_have_slashes() {
    let parsed = |name: &str, reference: &str| {
        let (name, reference) = (name.to_owned(), reference.to_owned());
        source(&UserSource { source: name, reference })
    };
    let parts = parsed("crm.north_2", " office/user-456 ").map(|s| (s.source, s.reference));
    assert_eq!(parts, Ok(("crm.north_2".to_owned(), "office/user-456".to_owned())));
    for (name, reference) in [("", "1"), ("crm", ""), ("c r m", "1"), ("crm", "a@b"), ("crm", "\n")]
    {
        assert_eq!(parsed(name, reference), Err(UserRefused::SourceInvalid));
    }
}
