//! User items: interactions go to their log, opinions on listings to the account.
//!
//! One path each: a favourite is a command to the account and is not recorded as an interaction
//! too, so that nobody counts it twice.

use std::collections::HashMap;

use freehold_commands::{
    CommandContext, CommandError, Executed, Outcome, RecordError, record_interaction,
};
use freehold_domain::interaction::{
    ActorType, Interaction, InteractionDetails, InteractionKind, ObjectType,
};
use freehold_domain::user::{
    ClearPreference, DiscardListing, FavouriteListing, Origin, PossibleListing, RegisterUser, User,
    UserCommand, UserEvent, UserRefused, UserSource,
};
use freehold_domain::{ListingKey, StoredEvent as _, UserId};
use freehold_ports::{AppendError, CommandId, LogName};
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};

use super::answer::{Answer, Change, ItemAnswer, Notice, Notices, Status, StoredAs};
use super::envelope::personal_field_dropped;
use super::lookups::{Kind, Target};
use super::names::{Preference, UserEventType};
use super::user::{self, UserItem};
use super::{Answered, Groups, IN_FLIGHT, Ingest, NotStored, Sender, last_position};
use crate::platform::{Caller, Platform};

/// How often an item is tried when its user turns out to be registered meanwhile.
const ATTEMPTS: usize = 3;

struct Pending<'a> {
    index: usize,
    source: String,
    item: UserItem<'a>,
    notices: Notices,
}

/// What tells one target of a request from another: listing, source, reference.
type TargetName = (Option<String>, String, Option<String>);

/// What the targets of a request's items are; an error says that it cannot be known now.
type Targets = HashMap<TargetName, Result<Target, NotStored>>;

impl Pending<'_> {
    fn target_name(&self) -> TargetName {
        let about = &self.item.about;
        let source = about.property_source.clone().unwrap_or_else(|| self.source.clone());
        (about.listing.clone(), source, about.reference.clone())
    }
}

impl Ingest {
    /// Stores what people did; one answer an item, in their order.
    ///
    /// Interactions are put in the log's queue in their order; opinions of one user are stored
    /// one after the other.
    pub async fn user(&self, sender: &Sender<'_>, items: &[&[u8]]) -> Answer {
        self.answer(self.store_users(sender, items).await).await
    }

    /// The same without what is only told to who waits for an answer, in any order.
    pub(super) async fn store_users(&self, sender: &Sender<'_>, items: &[&[u8]]) -> Vec<Answered> {
        let now = self.platform.clock.now();
        let mut answered = Vec::with_capacity(items.len());
        let mut interactions = Vec::new();
        let mut opinions = Groups::new();
        for (index, item) in items.iter().enumerate() {
            let mut notices = Notices::default();
            let read = user::read(item, now, &mut notices);
            let source = read.as_ref().map(|item| sender.source_of(item.source.as_deref()));
            match (read, source) {
                (Some(item), Some(Ok(source))) => {
                    let event_type = item.event_type;
                    let user = item.user.clone().unwrap_or_default();
                    let by = (source.clone(), user);
                    let pending = Pending { index, source, item, notices };
                    match event_type {
                        UserEventType::Interaction(kind) => interactions.push((pending, kind)),
                        UserEventType::Preference(preference) => {
                            opinions.add(by, (pending, preference));
                        }
                    }
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
        let names = interactions.iter().map(|(pending, _)| pending);
        let names = names.chain(opinions.iter().map(|(pending, _)| pending));
        let targets = self.targets(sender.caller, names).await;

        let recorded: Vec<_> = interactions
            .into_iter()
            .map(|(pending, kind)| self.record(sender, &targets, pending, kind))
            .collect();
        let opined: Vec<_> =
            opinions.in_order().map(|group| self.opine_in_order(sender, &targets, group)).collect();
        // Interactions finish in their order, so that their places in the queue follow it.
        let recorded = stream::iter(recorded).buffered(IN_FLIGHT).collect::<Vec<_>>();
        let opined = stream::iter(opined).buffer_unordered(IN_FLIGHT).collect::<Vec<_>>();
        let (recorded, opined) = join(recorded, opined).await;
        answered.extend(recorded);
        answered.extend(opined.into_iter().flatten());
        answered
    }

    /// Looks up what the items are about, each thing once.
    async fn targets<'p>(
        &self,
        caller: &Caller,
        pending: impl Iterator<Item = &'p Pending<'p>>,
    ) -> Targets {
        let names: std::collections::HashSet<TargetName> =
            pending.map(Pending::target_name).collect();
        let lookups: Vec<_> = names.into_iter().map(|name| self.target(caller, name)).collect();
        stream::iter(lookups).buffer_unordered(IN_FLIGHT).collect().await
    }

    async fn target(
        &self,
        caller: &Caller,
        name: TargetName,
    ) -> (TargetName, Result<Target, NotStored>) {
        let (listing, source, reference) = &name;
        let tenant = &caller.tenant;
        if let Some(key) = listing.as_ref().and_then(|listing| listing.parse().ok())
            && let Some(target) = self.lookups.listing(&self.platform, tenant, key).await
        {
            return (name, Ok(target));
        }
        // Some senders call a property a listing.
        let found = match reference.as_ref().or(listing.as_ref()) {
            Some(reference) => self.lookups.target(&self.platform, tenant, source, reference).await,
            None => Ok(Target::default()),
        };
        (name, found.map_err(NotStored::from))
    }

    async fn record(
        &self,
        sender: &Sender<'_>,
        targets: &Targets,
        mut pending: Pending<'_>,
        kind: InteractionKind,
    ) -> Answered {
        let target = match targets.get(&pending.target_name()) {
            Some(Ok(target)) => *target,
            Some(Err(not_stored)) => return pending.not_stored(not_stored.clone()),
            None => Target::default(),
        };
        let caller = sender.caller;
        let interaction = self.interaction(caller, &mut pending, target, kind);
        let key = sender.key_of(pending.item.event_id.as_deref(), pending.index);
        let key = key.map(|key| format!("{}/{key}", pending.source));
        let visit =
            interaction.details.session.clone().or_else(|| pending.item.about.reference.clone());
        let visit = visit.unwrap_or_default();
        let Platform { store, codec, .. } = &self.platform;
        let context = caller.context(None);
        let recorded =
            record_interaction(&**store, codec, &interaction, key.as_deref(), &visit, &context);
        match recorded.await {
            Ok(recorded) => {
                let mut item = ItemAnswer::new(pending.index, Status::Accepted);
                let repeated = recorded.appended.repeated;
                item.change = Some(if repeated { Change::Repeated } else { Change::Recorded });
                item.listing = target.listing.map(|listing| listing.0);
                item.id = target.property.map(|property| property.0);
                item.position = Some(recorded.appended.position);
                item.events = vec![StoredAs {
                    id: recorded.event_id,
                    event_type: kind.name(),
                    log: LogName::INTERACTIONS,
                    position: Some(recorded.appended.position),
                    version: recorded.appended.version,
                }];
                Answered { item: pending.about_reference(item), retry_after: None }
            }
            Err(error) => pending.not_stored(error.into()),
        }
    }

    /// What is stored: nothing that says who it was.
    fn interaction(
        &self,
        caller: &Caller,
        pending: &mut Pending<'_>,
        target: Target,
        kind: InteractionKind,
    ) -> Interaction {
        let Pending { source, item, notices, .. } = pending;
        let now = self.platform.clock.now();
        let about = &item.about;
        let named = about.reference.as_ref().or(about.listing.as_ref());
        let reference = named.filter(|_| target.property.is_none());
        // A reference is stored in clear; one with an @ could be an e-mail address.
        let reference = reference.filter(|reference| {
            let personal = reference.contains('@');
            if personal {
                notices.warn(personal_field_dropped("data.property_id".to_owned()));
            } else {
                let message = "no property has this reference; recorded with the reference alone";
                notices.warn(Notice::new("UNKNOWN_REFERENCE", message).at("data.property_id"));
            }
            !personal
        });
        let object_type = about.object_type.unwrap_or(match kind {
            InteractionKind::Search => ObjectType::SavedSearch,
            _ if target.listing.is_some() => ObjectType::Listing,
            _ => ObjectType::Property,
        });
        let details = InteractionDetails {
            actor_type: about.actor_type.unwrap_or(ActorType::Unknown),
            object_type,
            property: target.property,
            listing: target.listing,
            reference: reference.cloned(),
            device_type: about.device_type,
            event_source: about.channel,
            session: about
                .session
                .as_ref()
                .or(item.user.as_ref())
                .map(|visitor| self.session(caller, source, visitor)),
            page_position: about.page_position.map(u32::from),
            event_timestamp: about.occurred_at.unwrap_or(now),
            reported_timestamp: about.reported_at.unwrap_or(now),
        };
        Interaction { kind, details }
    }

    /// A keyed hash: the same for one visitor of one source, and nothing to anybody else.
    fn session(&self, caller: &Caller, source: &str, visitor: &str) -> String {
        let text = format!("{}\n{source}\n{visitor}", caller.tenant);
        self.platform.codec.keyed_hash("session", text.as_bytes()).to_hex()
    }

    async fn opine_in_order(
        &self,
        sender: &Sender<'_>,
        targets: &Targets,
        group: Vec<(Pending<'_>, Preference)>,
    ) -> Vec<Answered> {
        let mut answered: Vec<Answered> = Vec::with_capacity(group.len());
        let mut waiting = None;
        for (mut pending, preference) in group {
            // Once one has to be sent again, those after it have to come after it again.
            if let Some(retry_after) = waiting {
                let message = "an earlier item of the same user has to be sent again first";
                answered.push(pending.not_stored(NotStored::retry(
                    "OUT_OF_TURN",
                    message,
                    retry_after,
                )));
                continue;
            }
            let opinion = self.opine(sender, targets, &mut pending, preference);
            let one = match opinion.await {
                Ok(item) => Answered { item, retry_after: None },
                Err(not_stored) => pending.not_stored(not_stored),
            };
            waiting = one.retry_after;
            answered.push(one);
        }
        answered
    }

    async fn opine(
        &self,
        sender: &Sender<'_>,
        targets: &Targets,
        pending: &mut Pending<'_>,
        preference: Preference,
    ) -> Result<ItemAnswer, NotStored> {
        let target = match targets.get(&pending.target_name()) {
            Some(Err(not_stored)) => return Err(not_stored.clone()),
            Some(Ok(target)) => *target,
            None => Target::default(),
        };
        let Some(listing) = target.listing else {
            let message = "there is no open listing of this; an opinion is about a listing";
            let notice = Notice::new("LISTING_NOT_FOUND", message).at("data.property_id");
            return Err(NotStored::refused(vec![notice]));
        };
        let source = UserSource {
            source: pending.source.clone(),
            reference: pending.item.user.clone().unwrap_or_default(),
        };
        let key = sender.key_of(pending.item.event_id.as_deref(), pending.index);
        let caller = sender.caller;
        let scope = format!("ingest/user/{}/{}/{}", caller.tenant, caller.actor, pending.source);
        let mut context = caller.context(key.map(|key| CommandId::from_key(&scope, &key)));
        context.occurred_at = pending.item.about.occurred_at;
        let request = (format!("{:?}", pending.item.event_type), &pending.item.data);
        let (user, executed) =
            self.execute_opinion(caller, &context, &source, &request, preference, listing).await?;
        Ok(pending.opined(user, listing, executed))
    }

    async fn execute_opinion(
        &self,
        caller: &Caller,
        context: &CommandContext,
        source: &UserSource,
        request: &(impl serde::Serialize + Sync),
        preference: Preference,
        listing: ListingKey,
    ) -> Result<(UserId, Executed<User>), NotStored> {
        let UserSource { source: feed, reference } = source;
        let tenant = &caller.tenant;
        for _ in 0..ATTEMPTS {
            let id = self.lookups.id_of(&self.platform, tenant, Kind::User, feed, reference).await;
            let id = id?;
            let user = UserId(id.unwrap_or_else(|| context.new_id("user")));
            let plan = |state: &User| {
                let mut commands: Vec<UserCommand> = Vec::with_capacity(2);
                if *state == User::Unregistered {
                    let origin = Origin::Feed(source.clone());
                    let (display_name, email, phone) = (None, None, None);
                    commands.push(RegisterUser { user, origin, display_name, email, phone }.into());
                }
                commands.push(match preference {
                    Preference::Favorite => FavouriteListing { listing }.into(),
                    Preference::Possibility => PossibleListing { listing }.into(),
                    Preference::Discard => DiscardListing { listing }.into(),
                    Preference::Clear => ClearPreference { listing }.into(),
                });
                Ok::<_, CommandError<UserRefused>>(commands)
            };
            let executor = &self.platform.executor;
            match executor.execute_planned(user.0, request, plan, context).await {
                Ok(executed) => {
                    self.lookups.remember(tenant, Kind::User, feed, reference, user.0);
                    return Ok((user, executed));
                }
                // Another request registered them first.
                Err(CommandError::Taken { by, .. }) if by.category() == "user" => {}
                Err(error) => return Err(refused_user(error)),
            }
        }
        let message = "others registered the same user at the same time; send it again";
        Err(NotStored::retry("CONTENDED", message, std::time::Duration::from_secs(1)))
    }
}

/// A refusal of the account, with the names that the sender used.
fn refused_user(error: CommandError<UserRefused>) -> NotStored {
    let mut not_stored = NotStored::from(error);
    for error in &mut not_stored.errors {
        error.field = match error.field.as_deref() {
            Some("origin") => Some("user_id".to_owned()),
            _ => None,
        };
    }
    not_stored
}

impl Pending<'_> {
    fn opined(
        &mut self,
        user: UserId,
        listing: ListingKey,
        executed: Executed<User>,
    ) -> ItemAnswer {
        let registers = |event: &UserEvent| matches!(event, UserEvent::UserRegistered(_));
        let created = executed.events.iter().any(|stored| registers(&stored.event));
        let mut item = ItemAnswer::new(self.index, Status::Accepted);
        item.change = Some(match executed.outcome {
            Outcome::Repeated => Change::Repeated,
            Outcome::Unchanged | Outcome::DryRun => Change::Unchanged,
            Outcome::Stored if created => Change::Created,
            Outcome::Stored => Change::Updated,
        });
        item.id = Some(user.0);
        item.listing = Some(listing.0);
        item.events = executed
            .events
            .iter()
            .map(|stored| StoredAs {
                id: stored.event_id,
                event_type: stored.event.event_type(),
                log: LogName::DOMAIN,
                position: stored.position,
                version: stored.version,
            })
            .collect();
        item.position = last_position(&item.events, executed.position);
        self.about_reference(item)
    }

    fn about_reference(&mut self, mut item: ItemAnswer) -> ItemAnswer {
        item.source = Some(self.source.clone());
        item.reference = self.item.about.reference.clone();
        item.warnings = std::mem::take(&mut self.notices.warnings);
        item
    }

    fn not_stored(mut self, not_stored: NotStored) -> Answered {
        let mut item = ItemAnswer::new(self.index, not_stored.status);
        item.errors = not_stored.errors;
        Answered { item: self.about_reference(item), retry_after: not_stored.retry_after }
    }
}

impl From<RecordError> for NotStored {
    fn from(error: RecordError) -> Self {
        let append = match error {
            RecordError::Append(append) => append,
            RecordError::Codec(error) => return Self::unavailable(&error),
        };
        match append {
            AppendError::Overloaded { retry_after } => {
                Self::retry("OVERLOADED", "the log's queue is full; send it again", retry_after)
            }
            AppendError::Invalid(invalid) => {
                Self::refused(vec![Notice::new("TOO_LARGE", invalid.to_string())])
            }
            AppendError::CommandIdReused { .. } => {
                let message = "this key was used for another item; send a new one";
                Self::refused(vec![Notice::new("IDEMPOTENCY_KEY_REUSED", message)])
            }
            AppendError::OutcomeUnknown { .. } => {
                let message = "nobody knows whether it is stored; send it again";
                Self::retry("OUTCOME_UNKNOWN", message, std::time::Duration::from_secs(1))
            }
            AppendError::Fenced { .. } => Self::fenced(),
            error => Self::unavailable(&error),
        }
    }
}
