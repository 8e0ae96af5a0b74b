//! Which figures of the market are asked for.

use std::sync::Arc;

use async_graphql::InputObject;
use freehold_domain as domain;
use freehold_domain::Currency;
use freehold_ports::{Filter, Value};
use freehold_projections::ColumnValue as _;
use freehold_projections::models::market::cell_named;

use crate::graphql::Fault;
use crate::graphql::connection::{Ordering, Selection};
use crate::graphql::filter::{AreaFilter, Conditions};
use crate::graphql::objects::enums::{FeeFrequency, PriceBasis};
use crate::graphql::scalars::Date;

/// Which figures; an absent part asks for nothing.
#[derive(Clone, Debug, InputObject)]
pub struct MarketStatisticsFilter {
    /// Where the centre of the cell must stand.
    pub area: Option<AreaFilter>,
    /// Which H3 cells, any of these.
    pub cells: Option<Vec<String>>,
    /// How large the cells are: 6 (36.1 km² on average) or 8 (0.74 km²).
    #[graphql(default = 6)]
    pub resolution: i32,
    /// The first month: any day of it.
    pub from: Option<Date>,
    /// The last month: any day of it.
    pub to: Option<Date>,
    /// Which prices.
    pub basis: Option<PriceBasis>,
    /// In which currency, an ISO 4217 code.
    pub currency: Option<String>,
    /// How often the prices are due.
    pub frequency: Option<FeeFrequency>,
}

impl MarketStatisticsFilter {
    /// The rows that are meant, month by month.
    pub(crate) fn selection(&self, tenant: &Arc<str>) -> Result<Selection, Fault> {
        let mut conditions = Conditions::new(tenant);
        conditions.add_place(self.area);
        let known = [6, 8].contains(&self.resolution);
        conditions.check(known, "filter.resolution", "must be 6 or 8");
        conditions.push(Filter::Equals("resolution", Value::Integer(self.resolution.into())));
        if let Some(cells) = &self.cells {
            conditions.check_names("filter.cells", cells.len());
            let mut named = Vec::with_capacity(cells.len());
            for (index, cell) in cells.iter().enumerate() {
                let field = format!("filter.cells[{index}]");
                match cell_named(cell) {
                    None => conditions.check(false, &field, "must be an H3 index: 861f1d48fffffff"),
                    Some((cell, resolution)) => {
                        let fits = resolution == i64::from(self.resolution);
                        let advice = format!("is a cell of resolution {resolution}; ask for that");
                        conditions.check(fits, &field, &advice);
                        named.push(cell.to_value());
                    }
                }
            }
            conditions.push(Filter::OneOf("cell", named));
        }
        let month = |day: Option<Date>| day.map(|day| first_of_month(day.0));
        let (from, to) = (month(self.from), month(self.to));
        conditions.check_order("filter.to", from.as_ref(), to.as_ref());
        conditions.add_range("month", from.map(|m| m.to_value()), to.map(|m| m.to_value()));
        if let Some(basis) = self.basis {
            let basis = freehold_projections::models::market::PriceBasis::from(basis);
            conditions.push(Filter::Equals("basis", basis.to_value()));
        }
        if let Some(code) = &self.currency {
            let currency = Currency::from_code(code);
            let advice = "must be an ISO 4217 code such as EUR";
            conditions.check(currency.is_some(), "filter.currency", advice);
            if let Some(currency) = currency {
                conditions.push(Filter::Equals("currency", currency.to_value()));
            }
        }
        if let Some(frequency) = self.frequency {
            let frequency = domain::FeeFrequency::from(frequency);
            conditions.push(Filter::Equals("frequency", frequency.to_value()));
        }
        Ok(Selection {
            filters: conditions.finish()?,
            order: Ordering::by("MONTH", "month", false),
        })
    }
}

fn first_of_month(day: chrono::NaiveDate) -> chrono::NaiveDate {
    use chrono::Datelike as _;
    day.with_day(1).unwrap_or(day)
}
