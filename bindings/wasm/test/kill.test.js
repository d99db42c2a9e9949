// A durable courier in Node that is killed at random while it stores and delivers, against a receiver that fails now and then: what was acknowledged
// arrives. EDGE_REPORT_LONG: 200 kills.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Courier } from 'edge-report';
import { project } from './packed.js';
import { program, startReceiver } from './receiver.js';

const ROUNDS = process.env.EDGE_REPORT_LONG ? 200 : 30;
const FAULTS = ['status=503@every 7', 'reset-after@every 11', 'reset-before@every 13', 'cut@every 17', 'status=400,code=DLI.0001@every 23'];
const seed = Number(process.env.EDGE_REPORT_SEED ?? Date.now() % 1e9);

/** Small numbers at random, again the same from the same seed. */
function random(state) {
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Stores reports from a number on, and says so of each; delivers all the while. */
const CHILD = `import { writeSync } from 'node:fs';
  import { Client, Courier } from 'edge-report';
  const [path, url, first, count] = process.argv.slice(2);
  const policy = { startSpreadMs: 0, minBackoffMs: 1, maxBackoffMs: 20 };
  const courier = await Courier.open(path, { policy, maxBytes: 1024 * 1024 });
  const client = new Client({ baseUrl: url, projectId: 'p' });
  const say = (what, id) => writeSync(1, what + ' ' + id + '\\n');
  const onVerdict = ({ what, messageId }) => ['delivered', 'refused'].includes(what) && say(what, messageId);
  const begin = Number(first);
  for (let n = begin; n < begin + Number(count); n++) {
    const report = { jobs: [{ status: 'job_running', create_time: n + 1, plan: 'p'.repeat((n * 37) % 900) }], message_id: 'm' + n };
    try {
      courier.submit(report);
      say('stored', 'm' + n);
    } catch (error) {
      if (error.code !== 'OutboxFull') throw error;
    }
    if (n % 10 === 0) await client.deliver(courier, { timeoutMs: 5, onVerdict });
  }
  await client.deliver(courier, { onVerdict });
  say('ended', courier.status().waiting);
  courier.close();`;

test(`${ROUNDS} kills`, { timeout: 600_000 }, async (t) => {
  const below = random(seed);
  const { work } = project();
  writeFileSync(join(work, 'child.mjs'), CHILD);
  const path = join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool');
  const receiver = await startReceiver(FAULTS);
  const [stored, told] = [new Set(), new Set()];
  const begin = performance.now();
  let [number, kills, ends] = [0, 0, 0];
  while (kills < ROUNDS) {
    const count = [0, 30, 300][below(3)];
    const child = spawn(process.execPath, ['child.mjs', path, receiver.url, number, count], { cwd: work, stdio: ['ignore', 'pipe', 'pipe'] });
    number += count;
    let [said, errors] = ['', ''];
    const ended = new Promise((resolve) => child.once('close', (status, signal) => resolve({ status, signal })));
    // Now and then while it starts; else after some time, or as soon as it has said so much.
    const timer = setTimeout(() => child.kill('SIGKILL'), below(8) === 0 ? below(150) : 200 + below(1500));
    const enough = 1 + below(200);
    child.stderr.on('data', (part) => (errors += part));
    child.stdout.on('data', (part) => {
      said += part;
      if (said.split('\n').length > enough) child.kill('SIGKILL');
    });
    const { status, signal } = await ended;
    clearTimeout(timer);
    if (signal === 'SIGKILL') kills += 1;
    else assert.equal(status, 0, errors);
    ends += Number(signal !== 'SIGKILL');
    for (const line of said.split('\n').slice(0, -1)) {
      const [what, id] = line.split(' ');
      if (what === 'stored') stored.add(id);
      else if (what !== 'ended') told.add(id);
    }
  }
  const took = Math.round(performance.now() - begin);
  const last = spawn(process.execPath, ['child.mjs', path, receiver.url, number, 0], { cwd: work, stdio: ['ignore', 'ignore', 'inherit'] });
  assert.equal(await new Promise((resolve) => last.once('close', resolve)), 0);
  receiver.stop();
  const arrived = new Set(receiver.accepted().map(({ message_id: id }) => id));
  const courier = await Courier.open(path);
  const letters = new Set(courier.deadLetters().map(({ body }) => JSON.parse(new TextDecoder().decode(body)).message_id));
  const status = courier.status();
  courier.close();
  const { submitted, delivered, refused, corrupt, waiting } = status;
  t.diagnostic(JSON.stringify({ seed, kills, ends, took, stored: stored.size, arrived: arrived.size, letters: letters.size, submitted, delivered, refused }));
  assert.deepEqual([...stored].filter((id) => !arrived.has(id) && !letters.has(id)), []);
  assert.deepEqual([...told].filter((id) => !arrived.has(id) && !letters.has(id)), []);
  assert.deepEqual([corrupt, waiting], [0, 0]);
  assert.equal(submitted, delivered + refused + status.superseded + status.expired);
  // As Rust counts it.
  const rust = spawnSync(program('edge-report-agent'), ['status', '--spool', path], { encoding: 'utf8' }).stdout;
  assert.match(rust, new RegExp(`^submitted ${submitted}\\ndelivered ${delivered}\\nrefused ${refused}$`, 'm'));
});
