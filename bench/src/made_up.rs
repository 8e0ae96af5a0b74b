//! Homes that look like a marketplace's, the same in every run.
//!
//! They lie in 40 cities of different size; the words of their texts follow Zipf's law.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use chrono::{DateTime, Days, TimeDelta, Utc};
use freehold_domain::property::{
    AvailabilityChanged, BackOnMarketCause, ListingBackOnMarket, ListingDrafted, ListingPublished,
    ListingUnderApplication, Media, MediaAttached, MediaCategory, PropertyEvent, PropertyFacts,
    PropertyRegistered, PropertyType, RentChanged, SourceRef,
};
use freehold_domain::{
    Address, ApplicationId, Area, AreaUnit, Coordinates, Currency, FeeFrequency, ListingKey, Price,
};
use uuid::Uuid;

pub(crate) const SOURCE: &str = "bench";
pub(crate) const CITIES: u64 = 40;
const WORDS: u64 = 20_000;

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small numbers are much more frequent.
    pub(crate) fn zipf(&mut self, end: u64) -> u64 {
        ((end as f64).powf(self.unit()) - 1.0) as u64
    }

    pub(crate) fn words(&mut self, count: usize) -> String {
        let words: Vec<String> = (0..count).map(|_| word(self.zipf(WORDS))).collect();
        words.join(" ")
    }

    /// A point of that city, more often near its middle.
    pub(crate) fn point(&mut self, city: u64) -> Coordinates {
        let centre = middle(city);
        let mut near = |degrees| degrees + (self.unit() + self.unit() + self.unit() - 1.5) * 0.15;
        Coordinates { latitude: near(centre.latitude), longitude: near(centre.longitude) }
    }
}

fn middle(city: u64) -> Coordinates {
    let mut dice = Dice(city.wrapping_mul(77));
    let (latitude, longitude) = (35.0 + dice.unit() * 20.0, -10.0 + dice.unit() * 40.0);
    Coordinates { latitude, longitude }
}

fn word(number: u64) -> String {
    const SYLLABLES: [&str; 10] = ["ba", "lo", "ke", "mi", "tu", "ra", "so", "ne", "fi", "gu"];
    let mut rest = number + 7;
    let mut word = String::new();
    while rest > 0 {
        word.push_str(SYLLABLES[(rest % 10) as usize]);
        rest /= 10;
    }
    word
}

/// A home that is offered.
pub(crate) struct Home {
    pub(crate) property: Uuid,
    pub(crate) listing: ListingKey,
    pub(crate) source: SourceRef,
    pub(crate) facts: PropertyFacts,
    pub(crate) amenities: BTreeSet<String>,
    pub(crate) photo: Media,
    pub(crate) rent: Price,
    pub(crate) published_at: DateTime<Utc>,
    dice: Dice,
}

impl Home {
    /// The home of that number; each was published a minute after the one before.
    pub(crate) fn new(number: u64) -> Self {
        let mut dice = Dice(number);
        let city = dice.zipf(CITIES);
        let address = Address {
            street: Some(format!("{} {}", dice.words(2), 1 + dice.below(120))),
            city: Some(format!("city{city}")),
            postal_code: Some(format!("{:05}", city * 1_000 + dice.below(100))),
            country: Some("DE".to_owned()),
            region: None,
        };
        let area = Area { value: 20.0 + dice.below(150) as f64, unit: AreaUnit::SquareMeters };
        let facts = PropertyFacts {
            property_type: Some(PropertyType::Apartment),
            title: Some(dice.words(6)),
            description: Some(dice.words(30)),
            address: Some(address),
            coordinates: Some(dice.point(city)),
            bedrooms: Some(dice.zipf(7) as u16),
            bathrooms_full: Some(1 + dice.below(3) as u16),
            living_area: Some(area),
            ..PropertyFacts::default()
        };
        let photo = Media {
            id: Uuid::from_u64_pair(dice.next(), number),
            url: format!("https://photos.example/{number:016x}.jpg"),
            category: MediaCategory::Photo,
            caption: None,
            order: 1,
        };
        let cents = 30_000 + (dice.unit() * dice.unit() * 500_000.0) as u64 + city * 500;
        Self {
            property: Uuid::from_u64_pair(dice.next(), number),
            listing: ListingKey(Uuid::from_u64_pair(dice.next(), number)),
            source: SourceRef {
                source: SOURCE.to_owned(),
                reference: format!("bench-{number:08}"),
            },
            facts,
            amenities: ["balcony", "elevator", "kitchen"].map(str::to_owned).into(),
            photo,
            rent: monthly(cents),
            published_at: DateTime::UNIX_EPOCH + TimeDelta::minutes(26_000_000 + number as i64),
            dice,
        }
    }

    /// What happened to it, by request: ten events in seven requests.
    pub(crate) fn history(mut self) -> Vec<Vec<PropertyEvent>> {
        let listing = self.listing;
        let available_from = self.published_at.date_naive() + Days::new(30);
        let application = ApplicationId(Uuid::from_u64_pair(self.dice.next(), 1));
        let mut rent = self.rent;
        let mut change = || {
            let old = rent;
            rent = monthly(old.amount_minor.get() - 1_000 - self.dice.below(1_000));
            vec![RentChanged { listing, old: Some(old), new: rent, reason: None }.into()]
        };
        let offered = vec![
            PropertyRegistered {
                source: self.source,
                facts: Box::new(self.facts),
                amenities: self.amenities,
            }
            .into(),
            MediaAttached { media: self.photo }.into(),
            ListingDrafted {
                listing,
                price: Some(self.rent),
                available_from: Some(available_from),
                agent: None,
            }
            .into(),
            ListingPublished {
                listing,
                price: self.rent,
                available_from,
                expires_at: None,
                published_at: self.published_at,
            }
            .into(),
        ];
        let later = available_from + Days::new(15);
        let postponed = AvailabilityChanged { listing, old: Some(available_from), new: later };
        let back = ListingBackOnMarket {
            listing,
            cause: BackOnMarketCause::ApplicationDeclined,
            application: Some(application),
        };
        vec![
            offered,
            change(),
            vec![postponed.into()],
            change(),
            vec![ListingUnderApplication { listing, application }.into()],
            vec![back.into()],
            change(),
        ]
    }
}

fn monthly(cents: u64) -> Price {
    Price {
        amount_minor: NonZeroU64::new(cents).expect("rents begin at 300 and fall by less"),
        currency: Currency::from_code("EUR").expect("the euro is a currency"),
        frequency: FeeFrequency::Monthly,
    }
}
