// What goes wrong in any call costs no report: the stack runs out, memory runs out, a trap.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, Courier, EdgeReportError, buildRequest, check, encode, parse, readReply, sign } from 'edge-report';
import { project } from './packed.js';

const { work } = project();

/** Half of them find too little stack. */
const TIMES = 2000;
const report = (n) => ({ jobs: [{ job_id: n, status: 'job_running', create_time: 1591104868201 }], msg_confirm_topic: 't', message_id: `m${n}` });
const ACCEPTED = readReply(200, undefined, '{"is_success":true}');
const POLICY = { startSpreadMs: 0, minBackoffMs: 0, maxBackoffMs: 0 };

/** Goes down to the end of the stack, and calls `use` at each step back up; how often that failed. */
function atTheEnd(use) {
  let [left, failures] = [TIMES, 0];
  const down = () => {
    try {
      down();
    } catch {
      // This is the end.
    }
    if (left === 0) return;
    left -= 1;
    try {
      use();
    } catch (error) {
      failures += 1;
      if (!(error instanceof RangeError || error instanceof EdgeReportError || error instanceof TypeError)) left = NaN;
    }
  };
  down();
  assert.equal(left, 0);
  return failures;
}

function temporary() {
  return join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool');
}

test('a stack that runs out in calls that keep nothing costs no courier a report', () => {
  const couriers = [new Courier({ policy: POLICY }), new Courier()];
  couriers.forEach((courier) => courier.submit(report(1)));
  const endpoint = { baseUrl: 'https://gateway.example', projectId: 'p', credentials: { accessKey: 'AK', secretKey: 'SK' } };
  for (const use of [
    () => check(report(1)),
    () => encode(report(1)),
    () => parse(report(1)),
    () => sign({ host: 'h', path: '/' }, endpoint.credentials),
    () => buildRequest(report(1), endpoint),
    () => readReply(200, undefined, '{}'),
    () => new Courier({ policy: { maxAttempts: 3 } }).free(),
  ]) {
    assert.ok(atTheEnd(use) > TIMES / 100, String(use));
    assert.deepEqual(couriers.map((courier) => courier.status().waiting), [1, 1]);
    assert.equal(check(report(1)).length, 0);
  }
  // As somebody would meet it.
  const walk = () => {
    check(report(1));
    return walk() + 1;
  };
  assert.throws(walk);
  for (const courier of couriers) {
    assert.equal(courier.submit(report(2)), 2);
    assert.equal(courier.status().waiting, 2);
    courier.free();
  }
});

/** All that is acknowledged is there, or settled, and it goes on. */
function abuse(courier) {
  const submitted = new Map();
  let number = 0;
  const submit = () => {
    const id = `m${(number += 1)}`;
    const ticket = courier.submit({ ...report(number), message_id: id });
    submitted.set(ticket, id);
  };
  const settled = new Set();
  let step;
  const failed = {
    submit: atTheEnd(submit),
    next: atTheEnd(() => courier.next()),
    status: atTheEnd(() => courier.status()),
    settle: atTheEnd(() => {
      step = courier.next();
      if (step.step !== 'send') return;
      if (courier.settle(step.ticket, ACCEPTED).verdict === 'delivered') settled.add(step.ticket);
    }),
    waiting: atTheEnd(() => courier.waiting().next()),
  };
  const waiting = new Map([...courier.waiting()].map(({ ticket, body }) => [ticket, parse(body).message_id]));
  for (const [ticket, id] of submitted) {
    // What was settled in a call that failed is settled.
    if (!waiting.has(ticket)) continue;
    assert.equal(waiting.get(ticket), id);
  }
  const lost = [...submitted.keys()].filter((ticket) => !waiting.has(ticket) && !settled.has(ticket));
  return { failed, submitted: submitted.size, lost: lost.length, delivered: courier.status().delivered };
}

test('a stack that runs out in a call of the courier costs none of its reports', (t) => {
  const courier = new Courier({ policy: POLICY });
  const { failed, submitted, lost, delivered } = abuse(courier);
  t.diagnostic(JSON.stringify({ failed, submitted, lost, delivered }));
  assert.ok(Object.values(failed).every((count) => count > TIMES / 100));
  assert.ok(submitted > TIMES / 5);
  assert.ok(lost <= 1, `${lost} of ${submitted}`);
  assert.equal(courier.status().submitted, courier.status().delivered + courier.status().waiting);
  courier.free();
});

test('the same of a durable one', async (t) => {
  const directory = temporary();
  const courier = await Courier.open(directory, { policy: POLICY, durability: { reports: 1000, ms: 1000 } });
  const { failed, submitted, lost, delivered } = abuse(courier);
  t.diagnostic(JSON.stringify({ failed, submitted, lost, delivered }));
  assert.ok(Object.values(failed).every((count) => count > TIMES / 100));
  assert.ok(submitted > TIMES / 5);
  assert.equal(lost, 0);
  const status = courier.status();
  assert.equal(status.submitted, status.delivered + status.waiting);
  courier.close();
  const again = await Courier.open(directory);
  assert.equal(again.status().waiting, status.waiting);
  again.close();
  rmSync(directory, { recursive: true });
});

test('a delivery whose calls meet the end of the stack goes on afterwards', () => {
  const text = `import { Client, Courier } from 'edge-report';
    const TIMES = ${TIMES}; const assert = { equal() {} }; class EdgeReportError {}
    ${atTheEnd}
    const courier = new Courier({ policy: { startSpreadMs: 0, minBackoffMs: 0, maxBackoffMs: 0 } });
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch: async () => Response.json({ is_success: true }) });
    for (let n = 1; n <= 50; n++) courier.submit({ jobs: [{ status: 'job_running', create_time: 1 }], message_id: 'm' + n });
    const deliveries = []; let failures = 0;
    atTheEnd(() => { deliveries.push(client.deliver(courier).catch(() => (failures += 1))); });
    await Promise.allSettled(deliveries);
    const { delivered, waiting } = (await client.deliver(courier), courier.status());
    console.log(failures > TIMES / 100, delivered, waiting);`;
  writeFileSync(join(work, 'deliver.mjs'), text);
  // Node itself writes about promises that have no stack.
  const options = { cwd: work, stdio: ['ignore', 'pipe', 'ignore'] };
  assert.equal(execFileSync(process.execPath, ['--unhandled-rejections=none', 'deliver.mjs'], options).toString().trim(), 'true 50 0');
});

/** A program that has a module whose memory ends at so many pages. */
function small(name, pages, text) {
  writeFileSync(join(work, name), `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    import { Courier, EdgeReportError, encode, check, initSync, readReply } from 'edge-report/slim';
    const bytes = readFileSync(createRequire(import.meta.url).resolve('edge-report/edge_report.wasm'));
    // The section of memories: one, and only with a least size. It gets a greatest.
    const at = bytes.indexOf(Buffer.from([5, 3, 1, 0]));
    if (at < 0) throw new Error('no memory section');
    initSync(Buffer.concat([bytes.subarray(0, at), Buffer.from([5, 4, 1, 1, bytes[at + 4], ${pages}]), bytes.subarray(at + 5)]));
    ${text}`);
  return execFileSync(process.execPath, [name], { cwd: work }).toString().trim();
}

test('memory that runs out: what was taken stays, and can be delivered', () => {
  const text = `const courier = new Courier({ capacity: 1e9, policy: { startSpreadMs: 0 } });
    const report = (n) => ({ jobs: [{ status: 'job_running', create_time: 1, plan: 'x'.repeat(20_000) }], message_id: 'm' + n });
    let taken = 0; const codes = new Set();
    for (let n = 0; n < 1000; n++) try { courier.submit(report(n)); taken += 1; } catch (error) { codes.add(error.code); }
    // Elsewhere it ends an instance, and no courier.
    try { check('[' + '1,'.repeat(5e6) + '1]'); } catch (error) { codes.add(error.code); }
    const { waiting } = courier.status();
    let delivered = 0;
    for (let step; (step = courier.next()).step === 'send'; delivered++) courier.settle(step.ticket, readReply(200, undefined, '{"is_success":true}'));
    console.log(waiting === taken, taken > 50, delivered === taken, [...codes].sort().join());
    courier.submit(report(1));`;
  assert.equal(small('full.mjs', 100, text), 'true true true Internal,OutboxFull');
});

test('memory is flat over submit and settle', { timeout: 120_000 }, (t) => {
  const most = process.env.EDGE_REPORT_LONG ? Infinity : 5_000;
  const text = `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    const start = WebAssembly.Instance; const memories = [];
    WebAssembly.Instance = class extends start { constructor(...all) { super(...all); memories.push(this.exports.memory); } };
    const { Courier, initSync, readReply } = await import('edge-report/slim');
    initSync(readFileSync(createRequire(import.meta.url).resolve('edge-report/edge_report.wasm')));
    const courier = new Courier({ policy: { startSpreadMs: 0 } });
    const accepted = readReply(200, undefined, '{"is_success":true}');
    const report = '{"jobs":[{"job_id":7,"status":"job_running","create_time":1591104868201}],"msg_confirm_topic":"t","message_id":"1"}';
    const round = () => { courier.submit(report); const { ticket } = courier.next(); courier.settle(ticket, accepted); };
    const size = () => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    for (let n = 0; n < 2000; n++) round();
    const before = size(); const begin = performance.now(); let rounds = 2000;
    for (; rounds < 1e6 && performance.now() - begin < ${most === Infinity ? '1e9' : most}; rounds++) round();
    globalThis.gc(); const heap = process.memoryUsage().heapUsed;
    console.log(JSON.stringify({ rounds, grown: size() - before, heap: Math.round(heap / 1e6), delivered: courier.status().delivered }));`;
  writeFileSync(join(work, 'flat.mjs'), text);
  const said = JSON.parse(execFileSync(process.execPath, ['--expose-gc', 'flat.mjs'], { cwd: work }).toString());
  t.diagnostic(JSON.stringify(said));
  assert.equal(said.grown, 0);
  assert.equal(said.delivered, said.rounds);
  assert.ok(said.heap < 30, `${said.heap} MB`);
});
