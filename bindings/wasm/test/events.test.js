// What a delivery tells: each verdict with its report and reason, what was superseded, and the reporter in front of it.
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, Courier, EdgeReportError, Reporter } from 'edge-report';

const report = (job, id, status = 'job_running') => ({ jobs: [{ job_id: job, status, create_time: 1591104868201 }], msg_confirm_topic: 't', message_id: id });
const POLICY = { startSpreadMs: 0, minBackoffMs: 10, maxBackoffMs: 10, holdMs: 10 };
const ACCEPTED = () => Response.json({ is_success: true });
const refusal = (status, error_code, error_msg) => () => Response.json({ error_code, error_msg }, { status });
const idOf = ({ body }) => JSON.parse(new TextDecoder().decode(body)).message_id;

/** A client whose service answers by message id, time and again; at the end it accepts. */
function client(answers) {
  const fetch = async (_, request) => {
    const list = answers[idOf(request)] ?? [];
    return (list.shift() ?? ACCEPTED)();
  };
  return new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
}

const brief = ({ what, ticket, messageId, reason, nextAttempt }) => [what, ticket, messageId, reason?.status ?? reason?.code, nextAttempt instanceof Date].slice(0, nextAttempt ? 5 : 4);

test('each verdict, in order, with its report and why', async () => {
  const down = () => {
    throw new TypeError('fetch failed', { cause: Object.assign(new Error('no'), { code: 'ECONNREFUSED', syscall: 'connect' }) });
  };
  const courier = new Courier({ policy: POLICY });
  const [a, b, c] = [1, 2, 3].map((job) => courier.submit(report(job, `r"${job}"\u6f22`)));
  const events = [];
  const answers = { 'r"1"\u6f22': [refusal(503, 'APIGW.1', 'busy'), down], 'r"2"\u6f22': [refusal(401, 'APIGW.0301', 'who')], 'r"3"\u6f22': [refusal(400, 'DLI.0001', 'no such job')] };
  assert.equal(await client(answers).deliver(courier, { onVerdict: (event) => events.push(event) }), 'idle');
  assert.deepEqual(events.map(brief), [
    ['waiting', a, 'r"1"\u6f22', 503, true],
    ['waiting', a, 'r"1"\u6f22', 'NotSent', true],
    ['delivered', a, 'r"1"\u6f22', undefined],
    ['held', b, 'r"2"\u6f22', 401, true],
    // Whether all are denied, another one shows.
    ['refused', c, 'r"3"\u6f22', 400],
    ['delivered', b, 'r"2"\u6f22', undefined],
  ]);
  assert.deepEqual(events.at(-2).reason, { outcome: 'refused', status: 400, errorCode: 'DLI.0001', text: 'no such job' });
  courier.close();
});

test('a budget that is spent, and a report that others prove to be at fault', async () => {
  const courier = new Courier({ policy: { ...POLICY, maxAttempts: 2 } });
  courier.submit(report(1, 'spent'));
  const events = [];
  const onVerdict = (event) => events.push(brief(event));
  await client({ spent: [refusal(503), refusal(503)] }).deliver(courier, { onVerdict });
  assert.deepEqual(events, [['waiting', 1, 'spent', 503, true], ['expired', 1, 'spent', 503]]);
  courier.close();
  // What is said of a bad one counts for an hour at the least: here each of these responses takes as long.
  let passed = 0;
  const other = new Courier({ policy: { ...POLICY, refuseAfter: 1 }, clock: () => performance.now() + passed });
  for (let n = 1; n <= 20; n++) other.submit(report(n, n === 1 ? 'poison' : `r${n}`));
  const told = [];
  const blocked = () => {
    passed += 3_600_000;
    return new Response('<html>blocked</html>', { status: 403 });
  };
  // Longer than the greatest back-off, so that the bad one is tried again between two others.
  const slowly = () => new Promise((resolve) => setTimeout(() => resolve(ACCEPTED()), 20));
  const answers = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`r${n + 1}`, [slowly]]));
  await client({ ...answers, poison: Array.from({ length: 99 }, () => blocked) }).deliver(other, { onVerdict: ({ what, messageId }) => told.push(`${what} ${messageId}`) });
  assert.deepEqual(told.filter((line) => !line.startsWith('delivered')).at(-1), 'refused poison');
  assert.equal(told.filter((line) => line === 'refused poison').length, 1);
  other.close();
});

test('what newer reports supersede is named', async () => {
  for (const open of [() => new Courier({ policy: { ...POLICY, backlog: 'latest' } }), () => Courier.open(join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool'), { policy: { ...POLICY, backlog: 'latest' } })]) {
    const courier = await open();
    for (let n = 1; n <= 4; n++) for (const job of [1, 2]) courier.submit(report(job, `j${job}-${n}`));
    const events = [];
    await client({}).deliver(courier, { onVerdict: (event) => events.push(event) });
    const names = events.filter(({ what }) => what === 'superseded').flatMap(({ reports }) => reports.map(({ messageId }) => messageId));
    assert.deepEqual(names.sort(), ['j1-1', 'j1-2', 'j1-3', 'j2-1', 'j2-2', 'j2-3']);
    const counted = events.reduce((sum, { what, count }) => sum + (what === 'superseded' ? count : 0), 0);
    assert.deepEqual([counted, courier.status().superseded], [6, 6]);
    // Jobs have turns, by chance.
    assert.deepEqual(events.filter(({ what }) => what === 'delivered').map(({ messageId }) => messageId).sort(), ['j1-4', 'j2-4']);
    courier.close();
  }
});

test('forever: until it is aborted, at once, and the report in flight is offered again', async () => {
  const courier = new Courier({ policy: POLICY });
  const stop = new AbortController();
  let hangs = false;
  let started;
  const fetch = (_, { signal }) => {
    if (!hangs) return ACCEPTED();
    started();
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const events = [];
  const delivery = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch }).deliver(courier, { forever: true, signal: stop.signal, onVerdict: (event) => events.push(event) });
  const delivered = async (count) => {
    while (events.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  courier.submit(report(1, 'a'));
  await delivered(1);
  courier.submit(report(1, 'b'));
  await delivered(2);
  hangs = true;
  const under = new Promise((resolve) => (started = resolve));
  courier.submit(report(1, 'c'));
  await under;
  stop.abort(new Error('enough'));
  await assert.rejects(delivery, /enough/);
  assert.deepEqual([idOf(courier.next()), courier.status().waiting], ['c', 1]);
  courier.close();
});

test('what an observer throws ends a delivery, and costs nothing', async () => {
  const courier = new Courier({ policy: POLICY });
  for (const id of ['a', 'b']) courier.submit(report(1, id));
  const fails = () => {
    throw new Error('mine');
  };
  await assert.rejects(client({}).deliver(courier, { onVerdict: fails }), /mine/);
  assert.equal(courier.status().delivered, 1);
  assert.equal(await client({}).deliver(courier), 'idle');
  assert.equal(courier.status().delivered, 2);
  for (const wrong of [5, {}, 'x']) await assert.rejects(client({}).deliver(courier, { onVerdict: wrong }), TypeError);
  for (const wrong of [undefined, {}, null]) await assert.rejects(client({}).deliver(wrong), TypeError);
  courier.close();
});

test('a reporter: submit, flush, stop; and what waits is there at the next start', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool');
  const events = [];
  const reporter = new Reporter(client({ b: [refusal(503)] }), await Courier.open(path, { policy: POLICY }), ({ what, messageId }) => events.push(`${what} ${messageId}`));
  for (const id of ['a', 'b', 'c']) reporter.submit(report(1, id));
  assert.equal(await reporter.flush({ timeoutMs: 20_000 }), 'idle');
  assert.deepEqual(events, ['delivered a', 'waiting b', 'delivered b', 'delivered c']);
  await reporter.stop();
  await reporter.stop();
  assert.throws(() => reporter.submit(report(1, 'd')), (error) => error.code === 'NotUsable');
  await assert.rejects(reporter.flush(), (error) => error.code === 'NotUsable');
  // One whose service is away.
  const away = new Client({ baseUrl: 'http://127.0.0.1:9', projectId: 'p' });
  const waiting = new Reporter(away, await Courier.open(path, { policy: { ...POLICY, minBackoffMs: 60_000 } }));
  waiting.submit(report(1, 'd'));
  assert.equal(await waiting.flush({ timeoutMs: 50 }), 'time_up');
  const begin = performance.now();
  if (Symbol.asyncDispose) await waiting[Symbol.asyncDispose]();
  else await waiting.stop();
  assert.ok(performance.now() - begin < 30_000);
  const courier = await Courier.open(path);
  assert.deepEqual([...courier.waiting()].map(idOf), ['d']);
  courier.close();
});

test('a reporter that is woken often asks once a minute, and never against what the service asked for', async (t) => {
  const NEVER = 10 ** 9;
  for (const [answer, woken] of [
    [refusal(503), 1],
    [refusal(401, 'APIGW.0301', 'who'), 0],
    [() => new Response('', { status: 503, headers: { 'Retry-After': '3000' } }), 0],
  ]) {
    let [now, requests] = [0, 0];
    const fetch = async () => {
      requests += 1;
      return answer();
    };
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
    const policy = { startSpreadMs: 0, minBackoffMs: NEVER, maxBackoffMs: NEVER, holdMs: NEVER };
    // The shortest and the longest wait: jitter may be none.
    const courier = new Courier({ policy, clock: () => now, entropy: () => 2n ** 63n });
    const reporter = new Reporter(client, courier);
    t.after(() => reporter.stop());
    const asked = async (wakes, wake = () => reporter.wake()) => {
      const before = requests;
      for (let count = 0; count < wakes; count += 1) {
        wake();
        await new Promise((done) => setTimeout(done, 20));
      }
      return requests - before;
    };
    reporter.submit(report(1, 'a'));
    assert.equal(await asked(1, () => {}), 1);
    assert.equal(await asked(5), woken);
    now += 59_999;
    assert.equal(await asked(5), 0);
    now += 1;
    assert.equal(await asked(5), woken);
    // What was wrong may be right now; and the courier does as it is told.
    client.setCredentials({ token: 'new' });
    assert.equal(await asked(5), 1);
    assert.equal(await asked(5, () => courier.wake()), 5);
  }
});

test('a reporter goes on after an error, and says so', async (t) => {
  const courier = new Courier({ policy: POLICY });
  let fails = true;
  const next = courier.next;
  courier.next = () => {
    if (!fails) return next.call(courier);
    fails = false;
    throw new EdgeReportError('Storage', { detail: 'cannot read' });
  };
  const events = [];
  const reporter = new Reporter(client({}), courier, (event) => events.push(event));
  reporter.submit(report(1, 'a'));
  assert.equal(await reporter.flush({ timeoutMs: 20_000 }), 'idle');
  assert.deepEqual(events.map(({ what }) => what), ['failed', 'delivered']);
  assert.equal(events[0].error.code, 'Storage');
  assert.ok(events[0].nextAttempt instanceof Date);
  await reporter.stop();
});
