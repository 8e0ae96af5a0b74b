//! What clients may ask listings to be like, and how the read model is asked for it.
//!
//! Every part is checked before anything is read, and all faults are told at once.

use std::sync::Arc;

use async_graphql::{InputObject, OneofObject};
use chrono::{DateTime, Utc};
use freehold_domain as domain;
use freehold_domain::Currency;
use freehold_domain::property::{ListingStatus as Status, PropertyType as Type};
use freehold_domain::user::SearchFilter;
use freehold_ports::{Filter, Value, search_words};
use freehold_projections::ColumnValue as _;
use freehold_projections::models::account::SavedSearchRow;
use freehold_projections::models::listing::filters_for;

use super::Fault;
use super::fault::InputFault;
use super::objects::enums::{
    AreaUnit, FeeFrequency, Furnished, ListingStatus, PetsAllowed, PropertyType,
};
use super::scalars::{Date, Long};

/// What is on the market: what days on market are counted in. `COMING_SOON` is announced, not yet
/// to be had.
pub(crate) const ON_THE_MARKET: [Status; 2] = [Status::Active, Status::UnderApplication];

/// What a listing must be like; an absent part asks for nothing. A listing that lacks a fact meets
/// no condition on it.
#[derive(Clone, Debug, Default, InputObject)]
pub struct ListingFilter {
    /// Where it must stand.
    pub area: Option<AreaFilter>,
    /// What it may cost. Needs currency and frequency: nothing is converted.
    pub price: Option<PriceRange>,
    /// How many bedrooms; 0 is a studio.
    pub bedrooms: Option<IntRange>,
    /// How many bathrooms; a half bathroom counts 0.5.
    pub bathrooms: Option<FloatRange>,
    /// How many rooms of any kind.
    pub rooms: Option<IntRange>,
    /// How large its living area is. Needs a unit.
    pub floor_area: Option<AreaRange>,
    /// How large its lot is. Needs a unit.
    pub lot_area: Option<AreaRange>,
    /// When it was built, common era.
    pub year_built: Option<IntRange>,
    /// How many people it accommodates.
    pub occupancy: Option<IntRange>,
    /// Where it stands in its life, any of these. Without it: what is on the market (`ACTIVE`,
    /// `UNDER_APPLICATION`); with `closedOn`: `LEASED`.
    pub statuses: Option<Vec<ListingStatus>>,
    /// What kind of home it is, any of these.
    pub property_types: Option<Vec<PropertyType>>,
    /// The last day on which it may become available.
    pub available_by: Option<Date>,
    /// Whether furniture comes with it, any of these.
    pub furnished: Option<Vec<Furnished>>,
    /// Which pets may move in, any of these.
    pub pets: Option<Vec<PetsAllowed>>,
    /// Words, each of which must begin a word of title, description, street, city or postal code.
    pub text: Option<String>,
    /// Who sent it.
    pub source: Option<String>,
    /// In which city, any of these, spelled as in its address.
    pub cities: Option<Vec<String>>,
    /// When it was let or sold.
    pub closed_on: Option<DateRange>,
    /// When it last changed, at the earliest.
    pub updated_since: Option<DateTime<Utc>>,
    /// Also listings of properties that count as duplicates of others.
    #[graphql(default)]
    pub include_duplicates: bool,
}

/// A place: exactly one of these.
#[derive(Clone, Copy, Debug, OneofObject)]
pub enum AreaFilter {
    /// Between two parallels and two meridians.
    Box(BoxFilter),
    /// Within a distance of a point.
    Radius(RadiusFilter),
}

/// Between two parallels and two meridians, borders included.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct BoxFilter {
    /// The southern border, degrees.
    pub south: f64,
    /// The western border, degrees; more than `east` where the box crosses the date line.
    pub west: f64,
    /// The northern border, degrees.
    pub north: f64,
    /// The eastern border, degrees.
    pub east: f64,
}

/// Within a distance of a point, along the ground.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct RadiusFilter {
    /// Degrees north of the point.
    pub latitude: f64,
    /// Degrees east of the point.
    pub longitude: f64,
    /// The distance; at most 500 km.
    pub meters: f64,
}

/// Prices, borders included, of one currency and one frequency.
#[derive(Clone, Debug, InputObject)]
pub struct PriceRange {
    /// The lowest, in minor units.
    pub min_minor: Option<Long>,
    /// The highest, in minor units.
    pub max_minor: Option<Long>,
    /// ISO 4217 code; must be given.
    pub currency: Option<String>,
    /// How often it is due; must be given.
    pub frequency: Option<FeeFrequency>,
}

/// Whole numbers, borders included.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct IntRange {
    /// The lowest.
    pub min: Option<i32>,
    /// The highest.
    pub max: Option<i32>,
}

/// Numbers, borders included.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct FloatRange {
    /// The lowest.
    pub min: Option<f64>,
    /// The highest.
    pub max: Option<f64>,
}

/// Areas, borders included.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct AreaRange {
    /// The smallest, in `unit`.
    pub min: Option<f64>,
    /// The largest, in `unit`.
    pub max: Option<f64>,
    /// In which unit; must be given. Listings in other units match too.
    pub unit: Option<AreaUnit>,
}

/// Days, borders included.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct DateRange {
    /// The first.
    pub from: Option<Date>,
    /// The last.
    pub to: Option<Date>,
}

/// Which listings are meant where a client names no statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// What is on the market: a search.
    OnTheMarket,
    /// All of them: a feed of changes, which also tells what leaves the market.
    Any,
}

const MAX_NAMES: usize = 100;
const MAX_TEXT_CHARS: usize = 200;
/// The largest radius of a search, as saved searches have it.
const MAX_RADIUS_M: u32 = SearchFilter::MAX_RADIUS_M;

/// The conditions of a client's filter on the listings of a tenant.
pub(crate) fn of_listings(
    filter: &ListingFilter,
    tenant: &Arc<str>,
    unnamed: Unnamed,
) -> Result<Vec<Filter>, Fault> {
    let mut conditions = Conditions::new(tenant);
    conditions.add_place(filter.area);
    conditions.add_price(filter.price.as_ref());
    conditions.add_counts("bedrooms", "filter.bedrooms", filter.bedrooms);
    let bathrooms = filter.bathrooms.map_or((None, None), |range| (range.min, range.max));
    conditions.add_reals("bathrooms", "filter.bathrooms", bathrooms);
    conditions.add_counts("rooms", "filter.rooms", filter.rooms);
    conditions.add_area("living_area_m2", "filter.floorArea", filter.floor_area);
    conditions.add_area("lot_area_m2", "filter.lotArea", filter.lot_area);
    conditions.add_counts("year_built", "filter.yearBuilt", filter.year_built);
    conditions.add_counts("max_occupancy", "filter.occupancy", filter.occupancy);
    conditions.add_statuses(filter, unnamed);
    conditions.add_named("property_type", "filter.propertyTypes", &filter.property_types, |name| {
        Type::from(name).to_value()
    });
    conditions.add_named("furnished", "filter.furnished", &filter.furnished, |name| {
        domain::property::Furnished::from(name).to_value()
    });
    conditions.add_named("pets", "filter.pets", &filter.pets, |name| {
        domain::property::PetsAllowed::from(name).to_value()
    });
    if let Some(day) = filter.available_by {
        conditions.all.push(Filter::AtMost("available_from", day.0.to_value()));
    }
    conditions.add_text(filter.text.as_deref());
    if let Some(source) = &filter.source {
        conditions.all.push(Filter::Equals("source", source.to_value()));
    }
    if let Some(cities) = &filter.cities {
        conditions.check_names("filter.cities", cities.len());
        let names = cities.iter().map(|city| city.to_value()).collect();
        conditions.all.push(Filter::OneOf("city", names));
    }
    if let Some(DateRange { from, to }) = filter.closed_on {
        let (from, to) = (from.map(|day| day.0), to.map(|day| day.0));
        conditions.check_order("filter.closedOn.to", from.as_ref(), to.as_ref());
        conditions.add_range("closed_on", from.map(|d| d.to_value()), to.map(|d| d.to_value()));
    }
    if let Some(moment) = filter.updated_since {
        conditions.all.push(Filter::AtLeast("changed_at", moment.to_value()));
    }
    if !filter.include_duplicates {
        conditions.all.push(Filter::IsNull("duplicate_of"));
    }
    conditions.finish()
}

/// Conditions that grow, and what is wrong with them.
pub(crate) struct Conditions {
    all: Vec<Filter>,
    faults: Vec<InputFault>,
}

impl Conditions {
    pub(crate) fn new(tenant: &Arc<str>) -> Self {
        Self { all: vec![Filter::Equals("tenant", tenant.to_value())], faults: Vec::new() }
    }

    pub(crate) fn push(&mut self, condition: Filter) {
        self.all.push(condition);
    }

    pub(crate) fn finish(self) -> Result<Vec<Filter>, Fault> {
        if self.faults.is_empty() { Ok(self.all) } else { Err(Fault::BadInput(self.faults)) }
    }

    pub(crate) fn check(&mut self, valid: bool, field: &str, advice: &str) {
        if !valid {
            self.faults.push(InputFault { field: field.into(), advice: advice.into() });
        }
    }

    pub(crate) fn check_order<T: PartialOrd>(
        &mut self,
        field: &str,
        min: Option<&T>,
        max: Option<&T>,
    ) {
        let ordered = min.zip(max).is_none_or(|(min, max)| min <= max);
        self.check(ordered, field, "must not be less than the other border");
    }

    pub(crate) fn check_names(&mut self, field: &str, count: usize) {
        let advice = format!("must not have more than {MAX_NAMES} entries");
        self.check(count <= MAX_NAMES, field, &advice);
    }

    pub(crate) fn add_range(
        &mut self,
        column: &'static str,
        min: Option<Value>,
        max: Option<Value>,
    ) {
        self.all.extend(min.map(|min| Filter::AtLeast(column, min)));
        self.all.extend(max.map(|max| Filter::AtMost(column, max)));
    }

    pub(crate) fn add_place(&mut self, area: Option<AreaFilter>) {
        match area {
            None => {}
            Some(AreaFilter::Box(BoxFilter { south, west, north, east })) => {
                for (edge, latitude) in [("south", south), ("north", north)] {
                    self.check_latitude(&format!("filter.area.box.{edge}"), latitude);
                }
                for (edge, longitude) in [("west", west), ("east", east)] {
                    self.check_longitude(&format!("filter.area.box.{edge}"), longitude);
                }
                self.check(south <= north, "filter.area.box.north", "must not be below south");
                self.all.push(Filter::WithinBox { south, west, north, east });
            }
            Some(AreaFilter::Radius(RadiusFilter { latitude, longitude, meters })) => {
                self.check_latitude("filter.area.radius.latitude", latitude);
                self.check_longitude("filter.area.radius.longitude", longitude);
                let near = meters > 0.0 && meters <= f64::from(MAX_RADIUS_M);
                let advice = "must be more than 0 and at most 500000 metres";
                self.check(near, "filter.area.radius.meters", advice);
                self.all.push(Filter::WithinRadius { latitude, longitude, meters });
            }
        }
    }

    fn check_latitude(&mut self, field: &str, degrees: f64) {
        let on_earth = domain::Coordinates::new(degrees, 0.0).is_ok();
        self.check(on_earth, field, "must be between -90 and 90 degrees");
    }

    fn check_longitude(&mut self, field: &str, degrees: f64) {
        let on_earth = domain::Coordinates::new(0.0, degrees).is_ok();
        self.check(on_earth, field, "must be between -180 and 180 degrees");
    }

    fn add_price(&mut self, range: Option<&PriceRange>) {
        let Some(PriceRange { min_minor, max_minor, currency, frequency }) = range else { return };
        let needed = "must be given with a price range: nothing is converted";
        self.check(currency.is_some(), "filter.price.currency", needed);
        self.check(frequency.is_some(), "filter.price.frequency", needed);
        self.check_order("filter.price.maxMinor", min_minor.as_ref(), max_minor.as_ref());
        if let Some(code) = currency {
            let currency = Currency::from_code(code);
            let advice = "must be an ISO 4217 code such as EUR";
            self.check(currency.is_some(), "filter.price.currency", advice);
            self.all.extend(currency.map(|c| Filter::Equals("currency", c.to_value())));
        }
        if let Some(frequency) = frequency {
            let frequency = domain::FeeFrequency::from(*frequency).to_value();
            self.all.push(Filter::Equals("frequency", frequency));
        }
        let value = |minor: &Option<Long>| minor.map(|minor| Value::Integer(minor.0));
        self.add_range("price_minor", value(min_minor), value(max_minor));
    }

    fn add_counts(&mut self, column: &'static str, field: &str, range: Option<IntRange>) {
        let Some(IntRange { min, max }) = range else { return };
        self.check_order(&format!("{field}.max"), min.as_ref(), max.as_ref());
        let value = |count: Option<i32>| count.map(|count| Value::Integer(count.into()));
        self.add_range(column, value(min), value(max));
    }

    fn add_reals(
        &mut self,
        column: &'static str,
        field: &str,
        (min, max): (Option<f64>, Option<f64>),
    ) {
        self.check_order(&format!("{field}.max"), min.as_ref(), max.as_ref());
        self.add_range(column, min.map(Value::Real), max.map(Value::Real));
    }

    fn add_area(&mut self, column: &'static str, field: &str, range: Option<AreaRange>) {
        let Some(AreaRange { min, max, unit }) = range else { return };
        let Some(unit) = unit else {
            return self.check(false, &format!("{field}.unit"), "must be given with an area range");
        };
        let meters = domain::AreaUnit::from(unit).square_meters();
        let converted = |area: Option<f64>| area.map(|area| area * meters);
        self.add_reals(column, field, (converted(min), converted(max)));
    }

    fn add_statuses(&mut self, filter: &ListingFilter, unnamed: Unnamed) {
        let default: &[Status] = match unnamed {
            _ if filter.statuses.is_some() => &[],
            Unnamed::Any => return,
            Unnamed::OnTheMarket if filter.closed_on.is_some() => &[Status::Leased],
            Unnamed::OnTheMarket => &ON_THE_MARKET,
        };
        let named = filter.statuses.iter().flatten().map(|status| Status::from(*status));
        let statuses = named.chain(default.iter().copied());
        self.all.push(Filter::OneOf("status", statuses.map(|s| s.to_value()).collect()));
    }

    fn add_named<N: Copy>(
        &mut self,
        column: &'static str,
        field: &str,
        names: &Option<Vec<N>>,
        value: impl Fn(N) -> Value,
    ) {
        let Some(names) = names else { return };
        self.check_names(field, names.len());
        self.all.push(Filter::OneOf(column, names.iter().map(|name| value(*name)).collect()));
    }

    fn add_text(&mut self, text: Option<&str>) {
        let Some(text) = text else { return };
        let short = text.chars().count() <= MAX_TEXT_CHARS;
        self.check(short, "filter.text", &format!("must not exceed {MAX_TEXT_CHARS} characters"));
        // Nothing typed yet asks for nothing; signs alone would find everything.
        let has_words = text.trim().is_empty() || !search_words(text).is_empty();
        let advice = "has no letter and no digit to look for; send words, or leave it out";
        self.check(has_words, "filter.text", advice);
        self.all.push(Filter::Text(text.to_owned()));
    }
}

/// The conditions of a saved search with its words opened; without statuses in it, what is on the
/// market.
///
/// A saved search was checked when it was saved.
pub(crate) fn of_search(
    search: &SavedSearchRow,
    text: Option<String>,
    tenant: &Arc<str>,
) -> Vec<Filter> {
    let mut conditions = Conditions::new(tenant);
    let filter = &search.filter.0;
    conditions.all.extend(filters_for(filter));
    if filter.statuses.is_empty() {
        let on_the_market = ON_THE_MARKET.iter().map(|status| status.to_value()).collect();
        conditions.all.push(Filter::OneOf("status", on_the_market));
    }
    conditions.all.extend(text.map(Filter::Text));
    conditions.all.push(Filter::IsNull("duplicate_of"));
    conditions.all
}
