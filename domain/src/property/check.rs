//! What a value may be, whichever command brings it: every size here is bounded.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};

use super::PropertyRefused;
use super::refusal::{InvalidField, Problem};
use crate::{Area, Coordinates, Price};

/// Years that a date may be in: what every store and client can hold.
const YEARS: RangeInclusive<i32> = 1000..=2999;

/// No area of a home or its land reaches this many square metres: half the land on earth.
const MAX_SQUARE_METERS: f64 = 7.5e13;

/// Collects what is wrong with a command, so that all of it is reported at once.
#[derive(Default)]
pub(super) struct Check(Vec<InvalidField>);

impl Check {
    /// Notes that a field is wrong.
    pub(super) fn refuse(&mut self, field: impl Into<String>, problem: Problem) {
        self.0.push(InvalidField { field: field.into(), problem });
    }

    /// Ends the collection: everything was right, or this is all that was wrong.
    pub(super) fn finish(self) -> Result<(), PropertyRefused> {
        if self.0.is_empty() { Ok(()) } else { Err(PropertyRefused::Invalid(self.0)) }
    }

    /// A value that must be there; read it with `?` after [`finish`](Self::finish).
    pub(super) fn present<T>(
        &mut self,
        field: &str,
        value: Option<T>,
        missing: Problem,
    ) -> Result<T, PropertyRefused> {
        value.ok_or_else(|| {
            let invalid = InvalidField { field: field.to_owned(), problem: missing };
            self.0.push(invalid.clone());
            PropertyRefused::Invalid(vec![invalid])
        })
    }

    /// One line of text.
    pub(super) fn line(&mut self, field: &str, text: &str, max_chars: usize) {
        if text.chars().any(char::is_control) {
            self.refuse(field, Problem::ControlCharacter);
        }
        self.length(field, text, max_chars);
    }

    /// Text of several lines.
    pub(super) fn lines(&mut self, field: &str, text: &str, max_chars: usize) {
        let layout = ['\n', '\r', '\t'];
        if text.chars().any(|char| char.is_control() && !layout.contains(&char)) {
            self.refuse(field, Problem::ControlCharacter);
        }
        self.length(field, text, max_chars);
    }

    fn length(&mut self, field: &str, text: &str, max_chars: usize) {
        if text.trim().is_empty() {
            self.refuse(field, Problem::Blank);
        }
        if text.chars().count() > max_chars {
            self.refuse(field, Problem::TooLong(max_chars));
        }
    }

    /// A set of lines of text.
    pub(super) fn words(&mut self, field: &str, words: &BTreeSet<String>, max_entries: usize) {
        self.entries(field, words.len(), max_entries);
        for (index, word) in words.iter().enumerate() {
            self.line(&format!("{field}[{index}]"), word, 100);
        }
    }

    /// How many entries a list has.
    pub(super) fn entries(&mut self, field: &str, entries: usize, max_entries: usize) {
        if entries > max_entries {
            self.refuse(field, Problem::TooMany(max_entries));
        }
    }

    /// A web address.
    pub(super) fn url(&mut self, field: &str, url: &str) {
        self.line(field, url, 2_048);
        let host = ["https://", "http://"].iter().find_map(|scheme| {
            let start = url.get(..scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
        });
        let begins_with_a_host = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric());
        if !host.is_some_and(begins_with_a_host) || url.contains(char::is_whitespace) {
            self.refuse(field, Problem::Malformed("an http or https address"));
        }
    }

    /// A count or a year.
    pub(super) fn number(&mut self, field: &str, number: u16, allowed: RangeInclusive<u16>) {
        if !allowed.contains(&number) {
            self.refuse(field, Problem::OutOfRange { min: *allowed.start(), max: *allowed.end() });
        }
    }

    /// An area, also one that did not come through [`Area::new`].
    pub(super) fn area(&mut self, field: &str, area: Area) {
        if Area::new(area.value, area.unit).is_err() || area.square_meters() > MAX_SQUARE_METERS {
            let problem = "must be greater than zero, and no larger than a continent";
            self.refuse(field, Problem::Impossible(problem));
        }
    }

    /// A point, also one that did not come through [`Coordinates::new`].
    pub(super) fn coordinates(&mut self, field: &str, point: Coordinates) {
        if Coordinates::new(point.latitude, point.longitude).is_err() {
            let problem = "must be degrees: latitude -90 to 90, longitude -180 to 180";
            self.refuse(field, Problem::Impossible(problem));
        }
    }

    /// A price, also one that did not come through [`Price::from_minor_units`].
    pub(super) fn price(&mut self, field: &str, price: Price) {
        if price.amount_minor.get() > Price::MAX_AMOUNT_MINOR {
            self.refuse(field, Problem::Impossible("is more money than there is"));
        }
    }

    /// A day.
    pub(super) fn date(&mut self, field: &str, date: NaiveDate) {
        if !YEARS.contains(&date.year()) {
            self.refuse(field, Problem::Impossible("must be in the years 1000 to 2999"));
        }
    }

    /// A moment.
    pub(super) fn moment(&mut self, field: &str, moment: DateTime<Utc>) {
        self.date(field, moment.date_naive());
    }

    /// A day that has come; tomorrow has come in the east while it is still today in Greenwich.
    pub(super) fn come(&mut self, field: &str, date: NaiveDate, now: DateTime<Utc>) {
        self.date(field, date);
        let today = now.date_naive();
        if date > today.checked_add_days(Days::new(1)).unwrap_or(today) {
            self.refuse(field, Problem::InFuture);
        }
    }

    /// A day that is not over; yesterday is not over in the west while it is today in Greenwich.
    pub(super) fn not_over(&mut self, field: &str, date: NaiveDate, now: DateTime<Utc>) {
        self.date(field, date);
        let today = now.date_naive();
        if date < today.checked_sub_days(Days::new(1)).unwrap_or(today) {
            self.refuse(field, Problem::InPast);
        }
    }
}
