//! Property items: grouped by reference, each planned and stored as one.

use freehold_commands::{CommandContext, CommandError, Executed, Outcome};
use freehold_domain::property::{Property, PropertyEvent, SourceRef};
use freehold_domain::{LeaseId, ListingKey, PropertyId, StoredEvent as _};
use freehold_ports::{CommandId, LogName};
use futures_util::stream::{self, StreamExt as _};

use super::answer::{Answer, Change, ItemAnswer, Notice, Notices, Status, StoredAs};
use super::lookups::Kind;
use super::names::PropertyEventType;
use super::plan::{Planning, plan};
use super::property::{self, PropertyItem};
use super::{Answered, Groups, IN_FLIGHT, Ingest, NotStored, Sender, last_position};
use crate::platform::Caller;

/// How often an item is tried when its reference turns out to be registered meanwhile.
const ATTEMPTS: usize = 3;

struct Pending<'a> {
    index: usize,
    source: SourceRef,
    item: PropertyItem<'a>,
    notices: Notices,
}

impl Ingest {
    /// Stores what a feed says about properties; one answer an item, in their order.
    ///
    /// Items of one reference are stored one after the other, others side by side.
    pub async fn property(&self, sender: &Sender<'_>, items: &[&[u8]]) -> Answer {
        self.answer(self.store_properties(sender, items).await).await
    }

    /// The same without what is only told to who waits for an answer, in any order.
    pub(super) async fn store_properties(
        &self,
        sender: &Sender<'_>,
        items: &[&[u8]],
    ) -> Vec<Answered> {
        let now = self.platform.clock.now();
        let mut answered = Vec::with_capacity(items.len());
        let mut groups = Groups::new();
        for (index, item) in items.iter().enumerate() {
            let mut notices = Notices::default();
            let read = property::read(item, now, &mut notices);
            let source = read.as_ref().map(|item| sender.source_of(item.source.as_deref()));
            match (read, source) {
                (Some(item), Some(Ok(source))) => {
                    let source = SourceRef { source, reference: item.reference.clone() };
                    let pending = Pending { index, source: source.clone(), item, notices };
                    groups.add(source, pending);
                }
                (_, Some(Err(notice))) => {
                    notices.refuse(notice);
                    answered.push(Answered::refused(index, notices));
                }
                _ => answered.push(Answered::refused(index, notices)),
            }
            if index % 100 == 99 {
                // A large request leaves room for others while it is read.
                tokio::task::yield_now().await;
            }
        }
        let groups: Vec<_> =
            groups.in_order().map(|group| self.update_in_order(sender, group)).collect();
        let mut stored = stream::iter(groups).buffer_unordered(IN_FLIGHT);
        while let Some(group) = stored.next().await {
            answered.extend(group);
        }
        answered
    }

    async fn update_in_order(&self, sender: &Sender<'_>, group: Vec<Pending<'_>>) -> Vec<Answered> {
        let mut answered: Vec<Answered> = Vec::with_capacity(group.len());
        let mut waiting = None;
        for pending in group {
            // Once one has to be sent again, those after it have to come after it again.
            if let Some(retry_after) = waiting {
                let message = "an earlier item of the same reference has to be sent again first";
                let errors = vec![Notice::new("OUT_OF_TURN", message)];
                let retry_after = Some(retry_after);
                let not_stored = NotStored { status: Status::Retry, errors, retry_after };
                answered.push(pending.not_stored(not_stored));
                continue;
            }
            let one = self.update(sender, pending).await;
            waiting = one.retry_after;
            answered.push(one);
        }
        answered
    }

    async fn update(&self, sender: &Sender<'_>, mut pending: Pending<'_>) -> Answered {
        let SourceRef { source, .. } = &pending.source;
        let key = sender.key_of(pending.item.event_id.as_deref(), pending.index);
        let caller = sender.caller;
        let scope = format!("ingest/property/{}/{}/{source}", caller.tenant, caller.actor);
        let mut context = caller.context(key.map(|key| CommandId::from_key(&scope, &key)));
        context.occurred_at = pending.item.occurred_at;
        match self.try_update(caller, &context, &mut pending).await {
            Ok(item) => Answered { item, retry_after: None },
            Err(not_stored) => pending.not_stored(not_stored),
        }
    }

    async fn try_update(
        &self,
        caller: &Caller,
        context: &CommandContext,
        pending: &mut Pending<'_>,
    ) -> Result<ItemAnswer, NotStored> {
        let SourceRef { source, reference } = &pending.source;
        let tenant = &caller.tenant;
        let item = &pending.item;
        let now = self.platform.clock.now();
        let request = (format!("{:?}", item.event_type), &item.data);
        for _ in 0..ATTEMPTS {
            let id = self.lookups.id_of(&self.platform, tenant, Kind::Property, source, reference);
            let id = id.await?;
            if id.is_none() && item.event_type == PropertyEventType::Remove {
                return Ok(pending.unknown());
            }
            let property = PropertyId(id.unwrap_or_else(|| context.new_id("property")));
            let planning = Planning {
                source: &pending.source,
                property,
                event_type: item.event_type,
                wishes: &item.wishes,
                defaults: self.defaults,
                new_listing: ListingKey(context.new_id("listing")),
                new_lease: LeaseId(context.new_id("lease")),
                now,
                occurred_at: item.occurred_at.unwrap_or(now),
            };
            let mut planned = Notices::default();
            let result: Result<Executed<Property>, NotPlanned> = self
                .platform
                .executor
                .execute_planned(
                    property.0,
                    &request,
                    |state| {
                        planned = Notices::default();
                        let commands = plan(state, &planning, &mut planned);
                        if planned.errors.is_empty() {
                            Ok(commands)
                        } else {
                            Err(NotPlanned::Refused(std::mem::take(&mut planned.errors)))
                        }
                    },
                    context,
                )
                .await;
            match result {
                Ok(executed) => {
                    self.lookups.remember(tenant, Kind::Property, source, reference, property.0);
                    // What would be planned now is not what was stored when it was first sent.
                    if executed.outcome != Outcome::Repeated {
                        pending.notices.warnings.extend(planned.warnings);
                    }
                    return Ok(self.stored(property, executed, pending));
                }
                Err(NotPlanned::Refused(errors)) => {
                    pending.notices.warnings.extend(planned.warnings);
                    return Err(NotStored::refused(pending.as_sent(errors)));
                }
                // Another request registered it first: its property is updated.
                Err(NotPlanned::Command(CommandError::Taken { by, .. }))
                    if by.category() == "property" => {}
                Err(NotPlanned::Command(error)) => {
                    let mut not_stored = NotStored::from(error);
                    not_stored.errors = pending.as_sent(not_stored.errors);
                    return Err(not_stored);
                }
            }
        }
        Err(NotStored::retry(
            "CONTENDED",
            "others registered the same reference at the same time; send it again",
            std::time::Duration::from_secs(1),
        ))
    }

    fn stored(
        &self,
        property: PropertyId,
        executed: Executed<Property>,
        pending: &mut Pending<'_>,
    ) -> ItemAnswer {
        let Executed { aggregate, position, events, outcome, .. } = executed;
        let registers =
            |event: &PropertyEvent| matches!(event, PropertyEvent::PropertyRegistered(_));
        let mut item = ItemAnswer::new(pending.index, Status::Accepted);
        item.change = Some(match outcome {
            Outcome::Repeated => Change::Repeated,
            Outcome::Unchanged | Outcome::DryRun => Change::Unchanged,
            Outcome::Stored if events.iter().any(|stored| registers(&stored.event)) => {
                Change::Created
            }
            Outcome::Stored => Change::Updated,
        });
        item.listing = aggregate.listing().map(|(listing, _)| listing.0);
        item.events = events
            .iter()
            .map(|stored| StoredAs {
                id: stored.event_id,
                event_type: stored.event.event_type(),
                log: LogName::DOMAIN,
                position: stored.position,
                version: stored.version,
            })
            .collect();
        item.position = last_position(&item.events, position);
        self.lookups.remember_listing(property, &aggregate);
        pending.about(property.0, item)
    }
}

/// Why nothing was planned, or the plan had no effect.
enum NotPlanned {
    Refused(Vec<Notice>),
    Command(CommandError<freehold_domain::property::PropertyRefused>),
}

impl From<CommandError<freehold_domain::property::PropertyRefused>> for NotPlanned {
    fn from(error: CommandError<freehold_domain::property::PropertyRefused>) -> Self {
        Self::Command(error)
    }
}

impl Pending<'_> {
    /// Removing what nobody knows is done already.
    fn unknown(&mut self) -> ItemAnswer {
        let message = "no property has this reference; there is nothing to remove";
        self.notices.warn(Notice::new("UNKNOWN_REFERENCE", message).at("property_id"));
        let mut item = ItemAnswer::new(self.index, Status::Accepted);
        item.change = Some(Change::Unchanged);
        self.about_reference(item)
    }

    fn about(&mut self, id: uuid::Uuid, mut item: ItemAnswer) -> ItemAnswer {
        item.id = Some(id);
        self.about_reference(item)
    }

    fn about_reference(&mut self, mut item: ItemAnswer) -> ItemAnswer {
        item.source = Some(self.source.source.clone());
        item.reference = Some(self.source.reference.clone());
        item.warnings = std::mem::take(&mut self.notices.warnings);
        item
    }

    fn not_stored(mut self, not_stored: NotStored) -> Answered {
        let mut item = ItemAnswer::new(self.index, not_stored.status);
        item.errors = not_stored.errors;
        Answered { item: self.about_reference(item), retry_after: not_stored.retry_after }
    }

    /// The errors with the names and values that the sender used.
    fn as_sent(&self, errors: Vec<Notice>) -> Vec<Notice> {
        let rename = |mut error: Notice| {
            if let Some(field) = error.field.take() {
                let field = field.strip_prefix("data.").unwrap_or(&field);
                let (path, value) = property::sent_at(&self.item.data, field);
                error.field = path;
                error.value = value.map(|value| value.excerpt(100));
            }
            error
        };
        errors.into_iter().map(rename).collect()
    }
}
