//! Rules that data of real feeds break without being wrong for certain: warnings, never refusals.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};
use freehold_domain::property::PropertyFacts;
use freehold_domain::{Area, AreaUnit, Coordinates, FeeFrequency, Price};

use super::answer::{Notice, Notices};

/// Looks at facts that are new, together with those that are known.
pub(super) fn check_facts(
    facts: &PropertyFacts,
    known: Option<&PropertyFacts>,
    now: DateTime<Utc>,
    notices: &mut Notices,
) {
    let bedrooms = facts.bedrooms.or_else(|| known.and_then(|known| known.bedrooms));
    if let (Some(area), Some(bedrooms)) = (facts.living_area, bedrooms) {
        check_area(area, bedrooms, notices);
    }
    let nowhere = Coordinates { latitude: 0.0, longitude: 0.0 };
    if facts.coordinates == Some(nowhere) {
        let message = "0, 0 lies in the Gulf of Guinea; leave coordinates out when unknown";
        notices.warn(Notice::new("COORDINATES_ZERO", message).at("data.coordinates"));
    }
    if let Some(year) = facts.year_built
        && i32::from(year) > now.year() + 10
    {
        let message = "is more than ten years from now";
        notices.warn(Notice::new("YEAR_BUILT_IN_FUTURE", message).at("data.year_built"));
    }
}

/// Square feet sent as square metres make a house ten times too large, and the other way round.
fn check_area(area: Area, bedrooms: u16, notices: &mut Notices) {
    // Generous: a room of 7 m² a bed at least, 100 m² at most, and the rest of the home.
    let least = 8.0 + 7.0 * f64::from(bedrooms);
    let most = 150.0 + 100.0 * f64::from(bedrooms);
    let plausible = |area: Area| (least..=most).contains(&area.square_meters());
    if plausible(area) {
        return;
    }
    let other = match area.unit {
        AreaUnit::SquareMeters => AreaUnit::SquareFeet,
        AreaUnit::SquareFeet | AreaUnit::Acres | AreaUnit::Hectares => AreaUnit::SquareMeters,
    };
    let hint = if plausible(Area { unit: other, ..area }) {
        format!("; is it in {other:?}?")
    } else {
        String::new()
    };
    let message =
        format!("{} {:?} is unlikely with {bedrooms} bedrooms{hint}", area.value, area.unit);
    notices.warn(Notice::new("AREA_OUTLIER", message).at("data.living_area"));
}

/// What a month at this price costs, in major units; a sale is not by the month.
fn monthly(price: Price, frequency: FeeFrequency) -> Option<f64> {
    let times = match frequency {
        FeeFrequency::Daily => 365.25 / 12.0,
        FeeFrequency::Weekly => 52.0 / 12.0,
        FeeFrequency::Monthly => 1.0,
        FeeFrequency::Yearly => 1.0 / 12.0,
        FeeFrequency::OneTime => return None,
    };
    let digits = i32::try_from(price.currency.minor_digits()).unwrap_or(2);
    Some(price.amount_minor.get() as f64 / 10_f64.powi(digits) * times)
}

/// A weekly rent that is sent as a monthly one is four times too low.
pub(super) fn check_price(price: Price, known: Option<Price>, notices: &mut Notices) {
    const CODE: &str = "PRICE_FREQUENCY_SUSPECT";
    let mut suspect = |message: String| notices.warn(Notice::new(CODE, message).at("data.price"));
    let others =
        [FeeFrequency::Daily, FeeFrequency::Weekly, FeeFrequency::Monthly, FeeFrequency::Yearly];
    let others = others.into_iter().filter(|other| *other != price.frequency);
    let Some(a_month) = monthly(price, price.frequency) else { return };

    if let Some(known) = known.filter(|known| known.currency == price.currency)
        && let Some(before) = monthly(known, known.frequency)
    {
        let close_to = |amount: f64| (0.9..=1.1).contains(&(amount / before));
        let jumps = !(0.5..=2.0).contains(&(a_month / before));
        let meant = others.clone().find(|other| monthly(price, *other).is_some_and(close_to));
        if let (true, Some(meant)) = (jumps, meant) {
            suspect(format!(
                "is {:.1} times what it was; is it {}, not {}?",
                a_month / before,
                meant.name(),
                price.frequency.name()
            ));
            return;
        }
    }
    // The bounds that portals publish, for currencies about as large as the euro.
    let usual = 100.0..=50_000.0;
    if ["EUR", "USD", "GBP", "CHF", "CAD", "AUD"].contains(&price.currency.code())
        && !usual.contains(&a_month)
    {
        let fits =
            |other: &FeeFrequency| monthly(price, *other).is_some_and(|m| usual.contains(&m));
        match others.clone().find(fits) {
            Some(other) => suspect(format!(
                "comes to {a_month:.0} {} a month; is it {}?",
                price.currency.code(),
                other.name()
            )),
            None => {
                let message = format!("comes to {a_month:.0} {} a month", price.currency.code());
                notices.warn(Notice::new("PRICE_OUTLIER", message).at("data.price"));
            }
        }
    }
}

/// A home that has been to be had for long is often one that nobody updates.
pub(super) fn check_availability(
    available_from: Option<NaiveDate>,
    now: DateTime<Utc>,
    notices: &mut Notices,
) {
    let yesterday = now.date_naive().checked_sub_days(Days::new(1));
    if let (Some(day), Some(yesterday)) = (available_from, yesterday)
        && day < yesterday
    {
        let message = format!("{day} is in the past");
        notices.warn(Notice::new("AVAILABILITY_IN_PAST", message).at("data.available_from"));
    }
}

#[cfg(test)]
mod tests {
    use freehold_domain::Currency;

    use super::*;

    fn codes(check: impl FnOnce(&mut Notices)) -> Vec<(&'static str, String)> {
        let mut notices = Notices::default();
        check(&mut notices);
        assert!(notices.errors.is_empty());
        notices.warnings.into_iter().map(|notice| (notice.code, notice.message)).collect()
    }

    fn area(value: f64, unit: AreaUnit, bedrooms: u16) -> Vec<(&'static str, String)> {
        codes(|notices| check_area(Area { value, unit }, bedrooms, notices))
    }

    fn price(amount: i64, frequency: FeeFrequency) -> Price {
        Price::from_minor_units(amount * 100, "GBP", frequency).unwrap()
    }

    #[test]
    fn square_feet_called_square_metres_are_noticed() {
        let found = area(2_584.0, AreaUnit::SquareMeters, 4);
        assert_eq!(found[0].0, "AREA_OUTLIER");
        assert!(found[0].1.contains("SquareFeet?"), "{found:?}");
        assert!(area(2_584.0, AreaUnit::SquareFeet, 4).is_empty());
        assert!(area(70.0, AreaUnit::SquareFeet, 2)[0].1.contains("SquareMeters?"));
        assert!(area(20.0, AreaUnit::SquareMeters, 0).is_empty());
    }

    #[test]
    fn a_weekly_rent_called_monthly_is_noticed_by_what_it_was() {
        let before = price(2_000, FeeFrequency::Monthly);
        let after = price(462, FeeFrequency::Monthly);
        let found = codes(|notices| check_price(after, Some(before), notices));
        assert!(found[0].1.contains("Weekly"), "{found:?}");
        let raised = price(2_200, FeeFrequency::Monthly);
        assert!(codes(|notices| check_price(raised, Some(before), notices)).is_empty());
    }

    #[test]
    fn a_price_that_no_month_costs_is_noticed() {
        let yearly = price(150_000, FeeFrequency::Monthly);
        let found = codes(|notices| check_price(yearly, None, notices));
        assert!(found[0].1.contains("Yearly"), "{found:?}");
        assert!(codes(|n| check_price(price(300_000, FeeFrequency::OneTime), None, n)).is_empty());
        let yen = Price { currency: Currency::from_code("JPY").unwrap(), ..yearly };
        assert!(codes(|notices| check_price(yen, None, notices)).is_empty());
    }
}
