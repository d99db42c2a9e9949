// The packed tarball, as users install it: every entry, types; its size and its memory.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { publint } from 'publint';
import { BYTES, REPORT, project, root } from './packed.js';
import { startReceiver } from './receiver.js';

const { work, installed } = project();
const PRINT = `console.log(new TextDecoder().decode(encode(${REPORT})));`;

/** What a program prints that stands beside the installed package. */
function run(name, text) {
  writeFileSync(join(work, name), text);
  return execFileSync(process.execPath, [name], { cwd: work }).toString().trim();
}

test('Node: modules, CommonJS, inline, slim', () => {
  assert.equal(run('a.mjs', `import { encode } from 'edge-report'; ${PRINT}`), BYTES);
  assert.equal(run('b.cjs', `const { encode } = require('edge-report'); ${PRINT}`), BYTES);
  assert.equal(run('c.mjs', `import { encode } from 'edge-report/inline'; ${PRINT}`), BYTES);
  const slim = `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    import { encode, init, initSync } from 'edge-report/slim';
    try { encode('{}'); } catch (error) { console.log(error.code); }
    const bytes = readFileSync(createRequire(import.meta.url).resolve('edge-report/edge_report.wasm'));`;
  assert.equal(run('d.mjs', `${slim} initSync(bytes); ${PRINT}`), `NotUsable\n${BYTES}`);
  assert.equal(run('e.mjs', `${slim} await init(new WebAssembly.Module(bytes)); ${PRINT}`), `NotUsable\n${BYTES}`);
  assert.equal(run('f.mjs', `import json from 'edge-report/package.json' with { type: 'json' }; console.log(json.name);`), 'edge-report');
});

test('a worker', () => {
  writeFileSync(join(work, 'worker.mjs'), `import { encode } from 'edge-report'; ${PRINT}`);
  assert.equal(run('g.mjs', `import { Worker } from 'node:worker_threads'; new Worker(new URL('./worker.mjs', import.meta.url));`), BYTES);
});

test('everything that package.json names is in the package, and nothing runs at installation', () => {
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json')));
  const named = JSON.stringify([manifest.exports, manifest.main, manifest.module, manifest.types, manifest.bin]).match(/(?<=")\.?\/?(dist|bin)\/[^"]+/g);
  assert.ok(named.length >= 13);
  named.forEach((file) => assert.ok(statSync(join(installed, file)).isFile(), file));
  for (const paper of ['README.md', 'CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT']) assert.ok(statSync(join(installed, paper)).size > 0, paper);
  const repository = readFileSync(join(root, '../../Cargo.toml'), 'utf8').match(/^repository = "(.*)"$/m)[1];
  assert.deepEqual(manifest.repository, { type: 'git', url: `git+${repository}.git`, directory: 'bindings/wasm' }, 'as Cargo.toml has it');
  assert.deepEqual([manifest.dependencies, manifest.scripts.install, manifest.scripts.postinstall], [undefined, undefined, undefined]);
  for (const conditions of Object.values(manifest.exports).flatMap((entry) => (entry.node ? Object.values(entry.node) : [entry]))) {
    if (conditions.default) assert.equal(Object.keys(conditions)[0], 'types');
  }
});

test('the command of the package', () => {
  assert.match(execFileSync(process.execPath, [join(installed, 'bin/edge-report.js'), '--help'], { cwd: work }).toString(), /^usage: edge-report/);
});

/** Pages whose blocks run here; tests/docs.py looks here for who runs them. */
const PAGES = ['README.md', 'docs/flink.md', 'docs/javascript.md', 'docs/javascript-durable.md', 'docs/page.md', 'bindings/wasm/README.md'];
/** Commands that make what the tests use: run by tests/wasm/run, packed.js and page.test.js. */
const MAKERS = ['cd bindings/wasm && npm ci && npm run build && npm pack', 'node examples/web/build.js'];

test('the programs and commands of the documentation, in a project that has the package', () => {
  const pages = PAGES.map((page) => readFileSync(join(root, '../..', page), 'utf8'));
  const blocks = (language, text) => [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, block]) => block);
  const programs = pages.flatMap((text) => blocks('js', text));
  assert.ok(programs.length >= 4);
  programs.forEach((program, index) => run(`documented${index}.mjs`, program));
  cpSync(join(root, '../../tests/vectors/workloads/W1.json'), join(work, 'report.json'));
  // Those of the first two are run by other tests.
  const commands = pages.slice(2).flatMap((text) => blocks('sh', text)).flatMap((block) => block.trim().split('\n'));
  assert.ok(commands.length >= 5);
  for (const command of commands.filter((line) => !MAKERS.includes(line))) {
    const [npx, name, ...words] = command.split(' ');
    assert.deepEqual([npx, name], ['npx', 'edge-report'], `a command that no test knows: ${command}`);
    execFileSync(process.execPath, [join(installed, 'bin/edge-report.js'), ...words], { cwd: work });
  }
});

test('examples/js/deliver.js', async () => {
  cpSync(join(root, '../../examples/js/deliver.js'), join(work, 'deliver.mjs'));
  const receiver = await startReceiver(['status=503@first 1']);
  const child = spawn(process.execPath, ['deliver.mjs', join(work, 'queue'), receiver.url, 'p'], { cwd: work, stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.end(`${BYTES}\nnonsense\n${BYTES.replace('"1"}', '"2"}')}\n`);
  let said = '';
  child.stdout.on('data', (part) => (said += part));
  assert.equal(await new Promise((resolve) => child.once('close', resolve)), 0);
  receiver.stop();
  assert.deepEqual(said.trim().split('\n').sort(), ['delivered 1', 'delivered 2', 'stored 1', 'stored 2']);
  assert.deepEqual(receiver.accepted().map(({ message_id: id }) => id), ['1', '2']);
});

test('examples/js/flink.mjs', async () => {
  cpSync(join(root, '../../examples/js/flink.mjs'), join(work, 'flink.mjs'));
  assert.ok(readFileSync(join(work, 'flink.mjs'), 'utf8').split('\n').length <= 101);
  const receiver = await startReceiver([], ['--ak', 'AK', '--sk', 'SK']);
  const place = mkdtempSync(join(work, 'flink-'));
  const driver = spawn('python3', [join(root, '../../tests/flink_agent.py'), receiver.url, receiver.record, place, process.execPath, join(work, 'flink.mjs')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  driver.stderr.on('data', (part) => (said += part));
  const code = await new Promise((resolve) => driver.once('close', resolve));
  receiver.stop();
  assert.equal(code, 0, said);
});

test('size, as docs/measurements/footprint.md says', (t) => {
  const table = readFileSync(join(root, '../../docs/measurements/footprint.md'), 'utf8');
  for (const name of ['edge_report', 'edge_report_spool']) {
    const bytes = readFileSync(join(installed, `dist/${name}.wasm`));
    const sizes = { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes).length };
    t.diagnostic(`${name} ${JSON.stringify(sizes)}`);
    const promised = table.match(new RegExp(`^\\| ${name}\\.wasm\\b.*\\| (\\d+) \\| (\\d+) \\| (\\d+) \\|$`, 'm')).slice(1).map(Number);
    Object.entries(sizes).forEach(([form, size], index) => {
      // Compilers differ a little.
      assert.ok(Math.abs(size - promised[index]) <= promised[index] * 0.02, `${name}, ${form}: ${size} bytes, and the table says ${promised[index]}`);
    });
  }
});

test('100,000 encodes and checks leave the memory of the module as it was', () => {
  const text = `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    // The module exports its memory.
    const start = WebAssembly.Instance; let memory;
    WebAssembly.Instance = class extends start { constructor(...all) { super(...all); memory = this.exports.memory; } };
    const { encode, check, initSync } = await import('edge-report/slim');
    initSync(readFileSync(createRequire(import.meta.url).resolve('edge-report/edge_report.wasm')));
    const report = ${REPORT};
    const rounds = (count) => { for (let n = 0; n < count; n++) { encode(report); check(report); } return memory.buffer.byteLength; };
    console.log(rounds(1000) === rounds(100_000));`;
  assert.equal(run('i.mjs', text), 'true');
});

test('after a trap: a new instance, and couriers have theirs; one whose own call traps says that it is lost', () => {
  const text = `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    // Functions that trap once, when told.
    const start = WebAssembly.Instance; let trap;
    const may = (exports) => new Proxy({}, { get: (_, name) => name !== trap ? exports[name] : () => { trap = undefined; throw new WebAssembly.RuntimeError('unreachable'); } });
    WebAssembly.Instance = class { constructor(...all) { this.exports = may(new start(...all).exports); } };
    const { Courier, FlinkWatch, encode, check, initSync } = await import('edge-report/slim');
    initSync(readFileSync(createRequire(import.meta.url).resolve('edge-report/edge_report.wasm')));
    const report = ${REPORT};
    const code = (use) => { try { use(); } catch (error) { return error.code; } };
    const [courier, other] = [new Courier(), new Courier()];
    courier.submit(report);
    other.submit(report);
    trap = 'check';
    console.log(code(() => check(report)), check(report).length, encode(report).length, courier.status().waiting);
    trap = 'courier_submit';
    console.log(code(() => courier.submit(report)), code(() => courier.status()), code(() => courier.free()), other.status().waiting);
    const [watch, another] = [new FlinkWatch(), new FlinkWatch()];
    trap = 'flinkwatch_next';
    console.log(code(() => watch.next()), code(() => watch.status()), code(() => watch.close()), code(() => watch.next()), another.next().path);`;
  assert.equal(run('j.mjs', text), `Internal 0 ${BYTES.length} 1\nInternal Poisoned undefined 1\nInternal Poisoned undefined NotUsable /jobs/overview`);
});

test('types, as each way of finding modules sees them', () => {
  const use = `import { Client, Courier, EdgeReportError, buildRequest, check, encode, parse, readReply, type Finding, type Outcome, type Reason, type Report } from 'edge-report';
    import { initSync } from 'edge-report/slim';
    const report: Report = { jobs: [{ job_id: 1n, status: 'job_running', create_time: 1 }], message_id: '1' };
    const bytes: Uint8Array = encode(report);
    const findings: Finding[] = check(bytes);
    export const paths: string[] = findings.filter(({ code }) => code === 'NotPositive').map(({ path }) => path);
    export async function run(client: Client, courier: Courier): Promise<string | undefined> {
      courier.submit(parse(bytes));
      const outcome: Outcome = await client.send(report);
      if (outcome.outcome === 'refused') return outcome.errorCode;
      return undefined;
    }
    // With an HTTP stack of one's own: fetch, and headers as Node's http has them.
    export async function own(courier: Courier, headers: { [name: string]: string | string[] | undefined; date?: string }) {
      const { url, ...request } = buildRequest(report, { baseUrl: 'https://gateway.example', projectId: 'p' });
      const response = await fetch(url, request);
      courier.settle(1, readReply(response.status, response.headers, await response.arrayBuffer()));
      courier.settle(1, readReply(200, headers, undefined));
      courier.settle(1, new EdgeReportError('NotSent'));
    }
    const options = { policy: { refuseAfter: 4, backlog: 'latest', whenLettersFull: 'hold' } } as const;
    export function why(courier: Courier = new Courier(options)): string[] {
      const verdict = courier.settle(1, new EdgeReportError('NotSent', { detail: 'no route' }));
      if (verdict.verdict === 'again') console.log(verdict.at, words(verdict.reason));
      const { lastFailure, oldest, nextAttempt = 0, aside, letters, lettersDropped } = courier.status();
      console.log(oldest && new Date(oldest), nextAttempt + aside + letters + lettersDropped, lastFailure?.ticket, courier.takeDeadLetter()?.reason);
      const again: number | undefined = courier.resubmitDeadLetter(2) ?? courier.resubmitDeadLetter(undefined, new Date());
      courier.forgetDeadLetter(courier.submit(report, Date.now()));
      return courier.deadLetters().map(({ ticket, reason }) => again + ': ' + ticket + words(reason));
    }
    function words(reason: Reason): string {
      const cause: string = reason.code === undefined ? reason.outcome : reason.message;
      return [cause, reason.status, reason.errorCode, reason.text].join(' ');
    }
    const some: { text?: string } = {};
    export const loose = () => new Courier({ capacity: undefined, clock: undefined, entropy: undefined, policy: { minBackoffMs: undefined } }).submit({ jobs: [{ status: 'x', create_time: 1, plan: some.text }], message_id: '1', msg_confirm_topic: undefined });
    // As undici has it: types of its own.
    interface OtherResponse { status: number; type: string; ok: boolean; headers: Iterable<[string, string]>; body: { getReader(): any } | null }
    declare function otherFetch(url: string, init?: { method?: string; headers?: Record<string, string>; body?: Uint8Array | null; signal?: AbortSignal | null }): Promise<OtherResponse>;
    export const own_ = new Client({ baseUrl: 'https://h', projectId: 'p', fetch: globalThis.fetch });
    export const other = () => new Client({ baseUrl: 'https://h', projectId: 'p', credentials: undefined, fetch: otherFetch });
    // Headers whose library does not say that they can be walked.
    interface PlainHeaders { forEach(each: (value: string, name: string) => void): void; get(name: string): string | null }
    export const plain = (headers: PlainHeaders) => readReply(200, headers, undefined);
    new Courier().submit({ jobs: [{ status: 'job_running', create_time: 1 }], message_id: '1' } as const);
    export const isOurs = (error: unknown) => error instanceof EdgeReportError && error.path;
    initSync(new Uint8Array());
    `;
  writeFileSync(join(work, 'use.mts'), use);
  // What is shown beside the types and in the docs, each in a file of its own.
  const types = readFileSync(join(root, 'types/index.d.ts'), 'utf8').replace(/^ *\* ?/gm, '');
  const examples = [...`${types}\n${readFileSync(join(root, '../../docs/javascript-durable.md'), 'utf8')}`.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block);
  assert.ok(examples.length >= 8);
  const shown = examples.map((example, index) => {
    writeFileSync(join(work, `example${index}.mts`), example);
    return `example${index}.mts`;
  });
  writeFileSync(join(work, 'use.cts'), `import { encode } from 'edge-report'; export const bytes: Uint8Array = encode('{}');`);
  writeFileSync(join(work, 'wrong.mts'), `import { encode } from 'edge-report'; encode({ jobs: [{ status: 1 }] });`);
  writeFileSync(join(work, 'wrong-policy.mts'), `import { Courier } from 'edge-report'; new Courier({ policy: { backlog: 'newest' } });`);
  writeFileSync(join(work, 'wrong-clock.mts'), `import { Courier } from 'edge-report'; new Courier({ clock: () => undefined });`);
  writeFileSync(join(work, 'wrong-who.mts'), `import { buildRequest } from 'edge-report'; buildRequest('{}', { baseUrl: '', projectId: '', credentials: { token: 't', accessKey: 'a', secretKey: 's' } });`);
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const check = (module, resolution, ...files) =>
    spawnSync(process.execPath, [tsc, '--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2022', '--module', module, '--moduleResolution', resolution, '--ignoreConfig', ...files], { cwd: work });
  for (const [module, resolution, ...files] of [
    ['node16', 'node16', 'use.mts', 'use.cts'],
    ['nodenext', 'nodenext', 'use.mts', 'use.cts', ...shown],
    ['esnext', 'bundler', 'use.mts'],
  ]) {
    const { status, stdout } = check(module, resolution, ...files);
    assert.equal(status, 0, `${resolution}: ${stdout}`);
  }
  assert.match(check('nodenext', 'nodenext', 'wrong.mts').stdout.toString(), /TS2322|TS2769|TS2741/);
  assert.match(check('nodenext', 'nodenext', 'wrong-who.mts').stdout.toString(), /TS2322/);
  assert.match(check('nodenext', 'nodenext', 'wrong-clock.mts').stdout.toString(), /TS2322/);
  assert.match(check('nodenext', 'nodenext', 'wrong-policy.mts').stdout.toString(), /TS2322/);
});

test('each member of the types has a comment', () => {
  const lines = readFileSync(join(installed, 'dist/index.d.ts'), 'utf8').split('\n').filter((line) => line.trim());
  // Two spaces in: what is deeper is the shape of a value, and a parameter ends in a comma.
  const bare = lines.filter((line, at) => /^ {2}[\w[].*;$/.test(line) && !/\*\/$/.test(lines[at - 1]));
  assert.deepEqual(bare, []);
});

test('publint finds nothing', async () => {
  const { messages } = await publint({ pkgDir: installed, strict: true, pack: false });
  assert.deepEqual(messages, []);
});
