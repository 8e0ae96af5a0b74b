//! Commands about the searches someone keeps.

use async_graphql::{ID, InputObject};
use freehold_domain::user::{
    ChangeSchedule, DeleteSearch, PauseAlert, RenameSearch, SaveSearch, SearchArea, SearchFilter,
    User,
};
use freehold_domain::{AreaUnit, Coordinates, SavedSearchId};

use super::catalogue::mutations;
use super::form::Form;
use super::payload::SavedSearchPayload;
use super::run::Order;
use super::user_error::UserErrorCode;
use crate::graphql::filter::{
    AreaFilter, AreaRange, BoxFilter, IntRange, PriceRange, RadiusFilter,
};
use crate::graphql::objects::enums::{
    AlertPauseReason, AlertSchedule, ListingStatus, PropertyType,
};
use crate::graphql::scalars::{Date, Long, SavedSearchKey};

mutations! {
    /// Commands about the searches someone keeps.
    SearchMutations of User => SavedSearchPayload {
        /// Keeps a search.
        search_save(SearchSaveInput => "SearchSavePayload") {
            /// The user.
            user: ID,
            /// What they call it.
            name: String,
            /// The words they look for, beside the filter.
            text: Option<String>,
            /// What a listing must be like.
            filter: Option<SearchFilterInput>,
            /// How often matches are sent.
            schedule: AlertSchedule,
        } |input, form| {
            let filter = input.filter.unwrap_or_default().read(form);
            let user = form.user(&input.user);
            let search = SavedSearchId(form.new_id("search"));
            let (name, text, schedule) = (input.name, input.text, input.schedule.into());
            let command = SaveSearch { search, name, text, filter, schedule };
            Ok(user.map(|user| about(SavedSearchKey { user, search }, command)))
        }

        /// Gives a saved search another name.
        search_rename(SearchRenameInput => "SearchRenamePayload") {
            /// The search.
            search: ID,
            /// What the user calls it from now on.
            name: String,
        } |input, form| {
            let name = input.name;
            let key = form.search(&input.search);
            Ok(key.map(|key| about(key, RenameSearch { search: key.search, name })))
        }

        /// Sets how often matches of a saved search are sent; resumes paused alerts.
        search_schedule_change(SearchScheduleChangeInput => "SearchScheduleChangePayload") {
            /// The search.
            search: ID,
            /// How often matches are sent from now on.
            schedule: AlertSchedule,
        } |input, form| {
            let schedule = input.schedule.into();
            let key = form.search(&input.search);
            Ok(key.map(|key| about(key, ChangeSchedule { search: key.search, schedule })))
        }

        /// Stops the alerts of a saved search; the first reason stands until they resume.
        search_alert_pause(SearchAlertPauseInput => "SearchAlertPausePayload") {
            /// The search.
            search: ID,
            /// Why.
            reason: AlertPauseReason,
        } |input, form| {
            let reason = input.reason.into();
            let key = form.search(&input.search);
            Ok(key.map(|key| about(key, PauseAlert { search: key.search, reason })))
        }

        /// Stops keeping a search.
        search_delete(SearchDeleteInput => "SearchDeletePayload") {
            /// The search.
            search: ID,
        } |input, form| {
            let key = form.search(&input.search);
            Ok(key.map(|key| about(key, DeleteSearch { search: key.search })))
        }
    }
}

fn about(
    key: SavedSearchKey,
    command: impl Into<freehold_domain::user::UserCommand>,
) -> Order<User> {
    Order { id: key.user.0, command: command.into(), part: Some(key.search.0) }
}

/// What a listing must be like for a saved search; an absent part asks for nothing.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct SearchFilterInput {
    /// Where it must stand.
    pub(crate) area: Option<AreaFilter>,
    /// What it may cost; needs currency and frequency, nothing is converted.
    pub(crate) price: Option<PriceRange>,
    /// How many bedrooms; 0 is a studio.
    pub(crate) bedrooms: Option<IntRange>,
    /// The fewest bathrooms; a half bathroom counts 0.5.
    pub(crate) bathrooms_min: Option<f64>,
    /// How large its living area is; needs a unit.
    pub(crate) floor_area: Option<AreaRange>,
    /// Where it stands in its life, any of these; what is on the market where absent.
    pub(crate) statuses: Option<Vec<ListingStatus>>,
    /// What kind of home it is, any of these.
    pub(crate) property_types: Option<Vec<PropertyType>>,
    /// The last day on which it may become available.
    pub(crate) available_by: Option<Date>,
}

impl SearchFilterInput {
    fn read(self, form: &mut Form<'_>) -> SearchFilter {
        let bedrooms = self.bedrooms.unwrap_or(IntRange { min: None, max: None });
        let mut count = |field, count: Option<i32>| form.count(field, count).map(u32::from);
        let bedrooms_min = count("filter.bedrooms.min", bedrooms.min);
        let bedrooms_max = count("filter.bedrooms.max", bedrooms.max);
        let (floor_area_min_m2, floor_area_max_m2) =
            self.floor_area.map_or((None, None), |range| square_meters(form, range));
        let statuses = self.statuses.unwrap_or_default().into_iter();
        let types = self.property_types.unwrap_or_default().into_iter();
        SearchFilter {
            area: self.area.map(search_area),
            price: self.price.and_then(|range| price_range(form, &range)),
            bedrooms_min,
            bedrooms_max,
            bathrooms_min: self.bathrooms_min,
            floor_area_min_m2,
            floor_area_max_m2,
            statuses: statuses
                .map(|status| freehold_domain::property::ListingStatus::from(status).name())
                .map(str::to_owned)
                .collect(),
            property_types: types
                .map(|name| freehold_domain::property::PropertyType::from(name).name())
                .map(str::to_owned)
                .collect(),
            available_by: self.available_by.map(|day| day.0),
        }
    }
}

fn search_area(area: AreaFilter) -> SearchArea {
    match area {
        AreaFilter::Box(BoxFilter { south, west, north, east }) => {
            SearchArea::BoundingBox { south, west, north, east }
        }
        AreaFilter::Radius(RadiusFilter { latitude, longitude, meters }) => SearchArea::Circle {
            center: Coordinates { latitude, longitude },
            // Saturates: a radius below one metre or beyond every limit is refused as such.
            radius_m: meters as u32,
        },
    }
}

fn square_meters(form: &mut Form<'_>, range: AreaRange) -> (Option<f64>, Option<f64>) {
    let Some(unit) = range.unit else {
        let message = "must be given with a range of areas";
        form.fault(UserErrorCode::InvalidInput, "filter.floor_area.unit", message);
        return (None, None);
    };
    let factor = AreaUnit::from(unit).square_meters();
    (range.min.map(|min| min * factor), range.max.map(|max| max * factor))
}

fn price_range(
    form: &mut Form<'_>,
    range: &PriceRange,
) -> Option<freehold_domain::user::PriceRange> {
    let mut minor = |field: &str, minor: Option<Long>| {
        let Long(minor) = minor?;
        let read = u64::try_from(minor).ok();
        if read.is_none() {
            form.fault(UserErrorCode::OutOfRange, field, "must be zero or more");
        }
        read
    };
    let min_minor = minor("filter.price.min_minor", range.min_minor);
    let max_minor = minor("filter.price.max_minor", range.max_minor);
    let message = "must be given with a range of prices: nothing is converted";
    if range.currency.is_none() {
        form.fault(UserErrorCode::InvalidInput, "filter.price.currency", message);
    }
    if range.frequency.is_none() {
        form.fault(UserErrorCode::InvalidInput, "filter.price.frequency", message);
    }
    let code = range.currency.as_ref()?;
    let currency = form.currency("filter.price.currency", code)?;
    let frequency = range.frequency?.into();
    Some(freehold_domain::user::PriceRange { min_minor, max_minor, currency, frequency })
}
