"""schemathesis: made-up operations of every query and mutation, none of which breaks the server.

What an operation means is not judged here: an answer is sound when the server neither broke nor
gave up, and every error says by a code what is wrong with the request.
"""

import collections
import contextlib
import io
import re
import sys

import requests
import schemathesis
from hypothesis import strategies
from schemathesis.cli import schemathesis as command_line
from schemathesis.specs.graphql import nodes

URL = sys.argv[1]
SECONDS = 75
OUR_FAULT = {"INTERNAL", "TIMEOUT", "UNAVAILABLE"}
# Mutations reach the rules of the business only with ids that exist.
IDS = """{ listings(first: 20) { nodes { id property { id } agent { id } } }
    events(types: ["UserRegistered"], first: 20) { nodes { stream } } }"""
FIELDS = "{ __schema { queryType { fields { name } } mutationType { fields { name } } } }"


def ask(document):
    response = requests.post(f"{URL}/graphql", json={"query": document}, timeout=20)
    return response.json()["data"]


def known_ids():
    found = ask(IDS)
    for listing in found["listings"]["nodes"]:
        yield from (node["id"] for node in (listing, listing["property"], listing["agent"]) if node)
    for event in found["events"]["nodes"]:
        yield event["stream"].removeprefix("user-")


def make_up(name, values):
    schemathesis.graphql.scalar(name, values.map(nodes.String))


asked = collections.Counter()
faults = {}


@schemathesis.check
def answers_soundly(ctx, response, case):
    operation = case.operation.label
    asked[operation] += 1
    codes = [None]
    if response.status_code < 500:
        with contextlib.suppress(ValueError):
            errors = response.json().get("errors", [])
            codes = [error.get("extensions", {}).get("code") for error in errors]
    if None in codes or OUR_FAULT.intersection(codes):
        fault = f"{response.status_code} {response.text[:500]} to {case.body}"
        faults.setdefault(operation, re.sub(r"\s+", " ", fault))


def run():
    """Runs for SECONDS at most, and says how it ended."""
    arguments = f"""run {URL}/graphql --phases fuzzing --mode positive --checks answers_soundly
        --max-examples 10 --max-time {SECONDS} --no-shrink --seed 1 --request-timeout 20"""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            command_line(arguments.split(), standalone_mode=False)
    except SystemExit as end:
        if end.code != 0:
            return said.getvalue()
    return None


ids = sorted(set(known_ids()))
make_up("ID", strategies.one_of(strategies.sampled_from(ids), strategies.text()))
make_up("Position", strategies.integers(0, 2**63 - 1).map(str))
make_up("Long", strategies.integers(-(2**63), 2**63 - 1).map(str))
make_up("Date", strategies.dates().map(str))
make_up("DateTime", strategies.datetimes().map(lambda moment: f"{moment.isoformat()}Z"))
broken = run()

schema = ask(FIELDS)["__schema"]
for root, of in [("Query", "queryType"), ("Mutation", "mutationType")]:
    for field in schema[of]["fields"]:
        operation = f"{root}.{field['name']}"
        if asked[operation] == 0:
            faults.setdefault(operation, f"was not asked within {SECONDS} s")
if broken and not faults:
    faults["schemathesis"] = re.sub(r"\s+", " ", broken[-1500:])
for operation, fault in faults.items():
    print(f"not ok fuzz: {operation}: {fault}", flush=True)
if not faults:
    print(f"ok fuzz: {asked.total()} operations of {len(asked)} fields", flush=True)
sys.exit(bool(faults))
