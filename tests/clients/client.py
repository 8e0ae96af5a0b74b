"""The Python client `gql`: a query over HTTP, a subscription over graphql-transport-ws."""

import asyncio
import json
import pathlib
import sys

from gql import Client, gql
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

URL = sys.argv[1]
DOCUMENTS = json.loads((pathlib.Path(__file__).parent / "documents.json").read_text())


async def query():
    transport = HTTPXAsyncTransport(url=f"{URL}/graphql")
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        await session.execute(gql(DOCUMENTS["query"]))


async def subscription():
    transport = WebsocketsTransport(
        url=f"{URL.replace('http', 'ws')}/graphql",
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    results = 0
    async with Client(transport=transport) as session:
        async for _ in session.subscribe(gql(DOCUMENTS["subscription"])):
            results += 1
            if results == 2:
                break
    assert results == 2, f"{results} results"


failed = False
for name, check in [("a query", query), ("a subscription", subscription)]:
    try:
        asyncio.run(asyncio.wait_for(check(), 60))
        print(f"ok gql: {name}", flush=True)
    except Exception as error:
        failed = True
        print(f"not ok gql: {name}: {error!r}".replace("\n", " "), flush=True)
sys.exit(failed)
