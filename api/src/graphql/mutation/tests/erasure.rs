//! Forgetting a user.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use freehold_domain::SubjectId;
use freehold_ports::{KeyVault, KeyedHash, SubjectKey, VaultError};
use serde_json::{Value, json};

use super::world::*;

const ID: &str = "018f0000-0000-7000-8000-000000000001";
const ERASED: [&str; 3] = ["AccountClosed", "SubjectKeyShredded", "UserErased"];

async fn types(world: &World) -> Vec<String> {
    world.log().await.iter().map(|event| event.event_type.to_string()).collect()
}

/// Every payload of the log as it can be read now.
async fn readable(world: &World) -> String {
    let (codec, log) = (&world.platform.codec, world.log().await);
    let keys = codec.keys_for(&log).await.unwrap();
    log.iter().map(|event| codec.open_payload(event, &keys).unwrap().to_string()).collect()
}

#[tokio::test]
async fn after_an_erasure_nothing_personal_is_readable_and_the_address_is_free() {
    let world = World::new().await;
    let ada = json!({ "user": world.user("ada@example.com").await });
    let bob = world.user("bob@example.com").await;
    let suspended = json!({ "user": ada["user"], "reason": "Chargebacks" });
    world.accepted("userSuspend", suspended).await;
    world.accepted("erasureRequest", ada.clone()).await;
    for secret in ["ada@example.com", "Chargebacks", "bob@example.com"] {
        assert!(readable(&world).await.contains(secret));
    }

    assert_eq!(world.accepted("userErase", ada.clone()).await, ERASED);

    let left = readable(&world).await;
    assert!(!left.contains("ada@example.com") && !left.contains("Chargebacks"), "{left}");
    assert!(left.contains("bob@example.com"), "nobody else is forgotten");
    assert_eq!(world.accepted("userReinstate", json!({ "user": bob })).await.len(), 0);
    let refused = world.send("userReinstate", ada).await;
    assert_eq!(refused.errors(), ["USER_ERASED"]);
    world.user("ada@example.com").await;
}

#[tokio::test]
async fn an_erasure_that_nobody_asked_for_or_that_is_forbidden_leaves_the_account_as_it_is() {
    let world = World::new().await;
    let ada = json!({ "user": world.user("ada@example.com").await });
    let unasked = world.send("userErase", ada.clone()).await;
    assert_eq!(unasked.errors(), ["ERASURE_NOT_REQUESTED"]);

    world.accepted("erasureRequest", ada.clone()).await;
    let hold = json!({ "user": ada["user"], "reason": "Court order 7" });
    world.accepted("legalHoldPlace", hold).await;
    let blocked = world.send("userErase", ada).await;

    assert_eq!(blocked.errors(), ["ERASURE_BLOCKED"]);
    assert_eq!(types(&world).await.last().unwrap(), "LegalHoldPlaced");
    assert!(readable(&world).await.contains("ada@example.com"));
}

#[tokio::test]
async fn a_bad_certificate_is_refused_while_there_is_something_to_refuse() {
    let world = World::new().await;
    let ada = world.user("ada@example.com").await;
    world.accepted("erasureRequest", json!({ "user": ada })).await;

    let input = json!({ "user": ada, "certificate": "ada@example.com" });
    let refused = world.send("userErase", input).await;

    assert_eq!(refused.errors(), ["CERTIFICATE_INVALID input.certificate"]);
    assert!(readable(&world).await.contains("ada@example.com"));
}

#[tokio::test]
async fn a_dry_run_of_an_erasure_destroys_nothing() {
    let world = World::new().await;
    let ada = world.user("ada@example.com").await;
    world.accepted("erasureRequest", json!({ "user": ada })).await;

    let dry = world.send("userErase", json!({ "user": ada, "dryRun": true })).await;

    assert_eq!(dry.outcome(), "DRY_RUN");
    let events = dry.0["events"].as_array().unwrap().iter();
    assert_eq!(events.map(|event| &event["type"]).collect::<Vec<_>>(), ERASED);
    assert_eq!(types(&world).await, ["UserRegistered", "ErasureRequested"]);
    assert!(readable(&world).await.contains("ada@example.com"));
}

#[tokio::test]
async fn a_repeated_erasure_gets_the_first_answer() {
    let world = World::new().await;
    let ada = world.user("ada@example.com").await;
    world.accepted("erasureRequest", json!({ "user": ada })).await;
    let input = json!({ "user": ada, "commandId": ID });

    let first = world.send("userErase", input.clone()).await;
    let again = world.send("userErase", input).await;
    let anew = world.send("userErase", json!({ "user": ada })).await;

    assert_eq!(first.0["events"], again.0["events"]);
    assert_eq!((again.outcome(), anew.outcome()), ("REPEATED", "UNCHANGED"));
    assert_eq!(types(&world).await[2..], ERASED);
}

/// A vault that cannot be reached until it can.
struct Unreachable {
    vault: Arc<dyn KeyVault>,
    reachable: AtomicBool,
}

#[async_trait]
impl KeyVault for Unreachable {
    async fn keys_for_writing(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        self.vault.keys_for_writing(subjects).await
    }

    async fn keys_for_reading(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        self.vault.keys_for_reading(subjects).await
    }

    async fn destroy(&self, subject: SubjectId) -> Result<(), VaultError> {
        if !self.reachable.load(Ordering::SeqCst) {
            return Err(VaultError::Unavailable { source: "connection refused".into() });
        }
        self.vault.destroy(subject).await
    }

    fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        self.vault.keyed_hash(purpose, text)
    }
}

#[tokio::test]
async fn an_interrupted_erasure_is_finished_by_sending_it_again() {
    for command_id in [Value::Null, json!(ID)] {
        let world = World::new().await;
        let vault =
            Arc::new(Unreachable { vault: world.vault.clone(), reachable: AtomicBool::new(false) });
        let world = world.with_vault(vault.clone());
        let ada = world.user("ada@example.com").await;
        world.accepted("erasureRequest", json!({ "user": ada })).await;
        let input = json!({ "user": ada, "commandId": command_id });

        let failed = world.request(OPERATOR, "userErase", input.clone(), "").await;
        let code = failed.errors[0].extensions.as_ref().unwrap().get("code").cloned();
        assert_eq!(code, Some(async_graphql::Value::from("UNAVAILABLE")));
        assert_eq!(types(&world).await.last().unwrap(), "SubjectKeyShredded");
        assert!(readable(&world).await.contains("ada@example.com"), "the key is still there");

        vault.reachable.store(true, Ordering::SeqCst);
        world.accepted("userErase", input).await;
        assert_eq!(types(&world).await[2..], ERASED);
        assert!(!readable(&world).await.contains("ada@example.com"));
    }
}

#[tokio::test]
async fn only_an_operator_erases() {
    let world = World::new().await;
    let ada = world.user("ada@example.com").await;

    let refused = world.request(WRITER, "userErase", json!({ "user": ada }), "").await;

    let code = refused.errors[0].extensions.as_ref().unwrap().get("code").cloned();
    assert_eq!(code, Some(async_graphql::Value::from("FORBIDDEN")));
}
