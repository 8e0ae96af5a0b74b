//! Deciding a batch from what its writer knows. Nothing here asks the server: what must be asked
//! first is named, and what the decision assumes is handed to the server to check as it writes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use foldhash::fast::RandomState;
use freehold_ports::{
    AppendError, AppendRequest, Appended, CommandId, ExpectedVersion, Fingerprint, GlobalPosition,
    RecentlyUsed, StreamId, StreamVersion, Tag,
};
use uuid::Uuid;

use super::queue::Waiting;

/// How many streams' heads are remembered, about 150 bytes each.
const REMEMBERED_STREAMS: usize = 100_000;
/// How many answers are remembered, about 100 bytes each.
const REMEMBERED_COMMANDS: usize = 50_000;

/// Positions from here on count the batch's own events: where the batch will start is not known
/// before it is stored.
const RELATIVE: u64 = 1 << 62;

pub(super) type Verdict = Result<Appended, AppendError>;
/// What a command id got.
pub(super) type Answer = (Appended, Fingerprint);
/// Numbers of the names in a batch.
pub(super) type NameIds<'b> = HashMap<&'b str, i32, RandomState>;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) id: i64,
    pub(super) version: u64,
}

/// What is remembered from earlier batches. Versions only grow and answers stay, so it is never
/// wrong, but other processes may have gone on since.
pub(super) struct Memory {
    streams: RecentlyUsed<StreamId, Stream>,
    commands: RecentlyUsed<CommandId, Answer>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            streams: RecentlyUsed::new(REMEMBERED_STREAMS),
            commands: RecentlyUsed::new(REMEMBERED_COMMANDS),
        }
    }
}

impl Memory {
    /// Takes over what was looked up; true if it was not what was remembered.
    pub(super) fn learn(&mut self, looked_up: &LookedUp) -> bool {
        let mut surprised = false;
        for (name, found) in &looked_up.streams {
            surprised |= self.streams.get(name).is_some_and(|known| Some(known) != *found);
            match found {
                Some(stream) => self.streams.insert(name.clone(), *stream),
                None => self.streams.remove(name),
            }
        }
        for (id, answer) in &looked_up.commands {
            self.commands.insert(*id, *answer);
        }
        surprised
    }
}

/// What the server said about requests of one batch.
#[derive(Default)]
pub(super) struct LookedUp {
    /// Of which requests, by their place in the batch.
    pub(super) asked: Vec<bool>,
    pub(super) streams: Map<StreamId, Option<Stream>>,
    pub(super) commands: Map<CommandId, Answer>,
    pub(super) tags: Map<(Arc<str>, Tag), GlobalPosition>,
}

/// What a batch comes to, if all that it assumes is true.
#[derive(Default)]
pub(super) struct Decided<'b> {
    verdicts: Vec<Verdict>,
    admitted: Vec<(&'b AppendRequest, Appended)>,
    streams: Map<&'b StreamId, Touched>,
}

/// A stream that admitted requests speak of.
struct Touched {
    /// Where it stands before the batch.
    before: Option<Stream>,
    version: u64,
    /// Offsets of its first and last event in the batch, from 1; 0 for none.
    first: u64,
    last: u64,
}

/// Decides each request in order, as if those before it were stored.
///
/// A refusal is given only on what was looked up for this batch, since the request may be the
/// repetition of one that was answered. Errors: the places of requests to look up first.
pub(super) fn decide<'b>(
    batch: &'b [Waiting],
    memory: &mut Memory,
    looked_up: &LookedUp,
) -> Result<Decided<'b>, Vec<usize>> {
    let mut decided = Decided::default();
    let mut to_ask = Vec::new();
    let mut commands: Map<CommandId, Answer> = Map::default();
    let mut tags: Map<(&str, &Tag), GlobalPosition> = Map::default();
    let mut events = 0;
    for (place, Waiting { request, .. }) in batch.iter().enumerate() {
        let id = &request.command_id;
        let answered = commands.get(id).or_else(|| looked_up.commands.get(id)).copied();
        if let Some((first, fingerprint)) = answered.or_else(|| memory.commands.get(id)) {
            decided.verdicts.push(request.decide_again(first, fingerprint));
            continue;
        }
        let asked = looked_up.asked.get(place).is_some_and(|asked| *asked);
        let before = match (decided.streams.get(&request.stream), &request.stream) {
            (Some(touched), _) => touched.before,
            (None, stream) => match (looked_up.streams.get(stream), memory.streams.get(stream)) {
                (Some(found), _) => *found,
                (None, Some(remembered)) => Some(remembered),
                (None, None) if is_for_a_new_stream(request.expected) => None,
                (None, None) => {
                    to_ask.push(place);
                    continue;
                }
            },
        };
        let version = match decided.streams.get(&request.stream) {
            Some(touched) => touched.version,
            None => before.map_or(0, |stream| stream.version),
        };
        let tenant = &request.provenance.tenant;
        let last_tagged = |tag: &Tag| -> Result<_, Infallible> {
            let earlier = tags.get(&(&**tenant, tag)).copied();
            let found = || looked_up.tags.get(&(tenant.clone(), tag.clone())).copied();
            Ok(earlier.or_else(found))
        };
        let head = GlobalPosition(RELATIVE + events);
        let Ok(verdict) = request.decide(StreamVersion(version), head, last_tagged);
        let appended = match verdict {
            Ok(appended) => appended,
            Err(_) if !asked => {
                to_ask.push(place);
                continue;
            }
            Err(refusal) => {
                decided.verdicts.push(Err(refusal));
                continue;
            }
        };
        let touched = decided.streams.entry(&request.stream).or_insert(Touched {
            before,
            version,
            first: 0,
            last: 0,
        });
        touched.version = appended.version.0;
        if !request.events.is_empty() {
            touched.last = events + request.events.len() as u64;
            if touched.first == 0 {
                touched.first = events + 1;
            }
        }
        for event in &request.events {
            events += 1;
            for tag in &event.tags {
                tags.insert((&**tenant, tag), GlobalPosition(RELATIVE + events));
            }
        }
        commands.insert(*id, (appended, request.fingerprint));
        decided.admitted.push((request, appended));
        decided.verdicts.push(Ok(appended));
    }
    if to_ask.is_empty() { Ok(decided) } else { Err(to_ask) }
}

/// Whoever expects no stream is most often right, and the write will tell.
fn is_for_a_new_stream(expected: ExpectedVersion) -> bool {
    match expected {
        ExpectedVersion::NoStream => true,
        ExpectedVersion::Exactly(version) => version.0 == 0,
        ExpectedVersion::Any | ExpectedVersion::StreamExists => false,
    }
}

impl<'b> Decided<'b> {
    /// Whether there is anything to store.
    pub(super) fn admits_any(&self) -> bool {
        !self.admitted.is_empty()
    }

    /// Whether somebody is refused or repeated.
    pub(super) fn refuses_any(&self) -> bool {
        self.verdicts.iter().any(|verdict| !matches!(verdict, Ok(first) if !first.repeated))
    }

    /// The offset and command id of the last event.
    pub(super) fn last_event(&self) -> Option<(u64, CommandId)> {
        let with_events = self.admitted.iter().rev().find(|(_, appended)| appended.events > 0);
        with_events.map(|(request, appended)| (appended.position.0 - RELATIVE, request.command_id))
    }

    /// The verdicts of a batch that was stored behind `head`, which is remembered.
    pub(super) fn settle(self, head: GlobalPosition, memory: &mut Memory) -> Vec<Verdict> {
        for (name, touched) in self.streams {
            let id = touched.before.map_or((head.0 + touched.first) as i64, |before| before.id);
            if touched.version > 0 {
                memory.streams.insert(name.clone(), Stream { id, version: touched.version });
            }
        }
        for (request, appended) in &self.admitted {
            let position = settled(appended.position, head);
            let answer = (Appended { position, ..*appended }, request.fingerprint);
            memory.commands.insert(request.command_id, answer);
        }
        let mut verdicts = self.verdicts;
        for verdict in &mut verdicts {
            match verdict {
                Ok(appended) => appended.position = settled(appended.position, head),
                Err(AppendError::BoundaryConflict { position, .. }) => {
                    *position = settled(*position, head);
                }
                Err(_) => {}
            }
        }
        verdicts
    }
}

fn settled(position: GlobalPosition, head: GlobalPosition) -> GlobalPosition {
    match position.0.checked_sub(RELATIVE) {
        Some(offset) => GlobalPosition(head.0 + offset),
        None => position,
    }
}

/// The arguments of `append_events`, column by column, as they are named there.
#[derive(Default)]
pub(super) struct Columns<'b> {
    pub(super) condition_tenants: Vec<i32>,
    pub(super) condition_tags: Vec<&'b str>,
    pub(super) condition_after: Vec<i64>,
    pub(super) command_ids: Vec<Uuid>,
    pub(super) fingerprints: Vec<Uuid>,
    pub(super) command_versions: Vec<i64>,
    pub(super) command_offsets: Vec<i32>,
    pub(super) command_events: Vec<i32>,
    pub(super) new_names: Vec<&'b str>,
    pub(super) new_categories: Vec<i32>,
    pub(super) new_versions: Vec<i64>,
    pub(super) new_first: Vec<i32>,
    pub(super) new_last: Vec<i32>,
    pub(super) absent_names: Vec<&'b str>,
    pub(super) old_ids: Vec<i64>,
    pub(super) old_from: Vec<i64>,
    pub(super) old_to: Vec<i64>,
    pub(super) old_last: Vec<i32>,
    pub(super) same_ids: Vec<i64>,
    pub(super) same_versions: Vec<i64>,
    pub(super) streams: Vec<i64>,
    pub(super) versions: Vec<i64>,
    pub(super) occurred_at: Vec<i64>,
    pub(super) categories: Vec<i32>,
    pub(super) types: Vec<i32>,
    pub(super) tenants: Vec<i32>,
    pub(super) actors: Vec<i32>,
    pub(super) schema_versions: Vec<i32>,
    pub(super) codecs: Vec<i16>,
    pub(super) event_ids: Vec<Uuid>,
    pub(super) event_command_ids: Vec<Uuid>,
    pub(super) correlation_ids: Vec<Option<Uuid>>,
    pub(super) causation_ids: Vec<Option<Uuid>>,
    pub(super) subjects: Vec<Option<Vec<u8>>>,
    pub(super) event_tags: Vec<Option<String>>,
    pub(super) payloads: Vec<&'b [u8]>,
    pub(super) tag_offsets: Vec<i32>,
    pub(super) tag_tenants: Vec<i32>,
    pub(super) tags: Vec<&'b str>,
}

impl<'b> Columns<'b> {
    /// The columns of what is admitted; `names` has every name of the batch.
    pub(super) fn of(decided: &Decided<'b>, names: &NameIds<'b>) -> Self {
        let mut columns = Self::default();
        for (request, appended) in &decided.admitted {
            let touched = &decided.streams[&request.stream];
            // In order of position, as their indexes are.
            if !request.events.is_empty() && touched.first == columns.streams.len() as u64 + 1 {
                columns.add_stream(&request.stream, touched, names);
            }
            columns.add_request(request, *appended, touched, names);
        }
        for (stream, touched) in decided.streams.iter().filter(|(_, touched)| touched.last == 0) {
            columns.add_stream(stream, touched, names);
        }
        columns
    }

    fn add_stream(&mut self, stream: &'b StreamId, touched: &Touched, names: &NameIds<'b>) {
        match touched.before {
            None if touched.last == 0 => self.absent_names.push(stream.as_str()),
            None => {
                self.new_names.push(stream.as_str());
                self.new_categories.push(names[stream.category()]);
                self.new_versions.push(touched.version as i64);
                self.new_first.push(touched.first as i32);
                self.new_last.push(touched.last as i32);
            }
            Some(before) if touched.last == 0 => {
                self.same_ids.push(before.id);
                self.same_versions.push(before.version as i64);
            }
            Some(before) => {
                self.old_ids.push(before.id);
                self.old_from.push(before.version as i64);
                self.old_to.push(touched.version as i64);
                self.old_last.push(touched.last as i32);
            }
        }
    }

    fn add_request(
        &mut self,
        request: &'b AppendRequest,
        appended: Appended,
        touched: &Touched,
        names: &NameIds<'b>,
    ) {
        let provenance = &request.provenance;
        let tenant = names[&*provenance.tenant];
        for boundary in &request.boundaries {
            self.condition_tenants.push(tenant);
            self.condition_tags.push(boundary.tag.as_str());
            self.condition_after.push(i64::try_from(boundary.after.0).unwrap_or(i64::MAX));
        }
        self.command_ids.push(request.command_id.0);
        self.fingerprints.push(Uuid::from_bytes(request.fingerprint.0));
        self.command_versions.push(appended.version.0 as i64);
        self.command_offsets.push((appended.position.0 - RELATIVE) as i32);
        self.command_events.push(appended.events as i32);
        let mut version = appended.version_before().0;
        let stream = touched.before.map_or(-(touched.first as i64), |before| before.id);
        let category = names[request.stream.category()];
        let actor = names[&*provenance.actor];
        for event in &request.events {
            version += 1;
            self.streams.push(stream);
            self.versions.push(version as i64);
            self.occurred_at.push(event.occurred_at.timestamp_micros());
            self.categories.push(category);
            self.types.push(names[&*event.event_type]);
            self.tenants.push(tenant);
            self.actors.push(actor);
            self.schema_versions.push(i32::from(event.schema_version));
            self.codecs.push(i16::from(event.codec.number()));
            self.event_ids.push(event.event_id.0);
            self.event_command_ids.push(request.command_id.0);
            self.correlation_ids.push(provenance.correlation_id);
            self.causation_ids.push(provenance.causation_id);
            let subjects = event.subjects.iter().flat_map(|subject| subject.0.into_bytes());
            self.subjects.push((!event.subjects.is_empty()).then(|| subjects.collect()));
            self.event_tags.push(lines(&event.tags));
            self.payloads.push(&event.payload);
            let mut tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
            tags.sort_unstable();
            tags.dedup();
            for tag in tags {
                self.tag_offsets.push(self.streams.len() as i32);
                self.tag_tenants.push(tenant);
                self.tags.push(tag);
            }
        }
    }
}

/// Tags have no control characters, so a line break keeps them apart.
pub(super) fn lines(tags: &[Tag]) -> Option<String> {
    let (first, rest) = tags.split_first()?;
    let mut lines = first.as_str().to_owned();
    for tag in rest {
        lines.push('\n');
        lines.push_str(tag.as_str());
    }
    Some(lines)
}
