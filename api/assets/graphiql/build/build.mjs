// Bundles GraphiQL into `..`: graphiql.js.gz, graphiql.css.gz and LICENSES.txt.gz, the same bytes
// on every machine.
import { build } from 'esbuild';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const target = new URL('../', import.meta.url);

const bundled = await build({
  entryPoints: ['entry.jsx'],
  bundle: true,
  minify: true,
  format: 'iife',
  jsx: 'automatic',
  target: 'es2020',
  legalComments: 'none',
  define: { 'process.env.NODE_ENV': '"production"' },
  outdir: 'out',
  entryNames: 'graphiql',
  metafile: true,
  write: false,
});

let total = 0;
function put(name, contents) {
  const packed = gzipSync(contents, { level: 9 });
  writeFileSync(new URL(`${name}.gz`, target), packed);
  total += packed.length;
  console.log(`${name}: ${contents.length} bytes, ${packed.length} packed`);
}

for (const file of bundled.outputFiles) {
  put(file.path.split('/').at(-1), file.contents);
}

const packages = new Set(
  Object.keys(bundled.metafile.inputs).flatMap(
    (input) => input.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/) ?? [],
  ),
);
const licences = [...packages].sort().map((folder) => {
  const about = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
  const { name, version, license, repository } = about;
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? readFileSync(`${folder}/${file}`, 'utf8').trim() : `The package has no licence file; see ${repository?.url ?? repository}`;
  return `${name} ${version} (${license})\n\n${text}\n`;
});
put('LICENSES.txt', Buffer.from(licences.join(`\n${'-'.repeat(72)}\n\n`)));

if (total > 2_000_000) {
  throw new Error(`the page weighs ${total} bytes packed; 2,000,000 is the limit`);
}
