// Builds the package into dist/: the WASM module with your Rust, or on Debian with Debian's (tests/toolchain), the JavaScript
// around it, and the types.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
const root = join(here, '../..');
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const dist = join(here, 'dist');
const TRIPLE = 'wasm32-unknown-unknown';

run();

async function run() {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist);
  const bindgen = generator();
  const wasm = await module(bindgen, 'edge_report', []);
  await module(bindgen, 'edge_report_spool', ['--features', 'spool']);
  javascript(wasm);
  types();
  papers();
  await build({
    entryPoints: [join(dist, 'node.cjs.js')],
    outfile: join(dist, 'node.cjs'),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'warning',
  });
  // What it has in it.
  for (const file of ['node.cjs.js', 'files.js', 'directory.js', 'owner.js']) rmSync(join(dist, file));
}

/** The program that writes the JavaScript around a module. */
function generator() {
  const bindgenTarget = join(target, 'bindgen');
  cargo(['build', '--quiet', '--locked'], join(here, 'bindgen'), { CARGO_TARGET_DIR: bindgenTarget });
  return join(bindgenTarget, 'debug/bindgen');
}

/** An optimised module; it and its glue go to dist/. */
async function module(bindgen, name, features) {
  const rustc = execFileSync(join(root, 'tests/toolchain'), [TRIPLE], { encoding: 'utf8' }).trim();
  const wasmTarget = join(target, 'wasm');
  cargo(['build', '--quiet', '--locked', '--release', '--package', 'edge-report-wasm', '--target', TRIPLE, ...features], root, {
    RUSTC: rustc,
    CARGO_TARGET_DIR: wasmTarget,
    // SHA-256 as a loop, not unrolled: 7 KB less.
    RUSTFLAGS: `${process.env.RUSTFLAGS ?? ''} --cfg sha2_backend_soft="compact"`.trim(),
    // Half the size of 3. That panic paths come back does not matter here, a panic being but a trap.
    CARGO_PROFILE_RELEASE_OPT_LEVEL: 'z',
  });
  const glue = join(wasmTarget, name);
  execFileSync(bindgen, [join(wasmTarget, TRIPLE, 'release/edge_report_wasm.wasm'), glue]);
  await factory(join(glue, 'edge_report.js'), `${name}.glue.js`);
  const wasm = join(dist, `${name}.wasm`);
  execFileSync(join(here, 'node_modules/.bin/wasm-opt'), ['-Oz', '--converge', join(glue, 'edge_report_bg.wasm'), '-o', wasm]);
  return readFileSync(wasm);
}

/** The glue has variables for one instance; as a function it can be had once for each. */
async function factory(glue, name) {
  const { outputFiles: [{ text }] } = await build({
    // Without its default, which loads: js/module.js does.
    stdin: { contents: `export * from ${JSON.stringify(glue)};`, resolveDir: here },
    bundle: true,
    format: 'cjs',
    target: 'es2022',
    write: false,
    logLevel: 'warning',
  });
  write(name, `export function glue() {\nconst module = {};\n${text}\nreturn module.exports;\n}\n`);
}

/** Those of the repository, as copies: npm packs no links. */
function papers() {
  for (const file of ['CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT']) cpSync(join(root, file), join(here, file));
}

function javascript(wasm) {
  cpSync(join(here, 'js'), dist, { recursive: true });
  write('edge_report.base64.js', `export const base64 = '${wasm.toString('base64')}';\n`);
  const { codes, statuses } = table();
  const rows = codes.map(({ number, name, severity, text }) => `  ${JSON.stringify([number, name, severity, text])},\n`);
  const states = statuses.map(({ name, final }) => `  ${JSON.stringify({ name, final })},\n`);
  write('codes.js', `// Made from tests/vectors/codes.json.\nexport const codes = [\n${rows.join('')}];\n\nexport const statuses = [\n${states.join('')}];\n`);
}

/** The types by hand, with the names of the table in them; once more for CommonJS. */
function types() {
  const { codes, statuses } = table();
  const union = (names) => names.map((name) => `\n  | '${name}'`).join('');
  const text = readFileSync(join(here, 'types/index.d.ts'), 'utf8')
    .replace("'CODES'", union(codes.map(({ name }) => name)))
    .replace("'STATUSES'", union(statuses.map(({ name }) => name)));
  write('index.d.ts', text);
  write('index.d.cts', text);
  cpSync(join(here, 'types/slim.d.ts'), join(dist, 'slim.d.ts'));
}

function table() {
  return JSON.parse(readFileSync(join(root, 'tests/vectors/codes.json'), 'utf8'));
}

function write(name, text) {
  writeFileSync(join(dist, name), text);
}

function cargo(args, cwd, env) {
  execFileSync('cargo', args, { cwd, stdio: 'inherit', env: { ...process.env, ...env } });
}
