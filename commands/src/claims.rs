//! Keys unique across streams: from an event's claims to tags and boundary conditions.
//!
//! A taken key is tagged `<namespace>:<key>`, a given back one `<namespace>-released:<key>`. A key
//! is free when it was never taken, or given back after it was last taken. The condition "not
//! taken after the position I looked at" is then decided by the store together with the append.

use freehold_domain::{Claim, ClaimKey, Uniqueness};
use freehold_ports::{EventCodec, EventStore, GlobalPosition, LogName, ReadError, StreamId, Tag};

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

/// Where a key stands.
pub(crate) struct Holding {
    /// The stream that holds it, if one does.
    pub(crate) holder: Option<StreamId>,
    /// The position where it was last taken; 0 if it never was.
    pub(crate) taken_at: GlobalPosition,
}

/// Who holds the key behind `tag` in a tenant.
pub(crate) async fn holding(
    store: &dyn EventStore,
    tenant: &str,
    tag: &Tag,
) -> Result<Holding, ReadError> {
    let Some(taken) = store.last_tagged(&LogName::DOMAIN, tenant, tag).await? else {
        return Ok(Holding { holder: None, taken_at: GlobalPosition(0) });
    };
    let taken_at = taken.position;
    let released = match tag.as_str().replacen(':', "-released:", 1).parse::<Tag>() {
        Ok(released) => store.last_tagged(&LogName::DOMAIN, tenant, &released).await?,
        Err(_) => None,
    };
    let is_free = released.is_some_and(|released| released.position > taken_at);
    Ok(Holding { holder: (!is_free).then_some(taken.stream), taken_at })
}
