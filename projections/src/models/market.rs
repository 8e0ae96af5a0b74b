//! What homes cost, by place and month.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use freehold_domain::{Currency, FeeFrequency, ListingKey, PropertyId};
use serde::{Deserialize, Serialize};

use crate::{Json, read_model};

read_model! {
    /// Prices in one cell of the H3 grid in one month.
    ///
    /// Quartiles are sample quantiles of type 7: linear interpolation between the two nearest
    /// observations.
    pub struct MarketStatisticsRow in "market_statistics" {
        key {
            /// Who owns the listings.
            tenant: Arc<str>,
            /// The cell's H3 index, 15 hexadecimal digits.
            cell: Arc<str>,
            /// The first day of the month, UTC.
            month: NaiveDate,
            /// Which prices.
            basis: PriceBasis,
            /// In which currency.
            currency: Currency,
            /// How often they are due.
            frequency: FeeFrequency,
        }
        /// The cell's H3 resolution: 6 (36.1 km² on average) or 8 (0.74 km²).
        resolution: i64,
        /// Degrees north of the cell's centre.
        latitude: f64,
        /// Degrees east of the cell's centre.
        longitude: f64,
        /// How many listing periods.
        count: i64,
        /// The lowest price, minor units, as are the following.
        price_min: i64,
        /// A quarter cost at most this.
        price_q1: i64,
        /// Half cost at most this.
        price_median: i64,
        /// Three quarters cost at most this.
        price_q3: i64,
        /// The highest price.
        price_max: i64,
        /// How many of them have a living area.
        area_count: i64,
        /// The lowest price of a square metre, minor units, as are the following; null without
        /// a living area.
        price_m2_min: Option<f64>,
        /// A quarter cost at most this a square metre.
        price_m2_q1: Option<f64>,
        /// Half cost at most this a square metre.
        price_m2_median: Option<f64>,
        /// Three quarters cost at most this a square metre.
        price_m2_q3: Option<f64>,
        /// The highest price of a square metre.
        price_m2_max: Option<f64>,
        /// How many of them have days on market; 0 for asking prices.
        days_count: i64,
        /// A quarter was on the market for at most so many days.
        days_on_market_q1: Option<f64>,
        /// Half were on the market for at most so many days.
        days_on_market_median: Option<f64>,
        /// Three quarters were on the market for at most so many days.
        days_on_market_q3: Option<f64>,
        /// What all of this was computed from.
        observations: Json<Observations>,
    }
    indexes [["month", "resolution"], ["cell", "month"]]
    spatial ("latitude", "longitude")
}

read_model! {
    /// What one listing period adds to the statistics.
    pub struct MarketObservationRow in "market_observation" {
        key {
            /// The period.
            listing: ListingKey,
        }
        /// The month it came on the market; null if it never did.
        asked_in: Option<NaiveDate>,
        /// The price it asks, or asked last, minor units.
        asking_minor: Option<i64>,
        /// In which currency.
        asking_currency: Option<Currency>,
        /// How often it is due.
        asking_frequency: Option<FeeFrequency>,
        /// The month it was let or sold.
        closed_in: Option<NaiveDate>,
        /// The price that was agreed, minor units.
        closed_minor: Option<i64>,
        /// In which currency.
        closed_currency: Option<Currency>,
        /// How often it is due.
        closed_frequency: Option<FeeFrequency>,
        /// Seconds it was on the market before `market_since`.
        market_seconds: i64,
        /// Since when it is on the market; null while it is not.
        market_since: Option<DateTime<Utc>>,
    }
}

read_model! {
    /// What the observations of a property have in common.
    pub struct MarketPropertyRow in "market_property" {
        key {
            /// The property.
            property: PropertyId,
        }
        /// Degrees north.
        latitude: Option<f64>,
        /// Degrees east.
        longitude: Option<f64>,
        /// Living area in square metres.
        living_area_m2: Option<f64>,
        /// Whether it counts as another property, which is counted instead.
        duplicate: bool,
        /// Its periods that were ever on the market or closed.
        listings: Json<Vec<ListingKey>>,
    }
}

/// Which prices a statistic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PriceBasis {
    /// What listings ask for, counted in the month they came on the market.
    Asking,
    /// What was agreed, counted in the month it was.
    Closed,
}

/// Observations, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// Prices in minor units.
    pub prices: Vec<i64>,
    /// Prices of a square metre, in thousandths of minor units.
    pub per_m2: Vec<i64>,
    /// Days on market.
    pub days: Vec<i64>,
}
