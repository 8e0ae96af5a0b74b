//! What homes cost, by place and month.

use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::NaiveDate;
use freehold_domain::{Currency, FeeFrequency as DomainFrequency};
use freehold_ports::Filter;
use freehold_projections::models::market::{MarketStatisticsRow, PriceBasis as RowBasis};
use freehold_projections::{ColumnValue as _, TypedRow as _};

use super::enums::{FeeFrequency, PriceBasis};
use super::values::{Coordinates, Money};
use crate::graphql::loaders::read_all;
use crate::graphql::scalars::{Date, GlobalId, Long, NodeKind};
use crate::graphql::{Fault, caller, platform};

/// Prices in one cell of the H3 grid in one month.
#[derive(Clone)]
pub struct MarketStatistics(pub(crate) MarketStatisticsRow);

impl MarketStatistics {
    /// The figures that a node id names, if the caller's tenant has them.
    pub(crate) async fn load(ctx: &Context<'_>, key: &str) -> Result<Option<Self>, Fault> {
        let parts: Vec<&str> = key.split(':').collect();
        let named = || {
            let [cell, month, basis, currency, frequency] = parts[..] else { return None };
            Some([
                Filter::Equals("cell", freehold_ports::Value::Text(cell.into())),
                Filter::Equals("month", month.parse::<NaiveDate>().ok()?.to_value()),
                Filter::Equals("basis", basis_from(basis)?.to_value()),
                Filter::Equals("currency", Currency::from_code(currency)?.to_value()),
                Filter::Equals("frequency", DomainFrequency::from_name(frequency)?.to_value()),
            ])
        };
        let Some(filters) = named() else { return Ok(None) };
        let mut filters = filters.to_vec();
        filters.push(Filter::Equals("tenant", caller(ctx)?.tenant.to_value()));
        let models = &*platform(ctx).models;
        let row = read_all::<MarketStatisticsRow>(models, filters, Vec::new()).await?.pop();
        Ok(row.map(MarketStatisticsRow::from_row).transpose()?.map(Self))
    }
}

fn basis_from(name: &str) -> Option<RowBasis> {
    [RowBasis::Asking, RowBasis::Closed].into_iter().find(|basis| basis_name(*basis) == name)
}

fn basis_name(basis: RowBasis) -> &'static str {
    match basis {
        RowBasis::Asking => "Asking",
        RowBasis::Closed => "Closed",
    }
}

/// Prices in one cell of the H3 grid in one month. Quartiles interpolate between the two nearest
/// observations.
#[Object]
impl MarketStatistics {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        let MarketStatisticsRow { cell, month, basis, currency, frequency, .. } = &self.0;
        let (basis, frequency) = (basis_name(*basis), frequency.name());
        let key = format!("{cell}:{month}:{basis}:{}:{frequency}", currency.code());
        GlobalId::new(NodeKind::MarketStatistics, key).to_id()
    }

    /// The cell's H3 index.
    async fn cell(&self) -> &str {
        &self.0.cell
    }

    /// The cell's H3 resolution: 6 (36.1 km² on average) or 8 (0.74 km²).
    async fn resolution(&self) -> i64 {
        self.0.resolution
    }

    /// The cell's centre.
    async fn center(&self) -> Coordinates {
        Coordinates { latitude: self.0.latitude, longitude: self.0.longitude }
    }

    /// The first day of the month, UTC.
    async fn month(&self) -> Date {
        Date(self.0.month)
    }

    /// Which prices.
    async fn basis(&self) -> PriceBasis {
        self.0.basis.into()
    }

    /// In which currency, ISO 4217.
    async fn currency(&self) -> &str {
        self.0.currency.code()
    }

    /// How often the prices are due.
    async fn frequency(&self) -> FeeFrequency {
        self.0.frequency.into()
    }

    /// How many listing periods.
    async fn count(&self) -> i64 {
        self.0.count
    }

    /// What they cost.
    async fn price(&self) -> PriceSpread {
        let money = |amount: i64| Money {
            amount_minor: Long(amount),
            currency: self.0.currency.code().to_owned(),
        };
        PriceSpread {
            min: money(self.0.price_min),
            lower_quartile: money(self.0.price_q1),
            median: money(self.0.price_median),
            upper_quartile: money(self.0.price_q3),
            max: money(self.0.price_max),
        }
    }

    /// What a square metre costs; null where no living area is known.
    async fn price_per_square_meter(&self) -> Option<AreaPriceSpread> {
        Some(AreaPriceSpread {
            count: self.0.area_count,
            min_minor: self.0.price_m2_min?,
            lower_quartile_minor: self.0.price_m2_q1?,
            median_minor: self.0.price_m2_median?,
            upper_quartile_minor: self.0.price_m2_q3?,
            max_minor: self.0.price_m2_max?,
        })
    }

    /// How long they were on the market; null for asking prices.
    async fn days_on_market(&self) -> Option<DaysSpread> {
        Some(DaysSpread {
            count: self.0.days_count,
            lower_quartile: self.0.days_on_market_q1?,
            median: self.0.days_on_market_median?,
            upper_quartile: self.0.days_on_market_q3?,
        })
    }
}

/// How prices spread.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct PriceSpread {
    /// The lowest.
    pub min: Money,
    /// A quarter cost at most this.
    pub lower_quartile: Money,
    /// Half cost at most this.
    pub median: Money,
    /// Three quarters cost at most this.
    pub upper_quartile: Money,
    /// The highest.
    pub max: Money,
}

/// How prices of a square metre spread, in minor units and fractions of them.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct AreaPriceSpread {
    /// How many listing periods have a living area.
    pub count: i64,
    /// The lowest.
    pub min_minor: f64,
    /// A quarter cost at most this.
    pub lower_quartile_minor: f64,
    /// Half cost at most this.
    pub median_minor: f64,
    /// Three quarters cost at most this.
    pub upper_quartile_minor: f64,
    /// The highest.
    pub max_minor: f64,
}

/// How days on the market spread.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct DaysSpread {
    /// How many listing periods are counted.
    pub count: i64,
    /// A quarter was on the market for at most so many days.
    pub lower_quartile: f64,
    /// Half were on the market for at most so many days.
    pub median: f64,
    /// Three quarters were on the market for at most so many days.
    pub upper_quartile: f64,
}
