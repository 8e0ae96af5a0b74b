//! What a feed says about a property, read from an item: wishes that are not yet commands.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use freehold_domain::property::{
    FactField, ListingStatus, Media, MediaCategory, PropertyFacts, PropertyType,
};
use freehold_domain::{Address, AreaUnit, Coordinates, Currency, FeeFrequency, Refusal as _};

use super::answer::{Notice, Notices};
use super::envelope::{self, Sent, SentFields};
use super::json::Json;
use super::names::{
    AREA_UNITS, EnvelopeField, FREQUENCIES, MEDIA_CATEGORIES, PROPERTY_EVENTS, PROPERTY_FIELDS,
    PROPERTY_TYPES, PropertyEventType, PropertyField, STATUSES,
};
use super::read::{Decimal, Reader};

/// One item about a property.
pub(super) struct PropertyItem<'a> {
    pub(super) reference: String,
    pub(super) source: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) event_type: PropertyEventType,
    pub(super) occurred_at: Option<DateTime<Utc>>,
    pub(super) wishes: Wishes,
    pub(super) data: SentFields<'a, PropertyField>,
}

/// How the sender wants things to be; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wishes {
    /// All facts but areas and address, which are completed by what is known already.
    pub(super) facts: PropertyFacts,
    pub(super) clear: BTreeSet<FactField>,
    pub(super) address: Address,
    pub(super) living_area: Option<WishedArea>,
    pub(super) lot_area: Option<WishedArea>,
    pub(super) garage_area: Option<WishedArea>,
    pub(super) amenities: Option<BTreeSet<String>>,
    pub(super) price: Option<WishedPrice>,
    pub(super) currency: Option<Currency>,
    pub(super) frequency: Option<FeeFrequency>,
    pub(super) price_reason: Option<String>,
    pub(super) available_from: Option<NaiveDate>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) on_market_date: Option<NaiveDate>,
    pub(super) status: Option<ListingStatus>,
    pub(super) status_reason: Option<String>,
    pub(super) close_date: Option<NaiveDate>,
    pub(super) media: Option<WishedMedia>,
}

/// A price before its currency and frequency are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WishedPrice {
    /// As people write it: 1234.50.
    Major(Decimal),
    /// In minor units.
    Minor(Decimal),
}

/// An area before its unit is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WishedArea {
    pub(super) value: f64,
    pub(super) unit: Option<AreaUnit>,
}

/// Media, in the order they are to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WishedMedia {
    pub(super) list: Vec<WishedMedium>,
    pub(super) covers: Covers,
}

/// Which of the known media a list replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covers {
    /// All of them.
    Everything,
    /// The photos.
    Photos,
    /// None: they are added.
    Nothing,
}

/// A picture, plan or film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WishedMedium {
    pub(super) url: String,
    pub(super) category: MediaCategory,
    pub(super) caption: Option<String>,
}

/// Reads an item; nothing when it has errors, which are then among the notices.
pub(super) fn read<'a>(
    item: &'a [u8],
    now: DateTime<Utc>,
    notices: &mut Notices,
) -> Option<PropertyItem<'a>> {
    let envelope = envelope::open(item, &PROPERTY_FIELDS, None, now, notices)?;
    let event_type = match envelope.event_type.as_deref() {
        None if envelope.says(EnvelopeField::EventType) => None,
        name => event_type(name, notices),
    };
    if envelope.reference.is_none() && !envelope.says(EnvelopeField::Property) {
        let message = "your reference of the property is needed";
        notices.refuse(Notice::new("REFERENCE_MISSING", message).at("property_id"));
    }
    let mut reading = Reading { wishes: Wishes::default(), reader: Reader { notices } };
    for sent in envelope.data.iter() {
        reading.field(sent);
    }
    reading.settle(&envelope.data);
    let mut wishes = reading.wishes;
    match event_type {
        Some(PropertyEventType::PriceChange) if wishes.price.is_none() => {
            missing("price", "a price_changed event", notices);
        }
        Some(PropertyEventType::StatusChange) if wishes.status.is_none() => {
            missing("status", "a status_changed event", notices);
        }
        Some(PropertyEventType::MediaAdded) => match &mut wishes.media {
            Some(media) => media.covers = Covers::Nothing,
            None => missing("media", "a media_added event", notices),
        },
        _ => {}
    }
    if !notices.errors.is_empty() {
        return None;
    }
    Some(PropertyItem {
        reference: envelope.reference?,
        source: envelope.source,
        event_id: envelope.event_id,
        event_type: event_type?,
        occurred_at: envelope.occurred_at,
        wishes,
        data: envelope.data,
    })
}

fn event_type(name: Option<&str>, notices: &mut Notices) -> Option<PropertyEventType> {
    let Some(name) = name else {
        let message = "no event_type; taken as property_updated";
        notices.warn(Notice::new("EVENT_TYPE_ASSUMED", message).at("event_type"));
        return Some(PropertyEventType::Update);
    };
    let found = PROPERTY_EVENTS.find(name);
    if found.is_none() {
        notices.refuse(unknown_event_type(name, PROPERTY_EVENTS.nearest(name)));
    }
    found
}

pub(super) fn unknown_event_type(name: &str, nearest: Option<&str>) -> Notice {
    let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    let notice = Notice::new("UNKNOWN_EVENT_TYPE", format!("is not known here{hint}"));
    notice.at("event_type").sent(&Json::Text(name.into()))
}

fn missing(field: &str, of: &str, notices: &mut Notices) {
    // A value that is there but wrong was already complained about.
    if notices.errors.is_empty() {
        let message = format!("{of} needs a {field}");
        notices.refuse(Notice::new("FIELD_MISSING", message).at(format!("data.{field}")));
    }
}

struct Reading<'n> {
    wishes: Wishes,
    reader: Reader<'n>,
}

/// More media in one item are not even looked at; the domain allows fewer.
const MAX_MEDIA_SENT: usize = 1_000;

impl Reading<'_> {
    fn field(&mut self, sent: &Sent<'_, PropertyField>) {
        use PropertyField as F;
        let path = sent.path();
        let value = &sent.value;
        if *value == Json::Null {
            match fact_of(sent.field) {
                Some(fact) => {
                    self.wishes.clear.insert(fact);
                }
                None => {
                    let message = "null takes nothing away here and was left out";
                    self.reader.notices.warn(Notice::new("NULL_IGNORED", message).at(path));
                }
            }
            return;
        }
        let Self { wishes, reader } = self;
        let facts = &mut wishes.facts;
        match sent.field {
            F::PropertyType => facts.property_type = property_type(reader, &path, value),
            F::Title => facts.title = reader.text(&path, value),
            F::Description => facts.description = reader.text(&path, value),
            F::Address => self.address(&path, value),
            F::Street => wishes.address.street = reader.text(&path, value),
            F::City => wishes.address.city = reader.text(&path, value),
            F::Region => wishes.address.region = reader.text(&path, value),
            F::PostalCode => wishes.address.postal_code = reader.text(&path, value),
            F::Country => wishes.address.country = country(reader, &path, value),
            F::Coordinates => self.coordinates(&path, value),
            // Read together, when both are known.
            F::Latitude | F::Longitude | F::AreaUnit | F::LotAreaUnit => {}
            F::YearBuilt => facts.year_built = reader.count(&path, value),
            F::Stories => facts.stories = reader.real(&path, value),
            F::Bedrooms => facts.bedrooms = reader.count(&path, value),
            F::Bathrooms => self.bathrooms(&path, value),
            F::BathroomsFull => facts.bathrooms_full = reader.count(&path, value),
            F::BathroomsHalf => facts.bathrooms_half = reader.count(&path, value),
            F::Rooms => facts.rooms = reader.count(&path, value),
            F::MaxOccupancy => facts.max_occupancy = reader.count(&path, value),
            F::LivingArea => wishes.living_area = area(reader, &path, value, None),
            F::LivingAreaSquareFeet => {
                wishes.living_area = area(reader, &path, value, Some(AreaUnit::SquareFeet));
            }
            F::LivingAreaSquareMeters => {
                wishes.living_area = area(reader, &path, value, Some(AreaUnit::SquareMeters));
            }
            F::LotArea => wishes.lot_area = area(reader, &path, value, None),
            F::LotAreaSquareFeet => {
                wishes.lot_area = area(reader, &path, value, Some(AreaUnit::SquareFeet));
            }
            F::LotAreaSquareMeters => {
                wishes.lot_area = area(reader, &path, value, Some(AreaUnit::SquareMeters));
            }
            F::LotAreaAcres => {
                wishes.lot_area = area(reader, &path, value, Some(AreaUnit::Acres));
            }
            F::GarageArea => wishes.garage_area = area(reader, &path, value, None),
            F::Amenities => {
                let words = reader.words(&path, value);
                wishes.amenities = words.map(|words| words.into_iter().collect());
            }
            F::Price => self.price(&path, value),
            F::PriceMinor => {
                let amount = reader.decimal(&path, value).map(WishedPrice::Minor);
                self.set_price(&path, amount, None);
            }
            F::MonthlyRent => self.price_due(&path, value, FeeFrequency::Monthly),
            F::WeeklyRent => self.price_due(&path, value, FeeFrequency::Weekly),
            F::DailyRate => self.price_due(&path, value, FeeFrequency::Daily),
            F::YearlyRent => self.price_due(&path, value, FeeFrequency::Yearly),
            F::SalePrice => self.price_due(&path, value, FeeFrequency::OneTime),
            F::Currency => wishes.currency = currency(reader, &path, value),
            F::Frequency => wishes.frequency = reader.named(&path, value, &FREQUENCIES),
            F::PriceReason => wishes.price_reason = reader.text(&path, value),
            F::AvailableFrom => wishes.available_from = reader.date(&path, value),
            F::ExpiresAt => wishes.expires_at = reader.moment(&path, value),
            F::OnMarketDate => wishes.on_market_date = reader.date(&path, value),
            F::Status => wishes.status = reader.named(&path, value, &STATUSES),
            F::StatusReason => wishes.status_reason = reader.text(&path, value),
            F::CloseDate => wishes.close_date = reader.date(&path, value),
            F::Photos => self.media(&path, value, Covers::Photos),
            F::Media => self.media(&path, value, Covers::Everything),
        }
    }

    /// Reads what is only meaningful with another field.
    fn settle(&mut self, data: &SentFields<'_, PropertyField>) {
        let Self { wishes, reader } = self;
        let unit = |field, reader: &mut Reader<'_>| {
            let sent = data.get(field).filter(|sent| sent.value != Json::Null)?;
            reader.named(&sent.path(), &sent.value, &AREA_UNITS)
        };
        let area_unit = unit(PropertyField::AreaUnit, reader);
        let lot_unit = unit(PropertyField::LotAreaUnit, reader).or(area_unit);
        let areas = [
            (&mut wishes.living_area, area_unit),
            (&mut wishes.garage_area, area_unit),
            (&mut wishes.lot_area, lot_unit),
        ];
        for (area, unit) in areas {
            if let Some(area) = area {
                area.unit = area.unit.or(unit);
            }
        }
        let number = |field, reader: &mut Reader<'_>| {
            let sent = data.get(field).filter(|sent| sent.value != Json::Null)?;
            Some((sent.path(), reader.real(&sent.path(), &sent.value)))
        };
        let latitude = number(PropertyField::Latitude, reader);
        let longitude = number(PropertyField::Longitude, reader);
        match (latitude, longitude) {
            (Some((path, Some(latitude))), Some((_, Some(longitude)))) => {
                wishes.facts.coordinates = point(reader, &path, latitude, longitude);
            }
            (Some((path, Some(_))), None) | (None, Some((path, Some(_)))) => {
                let message = "latitude and longitude belong together; send both";
                reader.notices.refuse(Notice::new("COORDINATES_INCOMPLETE", message).at(path));
            }
            _ => {}
        }
    }

    fn address(&mut self, path: &str, value: &Json<'_>) {
        let Json::Object(parts) = value else {
            // Feeds that write it in one line mean a postal address by it.
            self.wishes.address.street = self.reader.text(path, value);
            return;
        };
        for (name, part) in parts.iter().filter(|(_, part)| *part != Json::Null) {
            let path = format!("{path}.{name}");
            let address = &mut self.wishes.address;
            match PROPERTY_FIELDS.find(name) {
                Some(PropertyField::Street) => address.street = self.reader.text(&path, part),
                Some(PropertyField::City) => address.city = self.reader.text(&path, part),
                Some(PropertyField::Region) => address.region = self.reader.text(&path, part),
                Some(PropertyField::PostalCode) => {
                    address.postal_code = self.reader.text(&path, part);
                }
                Some(PropertyField::Country) => {
                    address.country = country(&mut self.reader, &path, part);
                }
                _ => self.reader.notices.warn(unknown_part(path)),
            }
        }
    }

    fn coordinates(&mut self, path: &str, value: &Json<'_>) {
        let (mut latitude, mut longitude) = (None, None);
        match value {
            Json::Object(parts) => {
                for (name, part) in parts {
                    let path = format!("{path}.{name}");
                    match PROPERTY_FIELDS.find(name) {
                        Some(PropertyField::Latitude) => {
                            latitude = Some(self.reader.real(&path, part));
                        }
                        Some(PropertyField::Longitude) => {
                            longitude = Some(self.reader.real(&path, part));
                        }
                        _ => self.reader.notices.warn(unknown_part(path)),
                    }
                }
            }
            // As GeoJSON writes it, longitude first; a list without names is too easy to mix up.
            _ => {
                let message = "must be an object with latitude and longitude";
                self.reader.notices.refuse(Notice::new("WRONG_TYPE", message).at(path).sent(value));
                return;
            }
        }
        match (latitude, longitude) {
            (Some(latitude), Some(longitude)) => {
                let both = latitude.zip(longitude);
                self.wishes.facts.coordinates = both.and_then(|(latitude, longitude)| {
                    point(&mut self.reader, path, latitude, longitude)
                });
            }
            _ => {
                let message = "latitude and longitude belong together; send both";
                self.reader
                    .notices
                    .refuse(Notice::new("COORDINATES_INCOMPLETE", message).at(path).sent(value));
            }
        }
    }

    /// Two and a half bathrooms are two with a bath or shower and one without.
    fn bathrooms(&mut self, path: &str, value: &Json<'_>) {
        let Some(number) = self.reader.decimal(path, value) else { return };
        match number.to_minor(1).map(u16::try_from) {
            Ok(Ok(tenths)) if tenths % 5 == 0 => {
                self.wishes.facts.bathrooms_full = Some(tenths / 10);
                // Whole numbers say nothing about half bathrooms.
                if tenths % 10 == 5 {
                    self.wishes.facts.bathrooms_half = Some(1);
                }
            }
            _ => {
                let message = "must be whole or half, such as 2.5";
                let notice = Notice::new("OUT_OF_RANGE", message);
                self.reader.notices.refuse(notice.at(path).sent(value));
            }
        }
    }

    fn price(&mut self, path: &str, value: &Json<'_>) {
        let Json::Object(parts) = value else {
            let amount = self.reader.decimal(path, value).map(WishedPrice::Major);
            return self.set_price(path, amount, None);
        };
        let mut amount = None;
        for (name, part) in parts.iter().filter(|(_, part)| *part != Json::Null) {
            let path = format!("{path}.{name}");
            let reader = &mut self.reader;
            match PROPERTY_FIELDS.find(name) {
                Some(PropertyField::Price) => {
                    amount = Some(reader.decimal(&path, part).map(WishedPrice::Major));
                }
                Some(PropertyField::PriceMinor) => {
                    amount = Some(reader.decimal(&path, part).map(WishedPrice::Minor));
                }
                Some(PropertyField::Currency) => {
                    self.wishes.currency = currency(reader, &path, part);
                }
                Some(PropertyField::Frequency) => {
                    self.wishes.frequency = reader.named(&path, part, &FREQUENCIES);
                }
                _ => reader.notices.warn(unknown_part(path)),
            }
        }
        let Some(amount) = amount else {
            let notice = Notice::new("FIELD_MISSING", "a price needs an amount");
            return self.reader.notices.refuse(notice.at(format!("{path}.amount")));
        };
        self.set_price(path, amount, None);
    }

    fn price_due(&mut self, path: &str, value: &Json<'_>, frequency: FeeFrequency) {
        let amount = self.reader.decimal(path, value).map(WishedPrice::Major);
        self.set_price(path, amount, Some(frequency));
    }

    fn set_price(&mut self, path: &str, price: Option<WishedPrice>, due: Option<FeeFrequency>) {
        let Some(price) = price else { return };
        if self.wishes.price.is_some_and(|earlier| earlier != price) {
            let message = "is another price than the one before it; the last counts";
            self.reader.notices.warn(Notice::new("DUPLICATE_FIELD", message).at(path));
        }
        self.wishes.price = Some(price);
        self.wishes.frequency = due.or(self.wishes.frequency);
    }

    fn media(&mut self, path: &str, value: &Json<'_>, covers: Covers) {
        let one = std::slice::from_ref(value);
        let values = if let Json::List(values) = value { values } else { one };
        if values.len() > MAX_MEDIA_SENT {
            let message = format!("has {} entries; send at most {MAX_MEDIA_SENT}", values.len());
            self.reader.notices.refuse(Notice::new("TOO_MANY", message).at(path));
            return;
        }
        let mut list: Vec<WishedMedium> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(medium) = self.medium(&path, value) else { continue };
            if list.iter().any(|other| other.url == medium.url) {
                let notice = Notice::new("DUPLICATE_MEDIA", "is in the list already; left out");
                self.reader.notices.warn(notice.at(path).sent(value));
            } else {
                list.push(medium);
            }
        }
        self.wishes.media = Some(match self.wishes.media.take() {
            // Photos beside other media: both lists together are everything.
            Some(mut earlier) => {
                list.retain(|medium| earlier.list.iter().all(|other| other.url != medium.url));
                earlier.list.extend(list);
                WishedMedia { covers: Covers::Everything, ..earlier }
            }
            None => WishedMedia { list, covers },
        });
    }

    fn medium(&mut self, path: &str, value: &Json<'_>) -> Option<WishedMedium> {
        let Json::Object(parts) = value else {
            let url = self.reader.text(path, value)?;
            let medium = WishedMedium { url, category: MediaCategory::Photo, caption: None };
            return self.check_medium(medium, [(path, value); 2]);
        };
        let (mut url, mut category, mut caption) = (None, None, None);
        let mut places = [(path, value); 2];
        let paths: Vec<_> = parts.iter().map(|(name, _)| format!("{path}.{name}")).collect();
        for ((name, part), path) in parts.iter().zip(&paths) {
            if *part == Json::Null {
                continue;
            }
            match &*name.to_lowercase().replace('_', "") {
                "url" | "mediaurl" | "href" | "src" | "contenturl" => {
                    url = Some(self.reader.text(path, part));
                    places[0] = (path, part);
                }
                "category" | "mediacategory" | "type" | "kind" => {
                    category = self.reader.named(path, part, &MEDIA_CATEGORIES);
                }
                "caption" | "shortdescription" | "title" | "alt" => {
                    caption = self.reader.text(path, part);
                    places[1] = (path, part);
                }
                // The list itself is the order.
                "order" => {}
                _ => self.reader.notices.warn(unknown_part(path.clone())),
            }
        }
        let Some(url) = url else {
            let notice = Notice::new("FIELD_MISSING", "a medium needs a url");
            self.reader.notices.refuse(notice.at(format!("{path}.url")));
            return None;
        };
        let category = category.unwrap_or(MediaCategory::Photo);
        self.check_medium(WishedMedium { url: url?, category, caption }, places)
    }

    /// Refuses here what its command would refuse, which does not know its place in the list;
    /// `places` are those of its address and its caption.
    fn check_medium(
        &mut self,
        medium: WishedMedium,
        places: [(&str, &Json<'_>); 2],
    ) -> Option<WishedMedium> {
        let Err(refused) = Media::check(&medium.url, medium.caption.as_deref()) else {
            return Some(medium);
        };
        for complaint in refused.complaints() {
            let [url, caption] = places;
            let of_caption = complaint.field.as_deref() == Some("caption");
            let (path, value) = if of_caption { caption } else { url };
            let notice = Notice::new(complaint.code, complaint.message);
            self.reader.notices.refuse(notice.at(path).sent(value));
        }
        None
    }
}

fn unknown_part(path: String) -> Notice {
    let path: String = path.chars().take(100).collect();
    Notice::new("UNKNOWN_FIELD", "is not known and was left out").at(path)
}

/// A kind of home nobody has heard of does not cost the sender the rest of the item.
fn property_type(reader: &mut Reader<'_>, path: &str, value: &Json<'_>) -> Option<PropertyType> {
    let text = reader.text(path, value)?;
    let found = PROPERTY_TYPES.find(&text);
    if found.is_none() {
        let notice = Notice::new("UNKNOWN_VALUE", "is not a type we know; taken as Other");
        reader.notices.warn(notice.at(path).sent(value));
    }
    found.or(Some(PropertyType::Other))
}

fn country(reader: &mut Reader<'_>, path: &str, value: &Json<'_>) -> Option<String> {
    reader.text(path, value).map(|code| code.to_uppercase())
}

fn currency(reader: &mut Reader<'_>, path: &str, value: &Json<'_>) -> Option<Currency> {
    let code = reader.text(path, value)?.to_uppercase();
    let currency = Currency::from_code(&code);
    if currency.is_none() {
        let message = "is not a currency; send a three-letter ISO 4217 code such as EUR";
        reader.notices.refuse(Notice::new("UNKNOWN_CURRENCY", message).at(path).sent(value));
    }
    currency
}

fn point(
    reader: &mut Reader<'_>,
    path: &str,
    latitude: f64,
    longitude: f64,
) -> Option<Coordinates> {
    match Coordinates::new(latitude, longitude) {
        Ok(point) => Some(point),
        Err(error) => {
            let swapped = Coordinates::new(longitude, latitude).is_ok();
            let hint = if swapped { "; are they in the wrong order?" } else { "" };
            let notice = Notice::new("OUT_OF_RANGE", format!("{error}{hint}"));
            reader.notices.refuse(notice.at(path));
            None
        }
    }
}

fn area(
    reader: &mut Reader<'_>,
    path: &str,
    value: &Json<'_>,
    unit: Option<AreaUnit>,
) -> Option<WishedArea> {
    let Json::Object(parts) = value else {
        return reader.real(path, value).map(|value| WishedArea { value, unit });
    };
    let (mut amount, mut unit) = (None, unit);
    for (name, part) in parts.iter().filter(|(_, part)| *part != Json::Null) {
        let path = format!("{path}.{name}");
        match &*name.to_lowercase().replace('_', "") {
            "value" | "amount" | "area" | "size" => amount = Some(reader.real(&path, part)),
            "unit" | "units" | "unitcode" | "unittext" => {
                unit = reader.named(&path, part, &AREA_UNITS).or(unit);
            }
            _ => reader.notices.warn(unknown_part(path)),
        }
    }
    let Some(amount) = amount else {
        let notice = Notice::new("FIELD_MISSING", "an area needs a value");
        reader.notices.refuse(notice.at(format!("{path}.value")));
        return None;
    };
    amount.map(|value| WishedArea { value, unit })
}

/// The fact that a null in the field takes away.
fn fact_of(field: PropertyField) -> Option<FactField> {
    use PropertyField as F;
    Some(match field {
        F::Title => FactField::Title,
        F::Description => FactField::Description,
        F::Address => FactField::Address,
        F::Coordinates => FactField::Coordinates,
        F::YearBuilt => FactField::YearBuilt,
        F::Stories => FactField::Stories,
        F::Bedrooms => FactField::Bedrooms,
        F::Bathrooms | F::BathroomsFull => FactField::BathroomsFull,
        F::BathroomsHalf => FactField::BathroomsHalf,
        F::Rooms => FactField::Rooms,
        F::MaxOccupancy => FactField::MaxOccupancy,
        F::LivingArea | F::LivingAreaSquareFeet | F::LivingAreaSquareMeters => {
            FactField::LivingArea
        }
        F::LotArea | F::LotAreaSquareFeet | F::LotAreaSquareMeters | F::LotAreaAcres => {
            FactField::LotArea
        }
        F::GarageArea => FactField::GarageArea,
        _ => return None,
    })
}

/// The path at which a sender named a field of a command, and what was sent there.
pub(super) fn sent_at<'d>(
    data: &'d SentFields<'_, PropertyField>,
    command_field: &str,
) -> (Option<String>, Option<&'d Json<'d>>) {
    let field = command_field.strip_prefix("facts.").unwrap_or(command_field);
    let (field, part) = field.split_once(['.', '[']).unwrap_or((field, ""));
    let names = [part, field];
    let families: &[PropertyField] = match field {
        "price" => &[
            PropertyField::Price,
            PropertyField::PriceMinor,
            PropertyField::MonthlyRent,
            PropertyField::WeeklyRent,
            PropertyField::DailyRate,
            PropertyField::YearlyRent,
            PropertyField::SalePrice,
        ],
        "living_area" => &[
            PropertyField::LivingArea,
            PropertyField::LivingAreaSquareFeet,
            PropertyField::LivingAreaSquareMeters,
        ],
        "lot_area" => &[
            PropertyField::LotArea,
            PropertyField::LotAreaSquareFeet,
            PropertyField::LotAreaSquareMeters,
            PropertyField::LotAreaAcres,
        ],
        "media" => &[PropertyField::Media, PropertyField::Photos],
        "reference" | "source" if part.is_empty() => &[],
        _ => &[],
    };
    let by_family = families.iter().find_map(|field| data.get(*field));
    let by_name = || names.iter().find_map(|name| data.get(PROPERTY_FIELDS.find(name)?));
    match by_family.or_else(by_name) {
        Some(sent) => (Some(sent.path()), Some(&sent.value)),
        None if command_field == "source.reference" => (Some("property_id".to_owned()), None),
        None if command_field == "source.source" => (Some("source".to_owned()), None),
        None => (Some(format!("data.{field}")), None),
    }
}
