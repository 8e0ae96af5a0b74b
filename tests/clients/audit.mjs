// The audit suite of GraphQL over HTTP, all of it.
import { serverAudits } from 'graphql-http';
import { check, equal, url } from './report.mjs';

const audits = serverAudits({ url: `${url}/graphql` });
await check('the suite has 61 audits', async () => equal(audits.length, 61));
for (const audit of audits) {
  await check(`audit ${audit.id}: ${audit.name}`, async () => {
    const result = await audit.fn();
    if (result.status !== 'ok') throw new Error(result.reason);
  });
}
