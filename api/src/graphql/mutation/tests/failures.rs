//! When nobody decides: roles, and a log that does not answer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use freehold_contract::interposed::{Interposed, InterposedStore};
use freehold_ports::{
    AppendError, AppendRequest, Appended, EventStore, LogName, ReadError, RecordedEvent, StreamId,
    StreamVersion,
};
use serde_json::{Value, json};

use super::world::*;
use crate::http::Role;

/// The extensions of the one error of an answer.
async fn failure(world: &World, sender: Sender, mutation: &str, input: Value) -> Value {
    let response = world.request(sender, mutation, input, "").await;
    assert_eq!(response.errors.len(), 1, "{mutation}: {response:?}");
    assert!(!response.errors[0].message.contains("s3cr3t"));
    serde_json::to_value(&response.errors[0].extensions).unwrap()
}

#[tokio::test]
async fn a_reader_changes_nothing_and_a_writer_nothing_that_belongs_to_processes() {
    let world = World::new().await;
    let (property, listing) = world.draft("berlin-1").await;
    let user = world.user("ada@example.com").await;
    let reader = Sender { role: Some(Role::Reader), ..OPERATOR };
    let nobody = Sender { role: None, ..OPERATOR };
    let application = "00000000-0000-0000-0000-0000000000c1";
    let operators = [
        (
            "propertyAddressVerify",
            json!({ "property": { "id": property }, "outcome": { "notFound": {
                "reason": "no such street",
            } } }),
        ),
        ("listingMarkUnderApplication", json!({ "listing": listing, "application": application })),
        (
            "listingApplicationHoldRelease",
            json!({ "listing": listing, "application": application, "cause": "RESUMED" }),
        ),
        ("listingExpire", json!({ "listing": listing })),
        ("userKeyShreddedRecord", json!({ "user": user })),
        ("erasureComplete", json!({ "user": user, "certificate": "cert-1" })),
        ("userErase", json!({ "user": user })),
    ];
    let before = world.log().await.len();
    for sender in [reader, nobody] {
        let refused = failure(&world, sender, "listingVoid", json!({ "listing": listing })).await;
        assert_eq!(refused["code"], "FORBIDDEN");
    }
    for (mutation, input) in operators {
        let refused = failure(&world, WRITER, mutation, input).await;
        assert_eq!(refused["code"], "FORBIDDEN", "{mutation}");
    }
    assert_eq!(world.log().await.len(), before);
    let voided = world.send_as(WRITER, "listingVoid", json!({ "listing": listing })).await;
    assert_eq!(voided.outcome(), "STORED");
}

/// What a log that does not work says to every append.
#[derive(Clone, Copy)]
enum Failure {
    Overloaded,
    TooManyRead,
    Unavailable,
    Unknown,
    Fenced,
}

struct Failing {
    store: Arc<dyn EventStore>,
    failure: Failure,
}

#[async_trait]
impl InterposedStore for Failing {
    fn behind(&self) -> &dyn EventStore {
        &*self.store
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        match self.failure {
            Failure::TooManyRead => {
                Err(ReadError::Overloaded { retry_after: Duration::from_millis(250) })
            }
            _ => self.store.read_stream(log, stream, after, limit).await,
        }
    }

    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let stream = request.stream.clone();
        Err(match self.failure {
            Failure::Overloaded | Failure::TooManyRead => {
                AppendError::Overloaded { retry_after: Duration::from_millis(250) }
            }
            Failure::Unavailable => AppendError::Unavailable { source: "s3cr3t".into() },
            Failure::Fenced => AppendError::Fenced { log: request.log },
            Failure::Unknown => AppendError::OutcomeUnknown { stream, source: "s3cr3t".into() },
        })
    }
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_no_refusal() {
    let fails = async |fault, input: &Value| {
        let world =
            World::on(|store| Arc::new(Interposed(Failing { store, failure: fault }))).await;
        failure(&world, WRITER, "propertyRegister", input.clone()).await
    };
    let input = registration("berlin-1");

    let overloaded = fails(Failure::Overloaded, &input).await;
    assert_eq!(overloaded, json!({ "code": "OVERLOADED", "retryAfterMs": 250 }));
    let many = fails(Failure::TooManyRead, &input).await;
    assert_eq!(many, json!({ "code": "OVERLOADED", "retryAfterMs": 250 }));
    assert_eq!(fails(Failure::Unavailable, &input).await, json!({ "code": "UNAVAILABLE" }));
    assert_eq!(fails(Failure::Fenced, &input).await, json!({ "code": "FENCED" }));

    let unknown = fails(Failure::Unknown, &input).await;
    assert_eq!(unknown["code"], "OUTCOME_UNKNOWN");
    assert!(unknown["commandId"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    let id = "018f0000-0000-7000-8000-000000000001";
    let mut named = input;
    named["commandId"] = json!(id);
    assert_eq!(fails(Failure::Unknown, &named).await["commandId"], id);
}
