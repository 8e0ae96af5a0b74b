//! Reads values as senders write them: numbers as text, dates with and without a time.
//!
//! A value that cannot be read becomes an error that names its field and shows what was sent;
//! reading goes on, so that a sender hears about everything at once.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::answer::{Notice, Notices};
use super::json::{Json, Number};
use super::names::Names;

/// A number as it was written: no digit is lost on the way to minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: u128,
    /// How many of the digits stand behind the point.
    scale: u32,
}

/// Why text is not such a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberFault {
    NotANumber,
    TooLarge,
    TooPrecise,
}

impl Decimal {
    /// Reads `-1234.50`, `2e3`; no thousands separators, which mean different things elsewhere.
    pub(super) fn parse(text: &str) -> Result<Self, NumberFault> {
        let text = text.trim();
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| NumberFault::NotANumber)?;
        let unsigned = mantissa.strip_prefix('-');
        let negative = unsigned.is_some();
        let unsigned = unsigned.unwrap_or_else(|| mantissa.strip_prefix('+').unwrap_or(mantissa));
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let mut all = whole.bytes().chain(fraction.bytes());
        if (whole.is_empty() && fraction.is_empty()) || !all.all(|byte| byte.is_ascii_digit()) {
            return Err(NumberFault::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits = 0_u128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let next = digits.checked_mul(10).and_then(|n| n.checked_add(u128::from(digit - b'0')));
            digits = next.ok_or(NumberFault::TooLarge)?;
        }
        if digits == 0 {
            return Ok(Self { negative: false, digits: 0, scale: 0 });
        }
        let behind_the_point = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
        let scale = behind_the_point.saturating_sub(exponent);
        if scale < 0 {
            let power = 10_u128.checked_pow(scale.unsigned_abs()).ok_or(NumberFault::TooLarge)?;
            let digits = digits.checked_mul(power).ok_or(NumberFault::TooLarge)?;
            return Ok(Self { negative, digits, scale: 0 });
        }
        Ok(Self { negative, digits, scale: scale.unsigned_abs() })
    }

    /// The number times ten to `digits`, which must be whole.
    pub(super) fn to_minor(self, digits: u32) -> Result<i64, NumberFault> {
        let whole = if self.scale <= digits {
            10_u128
                .checked_pow(digits - self.scale)
                .and_then(|power| self.digits.checked_mul(power))
        } else {
            let power = 10_u128.checked_pow(self.scale - digits);
            let power = power.ok_or(NumberFault::TooPrecise)?;
            if !self.digits.is_multiple_of(power) {
                return Err(NumberFault::TooPrecise);
            }
            Some(self.digits / power)
        };
        let whole = whole.and_then(|whole| i64::try_from(whole).ok());
        let whole = whole.ok_or(NumberFault::TooLarge)?;
        Ok(if self.negative { -whole } else { whole })
    }

    pub(super) fn to_f64(self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}{}e-{}", self.digits, self.scale);
        text.parse().expect("digits with an exponent are a float")
    }
}

/// Reads the values of one item.
pub(super) struct Reader<'n> {
    pub(super) notices: &'n mut Notices,
}

impl Reader<'_> {
    fn wrong(&mut self, path: &str, value: &Json<'_>, wanted: &str) {
        let message = format!("must be {wanted}, not {}", value.kind());
        self.notices.refuse(Notice::new("WRONG_TYPE", message).at(path).sent(value));
    }

    /// A date or moment that is none: written like one, or something else.
    fn no_time(&mut self, path: &str, value: &Json<'_>, wanted: &str) {
        match value {
            Json::Text(text) if is_dated(text.trim()) => {
                let message = format!("is on no calendar; send {wanted}");
                self.notices.refuse(Notice::new("MALFORMED", message).at(path).sent(value));
            }
            _ => self.wrong(path, value, wanted),
        }
    }

    fn impossible(&mut self, path: &str, value: &Json<'_>, message: &str) {
        self.notices.refuse(Notice::new("OUT_OF_RANGE", message).at(path).sent(value));
    }

    /// Text with something in it; a number counts as its digits.
    pub(super) fn text(&mut self, path: &str, value: &Json<'_>) -> Option<String> {
        let text = match value {
            Json::Text(text) => text.trim().to_owned(),
            Json::Number(number @ (Number::Whole(_) | Number::Large(_))) => number.to_string(),
            _ => {
                self.wrong(path, value, "text");
                return None;
            }
        };
        if text.is_empty() {
            let blank = Notice::new("BLANK", "must not be empty; leave it out or send null");
            self.notices.refuse(blank.at(path));
            return None;
        }
        Some(text)
    }

    /// A number, or text that is one.
    pub(super) fn decimal(&mut self, path: &str, value: &Json<'_>) -> Option<Decimal> {
        let parsed = match value {
            Json::Number(number) => Decimal::parse(&number.to_string()),
            Json::Text(text) => Decimal::parse(text),
            _ => Err(NumberFault::NotANumber),
        };
        match parsed {
            Ok(number) => Some(number),
            Err(NumberFault::NotANumber) => {
                self.wrong(path, value, "a number such as 1234.50");
                None
            }
            Err(NumberFault::TooLarge | NumberFault::TooPrecise) => {
                self.impossible(path, value, "has more digits than anything here can have");
                None
            }
        }
    }

    pub(super) fn real(&mut self, path: &str, value: &Json<'_>) -> Option<f64> {
        self.decimal(path, value).map(Decimal::to_f64)
    }

    /// A count.
    pub(super) fn count(&mut self, path: &str, value: &Json<'_>) -> Option<u16> {
        let number = self.decimal(path, value)?;
        match number.to_minor(0).map(u16::try_from) {
            Ok(Ok(count)) => Some(count),
            Ok(Err(_)) => {
                self.impossible(path, value, "must be between 0 and 65535");
                None
            }
            Err(_) => {
                self.impossible(path, value, "must be a whole number");
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, path: &str, value: &Json<'_>) -> Option<bool> {
        match value {
            Json::Bool(value) => Some(*value),
            Json::Number(Number::Whole(number @ (0 | 1))) => Some(*number == 1),
            Json::Text(text) if ["true", "yes", "1"].contains(&&*text.to_lowercase()) => Some(true),
            Json::Text(text) if ["false", "no", "0"].contains(&&*text.to_lowercase()) => {
                Some(false)
            }
            _ => {
                self.wrong(path, value, "true or false");
                None
            }
        }
    }

    /// A day; of a moment, its day in the zone it was written in.
    pub(super) fn date(&mut self, path: &str, value: &Json<'_>) -> Option<NaiveDate> {
        let day = match value {
            Json::Text(text) => {
                let text = text.trim();
                let moment = DateTime::parse_from_rfc3339(text).map(|moment| moment.date_naive());
                let local = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
                let day = text.parse().or(moment).or_else(|_| local().map(|local| local.date()));
                day.ok()
            }
            _ => None,
        };
        if day.is_none() {
            self.no_time(path, value, "a date such as 2026-11-30");
        }
        day
    }

    /// A moment: RFC 3339, or seconds or milliseconds since 1970.
    pub(super) fn moment(&mut self, path: &str, value: &Json<'_>) -> Option<DateTime<Utc>> {
        let moment = match value {
            Json::Text(text) => self.written_moment(path, text.trim()),
            Json::Number(number) => {
                let since = Decimal::parse(&number.to_string()).ok().map(Decimal::to_f64);
                since.and_then(|since| {
                    // The year 5138 in seconds is 1973 in milliseconds.
                    let micros = if since.abs() < 1e11 { since * 1e6 } else { since * 1e3 };
                    // `as` stays within what an i64 holds, and chrono within what it holds.
                    DateTime::from_timestamp_micros(micros.round() as i64)
                })
            }
            _ => None,
        };
        if moment.is_none() {
            self.no_time(path, value, "a moment such as 2026-11-30T09:30:00Z");
        }
        moment
    }

    fn written_moment(&mut self, path: &str, text: &str) -> Option<DateTime<Utc>> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Some(moment.to_utc());
        }
        // As PostgreSQL and pandas print it.
        if let Ok(moment) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
            return Some(moment.to_utc());
        }
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let local = |format| NaiveDateTime::parse_from_str(text, format).ok();
        let midnight = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
        let local = formats.into_iter().find_map(local).or_else(midnight)?;
        let message = "has no time zone; taken as UTC, send an offset such as +01:00";
        self.notices.warn(Notice::new("TIME_ZONE_ASSUMED", message).at(path));
        Some(local.and_utc())
    }

    /// A value that goes by a name.
    pub(super) fn named<T: Copy + PartialEq>(
        &mut self,
        path: &str,
        value: &Json<'_>,
        names: &Names<T>,
    ) -> Option<T> {
        let text = self.text(path, value)?;
        let found = names.find(&text);
        if found.is_none() {
            let known: Vec<_> = names.all.iter().filter_map(|(_, names)| names.first()).collect();
            let known: Vec<&str> = known.into_iter().copied().collect();
            let message = format!("is not known here; send one of {}", known.join(", "));
            self.notices.refuse(Notice::new("UNKNOWN_VALUE", message).at(path).sent(value));
        }
        found
    }

    /// Text that may be one, a list of them, or several with commas in between.
    pub(super) fn words(&mut self, path: &str, value: &Json<'_>) -> Option<Vec<String>> {
        match value {
            Json::Text(text) => {
                let words = text.split([',', ';', '|']).map(str::trim);
                Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            Json::List(values) => {
                let words = values.iter().enumerate();
                words.map(|(index, word)| self.text(&format!("{path}[{index}]"), word)).collect()
            }
            _ => {
                self.wrong(path, value, "a list of texts");
                None
            }
        }
    }
}

/// Whether a text begins as a date does.
fn is_dated(text: &str) -> bool {
    text.len() >= 10
        && text.bytes().take(10).enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_is_lost_on_the_way_to_minor_units() {
        let minor = |text: &str, digits| Decimal::parse(text).and_then(|n| n.to_minor(digits));
        assert_eq!(minor("2000", 2), Ok(200_000));
        assert_eq!(minor("19.99", 2), Ok(1_999));
        assert_eq!(minor("0.1", 2), Ok(10));
        assert_eq!(minor("-5", 2), Ok(-500));
        assert_eq!(minor("2e3", 0), Ok(2_000));
        assert_eq!(minor("1.50000", 2), Ok(150));
        assert_eq!(minor("1.505", 2), Err(NumberFault::TooPrecise));
        assert_eq!(minor("1e30", 2), Err(NumberFault::TooLarge));
        assert_eq!(minor("1e-400", 2), Err(NumberFault::TooPrecise));
        assert_eq!(minor("0e999", 2), Ok(0));
        assert_eq!(minor("9".repeat(400).as_str(), 2), Err(NumberFault::TooLarge));
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "abc", "1,000", "1.2.3", "-", ".", "NaN", "inf", "0x10", "1e", "١"] {
            assert_eq!(Decimal::parse(text), Err(NumberFault::NotANumber), "{text}");
        }
    }

    #[test]
    fn floats_come_back_as_they_were() {
        for number in [0.1, 13.424874, -83.879637, 1e-7, 12345678.9] {
            let parsed = Decimal::parse(&Number::Real(number).to_string());
            assert_eq!(parsed.map(Decimal::to_f64), Ok(number));
        }
    }

    #[test]
    fn moments_are_read_as_feeds_write_them() {
        let mut notices = Notices::default();
        let mut reader = Reader { notices: &mut notices };
        let mut read = |value: Json<'_>| reader.moment("occurred_at", &value);
        let moment = "2019-11-24T00:00:17.004101Z".parse().ok();
        assert_eq!(read(Json::Text("2019-11-24 00:00:17.004101+00:00".into())), moment);
        assert_eq!(read(Json::Text("2019-11-24T01:00:17.004101+01:00".into())), moment);
        assert_eq!(read(Json::Text("2019-11-24T00:00:17.004101".into())), moment);
        let second = "2019-11-24T00:00:17Z".parse().ok();
        assert_eq!(read(Json::Number(Number::Whole(1_574_553_617))), second);
        assert_eq!(read(Json::Number(Number::Whole(1_574_553_617_000))), second);
        assert_eq!(read(Json::Number(Number::Real(1e308))), None);
        assert_eq!(read(Json::Text("yesterday".into())), None);
        assert_eq!(notices.warnings.len(), 1);
        assert_eq!(notices.errors.len(), 2);
    }
}
