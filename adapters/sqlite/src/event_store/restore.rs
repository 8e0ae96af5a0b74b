//! Events and answers as they were recorded elsewhere, and what moving them needs to read.

use chrono::{DateTime, Utc};
use freehold_ports::{
    CommandId, GlobalPosition, ReadError, RecordedAnswer, RecordedEvent, RestoreBatch,
    RestoreError, StreamVersion,
};
use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::reader::{Reader, unavailable};
use super::writer::{Log, Names, Stream, answer_of, lines};

const ANSWER: &str = "SELECT version, position, events, fingerprint, answered_at, command_id
     FROM command_{log} WHERE command_id = ?1";

const WITHOUT_EVENTS: &str =
    "SELECT version, position, events, fingerprint, answered_at, command_id
     FROM command_{log} WHERE command_id > ?1 AND events = 0 ORDER BY command_id LIMIT ?2";

impl Reader {
    pub(super) fn answers(
        &self,
        log: usize,
        commands: &[CommandId],
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let mut find = self.prepare(ANSWER, log)?;
        let answers = commands.iter().filter_map(|command| {
            let answer = find.query_row([command.0.as_bytes()], recorded_answer);
            answer.optional().transpose()
        });
        answers.collect::<Result<_, _>>().map_err(unavailable)
    }

    pub(super) fn answers_without_events(
        &self,
        log: usize,
        after: Option<CommandId>,
        limit: u32,
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let after = after.map_or(Vec::new(), |command| command.0.as_bytes().to_vec());
        let mut find = self.prepare(WITHOUT_EVENTS, log)?;
        let answers = find.query_map(params![after, limit], recorded_answer);
        answers.and_then(Iterator::collect).map_err(unavailable)
    }
}

fn recorded_answer(row: &Row<'_>) -> rusqlite::Result<RecordedAnswer> {
    let (answer, fingerprint) = answer_of(row)?;
    let answered_at: i64 = row.get(4)?;
    Ok(RecordedAnswer {
        command_id: CommandId(Uuid::from_bytes(row.get(5)?)),
        answer,
        fingerprint,
        answered_at: DateTime::from_timestamp_micros(answered_at)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(4, answered_at))?,
    })
}

impl Log<'_> {
    /// Checks a batch and stores all of it, in the open transaction.
    pub(super) fn restore(
        &mut self,
        names: &mut Names<'_>,
        batch: &RestoreBatch,
    ) -> rusqlite::Result<Result<(), RestoreError>> {
        let recorded_at = DateTime::<Utc>::from_timestamp_micros(self.recorded_at)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, self.recorded_at))?;
        let (name, head) = (self.name.clone(), GlobalPosition(self.head as u64));
        let checked = batch.check(&name, head, recorded_at, |stream| {
            let version = self.stream(stream)?.map_or(0, |stream| stream.version as u64);
            Ok::<_, rusqlite::Error>(StreamVersion(version))
        })?;
        if let Err(refusal) = checked {
            return Ok(Err(refusal));
        }
        let mut unknown = Vec::new();
        let connection = self.connection;
        let mut find = connection.prepare_cached(&ANSWER.replace("{log}", name.as_str()))?;
        for answer in &batch.answers {
            match find.query_row([answer.command_id.0.as_bytes()], recorded_answer).optional()? {
                None => unknown.push(answer),
                Some(known) if known == *answer => {}
                Some(_) => {
                    let command_id = answer.command_id;
                    return Ok(Err(RestoreError::OtherAnswer { command_id }));
                }
            }
        }
        for event in &batch.events {
            self.restore_event(names, event)?;
        }
        for RecordedAnswer { command_id, answer, fingerprint, answered_at } in unknown {
            self.insert_command.execute(params![
                command_id.0.as_bytes(),
                fingerprint.0,
                answer.version.0 as i64,
                answer.position.0 as i64,
                answer.events,
                answered_at.timestamp_micros(),
            ])?;
        }
        Ok(Ok(()))
    }

    fn restore_event(
        &mut self,
        names: &mut Names<'_>,
        event: &RecordedEvent,
    ) -> rusqlite::Result<()> {
        let stream = match self.stream(&event.stream)? {
            Some(stream) => stream,
            None => self.insert_stream(names, &event.stream)?,
        };
        let tenant = names.find_or_insert(&event.provenance.tenant)?;
        let actor = names.find_or_insert(&event.provenance.actor)?;
        let event_type = names.find_or_insert(&event.event_type)?;
        let subjects = (!event.subjects.is_empty())
            .then(|| event.subjects.iter().flat_map(|s| s.0.into_bytes()).collect::<Vec<_>>());
        self.head += 1;
        self.recorded_at = event.recorded_at.timestamp_micros();
        self.insert_event.execute(params![
            self.head,
            stream.id,
            event.version.0 as i64,
            stream.category,
            event_type,
            event.schema_version,
            event.codec.number(),
            tenant,
            actor,
            event.occurred_at.timestamp_micros(),
            self.recorded_at,
            event.event_id.0.as_bytes(),
            event.command_id.0.as_bytes(),
            event.provenance.correlation_id.as_ref().map(Uuid::as_bytes),
            event.provenance.causation_id.as_ref().map(Uuid::as_bytes),
            subjects,
            lines(&event.tags),
            &*event.payload,
        ])?;
        for tag in &event.tags {
            self.insert_tag.execute(params![tag.as_str(), tenant, self.head])?;
        }
        let moved = Stream { version: event.version.0 as i64, ..stream };
        self.streams.insert(event.stream.clone(), moved);
        Ok(())
    }
}
