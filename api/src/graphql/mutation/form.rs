//! Reading an input into a command, and noting everything that is wrong with it on the way.
//!
//! Fields are named as the domain names them, in `snake_case` with indexes (`costs[1].price`), so
//! that faults found here and refusals of an aggregate become paths of the input in one place.

use std::collections::BTreeSet;

use async_graphql::ID;
use chrono::{DateTime, Utc};
use freehold_commands::CommandContext;
use freehold_domain::property::{Property, SourceRef};
use freehold_domain::user::{Standing, User};
use freehold_domain::{
    Claim, ClaimKey, Currency, InvalidPrice, ListingKey, Price, PropertyId, Uniqueness, UserId,
};
use freehold_ports::{CommandId, ExpectedVersion, StreamVersion};
use uuid::Uuid;

use super::input::{Asked, PriceInput};
use super::payload::Settled;
use super::run::{Order, failed};
use super::user_error::{UserError, UserErrorCode};
use crate::graphql::Fault;
use crate::graphql::query::PropertyBy;
use crate::graphql::scalars::{Long, NodeKey, SavedSearchKey};
use crate::moments::{self, Impossible};
use crate::platform::{Caller, Platform};

/// An input while it is read.
pub(crate) struct Form<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) context: CommandContext,
    faults: Vec<Complained>,
    /// Of each list that is read into a set: the place in the list of each word of the set.
    places: Vec<(&'static str, Vec<usize>)>,
}

/// A fault and the field it is about.
pub(crate) struct Complained {
    pub(crate) code: UserErrorCode,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// A listing period and the property whose it is.
#[derive(Clone, Copy)]
pub(crate) struct ListingAt {
    pub(crate) property: Uuid,
    pub(crate) key: ListingKey,
}

impl ListingAt {
    /// Asks the property for something about this listing.
    pub(crate) fn asks(
        self,
        command: impl Into<freehold_domain::property::PropertyCommand>,
    ) -> Order<Property> {
        Order { id: self.property, command: command.into(), part: Some(self.key.0) }
    }
}

impl<'a> Form<'a> {
    pub(crate) fn new(platform: &'a Platform, caller: &Caller, asked: &Asked) -> Self {
        let context = caller.context(None);
        let mut form = Self { platform, context, faults: Vec::new(), places: Vec::new() };
        let Asked { command_id, expected_version, dry_run, occurred_at } = asked;
        form.context.command_id =
            command_id.as_ref().and_then(|id| form.uuid("command_id", id)).map(CommandId);
        form.context.expected =
            expected_version.and_then(|version| form.version("expected_version", version));
        form.context.dry_run = *dry_run;
        form.context.occurred_at = occurred_at.filter(|moment| form.happened(*moment));
        form
    }

    /// Notes that a field is wrong.
    pub(crate) fn fault(
        &mut self,
        code: UserErrorCode,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        let (field, message) = (field.into(), message.into());
        self.faults.push(Complained { code, field, message });
    }

    pub(crate) fn faults(&self) -> &[Complained] {
        &self.faults
    }

    /// The answer to an input that has `fields` and faults.
    pub(crate) fn refusal(&self, fields: &[&str]) -> Settled {
        let error = |Complained { code, field, message }: &Complained| {
            self.error(*code, Some(field), message.clone(), fields)
        };
        Settled::refused(self.faults.iter().map(error).collect())
    }

    /// An id for something that the command creates. The command gets an id if the caller named
    /// none: should its reply be lost, sending it again under that id creates nothing twice.
    pub(crate) fn new_id(&mut self, kind: &str) -> Uuid {
        self.context.command_id.get_or_insert_default();
        self.context.new_id(kind)
    }

    /// A UUID of something that is no node.
    pub(crate) fn uuid(&mut self, field: &str, id: &ID) -> Option<Uuid> {
        let uuid = Uuid::try_parse(id.as_str()).ok();
        if uuid.is_none() {
            self.fault(UserErrorCode::InvalidId, field, "must be a UUID");
        }
        uuid
    }

    /// A global id of a node.
    pub(crate) fn id<K: NodeKey>(&mut self, field: &str, id: &ID) -> Option<K> {
        let read = K::parse(id, field);
        self.read_id(field, read)
    }

    /// The user that an input is about.
    pub(crate) fn user(&mut self, id: &ID) -> Option<UserId> {
        self.id("user", id)
    }

    /// A global id of a saved search.
    pub(crate) fn search(&mut self, id: &ID) -> Option<SavedSearchKey> {
        self.read_id("search", SavedSearchKey::parse(id, "search"))
    }

    fn read_id<K>(&mut self, field: &str, read: Result<K, Fault>) -> Option<K> {
        let fault = match read {
            Ok(key) => return Some(key),
            Err(fault) => fault,
        };
        let advice = match fault {
            Fault::BadInput(mut faults) => faults.pop().map(|fault| fault.advice),
            _ => None,
        };
        let advice = advice.unwrap_or_else(|| "send an id as this service gave it".to_owned());
        self.fault(UserErrorCode::InvalidId, field, advice);
        None
    }

    fn version(&mut self, field: &str, Long(version): Long) -> Option<ExpectedVersion> {
        let Ok(version) = u64::try_from(version) else {
            self.fault(UserErrorCode::InvalidInput, field, "must be zero or more");
            return None;
        };
        Some(ExpectedVersion::Exactly(StreamVersion(version)))
    }

    /// Whether something can have happened then.
    fn happened(&mut self, moment: DateTime<Utc>) -> bool {
        let Err(impossible) = moments::check(moment, self.platform.clock.now()) else {
            return true;
        };
        let code = match impossible {
            Impossible::TooEarly => UserErrorCode::TimestampOutOfRange,
            Impossible::InFuture => UserErrorCode::TimestampInFuture,
        };
        self.fault(code, "occurred_at", impossible.to_string());
        false
    }

    /// A price, in parts.
    pub(crate) fn price(&mut self, field: &str, price: &PriceInput) -> Option<Price> {
        let PriceInput { amount_minor: Long(amount_minor), currency, frequency } = price;
        let price = Price::from_minor_units(*amount_minor, currency, (*frequency).into());
        let currency_fault = Currency::from_code(currency).is_none();
        if currency_fault {
            let (code, message) =
                (UserErrorCode::UnknownCurrency, InvalidPrice::UnknownCurrency.to_string());
            self.fault(code, format!("{field}.currency"), message);
        }
        if *amount_minor <= 0 {
            let (code, message) =
                (UserErrorCode::NotPositive, InvalidPrice::NotPositive.to_string());
            self.fault(code, format!("{field}.amount_minor"), message);
        }
        price.ok()
    }

    /// A currency.
    pub(crate) fn currency(&mut self, field: &str, code: &str) -> Option<Currency> {
        let currency = Currency::from_code(code);
        if currency.is_none() {
            let message = InvalidPrice::UnknownCurrency.to_string();
            self.fault(UserErrorCode::UnknownCurrency, field, message);
        }
        currency
    }

    /// A count.
    pub(crate) fn count(&mut self, field: &str, count: Option<i32>) -> Option<u16> {
        let count = count?;
        let read = u16::try_from(count).ok();
        if read.is_none() {
            let message = format!("must be between 0 and {}", u16::MAX);
            self.fault(UserErrorCode::OutOfRange, field, message);
        }
        read
    }

    /// A list of words as a set; a fault of a word is told at its place in the list.
    pub(crate) fn words(&mut self, field: &'static str, words: Vec<String>) -> BTreeSet<String> {
        let set: BTreeSet<String> = words.iter().cloned().collect();
        let place = |word: &String| words.iter().position(|other| other == word);
        self.places.push((field, set.iter().filter_map(place).collect()));
        set
    }

    /// The property that a reference means.
    pub(crate) async fn property(&mut self, by: &PropertyBy) -> Result<Option<Uuid>, Fault> {
        match by {
            PropertyBy::Id(id) => {
                Ok(self.id::<PropertyId>("property.id", id).map(|property| property.0))
            }
            PropertyBy::Source(by) => {
                let (source, reference) = (by.source.clone(), by.reference.clone());
                let key = SourceRef { source, reference }.key();
                let found = self.holder("source", key).await?;
                if found.is_none() {
                    let message = "this property is not registered; register it first";
                    self.fault(UserErrorCode::NotRegistered, "property.source", message);
                }
                Ok(found)
            }
        }
    }

    /// The listing of that id, and its property. The log knows it as soon as it is drafted.
    pub(crate) async fn listing(&mut self, id: &ID) -> Result<Option<ListingAt>, Fault> {
        let Some(key) = self.id::<ListingKey>("listing", id) else { return Ok(None) };
        let property = self.holder("listing", key.to_string()).await?;
        if property.is_none() {
            let message = "there is no listing with this id; send one that queries show";
            self.fault(UserErrorCode::ListingNotFound, "listing", message);
        }
        Ok(property.map(|property| ListingAt { property, key }))
    }

    /// The property that holds a unique key, found where the executor keeps them unique.
    async fn holder(&self, namespace: &'static str, key: String) -> Result<Option<Uuid>, Fault> {
        let (uniqueness, key) = (Uniqueness::Taken, ClaimKey::Clear(key));
        let claim = Claim { namespace, uniqueness, key };
        let held_by = self.platform.executor.holder_of(&self.context.tenant, &claim).await?;
        Ok(held_by.and_then(|stream| Uuid::try_parse(stream.id()).ok()))
    }

    /// Whether an account of the caller's tenant exists and is active.
    pub(crate) async fn is_active(&self, user: UserId) -> Result<bool, Fault> {
        let loaded = self.platform.executor.load::<User>(user.0).await.map_err(failed)?;
        let ours = loaded.tenant.is_some_and(|tenant| tenant == self.context.tenant);
        let active = match loaded.aggregate {
            User::Registered(account) => account.standing == Standing::Active,
            User::Unregistered | User::Shredded(_) | User::Erased(_) => false,
        };
        Ok(ours && active)
    }

    /// Whether a property of the caller's tenant is a duplicate of another one.
    pub(crate) async fn is_duplicate(
        &mut self,
        field: &str,
        property: PropertyId,
    ) -> Result<bool, Fault> {
        let loaded = self.platform.executor.load::<Property>(property.0).await.map_err(failed)?;
        if loaded.tenant.is_none_or(|tenant| tenant != self.context.tenant) {
            let message = "this property is not registered; register it first";
            self.fault(UserErrorCode::NotRegistered, field, message);
        }
        Ok(loaded.aggregate.survivor().is_some())
    }

    /// The error of a complaint, its field found in an input that has `fields`.
    pub(crate) fn error(
        &self,
        code: UserErrorCode,
        field: Option<&str>,
        message: String,
        fields: &[&str],
    ) -> UserError {
        let field = field.and_then(|field| path(&self.replaced(field), fields));
        UserError { code, field, message, ..UserError::default() }
    }

    /// The place of a word in the list that the client sent.
    fn replaced(&self, field: &str) -> String {
        let moved = self.places.iter().find_map(|(list, places)| {
            let index = field.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?;
            let place = places.get(index.parse::<usize>().ok()?)?;
            Some(format!("{list}[{place}]"))
        });
        moved.unwrap_or_else(|| field.to_owned())
    }
}

/// Where inputs are shaped otherwise than commands.
const RESHAPED: [(&str, &str); 13] = [
    ("filter.area.center", "filter.area.radius"),
    ("filter.area.east", "filter.area.box.east"),
    ("filter.area.north", "filter.area.box.north"),
    ("filter.area.radius_m", "filter.area.radius.meters"),
    ("filter.area.south", "filter.area.box.south"),
    ("filter.area.west", "filter.area.box.west"),
    ("filter.bedrooms_max", "filter.bedrooms.max"),
    ("filter.floor_area_max_m2", "filter.floor_area.max"),
    ("filter.floor_area_min_m2", "filter.floor_area.min"),
    ("origin", "source"),
    ("outcome.expires_at", "outcome.verified.expires_at"),
    ("outcome.coordinates", "outcome.found.coordinates"),
    ("outcome.reason", "outcome.not_found.reason"),
];

/// The fields that every input has.
const ASKED: [&str; 4] = ["command_id", "expected_version", "dry_run", "occurred_at"];

/// The path of a field in the arguments of a mutation whose input has `fields`; none where the
/// input has no such field, because the fault lies in what is stored already.
fn path(field: &str, fields: &[&str]) -> Option<Vec<String>> {
    let reshaped = RESHAPED.iter().find(|(command, _)| *command == field);
    let field = reshaped.map_or(field, |(_, input)| input);
    let steps = field.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let first = field.split(['.', '[']).next()?;
    let known = fields.contains(&first) || ASKED.contains(&first);
    known.then(|| std::iter::once("input".to_owned()).chain(steps.map(camel_case)).collect())
}

fn camel_case(step: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(step.len());
    for c in step.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.extend(c.to_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod path_tests {
    use super::path;

    #[test]
    fn a_field_of_the_domain_is_a_path_of_the_input() {
        let of = |field| path(field, &["price", "costs", "facts", "source", "outcome"]);
        let steps = |steps: &[&str]| Some(steps.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(of("price.currency"), steps(&["input", "price", "currency"]));
        assert_eq!(of("costs[1].price"), steps(&["input", "costs", "1", "price"]));
        assert_eq!(of("facts.living_area"), steps(&["input", "facts", "livingArea"]));
        assert_eq!(of("facts.address.postal_code"), {
            steps(&["input", "facts", "address", "postalCode"])
        });
        assert_eq!(of("expected_version"), steps(&["input", "expectedVersion"]));
        assert_eq!(of("origin"), steps(&["input", "source"]));
        let verified = steps(&["input", "outcome", "verified", "expiresAt"]);
        assert_eq!(of("outcome.expires_at"), verified);
        assert_eq!(of("media[0].order"), None);
    }
}
