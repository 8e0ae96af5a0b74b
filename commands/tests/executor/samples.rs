//! A platform, and the commands that tests begin with.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, TimeZone, Utc};
use freehold_commands::{CommandContext, CommandError, CommandExecutor, Executed, ExecutorOptions};
use freehold_domain::property::{
    Origin as PropertyOrigin, Property, PropertyCommand, PropertyFacts, PropertyRefused,
    PropertyType, RegisterProperty, SourceRef,
};
use freehold_domain::user::{
    ConsentMethod, ConsentPurpose, FavouriteListing, GrantConsent, Origin, RegisterUser, User,
    UserCommand, UserRefused,
};
use freehold_domain::{Address, ListingKey, UserId};
use freehold_ports::{
    Clock, CommandId, EventCodec, EventFilter, EventStore, GlobalPosition, KeyVault, LogName,
    RecordedEvent, SystemClock,
};
use freehold_test_stores::{Log, Place};
use uuid::Uuid;

pub(crate) type OnUser = Result<Executed<User>, CommandError<UserRefused>>;
pub(crate) type OnProperty = Result<Executed<Property>, CommandError<PropertyRefused>>;

pub(crate) const ADA: UserId = UserId(Uuid::from_u128(0xada));
pub(crate) const BOB: UserId = UserId(Uuid::from_u128(0xb0b));
pub(crate) const EMAIL: &str = "ada@example.com";

/// A clock that stands still, so that two runs of the same commands give the same states.
pub(crate) struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        noon()
    }
}

pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap()
}

/// One store, one vault, one executor.
#[derive(Clone)]
pub(crate) struct Platform {
    pub(crate) store: Arc<dyn Log>,
    pub(crate) vault: Arc<dyn KeyVault>,
    pub(crate) executor: CommandExecutor,
    _place: Arc<Place>,
}

pub(crate) async fn platform() -> Platform {
    platform_with(ExecutorOptions::default()).await
}

pub(crate) async fn platform_with(options: ExecutorOptions) -> Platform {
    let place = Arc::new(Place::in_memory());
    let store = place.log(Arc::new(SystemClock)).await;
    let vault = place.vault().await;
    let codec = EventCodec::new(vault.clone());
    let executor =
        CommandExecutor::new(store.clone(), store.clone(), codec, Arc::new(Noon), options);
    Platform { store, vault, executor, _place: place }
}

impl Platform {
    /// The same platform, its log reached through another store.
    pub(crate) fn through(&self, store: Arc<dyn EventStore>, options: ExecutorOptions) -> Self {
        let codec = self.executor.codec().clone();
        let snapshots = self.store.clone();
        let executor = CommandExecutor::new(store, snapshots, codec, Arc::new(Noon), options);
        Self { executor, ..self.clone() }
    }

    pub(crate) async fn user(&self, user: UserId, command: impl Into<UserCommand>) -> OnUser {
        self.executor.execute(user.0, command.into(), &context()).await
    }

    pub(crate) async fn user_as(
        &self,
        context: &CommandContext,
        user: UserId,
        command: impl Into<UserCommand>,
    ) -> OnUser {
        self.executor.execute(user.0, command.into(), context).await
    }

    pub(crate) async fn property(
        &self,
        id: u128,
        command: impl Into<PropertyCommand>,
    ) -> OnProperty {
        self.executor.execute(Uuid::from_u128(id), command.into(), &context()).await
    }

    /// Every event of the domain log.
    pub(crate) async fn log(&self) -> Vec<RecordedEvent> {
        let limit = NonZeroU32::new(100_000).unwrap();
        let all = EventFilter::all();
        let page = self.store.read_all(&LogName::DOMAIN, &all, GlobalPosition(0), limit).await;
        page.unwrap().events
    }

    pub(crate) async fn event_types(&self) -> Vec<String> {
        self.log().await.iter().map(|event| event.event_type.to_string()).collect()
    }
}

pub(crate) fn context() -> CommandContext {
    CommandContext::new("acme", "web")
}

pub(crate) fn named(id: CommandId) -> CommandContext {
    CommandContext { command_id: Some(id), ..context() }
}

pub(crate) fn options() -> ExecutorOptions {
    ExecutorOptions::default()
}

pub(crate) fn listing(number: u128) -> ListingKey {
    ListingKey(Uuid::from_u128(number))
}

pub(crate) fn favourite(number: u128) -> FavouriteListing {
    FavouriteListing { listing: listing(number) }
}

pub(crate) fn register(user: UserId, email: &str) -> RegisterUser {
    RegisterUser {
        user,
        origin: Origin::Client,
        display_name: None,
        email: Some(email.to_owned()),
        phone: None,
    }
}

pub(crate) fn grant() -> GrantConsent {
    GrantConsent {
        purpose: ConsentPurpose::Alerts,
        notice_version: "2026-10".to_owned(),
        method: ConsentMethod::WebForm,
        jurisdiction: "DE".to_owned(),
        expires_at: None,
    }
}

pub(crate) fn register_property(reference: &str) -> RegisterProperty {
    let city = Some("Berlin".to_owned());
    RegisterProperty {
        source: SourceRef { source: "berlin".to_owned(), reference: reference.to_owned() },
        origin: PropertyOrigin::Client,
        facts: Box::new(PropertyFacts {
            property_type: Some(PropertyType::Apartment),
            address: Some(Address { city, ..Address::default() }),
            ..PropertyFacts::default()
        }),
        amenities: ["balcony".to_owned()].into(),
    }
}
