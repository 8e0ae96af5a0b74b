"""The Python client `aiokafka`: what the relay publishes, read from Kafka as committed."""

import asyncio
import json
import re
import sys
import urllib.request
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

URL, BROKERS = sys.argv[1:3]
LOGS = {
    "/freehold/domain": ["property-events", "user-events"],
    "/freehold/interactions": ["interactions-events"],
}


def murmur2(key):
    """As Java's producer computes it: the partition is this, without its sign, modulo their number."""
    low = 0xFFFFFFFF
    h = (0x9747B28C ^ len(key)) & low
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * 0x5BD1E995 & low
        h = (h * 0x5BD1E995 ^ (k ^ k >> 24) * 0x5BD1E995) & low
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * 0x5BD1E995 & low
    h = (h ^ h >> 13) * 0x5BD1E995 & low
    return (h ^ h >> 15) & 0x7FFFFFFF


def published():
    """How far each log is published, as the server's metrics have it."""
    text = urllib.request.urlopen(f"{URL}/metrics", timeout=10).read().decode()
    line = r'freehold_subscription_position\{subscription="relay-(\w+)"\} (\d+)'
    return {f"/freehold/{log}": int(position) for log, position in re.findall(line, text)}


class Record:
    def __init__(self, record):
        self.topic, self.partition, self.key = record.topic, record.partition, record.key
        self.headers = {name: value.decode() for name, value in record.headers}
        self.payload = json.loads(record.value)

    def number(self, header):
        return int(self.headers[header])


async def sizes_of_topics():
    admin = AIOKafkaAdminClient(bootstrap_servers=BROKERS)
    await admin.start()
    try:
        there = await admin.list_topics()
        names = [topic for topics in LOGS.values() for topic in topics if topic in there]
        found = await admin.describe_topics(names)
        return {topic["topic"]: len(topic["partitions"]) for topic in found}
    finally:
        await admin.close()


async def read():
    """All that was published when it began, with the number of partitions of each topic."""
    until = published()
    while not all(until.get(log) for log in LOGS):
        await asyncio.sleep(0.2)
        until = published()
    sizes = await sizes_of_topics()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BROKERS, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(t, p) for t, size in sizes.items() for p in range(size)])
        await consumer.seek_to_beginning()
        records, missing = [], {(log, at + 1) for log, end in until.items() for at in range(end)}
        while missing:
            for page in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in map(Record, page):
                    records.append(record)
                    missing.discard((record.headers["ce_source"], record.number("ce_position")))
        return records, sizes
    finally:
        await consumer.stop()


def each_event_is_there_once(records, _):
    ids = {record.headers["ce_id"] for record in records}
    places = {(record.headers["ce_source"], record.number("ce_position")) for record in records}
    assert len(ids) == len(places) == len(records), (len(ids), len(places), len(records))


def a_stream_is_in_one_partition_and_in_order(records, sizes):
    versions = {}
    for record in records:
        assert record.key == record.headers["ce_subject"].encode(), record.headers
        assert record.partition == murmur2(record.key) % sizes[record.topic], record.key
        before = versions.get(record.key, 0)
        assert record.number("ce_streamversion") == before + 1, (record.key, before)
        versions[record.key] = before + 1


def a_partition_is_a_chain_without_holes(records, _):
    last = {}
    for record in records:
        place, position = (record.topic, record.partition), record.number("ce_position")
        assert record.number("ce_previousposition") == last.get(place, 0), (place, position)
        last[place] = position


def headers_say_what_a_record_is(records, _):
    for record in records:
        headers = record.headers
        assert headers["ce_specversion"] == "1.0" and headers["content-type"] == "application/json"
        assert record.topic in LOGS[headers["ce_source"]], headers
        assert headers["ce_dataschema"].startswith(f"urn:freehold:{headers['ce_type']}:"), headers
        for name in ("ce_time", "ce_recordedtime"):
            datetime.fromisoformat(headers[name].replace("Z", "+00:00"))


try:
    read_records = asyncio.run(asyncio.wait_for(read(), 120))
    print(f"ok aiokafka: {len(read_records[0])} records", flush=True)
except Exception as error:
    print(f"not ok aiokafka: reading: {error!r}".replace("\n", " "), flush=True)
    sys.exit(1)
failed = False
for check in [
    each_event_is_there_once,
    a_stream_is_in_one_partition_and_in_order,
    a_partition_is_a_chain_without_holes,
    headers_say_what_a_record_is,
]:
    name = check.__name__.replace("_", " ")
    try:
        check(*read_records)
        print(f"ok aiokafka: {name}", flush=True)
    except Exception as error:
        failed = True
        print(f"not ok aiokafka: {name}: {error!r}".replace("\n", " "), flush=True)
sys.exit(failed)
