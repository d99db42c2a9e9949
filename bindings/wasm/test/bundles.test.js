// The packed package, as it is and bundled by what people use, run in Chromium.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { build as esbuild } from 'esbuild';
import { build as vite } from 'vite';
import webpack from 'webpack';
import { launch, serve } from './browser.js';
import { BYTES, REPORT, project } from './packed.js';

const { work, installed } = project();
const ENTRIES = { whole: 'edge-report', inline: 'edge-report/inline' };

let browser;

/** A directory with a program on the package, and a page for it. */
function source(name, entry) {
  const directory = target(name);
  const program = `import { check, encode } from '${entry}';
    const codes = check('{"jobs":[],"message_id":"1"}').map(({ code }) => code);
    document.title = JSON.stringify([new TextDecoder().decode(encode(${REPORT})), codes]);`;
  writeFileSync(join(directory, 'main.js'), program);
  return directory;
}

/** A directory with a page for a program that is one module, main.js. */
function target(name) {
  const directory = join(work, name);
  mkdirSync(directory);
  writeFileSync(join(directory, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="./main.js"></script>');
  return directory;
}

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** Runs what was bundled into `directory`. */
async function run(directory) {
  const server = await serve(directory);
  const page = await browser.newPage();
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('response', (response) => response.ok() || wrong.push(response.url()));
  try {
    await page.goto(server.url);
    await page.waitForFunction(() => document.title, undefined, { timeout: 10_000 }).catch((error) => assert.fail([error.message, ...wrong].join('\n')));
    assert.deepEqual(JSON.parse(await page.title()), [BYTES, ['Empty', 'TopicMissing']]);
    assert.deepEqual(wrong, []);
  } finally {
    await page.close();
    server.stop();
  }
}

test('no bundler', async () => {
  const directory = source('plain', './edge-report/web.js');
  cpSync(join(installed, 'dist'), join(directory, 'edge-report'), { recursive: true });
  await run(directory);
});

for (const [name, entry] of Object.entries(ENTRIES)) {
  const directory = source(name, entry);

  test(`Vite, ${entry}`, { timeout: 60_000 }, async () => {
    const outDir = join(work, `vite-${name}`);
    await vite({ root: directory, configFile: false, logLevel: 'error', build: { outDir, emptyOutDir: true } });
    await run(outDir);
  });

  test(`webpack, ${entry}`, { timeout: 60_000 }, async () => {
    const path = target(`webpack-${name}`);
    const stats = await new Promise((resolve, reject) => {
      const config = {
        context: directory,
        entry: './main.js',
        mode: 'production',
        output: { path, filename: 'main.js' },
        performance: false, // Its advice on size.
      };
      webpack(config, (error, done) => (error ? reject(error) : resolve(done)));
    });
    const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
    assert.deepEqual([errors, warnings], [[], []]);
    await run(path);
  });
}

// esbuild does not bring the module's file along, so its entry is the inline one.
test('esbuild, edge-report/inline', async () => {
  const directory = source('esbuild', ENTRIES.inline);
  await esbuild({ entryPoints: [join(directory, 'main.js')], bundle: true, format: 'esm', platform: 'browser', outfile: join(directory, 'out.js'), logLevel: 'error' });
  renameSync(join(directory, 'out.js'), join(directory, 'main.js'));
  await run(directory);
});
