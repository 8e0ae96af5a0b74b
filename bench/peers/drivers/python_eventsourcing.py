"""Python's eventsourcing on PostgreSQL: its application recorder over its pool, its subscription.

The workloads are those of src/drive.rs, by the same names and with the same numbers.
"""

import argparse
import json
import os
import threading
import time
import uuid
from urllib.parse import urlsplit

import psycopg
from eventsourcing.persistence import InfrastructureFactory, IntegrityError, StoredEvent
from eventsourcing.utils import Environment

EVENTS_OF_STREAM = 20
FILLERS = 8
CONNECTIONS = 64
LOADED = [(200, 10), (100, 100), (20, 1000)]
EVENTS_OF_FILLED = 100
SILENCE = 3.0
LONGEST_START = 60.0


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("url", "workload", "events"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("callers", "seed", "count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("seconds", "fill-seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args()


asked = arguments()
with open(asked.events, encoding="utf-8") as lines:
    HISTORY = [json.loads(line) for line in lines]
EVENTS = [(line["event_type"], json.dumps(line["payload"]).encode()) for line in HISTORY]


def event_at(stream, version):
    """The event at a version, which counts from 1."""
    line = version if version <= len(EVENTS) else 3 + (version - 3) % (len(EVENTS) - 2)
    topic, state = EVENTS[line - 1]
    return StoredEvent(originator_id=stream, originator_version=version, topic=topic, state=state)


def new_id():
    """A version 7 UUID, time-ordered as the other drivers' are."""
    bits = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=bits & ~(0x3 << 62) | 2 << 62)


def open_recorder():
    address = urlsplit(asked.url)
    # One connection more for the subscription, which keeps one.
    connections = min(max(asked.callers, FILLERS), CONNECTIONS) + 2
    environment = Environment(
        name="bench",
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path.lstrip("/"),
            "POSTGRES_HOST": address.hostname,
            "POSTGRES_PORT": str(address.port),
            "POSTGRES_USER": address.username,
            "POSTGRES_PASSWORD": address.password or "none",
            "POSTGRES_POOL_SIZE": str(connections),
            "POSTGRES_CONNECT_TIMEOUT": "60",
        },
    )
    recorder = InfrastructureFactory.construct(environment).application_recorder()
    recorder.datastore.pool.open(wait=True, timeout=60)
    return recorder


recorder = open_recorder()


def append(stream, version, count):
    """The version after so many more events, or nothing when another writer came first."""
    events = [event_at(stream, version + 1 + n) for n in range(count)]
    try:
        recorder.insert_events(events)
    except IntegrityError:
        return None
    return version + count


def version_of(stream):
    found = recorder.select_events(stream, desc=True, limit=1)
    return found[0].originator_version if found else 0


class Span:
    def __init__(self):
        self.seconds = asked.seconds
        self.start = time.perf_counter() + asked.seconds / 5
        self.until = self.start + asked.seconds

    def lasts(self):
        return time.perf_counter() < self.until

    def note(self, times, sent):
        answered = time.perf_counter()
        if self.start <= answered <= self.until:
            times.append(answered - sent)

    def row(self, name, times, each, unit):
        times = sorted(one for of_caller in times for one in of_caller)

        def at(share):
            return times[(len(times) - 1) * share // 100] * 1000 if times else None

        events = len(times) * each
        return {
            "row": name,
            "callers": asked.callers,
            "value": events / self.seconds,
            "unit": unit,
            "events": events,
            "p50_ms": at(50),
            "p95_ms": at(95),
            "p99_ms": at(99),
        }


def together(number, caller):
    """What as many threads return; the first failure fails all."""
    results, failures = [None] * number, []

    def run(index):
        try:
            results[index] = caller(index)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def singles():
    hot, span = new_id(), Span()

    def caller(_):
        times, stream, version = [], hot, 0
        while span.lasts():
            full = asked.workload == "fresh"
            if asked.workload == "twenty":
                full = version % EVENTS_OF_STREAM == 0
            if full:
                stream, version = new_id(), 0
            sent = time.perf_counter()
            while (stored := append(stream, version, 1)) is None:
                if not span.lasts():
                    return times
                version = version_of(stream)
            version = stored
            span.note(times, sent)
        return times

    return [span.row(asked.workload, together(asked.callers, caller), 1, "events/s")]


def batches(size):
    span = Span()

    def caller(_):
        times = []
        while span.lasts():
            sent = time.perf_counter()
            append(new_id(), 0, size)
            span.note(times, sent)
        return times

    return [span.row(f"batch-{size}", together(asked.callers, caller), size, "events/s")]


def fill(streams, events, until):
    left = iter(range(streams))

    def caller(_):
        filled = []
        while time.perf_counter() < until and next(left, None) is not None:
            stream = new_id()
            append(stream, 0, events)
            filled.append(stream)
        return filled

    return [stream for filled in together(FILLERS, caller) for stream in filled]


def follow(seen):
    """Starts a reader of all events from the first; it ends with the process."""

    def run():
        with recorder.subscribe(gt=None) as subscription:
            for notification in subscription:
                json.loads(notification.state)
                seen(notification.originator_id, notification.originator_version)

    threading.Thread(target=run, daemon=True).start()


def read():
    until = time.perf_counter() + asked.fill_seconds
    streams = [(events, fill(number, events, until)) for number, events in LOADED]
    stored = [(stream, n + 1) for events, of in streams for stream in of for n in range(events)]
    more = max(0, asked.count - len(stored)) // EVENTS_OF_FILLED
    for stream in fill(more, EVENTS_OF_FILLED, until):
        stored += [(stream, n + 1) for n in range(EVENTS_OF_FILLED)]
    with psycopg.connect(asked.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    rows = []
    for events, of in streams:
        if not of:
            continue
        span = Span()

        def caller(index, events=events, of=of, span=span):
            times, number = [], asked.seed + index * 7
            while span.lasts():
                number = (number + 1) % len(of)
                sent = time.perf_counter()
                found = recorder.select_events(of[number])
                for event in found:
                    json.loads(event.state)
                if len(found) != events:
                    raise RuntimeError(f"{len(found)} events were loaded")
                span.note(times, sent)
            return times

        rows.append(span.row(f"load-{events}", together(asked.callers, caller), 1, "loads/s"))
    # Only added to while it reads, so that noting an event costs the reader little.
    seen_events, started = [], time.perf_counter()
    last = started

    def seen(stream, version):
        nonlocal last
        seen_events.append((stream, version))
        last = time.perf_counter()

    follow(seen)
    # A reader that has passed an event by does not come back for it.
    while (quiet := time.perf_counter() - last) < (SILENCE if seen_events else LONGEST_START):
        if quiet > SILENCE / 3 and len(set(seen_events)) >= len(stored):
            break
        time.sleep(0.001)
    once = set(seen_events)
    lost = sum(event not in once for event in stored)
    row = {"row": "catch-up", "callers": 1, "value": (len(stored) - lost) / (last - started)}
    row |= {"unit": "events/s", "events": len(stored)}
    rows.append(row | {"lost": lost, "doubled": len(seen_events) - len(once)})
    return rows


def tail():
    times_seen, last = {}, time.perf_counter()

    def seen(stream, version):
        nonlocal last
        key = (stream, version)
        times_seen[key] = times_seen.get(key, 0) + 1
        last = time.perf_counter()

    follow(seen)
    span = Span()

    def caller(_):
        times, written, stream, version = [], [], new_id(), 0
        while span.lasts():
            if version == EVENTS_OF_STREAM:
                stream, version = new_id(), 0
            sent = time.perf_counter()
            version = append(stream, version, 1)
            if version is None:
                raise RuntimeError("a stream of one writer has a conflict")
            span.note(times, sent)
            written.append((stream, version))
        return times, written

    results = together(asked.callers, caller)
    written = [key for _, keys in results for key in keys]
    last = max(last, time.perf_counter())
    while time.perf_counter() - last < (
        SILENCE if len(times_seen) < len(written) else SILENCE / 3
    ):
        time.sleep(0.1)
    row = span.row("tail", [times for times, _ in results], 1, "events/s")
    row["events"] = len(written)
    row["lost"] = sum(key not in times_seen for key in written)
    row["doubled"] = sum(times - 1 for times in times_seen.values())
    return [row]


if asked.workload.startswith("batch-"):
    rows = batches(int(asked.workload.removeprefix("batch-")))
elif asked.workload == "read":
    rows = read()
elif asked.workload == "tail":
    rows = tail()
else:
    rows = singles()
for one in rows:
    print(json.dumps(one), flush=True)
# The subscription's threads would wait for more.
os._exit(0)
