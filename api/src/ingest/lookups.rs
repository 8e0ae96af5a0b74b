//! From a sender's references to our ids, remembered for the next time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_commands::CommandError;
use freehold_domain::property::{Property, PropertyRefused};
use freehold_domain::{Claim, ClaimKey, ListingKey, PropertyId, Uniqueness};
use freehold_ports::{LogName, ReadError, StreamId, StreamVersion};
use freehold_projections::find;
use freehold_projections::models::listing::ListingRow;
use quick_cache::sync::Cache;
use uuid::Uuid;

use crate::platform::Platform;

/// References that are remembered.
const REFERENCES: usize = 100_000;
/// How long a property's open listing counts as known: views may be this late to a new period.
const LISTING_AGE: Duration = Duration::from_secs(3);

/// What references lead to.
pub(super) struct Lookups {
    /// By tenant and claimed key. A reference never leaves its stream, so this is never stale.
    ids: Cache<(Arc<str>, String), Uuid>,
    listings: Cache<PropertyId, (Option<ListingKey>, Instant)>,
}

/// What an interaction is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) property: Option<PropertyId>,
    pub(super) listing: Option<ListingKey>,
}

/// What a category of streams calls its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Property,
    User,
}

impl Kind {
    fn category(self) -> &'static str {
        match self {
            Self::Property => "property",
            Self::User => "user",
        }
    }

    /// The key that the aggregate claims for a reference.
    fn key(self, source: &str, reference: &str) -> String {
        match self {
            Self::Property => format!("{source}/{reference}"),
            Self::User => format!("user/{source}/{reference}"),
        }
    }
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self { ids: Cache::new(REFERENCES), listings: Cache::new(REFERENCES) }
    }

    /// The id behind a reference: the sender's own, or else our id itself.
    pub(super) async fn id_of(
        &self,
        platform: &Platform,
        tenant: &Arc<str>,
        kind: Kind,
        source: &str,
        reference: &str,
    ) -> Result<Option<Uuid>, ReadError> {
        let key = kind.key(source, reference);
        let place = (tenant.clone(), key);
        if let Some(id) = self.ids.get(&place) {
            return Ok(Some(id));
        }
        let claim = Claim {
            namespace: "source",
            uniqueness: Uniqueness::Taken,
            key: ClaimKey::Clear(place.1.clone()),
        };
        let holder = platform.executor.holder_of(tenant, &claim).await?;
        let holder = holder.filter(|stream| stream.category() == kind.category());
        let mut id = holder.and_then(|stream| stream.id().parse().ok());
        if id.is_none()
            && let Ok(ours) = reference.parse::<Uuid>()
            && is_ours(platform, tenant, kind, ours).await?
        {
            id = Some(ours);
        }
        if let Some(id) = id {
            self.ids.insert(place, id);
        }
        Ok(id)
    }

    /// Remembers what a reference leads to.
    pub(super) fn remember(
        &self,
        tenant: &Arc<str>,
        kind: Kind,
        source: &str,
        reference: &str,
        id: Uuid,
    ) {
        self.ids.insert((tenant.clone(), kind.key(source, reference)), id);
    }

    /// Remembers the open listing of a property as it is now.
    pub(super) fn remember_listing(&self, id: PropertyId, property: &Property) {
        self.listings.insert(id, (open_listing(property), Instant::now()));
    }

    /// The property behind a reference, with its open listing.
    pub(super) async fn target(
        &self,
        platform: &Platform,
        tenant: &Arc<str>,
        source: &str,
        reference: &str,
    ) -> Result<Target, CommandError<PropertyRefused>> {
        let id = self.id_of(platform, tenant, Kind::Property, source, reference).await?;
        match id.map(PropertyId) {
            Some(property) => {
                let listing = self.open_listing(platform, property).await?;
                Ok(Target { property: Some(property), listing })
            }
            None => Ok(Target::default()),
        }
    }

    async fn open_listing(
        &self,
        platform: &Platform,
        property: PropertyId,
    ) -> Result<Option<ListingKey>, CommandError<PropertyRefused>> {
        if let Some((listing, seen)) = self.listings.get(&property)
            && seen.elapsed() < LISTING_AGE
        {
            return Ok(listing);
        }
        let loaded = platform.executor.load::<Property>(property.0).await?;
        self.remember_listing(property, &loaded.aggregate);
        Ok(open_listing(&loaded.aggregate))
    }

    /// The listing period of that key, as queries know it.
    pub(super) async fn listing(
        &self,
        platform: &Platform,
        tenant: &str,
        listing: ListingKey,
    ) -> Option<Target> {
        // A read model that is being built knows nothing yet; the sender is told so.
        let row = find::<ListingRow>(&*platform.models, super::LISTINGS, &(listing,)).await;
        let row = row.ok().flatten().filter(|row| *row.tenant == *tenant)?;
        Some(Target { property: Some(row.property), listing: Some(listing) })
    }
}

fn open_listing(property: &Property) -> Option<ListingKey> {
    property.listing().filter(|(_, status)| !status.is_final()).map(|(listing, _)| listing)
}

/// Whether the tenant has a stream of that id.
async fn is_ours(
    platform: &Platform,
    tenant: &str,
    kind: Kind,
    id: Uuid,
) -> Result<bool, ReadError> {
    let Ok(stream) = StreamId::new(kind.category(), id) else { return Ok(false) };
    let one = std::num::NonZeroU32::MIN;
    let first =
        platform.store.read_stream(&LogName::DOMAIN, &stream, StreamVersion(0), one).await?;
    Ok(first.first().is_some_and(|first| *first.provenance.tenant == *tenant))
}
