// How a check reports: one line for each, `ok <name>` or `not ok <name>: <why>`.
import { readFileSync } from 'node:fs';

export const url = process.argv[2];
export const documents = JSON.parse(readFileSync(new URL('documents.json', import.meta.url)));

export async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no end within 60 s')), 60_000);
  });
  try {
    await Promise.race([run(), late]);
    console.log(`ok ${name}`);
  } catch (error) {
    const why = String(error?.message ?? error).replaceAll('\n', ' ');
    console.log(`not ok ${name}: ${why}`);
    process.exitCode = 1;
  } finally {
    clearTimeout(timer);
  }
}

export function equal(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
  }
}
