//! A platform, and requests to its schema.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_graphql::{Request, Response, Variables};
use chrono::{DateTime, TimeDelta, Utc};
use freehold_commands::{CommandExecutor, ExecutorOptions};
use freehold_ports::{
    Clock, EventCodec, EventFilter, EventStore, GlobalPosition, KeyVault, LogName, ReadModels,
    RecordedEvent,
};
use freehold_test_stores::{Log, Place};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graphql::{Limits, Schema, schema};
use crate::http::Role;
use crate::platform::{Caller, Platform};

/// A clock that tests set.
pub(super) struct Hands(Mutex<DateTime<Utc>>);

impl Clock for Hands {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// A platform whose read models stand still.
pub(super) struct World {
    pub(super) schema: Schema,
    pub(super) store: Arc<dyn Log>,
    pub(super) vault: Arc<dyn KeyVault>,
    pub(super) models: Arc<dyn ReadModels>,
    pub(super) platform: Platform,
    clock: Arc<Hands>,
    _place: Place,
}

/// Who sends a request.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub(super) actor: &'static str,
    pub(super) tenant: &'static str,
    pub(super) role: Option<Role>,
}

pub(super) const OPERATOR: Sender =
    Sender { actor: "mara", tenant: "acme", role: Some(Role::Operator) };
pub(super) const REVIEWER: Sender = Sender { actor: "noor", ..OPERATOR };
pub(super) const WRITER: Sender = Sender { role: Some(Role::Writer), ..OPERATOR };
pub(super) const STRANGER: Sender = Sender { tenant: "zenith", ..OPERATOR };

pub(super) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

impl World {
    pub(super) async fn new() -> Self {
        Self::on(|store| store).await
    }

    /// A platform that reaches its log through another store.
    pub(super) async fn on(
        through: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn EventStore>,
    ) -> Self {
        let clock = Arc::new(Hands(Mutex::new(noon())));
        let place = Place::in_memory();
        let store = place.log(clock.clone()).await;
        let vault = place.vault().await;
        let codec = EventCodec::new(vault.clone());
        let models = place.models().await;
        let reached = through(store.clone());
        let executor = CommandExecutor::new(
            reached.clone(),
            store.clone(),
            codec.clone(),
            clock.clone(),
            ExecutorOptions::default(),
        );
        let platform = Platform {
            store: reached,
            codec,
            vault: vault.clone(),
            executor,
            models: models.clone(),
            clock: clock.clone(),
            projections: None,
            freshness_limit: Duration::from_millis(50),
        };
        let schema = schema(Arc::new(platform.clone()), Limits::default());
        Self { schema, store, vault, models, platform, clock, _place: place }
    }

    /// The same platform with another vault to destroy keys in.
    pub(super) fn with_vault(mut self, vault: Arc<dyn KeyVault>) -> Self {
        self.platform.vault = vault;
        self.schema = schema(Arc::new(self.platform.clone()), Limits::default());
        self
    }

    pub(super) fn wait(&self, time: TimeDelta) {
        *self.clock.0.lock().unwrap() += time;
    }

    /// Sends one mutation, asking for all that every payload says and for `more`.
    pub(super) async fn request(
        &self,
        sender: Sender,
        mutation: &str,
        input: Value,
        more: &str,
    ) -> Response {
        let (first, rest) = mutation.split_at(1);
        let document = format!(
            "mutation($input: {}{rest}Input!) {{ answer: {mutation}(input: $input) {{ {more}
                events {{ type version position }} streamVersion position outcome
                userErrors {{ code field message currentVersion from to }} }} }}",
            first.to_uppercase(),
        );
        let caller = Caller {
            actor: sender.actor.into(),
            tenant: sender.tenant.into(),
            correlation_id: Uuid::from_u128(1),
        };
        let variables = Variables::from_json(json!({ "input": input }));
        let request = Request::new(document).variables(variables).data(caller);
        match sender.role {
            Some(role) => self.schema.execute(request.data(role)).await,
            None => self.schema.execute(request).await,
        }
    }

    /// The payload of a mutation that meets no fault at the top level.
    pub(super) async fn send_as(&self, sender: Sender, mutation: &str, input: Value) -> Payload {
        let response = self.request(sender, mutation, input, "").await;
        assert!(response.errors.is_empty(), "{mutation}: {:?}", response.errors);
        let data = response.data.into_json().unwrap();
        Payload(data["answer"].clone())
    }

    pub(super) async fn send(&self, mutation: &str, input: Value) -> Payload {
        self.send_as(OPERATOR, mutation, input).await
    }

    /// Sends a mutation that must be accepted, and answers the types of its events.
    pub(super) async fn accepted(&self, mutation: &str, input: Value) -> Vec<String> {
        let payload = self.send(mutation, input).await;
        assert_eq!(payload.0["userErrors"], json!([]), "{mutation}");
        payload.event_types()
    }

    /// Every event of the domain log.
    pub(super) async fn log(&self) -> Vec<RecordedEvent> {
        let limit = NonZeroU32::new(100_000).unwrap();
        let all = EventFilter::all();
        let page = self.store.read_all(&LogName::DOMAIN, &all, GlobalPosition(0), limit).await;
        page.unwrap().events
    }

    /// The id of the stream that was last written.
    pub(super) async fn last_id(&self) -> String {
        self.log().await.last().unwrap().stream.id().to_owned()
    }

    /// What the last event says.
    pub(super) async fn last_payload(&self) -> Value {
        serde_json::from_slice(&self.log().await.last().unwrap().payload).unwrap()
    }

    /// Registers a property of that reference, and answers its id.
    pub(super) async fn property(&self, reference: &str) -> String {
        self.accepted("propertyRegister", registration(reference)).await;
        self.last_id().await
    }

    /// Registers a property with a photo and drafts a complete listing; answers both ids.
    pub(super) async fn draft(&self, reference: &str) -> (String, String) {
        let property = self.property(reference).await;
        let photo = json!({
            "property": { "id": property }, "category": "PHOTO",
            "url": "https://media.example/front.jpg",
        });
        self.accepted("mediaAttach", photo).await;
        let listing = self.draft_of(&property).await;
        (property, listing)
    }

    /// Drafts a complete listing of a property, and answers its key.
    pub(super) async fn draft_of(&self, property: &str) -> String {
        let draft = json!({
            "property": { "id": property }, "price": rent(120_000), "availableFrom": "2027-01-01",
        });
        self.accepted("listingDraft", draft).await;
        self.last_payload().await["listing"].as_str().unwrap().to_owned()
    }

    /// Registers a user with that address, and answers the id.
    pub(super) async fn user(&self, email: &str) -> String {
        self.accepted("userRegister", json!({ "email": email, "displayName": "Ada" })).await;
        self.last_id().await
    }
}

/// What a mutation answered.
#[derive(Debug, PartialEq)]
pub(super) struct Payload(pub(super) Value);

impl Payload {
    pub(super) fn event_types(&self) -> Vec<String> {
        let events = self.0["events"].as_array().unwrap();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn position(&self) -> &str {
        self.0["position"].as_str().unwrap_or("none")
    }

    pub(super) fn version(&self) -> &str {
        self.0["streamVersion"].as_str().unwrap_or("none")
    }

    pub(super) fn outcome(&self) -> &str {
        self.0["outcome"].as_str().unwrap_or("none")
    }

    /// Each error as its code and its path: `RENT_MISSING`, `BLANK input.facts.title`.
    pub(super) fn errors(&self) -> Vec<String> {
        let errors = self.0["userErrors"].as_array().unwrap().iter();
        let told = |error: &Value| {
            let code = error["code"].as_str().unwrap();
            assert!(!error["message"].as_str().unwrap().is_empty());
            match error["field"].as_array() {
                Some(steps) => {
                    let steps: Vec<_> = steps.iter().map(|step| step.as_str().unwrap()).collect();
                    format!("{code} {}", steps.join("."))
                }
                None => code.to_owned(),
            }
        };
        errors.map(told).collect()
    }
}

pub(super) fn rent(amount_minor: i64) -> Value {
    json!({ "amountMinor": amount_minor.to_string(), "currency": "EUR", "frequency": "MONTHLY" })
}

pub(super) fn once(amount_minor: i64) -> Value {
    json!({ "amountMinor": amount_minor, "currency": "EUR", "frequency": "ONE_TIME" })
}

pub(super) fn registration(reference: &str) -> Value {
    json!({
        "source": { "source": "berlin", "reference": reference },
        "facts": {
            "propertyType": "APARTMENT", "bedrooms": 2,
            "address": { "street": "Kastanienallee 1", "city": "Berlin", "country": "DE" },
            "livingArea": { "value": 68.5, "unit": "SQUARE_METERS" },
        },
        "amenities": ["balcony"],
    })
}
