// graphql-sse, the reference client of GraphQL over server-sent events.
import { createClient } from 'graphql-sse';
import { check, documents, equal, url } from './report.mjs';

const client = createClient({ url: `${url}/graphql`, retryAttempts: 0 });

await check('graphql-sse: a query', async () => {
  for await (const result of client.iterate({ query: documents.query })) {
    equal(result.errors, undefined);
  }
});

await check('graphql-sse: a subscription until the client has enough', async () => {
  let results = 0;
  for await (const result of client.iterate({ query: documents.subscription })) {
    equal(result.errors, undefined);
    results += 1;
    if (results === 2) break;
  }
  equal(results, 2);
});

await check('graphql-sse: what is wrong with a document', async () => {
  for await (const result of client.iterate({ query: '{ nonsense }' })) {
    equal(result.errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
  }
});

client.dispose();
