// Puts the page into a directory, dist/ beside this file or the one that is named: files that open from any server, or from the
// disk itself by a double click. Needs the npm package built: see README.md.
import { cpSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const npm = join(here, '../../bindings/wasm');
const { build } = createRequire(join(npm, 'package.json'))('esbuild');
const out = process.argv[2] ?? join(here, 'dist');

mkdirSync(out, { recursive: true });
for (const name of ['index.html', 'style.css', 'strip.css']) cpSync(join(here, name), join(out, name));
await build({
  entryPoints: [join(here, 'main.js')],
  outfile: join(out, 'page.js'),
  bundle: true,
  // A classic script: browsers load no module from a file.
  format: 'iife',
  target: 'es2022',
  alias: { 'edge-report/inline': join(npm, 'dist/inline.js') },
  logLevel: 'warning',
});
