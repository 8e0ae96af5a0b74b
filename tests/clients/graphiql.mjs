// GraphiQL in a real browser: a query, a live subscription, and no request to another host.
// Pictures go into the folder given as second argument.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { check, documents, equal, url } from './report.mjs';

const pictures = process.argv[3];
const profile = mkdtempSync(join(tmpdir(), 'freehold-graphiql-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
  viewport: { width: 1280, height: 800 },
});
const page = await context.newPage();
const foreign = [];
const complaints = [];
page.on('request', (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith('data:')) {
    foreign.push(request.url());
  }
});
page.on('console', (message) => {
  if (message.type() === 'error') complaints.push(message.text());
});
page.on('pageerror', (error) => complaints.push(String(error)));

const editor = page.locator('.graphiql-query-editor .CodeMirror');
const result = page.locator('.result-window');

async function run(document) {
  await editor.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(document);
  await page.keyboard.press('Control+Enter');
}

await check('GraphiQL: a query', async () => {
  await page.goto(`${url}/graphql`);
  await editor.waitFor();
  await run(documents.query);
  await result.getByText('"data"').waitFor();
  await page.screenshot({ path: join(pictures, 'query.png') });
});

await check('GraphiQL: the documentation of the schema', async () => {
  await page.getByLabel('Show Documentation Explorer').click();
  await page.locator('.graphiql-doc-explorer').getByText('Root Types').waitFor();
});

await check('GraphiQL: completion and settings', async () => {
  await editor.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('{ ');
  await page.keyboard.press('Control+Space');
  await page.locator('.CodeMirror-hints').waitFor();
  await page.screenshot({ path: join(pictures, 'completion.png') });
  await page.keyboard.press('Escape');
  await page.getByLabel('Open settings dialog').click();
  await page.getByText('Persist headers').waitFor();
  await page.keyboard.press('Escape');
});

await check('GraphiQL: a live subscription', async () => {
  await run(documents.subscription);
  const seen = new Set();
  for (let price = 1000; seen.size < 3; price += 1) {
    const data = { price };
    const item = { property_id: 'seen-live', event_type: 'property_updated', data };
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify(item);
    const answer = await fetch(`${url}/api/events/property`, { method: 'POST', headers, body });
    equal(answer.status, 202);
    await page.waitForTimeout(300);
    const text = await result.innerText();
    if (text.includes('"errors"')) throw new Error(text);
    if (text.includes('"data"')) seen.add(text);
  }
  await page.screenshot({ path: join(pictures, 'subscription.png') });
});

await check('GraphiQL: nothing leaves for another host, nothing complains', async () => {
  equal(foreign, []);
  equal(complaints, []);
});

await context.close();
rmSync(profile, { recursive: true, force: true });
