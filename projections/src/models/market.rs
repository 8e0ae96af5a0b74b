//! What homes cost, by place and month.
//!
//! What a listing period adds to the statistics follows from two small rows: its own and its
//! property's. An event changes those, and what was added before is replaced by what is added now.
//! So a new price, a corrected area or a better location moves an observation instead of adding
//! another one. Amounts of different currencies or frequencies are never mixed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use freehold_domain::property::{FactChange, ListingStatus, PropertyEvent};
use freehold_domain::{Area, Coordinates, Currency, FeeFrequency, ListingKey, Price, PropertyId};
use freehold_ports::{EventFilter, LogName, RecordedEvent, Table};
use h3o::{CellIndex, LatLng, Resolution};
use serde::{Deserialize, Serialize};

use super::{MarketTime, SECONDS_A_DAY, events_of, get_all, minor_units, stream_uuid, unknown};
use crate::{ApplyError, Json, ProjectedEvent, Projection, Rows, TypedRow, read_model};

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
        /// The price it asks, or asked last; null if it never was on the market.
        asking: Option<Json<PriceIn>>,
        /// The price that was agreed; null until it is.
        closed: Option<Json<PriceIn>>,
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

/// A price and the month it counts in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriceIn {
    /// The first day of the month.
    pub month: NaiveDate,
    /// The price.
    pub price: Price,
}

/// Which prices a statistic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Fills [`MarketStatisticsRow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Market;

impl Projection for Market {
    type Event = PropertyEvent;

    const NAME: &'static str = "market";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        events_of("property")
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[MarketStatisticsRow::TABLE, MarketObservationRow::TABLE, MarketPropertyRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, PropertyEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        use ListingStatus as S;
        use PropertyEvent as E;
        let ProjectedEvent { recorded, event } = event;
        let property = PropertyId(stream_uuid(recorded)?);
        let mut fold = Fold { recorded, property, rows };
        match event {
            E::PropertyRegistered(event) => {
                let mut row = MarketPropertyRow {
                    property,
                    latitude: None,
                    longitude: None,
                    living_area_m2: None,
                    duplicate: false,
                    listings: Json::default(),
                };
                locate(&mut row, event.facts.coordinates);
                row.living_area_m2 = event.facts.living_area.map(Area::square_meters);
                fold.rows.put(row);
                Ok(())
            }
            E::PropertyFactsCorrected(event) => fold.correct(&event.changes),
            E::AddressGeocoded(event) => {
                fold.change_property(|row| locate(row, Some(event.coordinates)))
            }
            E::MarkedDuplicateOf(_) => fold.change_property(|row| row.duplicate = true),
            E::DuplicateSeparated(_) => fold.change_property(|row| row.duplicate = false),
            E::ListingPublished(event) => {
                let month = month_of(recorded.occurred_at.date_naive());
                let asking = PriceIn { month, price: event.price };
                fold.begin(MarketObservationRow {
                    listing: event.listing,
                    asking: Some(Json(asking)),
                    closed: None,
                    market_seconds: 0,
                    market_since: Some(recorded.occurred_at),
                })
            }
            E::ClosingRecorded(event) => {
                let closed = PriceIn { month: month_of(event.closed_on), price: event.price };
                fold.begin(MarketObservationRow {
                    listing: event.listing,
                    asking: None,
                    closed: Some(Json(closed)),
                    market_seconds: 0,
                    market_since: None,
                })
            }
            E::RentChanged(event) => fold.change(event.listing, |row| {
                if let Some(asking) = &mut row.asking {
                    asking.0.price = event.new;
                }
            }),
            E::ListingLeased(event) => fold.change(event.listing, |row| {
                enter(row, S::Leased, recorded);
                let month = month_of(event.close_date);
                row.closed = Some(Json(PriceIn { month, price: event.rent_at_close }));
            }),
            E::ListingUnderApplication(event) => {
                fold.change(event.listing, |row| enter(row, S::UnderApplication, recorded))
            }
            E::ListingBackOnMarket(event) => {
                fold.change(event.listing, |row| enter(row, S::Active, recorded))
            }
            E::ListingPending(event) => {
                fold.change(event.listing, |row| enter(row, S::Pending, recorded))
            }
            E::ListingHeld(event) => {
                fold.change(event.listing, |row| enter(row, S::OnHold, recorded))
            }
            E::ListingWithdrawn(event) => {
                fold.change(event.listing, |row| enter(row, S::Withdrawn, recorded))
            }
            E::ListingCancelled(event) => {
                fold.change(event.listing, |row| enter(row, S::Cancelled, recorded))
            }
            E::ListingExpired(event) => {
                fold.change(event.listing, |row| enter(row, S::Expired, recorded))
            }
            // Nothing here moves a price, a place, an area or the time on the market.
            E::AmenitiesSet(_)
            | E::AddressVerificationFailed(_)
            | E::MediaAttached(_)
            | E::MediaReordered(_)
            | E::PreferredPhotoSet(_)
            | E::MediaRemoved(_)
            | E::ListingDrafted(_)
            | E::ListingSubmitted(_)
            | E::ListingApproved(_)
            | E::ListingChangesRequested(_)
            | E::ListingReturnedToDraft(_)
            | E::ListingScheduled(_)
            | E::MoveInCostsSet(_)
            | E::OngoingFeesSet(_)
            | E::ConcessionOffered(_)
            | E::ConcessionWithdrawn(_)
            | E::LeaseTermsSet(_)
            | E::AvailabilityChanged(_)
            | E::ListingVoided(_)
            | E::ListingRenewed(_)
            | E::ListingAgentReassigned(_)
            | E::PropertyArchived(_) => Ok(()),
        }
    }
}

/// An event at work.
struct Fold<'a> {
    recorded: &'a RecordedEvent,
    property: PropertyId,
    rows: &'a mut Rows,
}

impl Fold<'_> {
    fn correct(&mut self, changes: &[FactChange]) -> Result<(), ApplyError> {
        let matters = |change: &FactChange| {
            matches!(change, FactChange::Coordinates(_) | FactChange::LivingArea(_))
        };
        if !changes.iter().any(matters) {
            return Ok(());
        }
        self.change_property(|row| {
            for change in changes {
                match change {
                    FactChange::Coordinates(changed) => locate(row, changed.new),
                    FactChange::LivingArea(changed) => {
                        row.living_area_m2 = changed.new.map(Area::square_meters);
                    }
                    _ => {}
                }
            }
        })
    }

    fn change_property(
        &mut self,
        change: impl FnOnce(&mut MarketPropertyRow),
    ) -> Result<(), ApplyError> {
        let before = self.property()?;
        let keys = before.listings.0.iter().map(|listing| (*listing,));
        let listings = get_all::<MarketObservationRow>(self.rows, keys)?;
        let mut after = before.clone();
        change(&mut after);
        let mut moves = self.moves();
        for listing in listings.iter().flatten() {
            moves.remove(&before, listing);
            moves.add(&after, listing);
        }
        moves.write(self.rows)?;
        self.rows.put(after);
        Ok(())
    }

    /// A listing period is seen for the first time.
    fn begin(&mut self, listing: MarketObservationRow) -> Result<(), ApplyError> {
        let mut property = self.property()?;
        let mut moves = self.moves();
        moves.add(&property, &listing);
        moves.write(self.rows)?;
        property.listings.0.push(listing.listing);
        self.rows.put(property);
        self.rows.put(listing);
        Ok(())
    }

    fn change(
        &mut self,
        listing: ListingKey,
        change: impl FnOnce(&mut MarketObservationRow),
    ) -> Result<(), ApplyError> {
        let property =
            self.rows.get::<MarketPropertyRow>(&(self.property,)).map(|row| row.cloned());
        let before = self.rows.get::<MarketObservationRow>(&(listing,))?.cloned();
        let property = property?.ok_or_else(|| unknown("property", self.property.0))?;
        // A period that was never on the market is not here: its price is not asked of anybody.
        let Some(before) = before else { return Ok(()) };
        let mut after = before.clone();
        change(&mut after);
        let mut moves = self.moves();
        moves.remove(&property, &before);
        moves.add(&property, &after);
        moves.write(self.rows)?;
        self.rows.put(after);
        Ok(())
    }

    fn property(&mut self) -> Result<MarketPropertyRow, ApplyError> {
        let row = self.rows.get::<MarketPropertyRow>(&(self.property,))?.cloned();
        row.ok_or_else(|| unknown("property", self.property.0))
    }

    fn moves(&self) -> Moves {
        Moves { tenant: self.recorded.provenance.tenant.clone(), counts: BTreeMap::new() }
    }
}

fn locate(row: &mut MarketPropertyRow, coordinates: Option<Coordinates>) {
    row.latitude = coordinates.map(|point| point.latitude);
    row.longitude = coordinates.map(|point| point.longitude);
}

fn enter(row: &mut MarketObservationRow, status: ListingStatus, recorded: &RecordedEvent) {
    let time = MarketTime { seconds: &mut row.market_seconds, since: &mut row.market_since };
    time.enter(status, recorded.occurred_at);
}

fn month_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

/// The resolutions that are kept: about a town, about a few streets.
///
/// - Source: average hexagon areas 36.129 and 0.737 km², "Tables of Cell Statistics Across
///   Resolutions" of the H3 documentation.
const RESOLUTIONS: [Resolution; 2] = [Resolution::Six, Resolution::Eight];

/// A cell by its H3 index in any spelling: as [`MarketStatisticsRow`] spells it, and its resolution.
pub fn cell_named(index: &str) -> Option<(String, i64)> {
    let cell: CellIndex = index.parse().ok()?;
    Some((cell.to_string(), i64::from(u8::from(cell.resolution()))))
}

/// The key of a [`MarketStatisticsRow`] without its tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Statistic {
    cell: CellIndex,
    month: NaiveDate,
    basis: PriceBasis,
    currency: Currency,
    frequency: FeeFrequency,
}

/// One observation in one statistic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Observation {
    statistic: Statistic,
    price: i64,
    /// Thousandths of a minor unit for a square metre: whole numbers, so that what was added is
    /// found again when it is removed.
    per_m2: Option<i64>,
    days: Option<i64>,
}

/// What a listing period of a property adds to the statistics.
fn observations(property: &MarketPropertyRow, listing: &MarketObservationRow) -> Vec<Observation> {
    let mut found = Vec::new();
    let (false, Some(latitude), Some(longitude)) =
        (property.duplicate, property.latitude, property.longitude)
    else {
        return found;
    };
    let Ok(point) = LatLng::new(latitude, longitude) else { return found };
    // Without an asking price it never was on the market here, so nobody knows for how long.
    let days = listing.asking.as_ref().map(|_| listing.market_seconds / SECONDS_A_DAY);
    let prices =
        [(PriceBasis::Asking, &listing.asking, None), (PriceBasis::Closed, &listing.closed, days)];
    for (basis, price, days) in prices {
        let Some(Json(PriceIn { month, price })) = *price else { continue };
        let amount = minor_units(price);
        // A float turns into the nearest number that fits, so a tiny area cannot overflow.
        let per_m2 =
            property.living_area_m2.map(|area| (amount as f64 * 1_000.0 / area).round() as i64);
        found.extend(RESOLUTIONS.map(|resolution| {
            let (cell, currency, frequency) =
                (point.to_cell(resolution), price.currency, price.frequency);
            let statistic = Statistic { cell, month, basis, currency, frequency };
            Observation { statistic, price: amount, per_m2, days }
        }));
    }
    found
}

/// Observations that come and go with one event.
struct Moves {
    tenant: Arc<str>,
    /// How many of an observation come, or go if negative.
    counts: BTreeMap<Observation, i64>,
}

impl Moves {
    fn add(&mut self, property: &MarketPropertyRow, listing: &MarketObservationRow) {
        for observation in observations(property, listing) {
            *self.counts.entry(observation).or_default() += 1;
        }
    }

    fn remove(&mut self, property: &MarketPropertyRow, listing: &MarketObservationRow) {
        for observation in observations(property, listing) {
            *self.counts.entry(observation).or_default() -= 1;
        }
    }

    fn write(self, rows: &mut Rows) -> Result<(), ApplyError> {
        let moved: Vec<_> = self.counts.into_iter().filter(|(_, count)| *count != 0).collect();
        // Sorted by statistic, so that each is one chunk.
        let statistics = moved.chunk_by(|a, b| a.0.statistic == b.0.statistic);
        let empty = |moved: &[(Observation, i64)]| {
            moved.first().map(|(first, _)| no_observations(&self.tenant, first.statistic))
        };
        let empty: Vec<_> = statistics.clone().filter_map(empty).collect();
        let found = get_all(rows, empty.iter().map(TypedRow::key))?;
        for ((row, empty), moved) in found.into_iter().zip(empty).zip(statistics) {
            let mut row = row.unwrap_or(empty);
            moved.iter().for_each(|(moved, count)| row.observations.0.count(moved, *count));
            if row.observations.0.prices.is_empty() {
                rows.delete::<MarketStatisticsRow>(row.key());
            } else {
                summarize(&mut row);
                rows.put(row);
            }
        }
        Ok(())
    }
}

impl Observations {
    fn count(&mut self, moved: &Observation, count: i64) {
        let lists = [
            (&mut self.prices, Some(moved.price)),
            (&mut self.per_m2, moved.per_m2),
            (&mut self.days, moved.days),
        ];
        for (list, value) in lists {
            let Some(value) = value else { continue };
            for _ in 0..count.abs() {
                let place = list.partition_point(|other| *other < value);
                if count > 0 {
                    list.insert(place, value);
                } else if list.get(place) == Some(&value) {
                    list.remove(place);
                }
            }
        }
    }
}

fn no_observations(tenant: &Arc<str>, statistic: Statistic) -> MarketStatisticsRow {
    let Statistic { cell, month, basis, currency, frequency } = statistic;
    let center = LatLng::from(cell);
    MarketStatisticsRow {
        tenant: tenant.clone(),
        cell: Arc::from(cell.to_string()),
        month,
        basis,
        currency,
        frequency,
        resolution: i64::from(u8::from(cell.resolution())),
        latitude: center.lat(),
        longitude: center.lng(),
        count: 0,
        price_min: 0,
        price_q1: 0,
        price_median: 0,
        price_q3: 0,
        price_max: 0,
        area_count: 0,
        price_m2_min: None,
        price_m2_q1: None,
        price_m2_median: None,
        price_m2_q3: None,
        price_m2_max: None,
        days_count: 0,
        days_on_market_q1: None,
        days_on_market_median: None,
        days_on_market_q3: None,
        observations: Json::default(),
    }
}

fn summarize(row: &mut MarketStatisticsRow) {
    let Observations { prices, per_m2, days } = &row.observations.0;
    let length = |list: &Vec<i64>| i64::try_from(list.len()).unwrap_or(i64::MAX);
    row.count = length(prices);
    let price = |quarter| quantile(prices, quarter).map_or(0, |price| price.round() as i64);
    row.price_min = prices.first().copied().unwrap_or(0);
    row.price_q1 = price(1);
    row.price_median = price(2);
    row.price_q3 = price(3);
    row.price_max = prices.last().copied().unwrap_or(0);
    row.area_count = length(per_m2);
    let square_meter = |quarter| quantile(per_m2, quarter).map(|thousandths| thousandths / 1_000.0);
    row.price_m2_min = square_meter(0);
    row.price_m2_q1 = square_meter(1);
    row.price_m2_median = square_meter(2);
    row.price_m2_q3 = square_meter(3);
    row.price_m2_max = square_meter(4);
    row.days_count = length(days);
    row.days_on_market_q1 = quantile(days, 1);
    row.days_on_market_median = quantile(days, 2);
    row.days_on_market_q3 = quantile(days, 3);
}

/// A quartile of sorted values: 0 is the smallest, 2 the median, 4 the largest.
///
/// - Source: type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American
///   Statistician 50 (1996); what R and NumPy compute unless told otherwise.
fn quantile(sorted: &[i64], quarter: usize) -> Option<f64> {
    let place = sorted.len().checked_sub(1)? * quarter;
    let (below, rest) = (place / 4, place % 4);
    let low = *sorted.get(below)?;
    let high = *sorted.get(below + 1).unwrap_or(&low);
    Some(low as f64 + (high - low) as f64 * rest as f64 / 4.0)
}
