// Emmett on PostgreSQL: its event store over a pool of node-postgres, its consumer as the reader.
//
// The workloads are those of src/drive.rs, by the same names and with the same numbers.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import { v7 as newId } from 'uuid';

const EVENTS_OF_STREAM = 20;
const FILLERS = 8;
const CONNECTIONS = 64;
const LOADED = [[200, 10], [100, 100], [20, 1000]];
const EVENTS_OF_FILLED = 100;
const SILENCE = 3000;
const LONGEST_START = 60_000;

const names = ['url', 'workload', 'callers', 'seconds', 'seed', 'count', 'fill-seconds', 'events'];
const options = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
const { values: asked } = parseArgs({ options });
const callers = Number(asked.callers);
const history = readFileSync(asked.events, 'utf8').trimEnd().split('\n').map((line) => {
  const { event_type: type, payload: data } = JSON.parse(line);
  return { type, data };
});

/** The event at a version, which counts from 1. */
const eventAt = (version) =>
  history[(version <= history.length ? version : 3 + ((version - 3) % (history.length - 2))) - 1];

const pool = new pg.Pool({
  connectionString: asked.url,
  max: Math.min(Math.max(callers, FILLERS), CONNECTIONS),
});
const store = getPostgreSQLEventStore(asked.url, { connectionOptions: { pool } });
await store.schema.migrate();
const clients = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()));
clients.forEach((client) => client.release());

const nameOf = (stream) => `property-${stream}`;

/** An event among those that a reader sees. */
const keyOf = (stream, version) => `${stream}/${version}`;

const keysOf = (streams, events) =>
  streams.flatMap((stream) => Array.from({ length: events }, (_, n) => keyOf(stream, n + 1)));

/** The version after so many more events, or nothing when another writer came first. */
async function append(stream, version, count) {
  const events = Array.from({ length: count }, (_, n) => eventAt(version + 1 + n));
  try {
    const expectedStreamVersion = BigInt(version);
    const done = await store.appendToStream(nameOf(stream), events, { expectedStreamVersion });
    return Number(done.nextExpectedStreamVersion);
  } catch (error) {
    if (error.name === 'ExpectedVersionConflictError' || error.errorCode === 412) return undefined;
    throw error;
  }
}

/** Where a stream is, known to be at least at a version; the refusal does not say. */
async function versionOf(stream, known) {
  const found = await store.readStream(nameOf(stream), { from: BigInt(known) });
  return Math.max(known, Number(found.currentStreamVersion));
}

function span() {
  const seconds = Number(asked.seconds);
  const from = performance.now() + (seconds / 5) * 1000;
  return { from, until: from + seconds * 1000, seconds };
}

const together = async (number, caller) =>
  Promise.all(Array.from({ length: number }, (_, index) => caller(index)));

function note(times, within, sent) {
  const answered = performance.now();
  if (answered >= within.from && answered <= within.until) times.push(answered - sent);
}

function row(name, times, within, each, unit) {
  const sorted = times.flat().sort((a, b) => a - b);
  const at = (share) => sorted[Math.floor(((sorted.length - 1) * share) / 100)];
  const events = sorted.length * each;
  return {
    row: name, callers, value: events / within.seconds, unit, events,
    p50_ms: at(50), p95_ms: at(95), p99_ms: at(99),
  };
}

async function singles() {
  const [hot, within] = [newId(), span()];
  const times = await together(callers, async () => {
    const times = [];
    let [stream, version] = [hot, 0];
    while (performance.now() < within.until) {
      const full = asked.workload === 'twenty' ? version % EVENTS_OF_STREAM === 0
        : asked.workload === 'fresh';
      if (full) [stream, version] = [newId(), 0];
      const sent = performance.now();
      let stored;
      while ((stored = await append(stream, version, 1)) === undefined) {
        if (performance.now() > within.until) return times;
        version = await versionOf(stream, version);
      }
      version = stored;
      note(times, within, sent);
    }
    return times;
  });
  return [row(asked.workload, times, within, 1, 'events/s')];
}

async function batches(size) {
  const within = span();
  const times = await together(callers, async () => {
    const times = [];
    while (performance.now() < within.until) {
      const sent = performance.now();
      await append(newId(), 0, size);
      note(times, within, sent);
    }
    return times;
  });
  return [row(`batch-${size}`, times, within, size, 'events/s')];
}

async function fill(streams, events, until) {
  const filled = [];
  let left = streams;
  await together(FILLERS, async () => {
    while (left > 0 && performance.now() < until) {
      left -= 1;
      const stream = newId();
      await append(stream, 0, events);
      filled.push(stream);
    }
  });
  return filled;
}

/** Follows all events from the first; `seen` is told the stream and the version. */
function follow(seen) {
  const consumer = store.consumer({ pulling: { batchSize: 1000, pullingFrequencyInMs: 1 } });
  consumer.reactor({
    processorId: 'bench',
    startFrom: 'BEGINNING',
    eachMessage: (event) => {
      const { streamName, streamPosition } = event.metadata;
      seen(streamName.slice('property-'.length), Number(streamPosition));
    },
  });
  const ended = consumer.start();
  ended.catch((error) => {
    console.error(error);
    process.exit(1);
  });
  return consumer;
}

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

async function read() {
  const until = performance.now() + Number(asked['fill-seconds']) * 1000;
  const streams = [];
  for (const [number, events] of LOADED) streams.push([events, await fill(number, events, until)]);
  const stored = streams.flatMap(([events, of]) => keysOf(of, events));
  const more = Math.floor(Math.max(0, Number(asked.count) - stored.length) / EVENTS_OF_FILLED);
  const filled = await fill(more, EVENTS_OF_FILLED, until);
  for (const key of keysOf(filled, EVENTS_OF_FILLED)) stored.push(key);
  await pool.query('VACUUM ANALYZE');
  const rows = [];
  for (const [events, of] of streams.filter(([, of]) => of.length > 0)) {
    const within = span();
    const times = await together(callers, async (caller) => {
      const times = [];
      let next = Number(asked.seed) + caller * 7;
      while (performance.now() < within.until) {
        next = (next + 1) % of.length;
        const sent = performance.now();
        const found = await store.readStream(nameOf(of[next]));
        if (found.events.length !== events) throw new Error(`${found.events.length} loaded`);
        note(times, within, sent);
      }
      return times;
    });
    rows.push(row(`load-${events}`, times, within, 1, 'loads/s'));
  }
  const started = performance.now();
  const seen = new Set();
  let [count, last] = [0, started];
  follow((stream, version) => {
    seen.add(keyOf(stream, version));
    count += 1;
    last = performance.now();
  });
  // A reader that has passed an event by does not come back for it.
  const all = () => seen.size >= stored.length;
  const silence = () => (count === 0 ? LONGEST_START : all() ? SILENCE / 3 : SILENCE);
  while (performance.now() - last < silence()) await sleep(1);
  const lost = stored.filter((key) => !seen.has(key)).length;
  const [events, doubled] = [stored.length, count - seen.size];
  const value = (events - lost) / ((last - started) / 1000);
  rows.push({ row: 'catch-up', callers: 1, value, unit: 'events/s', events, lost, doubled });
  return rows;
}

async function tail() {
  const seen = new Map();
  let last = performance.now();
  let count = 0;
  follow((stream, version) => {
    const key = keyOf(stream, version);
    seen.set(key, (seen.get(key) ?? 0) + 1);
    count += 1;
    last = performance.now();
  });
  const within = span();
  const written = [];
  const times = await together(callers, async () => {
    const times = [];
    let [stream, version] = [newId(), 0];
    while (performance.now() < within.until) {
      if (version === EVENTS_OF_STREAM) [stream, version] = [newId(), 0];
      const sent = performance.now();
      version = await append(stream, version, 1);
      if (version === undefined) throw new Error('a stream of one writer has a conflict');
      note(times, within, sent);
      written.push(keyOf(stream, version));
    }
    return times;
  });
  last = Math.max(last, performance.now());
  while (performance.now() - last < (seen.size < written.length ? SILENCE : SILENCE / 3)) {
    await sleep(100);
  }
  const result = row('tail', times, within, 1, 'events/s');
  result.events = written.length;
  result.lost = written.filter((key) => !seen.has(key)).length;
  result.doubled = [...seen.values()].reduce((sum, times) => sum + times - 1, 0);
  return [result];
}

const batch = asked.workload.match(/^batch-(\d+)$/);
const rows = batch ? await batches(Number(batch[1]))
  : asked.workload === 'read' ? await read()
    : asked.workload === 'tail' ? await tail()
      : await singles();
rows.forEach((result) => console.log(JSON.stringify(result)));
// The consumer would wait for more.
process.exit(0);
