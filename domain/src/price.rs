//! A price: how much, in which currency, how often.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// A price in minor units; never zero, never negative.
///
/// - Units: minor units of the currency (cents for EUR, yen for JPY), per `frequency`.
/// - Source: RESO Data Dictionary `FeeFrequency`, ISO 4217.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Price {
    /// How much, in minor units.
    pub amount_minor: NonZeroU64,
    /// In which currency.
    pub currency: Currency,
    /// How often it is due; a sale is a [`FeeFrequency::OneTime`] price.
    pub frequency: FeeFrequency,
}

/// How often a price is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FeeFrequency {
    /// Each day or night.
    Daily,
    /// Each week.
    Weekly,
    /// Each month.
    Monthly,
    /// Each year.
    Yearly,
    /// Once: a sale.
    OneTime,
}

impl FeeFrequency {
    /// The name that is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "Daily",
            Self::Weekly => "Weekly",
            Self::Monthly => "Monthly",
            Self::Yearly => "Yearly",
            Self::OneTime => "OneTime",
        }
    }

    /// The frequency of that name, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly, Self::OneTime]
            .into_iter()
            .find(|frequency| frequency.name().eq_ignore_ascii_case(name))
    }
}

impl Price {
    /// The most minor units a command may ask for, 90 trillion euros: more is a slip, and programs
    /// that know numbers as floats only still read every digit of it. What is stored may be more.
    pub const MAX_AMOUNT_MINOR: u64 = (1 << 53) - 1;

    /// Turns an amount into a price, once, at the edge.
    pub fn from_minor_units(
        amount_minor: i64,
        currency: &str,
        frequency: FeeFrequency,
    ) -> Result<Self, InvalidPrice> {
        let positive = u64::try_from(amount_minor).ok().and_then(NonZeroU64::new);
        let amount_minor = positive.ok_or(InvalidPrice::NotPositive)?;
        let currency = Currency::from_code(currency).ok_or(InvalidPrice::UnknownCurrency)?;
        Ok(Self { amount_minor, currency, frequency })
    }
}

/// Why an amount is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrice {
    /// Zero or less.
    #[error("a price must be greater than zero; send the amount in minor units")]
    NotPositive,
    /// Not in ISO 4217.
    #[error("unknown currency; send a three-letter ISO 4217 code such as EUR")]
    UnknownCurrency,
}

/// An ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Active ISO 4217 codes whose minor unit is a hundredth, in alphabetical order.
const HUNDREDTHS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD \
    BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP \
    GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP \
    LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD \
    PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC \
    SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG";
/// Active codes without a minor unit.
const WHOLE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Active codes whose minor unit is a thousandth.
const THOUSANDTHS: &str = "BHD IQD JOD KWD LYD OMR TND";

impl Currency {
    /// The currency of a three-letter code, upper case.
    pub fn from_code(code: &str) -> Option<Self> {
        let known = |list: &str| list.split_ascii_whitespace().any(|known| known == code);
        if !(known(HUNDREDTHS) || known(WHOLE) || known(THOUSANDTHS)) {
            return None;
        }
        code.as_bytes().try_into().ok().map(Self)
    }

    /// Its three-letter code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII codes are constructed")
    }

    /// How many decimal digits its minor unit stands for: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn minor_digits(&self) -> u32 {
        let among = |list: &str| list.split_ascii_whitespace().any(|known| known == self.code());
        match () {
            () if among(WHOLE) => 0,
            () if among(THOUSANDTHS) => 3,
            () => 2,
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = InvalidPrice;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::from_code(&code).ok_or(InvalidPrice::UnknownCurrency)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}
