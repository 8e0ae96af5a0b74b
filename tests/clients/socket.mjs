// graphql-ws, the reference client of graphql-transport-ws.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { check, documents, equal, url } from './report.mjs';

const address = `${url.replace('http', 'ws')}/graphql`;
const connect = () => createClient({ url: address, webSocketImpl: WebSocket, retryAttempts: 0 });

await check('graphql-ws: a query', async () => {
  const client = connect();
  for await (const result of client.iterate({ query: documents.query })) {
    equal(result.errors, undefined);
  }
  await client.dispose();
});

await check('graphql-ws: a subscription until the client has enough', async () => {
  const client = connect();
  let results = 0;
  for await (const result of client.iterate({ query: documents.subscription })) {
    equal(result.errors, undefined);
    results += 1;
    if (results === 2) break;
  }
  equal(results, 2);
  await client.dispose();
});

await check('graphql-ws: what is wrong with a document', async () => {
  const client = connect();
  let errors;
  try {
    for await (const _ of client.iterate({ query: '{ nonsense }' }));
  } catch (caught) {
    errors = caught;
  }
  equal(errors?.[0]?.extensions?.code, 'GRAPHQL_VALIDATION_FAILED');
  await client.dispose();
});

await check('graphql-ws: another subprotocol is refused', async () => {
  const socket = new WebSocket(address, 'graphql-ws');
  const status = await new Promise((resolve, reject) => {
    socket.on('unexpected-response', (_, response) => resolve(response.statusCode));
    socket.on('open', () => reject(new Error('it was accepted')));
    socket.on('error', reject);
  });
  equal(status, 400);
});
