//! Dead letters, and what operators do to them.

use std::num::NonZeroU32;

use freehold_ports::{
    Commit, DeadLetter, DeadLetters as _, Fault, GlobalPosition, LetterChange, LetterFilter,
    LetterId, LogName, ReadModels as _, StreamVersion,
};
use serde_json::{Value, json};

use super::world::*;
use crate::http::Role;

const NOTHING: LetterFilter =
    LetterFilter { projection: None, stream: None, event_type: None, error: None };

impl World {
    /// Parks a stream of the listings at a new event that nobody can read.
    pub(super) async fn park(&self, stream: &str) -> DeadLetter {
        let position = self.append_named(stream, "PropertyRegistered").await;
        let log = LogName::DOMAIN;
        let name = stream.parse().unwrap();
        let limit = NonZeroU32::new(100).unwrap();
        let event = self.store.read_stream(&log, &name, StreamVersion(0), limit).await.unwrap();
        let event = event.into_iter().find(|event| event.position == position).unwrap();
        let generation = self.models.generations("listings").await.unwrap().pop().unwrap();
        let letter = DeadLetter {
            id: LetterId { generation: generation.id.clone(), stream: name, position },
            log,
            version: event.version,
            event_id: event.event_id,
            event_type: event.event_type,
            recorded_at: event.recorded_at,
            error: "malformed payload: missing field address".into(),
            fault: Fault::Permanent,
            attempts: 1,
            parked_at: noon(),
            tried_at: noon(),
            done_through: StreamVersion(event.version.0 - 1),
            waiting: 0,
            retry_at: None,
            retry_by: None,
        };
        let from = generation.mark();
        let commit = Commit::moving(generation.id, from, position, Vec::new());
        let letters = vec![LetterChange::Park(letter.clone())];
        self.models.commit(Commit { letters, ..commit }).await.unwrap();
        letter
    }

    /// What an operator is answered, without an error.
    pub(super) async fn operate(&self, document: &str) -> Value {
        let request = self.request_as(Role::Operator, TENANT, document);
        let response = self.schema.execute(request).await;
        assert!(response.errors.is_empty(), "{document}: {:?}", response.errors);
        response.data.into_json().unwrap()
    }

    pub(super) async fn letters(&self) -> Vec<DeadLetter> {
        self.models.letters(NOTHING, None, NonZeroU32::new(100).unwrap()).await.unwrap()
    }
}

/// The ids of the letters in their order.
pub(super) async fn ids(world: &World) -> Vec<String> {
    let answer = world.operate("{ deadLetters { nodes { id } } }").await;
    let nodes = answer["deadLetters"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn letters_are_listed_page_by_page_and_in_groups() {
    let world = World::new().await;
    assert_eq!(ids(&world).await, Vec::<String>::new());
    for stream in ["property-1", "property-2", "property-3"] {
        world.park(stream).await;
    }

    let page = "{ deadLetters(first: 2) { pageInfo { hasNextPage endCursor } nodes {
        subscription stream position version type error fault attempts waiting retryAt retryBy
        event { type position payload } } } }";
    let page = world.operate(page).await;

    let letters = &page["deadLetters"];
    assert_eq!(
        letters["nodes"][0],
        json!({
            "subscription": "listings", "stream": "property-1", "position": "1", "version": "1",
            "type": "PropertyRegistered", "error": "malformed payload: missing field address",
            "fault": "PERMANENT", "attempts": 1, "waiting": "0", "retryAt": null, "retryBy": null,
            "event": { "type": "PropertyRegistered", "position": "1", "payload": {} },
        })
    );
    assert_eq!(letters["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(letters["pageInfo"]["hasNextPage"], true);
    let end = &letters["pageInfo"]["endCursor"];
    let rest = format!("{{ deadLetters(after: {end}) {{ nodes {{ stream }} }} }}");
    let rest = world.operate(&rest).await;
    assert_eq!(rest["deadLetters"]["nodes"], json!([{ "stream": "property-3" }]));
    let one = "{ deadLetters(filter: { stream: \"property-2\", type: \"PropertyRegistered\",
        subscription: \"listings\", error: \"missing field\" }) { nodes { stream } }
        none: deadLetters(filter: { type: \"UserRegistered\" }) { nodes { stream } } }";
    let one = world.operate(one).await;
    assert_eq!(one["deadLetters"]["nodes"], json!([{ "stream": "property-2" }]));
    assert_eq!(one["none"]["nodes"], json!([]));
    let groups = "{ deadLetterGroups { subscription type fault error letters waiting } }";
    let group = json!({
        "subscription": "listings", "type": "PropertyRegistered", "fault": "PERMANENT",
        "error": "malformed payload: missing field address", "letters": "3", "waiting": "0",
    });
    assert_eq!(world.operate(groups).await["deadLetterGroups"], json!([group]));
}

#[tokio::test]
async fn an_event_of_another_tenant_is_not_shown_with_its_letter() {
    let world = World::new().await;
    world.park("property-1").await;
    let document = "{ deadLetters { nodes { stream event { position } } } }";

    let response = world.schema.execute(world.request_as(Role::Operator, "zenith", document)).await;

    let nodes = &response.data.into_json().unwrap()["deadLetters"]["nodes"];
    assert_eq!(*nodes, json!([{ "stream": "property-1", "event": null }]));
}

#[tokio::test]
async fn only_operators_see_letters_and_do_something_to_them() {
    let world = World::new().await;
    world.park("property-1").await;
    for document in [
        "{ deadLetters { nodes { id } } }",
        "{ deadLetterGroups { letters } }",
        "mutation { deadLetterRetry(input: { filter: {} }) { count } }",
        "mutation { deadLetterDiscard(input: { filter: {}, reason: \"x\" }) { count } }",
        "mutation { deadLetterEdit(input: { letter: \"x\", payload: \"{}\", reason: \"x\" }) {
            userErrors { code } } }",
        "{ deadLetterDecisions(subscription: \"listings\") { nodes { actor } } }",
    ] {
        let refused = world.refusal(document).await;
        assert_eq!(refused["code"], "FORBIDDEN", "{document}");
    }
    assert_eq!(world.letters().await[0].retry_at, None);
}

#[tokio::test]
async fn a_retry_is_ordered_for_letters_or_by_filter() {
    let world = World::new().await;
    for stream in ["property-1", "property-2", "property-3"] {
        world.park(stream).await;
    }
    let ids = ids(&world).await;

    let named = format!(
        "mutation {{ deadLetterRetry(input: {{ letters: [\"{0}\", \"{1}\", \"{0}\"] }}) {{
            count results {{ outcome }} userErrors {{ code }} }} }}",
        ids[2], ids[0]
    );
    let named = world.operate(&named).await;

    let ordered = json!({ "count": 2, "results": [], "userErrors": [] });
    assert_eq!(named["deadLetterRetry"], ordered);
    let by: Vec<_> = world.letters().await.into_iter().map(|letter| letter.retry_by).collect();
    assert_eq!(by, [Some("tester".into()), None, Some("tester".into())]);
    let paced = "mutation { deadLetterRetry(input: {
        filter: { subscription: \"listings\" }, perSecond: 50 }) { count } }";
    assert_eq!(world.operate(paced).await["deadLetterRetry"]["count"], 3);
    let at: Vec<_> = world.letters().await.into_iter().filter_map(|l| l.retry_at).collect();
    assert_eq!(
        (at[1] - at[0], at[2] - at[1]),
        (at[2] - at[1], chrono::TimeDelta::milliseconds(20))
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_come_of_it_and_orders_nothing() {
    let world = World::new().await;
    world.park("property-1").await;
    let document = "mutation { deadLetterRetry(input: { filter: {}, dryRun: true }) {
        count userErrors { code } results { outcome position error letter { stream } } } }";

    let answer = world.operate(document).await;

    let answer = &answer["deadLetterRetry"];
    assert_eq!((&answer["count"], &answer["userErrors"]), (&json!(1), &json!([])));
    let result = &answer["results"][0];
    assert_eq!(result["letter"]["stream"], "property-1");
    assert_eq!((&result["outcome"], &result["position"]), (&json!("FAILED"), &json!("1")));
    assert!(result["error"].as_str().unwrap().starts_with("malformed payload"), "{result}");
    let letter = world.letters().await.remove(0);
    assert_eq!((letter.retry_at, letter.attempts), (None, 1));
}

#[tokio::test]
async fn what_is_wrong_with_a_selection_is_told_and_nothing_is_ordered() {
    let world = World::new().await;
    world.park("property-1").await;
    let id = ids(&world).await.remove(0);
    for (input, code, field) in [
        (
            format!("{{ letters: [\"{id}\", \"no letter\"] }}"),
            "DEAD_LETTER_UNKNOWN",
            json!(["input", "letters", "1"]),
        ),
        ("{}".to_owned(), "NOTHING_SELECTED", Value::Null),
        ("{ letters: [] }".to_owned(), "NOTHING_SELECTED", Value::Null),
        ("{ filter: { type: \"X\" } }".to_owned(), "NOTHING_SELECTED", Value::Null),
        (
            format!("{{ letters: [\"{id}\"], filter: {{}} }}"),
            "INVALID_INPUT",
            json!(["input", "filter"]),
        ),
        ("{ filter: {}, perSecond: 0 }".to_owned(), "OUT_OF_RANGE", json!(["input", "perSecond"])),
    ] {
        let document = format!(
            "mutation {{ deadLetterRetry(input: {input}) {{
                count userErrors {{ code field message }} }} }}"
        );
        let answer = world.operate(&document).await["deadLetterRetry"].clone();
        assert_eq!(answer["count"], 0, "{input}");
        let errors = answer["userErrors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{input}: {errors:?}");
        assert_eq!((&errors[0]["code"], &errors[0]["field"]), (&json!(code), &field), "{input}");
    }
    assert_eq!(world.letters().await[0].retry_at, None);
    // A letter that was parked elsewhere meanwhile is another one.
    let generation = world.models.generations("listings").await.unwrap().pop().unwrap();
    let old = LetterId {
        generation: generation.id,
        stream: "property-1".parse().unwrap(),
        position: GlobalPosition(7),
    };
    let gone = crate::graphql::objects::dead_letter::DeadLetter::id_of(&old);
    let document = format!(
        "mutation {{ deadLetterRetry(input: {{ letters: [\"{}\"] }}) {{ userErrors {{ code }} }} }}",
        gone.as_str()
    );
    let answer = world.operate(&document).await;
    assert_eq!(answer["deadLetterRetry"]["userErrors"][0]["code"], "DEAD_LETTER_UNKNOWN");
}

#[tokio::test]
async fn what_is_discarded_is_in_the_history_with_who_did_so() {
    let world = World::new().await;
    for stream in ["property-1", "property-2"] {
        world.park(stream).await;
    }
    let ids = ids(&world).await;
    let discard = |letter: &str, reason: &str, more: &str| {
        format!(
            "mutation {{ deadLetterDiscard(input: {{ letters: [\"{letter}\"], reason: \"{reason}\"
                {more} }}) {{ count userErrors {{ code field }} }} }}"
        )
    };
    let dry = world.operate(&discard(&ids[0], "", "dryRun: true")).await;
    assert_eq!(dry["deadLetterDiscard"], json!({ "count": 1, "userErrors": [] }));
    let blank = world.operate(&discard(&ids[0], " ", "")).await;
    let error = json!({ "code": "REASON_INVALID", "field": ["input", "reason"] });
    assert_eq!(blank["deadLetterDiscard"], json!({ "count": 0, "userErrors": [error] }));
    assert!(world.letters().await.iter().all(|letter| letter.retry_at.is_none()));

    let discarded = world.operate(&discard(&ids[0], "a broken import", "")).await;
    assert_eq!(discarded["deadLetterDiscard"], json!({ "count": 1, "userErrors": [] }));
    let again = world.operate(&discard(&ids[0], "a broken import", "")).await;
    let codes = &again["deadLetterDiscard"]["userErrors"];
    assert_eq!(codes[0]["code"], "DEAD_LETTER_HELD", "decided, and not tried since");
    let retry = format!(
        "mutation {{ deadLetterRetry(input: {{ letters: [\"{}\"], perSecond: 5 }}) {{ count }} }}",
        ids[1]
    );
    assert_eq!(world.operate(&retry).await["deadLetterRetry"]["count"], 1);

    let history = |more: &str| {
        format!(
            "{{ deadLetterDecisions(subscription: \"listings\" {more}) {{
                pageInfo {{ hasNextPage endCursor }}
                nodes {{ number action actor reason payload events {{ stream version }} }} }} }}"
        )
    };
    let page = world.operate(&history("first: 1")).await["deadLetterDecisions"].clone();
    let first = json!({
        "number": "1", "action": "DISCARDED", "actor": "tester", "reason": "a broken import",
        "payload": null, "events": [{ "stream": "property-1", "version": "1" }],
    });
    assert_eq!(page["nodes"], json!([first]));
    assert_eq!(page["pageInfo"], json!({ "hasNextPage": true, "endCursor": "1" }));
    let rest = world.operate(&history("after: \"1\"")).await["deadLetterDecisions"].clone();
    assert_eq!(rest["nodes"][0]["action"], "RETRIED");
    assert_eq!(rest["pageInfo"]["hasNextPage"], false);
    let of_one = world.operate(&history("stream: \"property-2\"")).await;
    assert_eq!(of_one["deadLetterDecisions"]["nodes"].as_array().unwrap().len(), 1);
    for wrong in ["after: \"x\"", "stream: \"x\""] {
        let response = world.request_as(Role::Operator, TENANT, &history(wrong));
        let response = world.schema.execute(response).await;
        assert_eq!(response.errors.len(), 1, "{wrong}: {response:?}");
    }
}

#[tokio::test]
async fn an_edit_that_would_not_do_is_refused_and_decides_nothing() {
    let world = World::new().await;
    world.park("property-1").await;
    let id = ids(&world).await.remove(0);
    for (letter, payload, reason, code, field) in [
        (&*id, "{}", "why", "EDIT_INVALID", json!(["input", "payload"])),
        (&*id, "{", "why", "EDIT_INVALID", json!(["input", "payload"])),
        (
            &*id,
            "{\\\"name\\\": {\\\"$subject\\\": 1}}",
            "why",
            "EDIT_INVALID",
            json!(["input", "payload"]),
        ),
        (&*id, "{}", "", "REASON_INVALID", json!(["input", "reason"])),
        ("x", "{}", "why", "DEAD_LETTER_UNKNOWN", json!(["input", "letter"])),
    ] {
        for dry_run in [false, true] {
            let document = format!(
                "mutation {{ deadLetterEdit(input: {{ letter: \"{letter}\",
                    payload: \"{payload}\", reason: \"{reason}\", dryRun: {dry_run} }}) {{
                    result {{ outcome }} userErrors {{ code field }} }} }}"
            );
            let answer = world.operate(&document).await["deadLetterEdit"].clone();
            assert_eq!(answer["result"], Value::Null);
            let error = &answer["userErrors"][0];
            let expected = match (dry_run, code) {
                // Nobody reads the reason of what is not done.
                (true, "REASON_INVALID") => ("EDIT_INVALID", json!(["input", "payload"])),
                _ => (code, field.clone()),
            };
            assert_eq!((&error["code"], &error["field"]), (&json!(expected.0), &expected.1));
        }
    }
    let letter = world.letters().await.remove(0);
    assert_eq!((letter.retry_at, letter.attempts), (None, 1));
}
