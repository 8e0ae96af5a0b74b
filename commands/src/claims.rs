//! Keys unique across streams: from an event's claims to tags and boundary conditions.
//!
//! A taken key is tagged `<namespace>:<key>`, a given back one `<namespace>-released:<key>`. A key
//! is free when it was never taken, or given back after it was last taken. The condition "not
//! taken after the position I looked at" is then decided by the store together with the append.

use freehold_domain::{Claim, ClaimKey, Uniqueness};
use freehold_ports::{
    Boundary, EventCodec, EventStore, GlobalPosition, LogName, ReadError, StreamId, Tag,
    TaggedEvent,
};

/// The tag of a claim; an erased key has none, and one that does not fit is stood for by its hash.
pub(crate) fn tag_of(claim: &Claim, codec: &EventCodec) -> Option<Tag> {
    let hash = |key: &str| codec.keyed_hash(claim.namespace, key.as_bytes()).to_hex();
    let key = match &claim.key {
        ClaimKey::Clear(key) => key.clone(),
        ClaimKey::Personal(key) => hash(key.known()?),
    };
    let suffix = match claim.uniqueness {
        Uniqueness::Taken => "",
        Uniqueness::Released => "-released",
    };
    let tag = |key: &str| format!("{}{suffix}:{key}", claim.namespace).parse();
    Some(tag(&key).or_else(|_| tag(&hash(&key))).expect("a namespace and a hash make a tag"))
}

/// The condition that nobody ever took a key.
pub(crate) fn never_taken((_, tag): &(&'static str, Tag)) -> Boundary {
    Boundary { tag: tag.clone(), after: GlobalPosition(0) }
}

/// The condition under which `stream` may take the key behind `tag`, none if it holds it already,
/// or the stream that holds it.
pub(crate) async fn condition(
    store: &dyn EventStore,
    tenant: &str,
    stream: &StreamId,
    tag: &Tag,
) -> Result<Result<Option<Boundary>, StreamId>, ReadError> {
    let free_after = |after| Ok(Some(Boundary { tag: tag.clone(), after }));
    Ok(match last_taken(store, tenant, tag).await? {
        None => free_after(GlobalPosition(0)),
        Some((taken, Uniqueness::Released)) => free_after(taken.position),
        Some((taken, Uniqueness::Taken)) if taken.stream == *stream => Ok(None),
        Some((taken, Uniqueness::Taken)) => Err(taken.stream),
    })
}

/// The stream that holds the key behind `tag`, if one does.
pub(crate) async fn holder(
    store: &dyn EventStore,
    tenant: &str,
    tag: &Tag,
) -> Result<Option<StreamId>, ReadError> {
    Ok(match last_taken(store, tenant, tag).await? {
        Some((taken, Uniqueness::Taken)) => Some(taken.stream),
        Some((_, Uniqueness::Released)) | None => None,
    })
}

/// Who last took the key behind `tag`, and whether it was given back since.
async fn last_taken(
    store: &dyn EventStore,
    tenant: &str,
    tag: &Tag,
) -> Result<Option<(TaggedEvent, Uniqueness)>, ReadError> {
    let Some(taken) = store.last_tagged(&LogName::DOMAIN, tenant, tag).await? else {
        return Ok(None);
    };
    let Ok(released) = tag.as_str().replacen(':', "-released:", 1).parse::<Tag>() else {
        return Ok(Some((taken, Uniqueness::Taken)));
    };
    Ok(match store.last_tagged(&LogName::DOMAIN, tenant, &released).await? {
        Some(released) if released.position > taken.position => Some((taken, Uniqueness::Released)),
        _ => Some((taken, Uniqueness::Taken)),
    })
}
