// A durable courier in a browser's worker, over private files, while the worker is terminated at random: what was acknowledged is there.
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, serve } from './browser.js';
import { project } from './packed.js';

const ROUNDS = process.env.EDGE_REPORT_LONG ? 200 : 20;

const WORKER = `import { Client, Courier } from './edge-report/web.js';
  const limits = { maxBytes: 1024 * 1024, deadLetterBytes: 256 * 1024, policy: { startSpreadMs: 0 } };
  const open = async () => {
    const root = await navigator.storage.getDirectory();
    return Courier.open(await root.getDirectoryHandle('reports', { create: true }), limits);
  };
  const idOf = (body) => JSON.parse(new TextDecoder().decode(body)).message_id;
  const work = {
    async status() {
      const courier = await open();
      const { submitted, delivered, refused, corrupt, waiting } = courier.status();
      const ids = [...courier.waiting()].map(({ body }) => idOf(body));
      courier.close();
      return { submitted, delivered, refused, corrupt, waiting, ids };
    },
    /** Stores reports and delivers some, without end. */
    async run({ first }) {
      const courier = await open();
      const fetch = async (_, { body }) => {
        // What a worker says last may be lost with it; what it sends is not.
        await globalThis.fetch('./sent/' + idOf(body));
        return Response.json({ is_success: true });
      };
      const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
      for (let n = first;; n++) {
        try {
          courier.submit({ jobs: [{ status: 'job_running', create_time: 1, plan: 'p'.repeat((n * 37) % 900) }], message_id: 'm' + n });
          postMessage({ stored: 'm' + n });
        } catch (error) {
          if (error.code !== 'OutboxFull') throw error;
          await client.deliver(courier);
        }
        if (n % 7 === 0) await client.deliver(courier, { timeoutMs: 2 });
        if (n % 3 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
    },
    async second() {
      const courier = await open();
      const code = await open().then(() => 'none', (error) => error.code);
      courier.close();
      return { code, again: (await open().then((courier) => (courier.close(), 'open'))) };
    },
  };
  onmessage = async ({ data }) => {
    try {
      postMessage({ done: await work[data.do](data) });
    } catch (error) {
      postMessage({ error: error.code + ': ' + error.message + error.stack });
    }
  };
  postMessage({ ready: true });`;

const PAGE = `const workers = [];
  const start = () => {
    const worker = new Worker('./worker.js', { type: 'module' });
    worker.ready = new Promise((resolve, reject) => {
      worker.addEventListener('message', ({ data }) => data.ready && resolve());
      worker.onerror = (event) => reject(new Error(event.message));
    });
    return worker;
  };
  /** What a worker says in the end. */
  window.ask = async (message) => {
    const worker = start();
    await worker.ready;
    worker.postMessage(message);
    try {
      return await new Promise((resolve, reject) => {
        worker.addEventListener('message', ({ data }) => {
          if (data.error) reject(new Error(data.error));
          if (data.done) resolve(data.done);
        });
      });
    } finally {
      worker.terminate();
    }
  };
  /** What it says until it is terminated. */
  window.kill = async (first, count, ms) => {
    const worker = start();
    await worker.ready;
    const stored = [];
    let error;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 10_000);
      worker.addEventListener('message', ({ data }) => {
        if (data.error) error = data.error;
        if (data.stored) stored.push(data.stored);
        if (stored.length >= count || error) setTimeout(resolve, ms);
      });
      worker.postMessage({ do: 'run', first });
    });
    worker.terminate();
    if (error && !error.startsWith('SpoolInUse')) throw new Error(error);
    return stored;
  };
  document.title = 'ready';`;

let browser;
let server;
let page;
/** What the service has. */
const sent = new Set();

before(async () => {
  const { work, installed } = project();
  cpSync(join(installed, 'dist'), join(work, 'edge-report'), { recursive: true });
  writeFileSync(join(work, 'worker.js'), WORKER);
  writeFileSync(join(work, 'page.js'), PAGE);
  writeFileSync(join(work, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="./page.js"></script>');
  browser = await launch();
  server = await serve(work, (path) => path.startsWith('/sent/') && sent.add(path.slice(6)));
  page = await browser.newPage();
  await page.goto(server.url);
  await page.waitForFunction(() => document.title === 'ready');
});

after(async () => {
  await browser?.close();
  server?.stop();
});

test('a second opener is refused, and close lets it in', { timeout: 60_000 }, async () => {
  assert.deepEqual(await page.evaluate(() => window.ask({ do: 'second' })), { code: 'SpoolInUse', again: 'open' });
});

test(`${ROUNDS} terminations`, { timeout: 600_000 }, async (t) => {
  const stored = new Set();
  let first = 1;
  for (let round = 0; round < ROUNDS; round++) {
    const said = await page.evaluate((given) => window.kill(...given), [first, 1 + (round * 31) % 120, (round * 7) % 13]);
    said.forEach((id) => stored.add(id));
    first += 1000;
  }
  // The browser frees the files of a worker that is gone in its own time.
  let status;
  for (let tries = 0; !status && tries < 100; tries++) {
    status = await page.evaluate(() => window.ask({ do: 'status' })).catch((error) => (/SpoolInUse/.test(error.message) ? undefined : assert.fail(error.message)));
  }
  t.diagnostic(JSON.stringify({ rounds: ROUNDS, stored: stored.size, sent: sent.size, submitted: status.submitted, delivered: status.delivered, waiting: status.waiting }));
  const there = new Set(status.ids);
  assert.deepEqual([...stored].filter((id) => !there.has(id) && !sent.has(id)), []);
  assert.ok(stored.size > ROUNDS);
  assert.deepEqual([status.corrupt, status.refused], [0, 0]);
  assert.equal(status.submitted, status.delivered + status.waiting);
  assert.ok(status.delivered <= sent.size);
});
