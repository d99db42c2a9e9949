// What a courier says, step by step, as in Rust and C (tests/vectors/courier.json); then what only JavaScript can hold: reasons in words,
// letters, options.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Courier, EdgeReportError, parse, readReply } from 'edge-report';

const { cases } = JSON.parse(readFileSync(new URL('../../../tests/vectors/courier.json', import.meta.url)));
const report = (jobId, id = 'm', status = 'job_running') => ({ jobs: [{ job_id: jobId, status, create_time: 1591104868201 }], message_id: id });

/** Numbers beyond 2^53 are strings, and as good as the greatest. */
const number = (value) => (typeof value === 'string' ? Math.max(Math.min(Number(value), Number.MAX_SAFE_INTEGER), -Number.MAX_SAFE_INTEGER) : value);
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const reasonOf = (reason) => (reason?.code === undefined ? reason?.status : reason.number + 1000);

function run(courier, step, set) {
  if (step.now !== undefined) set.now = number(step.now);
  switch (step.do) {
    case 'submit':
      return assert.equal(courier.submit(report(step.job_id ?? 99270)), step.ticket);
    case 'next': {
      const said = courier.next();
      if (step.send !== undefined) {
        assert.deepEqual([said.step, said.ticket, said.clockOffsetMs], ['send', step.send, step.clock_offset_ms]);
      } else if (step.wait !== undefined) {
        assert.deepEqual(said, { step: 'wait', ms: step.wait });
      } else {
        assert.equal(step.idle, true);
        assert.deepEqual(said, { step: 'idle' });
      }
      return;
    }
    case 'settle': {
      set.entropy = BigInt(step.entropy);
      const event = step.failure !== undefined
        ? new EdgeReportError(step.failure)
        : { outcome: step.outcome, status: step.status, retryAfterMs: number(step.retry_after_ms), clockSkewMs: number(step.clock_skew_ms) };
      if (step.error !== undefined) {
        return assert.throws(() => courier.settle(step.ticket, event), (error) => error.number === step.error);
      }
      const said = courier.settle(step.ticket, event);
      assert.equal(said.verdict, step.verdict);
      assert.equal(said.at ?? said.until, number(step.at_ms));
      return assert.equal(reasonOf(said.reason), step.reason);
    }
    case 'wake':
      return courier.wake();
    case 'dead_letter': {
      const letter = courier.deadLetter(step.after);
      assert.equal(letter?.ticket ?? 0, step.ticket);
      return assert.equal(reasonOf(letter?.reason), step.reason);
    }
    case 'resubmit_dead_letter':
      return assert.equal(courier.resubmitDeadLetter(), step.ticket);
    case 'forget_dead_letters':
      return courier.forgetDeadLetters(step.ticket);
    case 'status': {
      const status = courier.status();
      for (const name of ['submitted', 'delivered', 'refused', 'expired', 'waiting', 'aside']) {
        if (name !== 'aside' || step.aside !== undefined) assert.equal(status[name], step[name], name);
      }
      return;
    }
    default:
      throw new Error(step.do);
  }
}

assert.ok(cases.length >= 40);
for (const { name, policy, steps } of cases) {
  test(`courier: ${name}`, () => {
    const set = { now: 0, entropy: 2n ** 64n - 1n };
    const members = Object.fromEntries(Object.entries(policy).map(([member, value]) => [camel(member), value]));
    const courier = new Courier({ policy: members, clock: () => set.now, entropy: () => set.entropy });
    for (const step of steps) {
      try {
        run(courier, step, set);
      } catch (error) {
        error.message = `${JSON.stringify(step)}: ${error.message}`;
        throw error;
      }
    }
    courier.free();
    courier.free();
    assert.throws(() => courier.status(), (error) => error.code === 'NotUsable');
  });
}

const ACCEPTED = readReply(200, undefined, '{"is_success":true}');
const REFUSED = readReply(400, undefined, '{"error_code":"DLI.0001","error_msg":"no such job"}');
const DISLIKED = readReply(403, undefined, '<html>Request blocked</html>');
const NO_HOST = readReply(404, undefined, '<html>404 Not Found</html>');
const code = (name, words = /./) => (error) => error instanceof EdgeReportError && error.code === name && words.test(error.message);

/** A courier in virtual time. */
function simulated(policy, options) {
  const set = { now: 0 };
  const courier = new Courier({ policy: { startSpreadMs: 0, ...policy }, clock: () => set.now, entropy: () => 0n, ...options });
  const answered = [];
  return {
    courier,
    set,
    answered,
    /** Sends for so many milliseconds, or until nothing waits. `answer` says what comes for a message id. */
    run(answer, ms = Infinity) {
      for (const until = set.now + ms; set.now <= until;) {
        const step = courier.next();
        if (step.step === 'idle') return;
        if (step.step === 'wait') {
          set.now += step.ms;
          continue;
        }
        const id = parse(step.body).message_id;
        answered.push(id);
        courier.settle(step.ticket, answer(id));
      }
    },
  };
}

const adds = (status) => status.delivered + status.refused + status.superseded + status.expired + status.waiting;

test('a proxy that answers 404 to everything refuses nothing, and all is delivered afterwards', () => {
  const { courier, run, answered } = simulated({}, { entropy: () => 2n ** 63n });
  for (let n = 1; n <= 200; n++) courier.submit(report(n, `r${n}`));
  run(() => NO_HOST, 24 * 3_600_000);
  const during = courier.status();
  assert.deepEqual([during.waiting, during.refused, during.letters, during.circuitOpen], [200, 0, 0, true]);
  assert.ok(answered.length < 2 * 24 * 3_600 / 150, `${answered.length} requests`);
  assert.deepEqual(during.lastFailure.reason, { outcome: 'not_understood', status: 404 });
  run(() => ACCEPTED);
  const status = courier.status();
  assert.deepEqual([status.delivered, status.waiting, status.lastFailure, status.nextAttempt, status.oldest], [200, 0, undefined, undefined, undefined]);
  assert.equal(adds(status), status.submitted);
  courier.free();
});

test('a report that only it is answered badly steps aside, and ends as a dead letter with its reason', () => {
  const { courier, run, answered } = simulated();
  for (let n = 1; n <= 40; n++) courier.submit(report(n, n === 3 ? 'poison' : `r${n}`));
  const answer = (id) => (id === 'poison' ? { ...DISLIKED, errorCode: 'WAF.7', message: 'blocked' } : ACCEPTED);
  run(answer, 3_000);
  assert.deepEqual([courier.status().delivered, courier.status().aside, courier.status().letters], [39, 1, 0]);
  assert.equal(courier.takeDeadLetter(), undefined);
  // What comes later proves it, an attempt each.
  for (let n = 41; courier.status().waiting > 0 && n < 80; n++) {
    courier.submit(report(n, `r${n}`));
    run(answer, 400_000);
  }
  const status = courier.status();
  assert.deepEqual([status.refused, status.aside, status.letters, status.waiting], [1, 0, 1, 0]);
  assert.equal(adds(status), status.submitted);
  const reason = { outcome: 'not_understood', status: 403, errorCode: 'WAF.7', text: 'blocked' };
  assert.deepEqual(courier.takeDeadLetter(), { ticket: 3, reason });
  assert.equal(courier.takeDeadLetter(), undefined);
  const [letter] = courier.deadLetters();
  assert.deepEqual([letter.ticket, letter.reason, parse(letter.body).message_id], [3, reason, 'poison']);
  assert.ok(answered.filter((id) => id === 'poison').length >= 8);
  courier.free();
});

test('refuseAfter: sooner, or never', () => {
  for (const [refuseAfter, refused] of [[1, 1], [Infinity, 0]]) {
    const { courier, run } = simulated({ refuseAfter });
    courier.submit(report(1, 'poison'));
    for (let n = 2; n <= 30; n++) {
      courier.submit(report(n, `r${n}`));
      run((id) => (id === 'poison' ? DISLIKED : ACCEPTED), 400_000);
    }
    assert.deepEqual([courier.status().refused, courier.status().delivered], [refused, 29]);
    courier.free();
  }
});

test('again and held say why, in the words of the response or of the error', () => {
  const reply = (status, body) => readReply(status, undefined, body);
  const tls = new EdgeReportError('Tls', { detail: 'CERT_HAS_EXPIRED certificate has expired' });
  const { message } = new EdgeReportError('Tls');
  for (const [event, verdict, reason] of [
    [reply(503, '{"error_code":"APIGW.0404","error_msg":"backend timeout"}'), 'again', { outcome: 'try_again', status: 503, errorCode: 'APIGW.0404', text: 'backend timeout' }],
    [reply(401, '{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication"}'), 'held', { outcome: 'credentials', status: 401, errorCode: 'APIGW.0301', text: 'Incorrect IAM authentication' }],
    [reply(302, ''), 'held', { outcome: 'misconfigured', status: 302 }],
    [REFUSED, 'refused', { outcome: 'refused', status: 400, errorCode: 'DLI.0001', text: 'no such job' }],
    [reply(200, '{"is_success":false,"message":"gone"}'), 'refused', { outcome: 'refused', status: 200, text: 'gone' }],
    [tls, 'held', { code: 'Tls', number: 120, message, text: tls.detail }],
    [new EdgeReportError('NotSent'), 'again', { code: 'NotSent', number: 140, message: new EdgeReportError('NotSent').message }],
    // Whatever words: on one line, whole characters, cut.
    [{ ...REFUSED, errorMsg: `a\n\ud800${'漢'.repeat(100)}` }, 'refused', { outcome: 'refused', status: 400, errorCode: 'DLI.0001', text: `a \ufffd${'漢'.repeat(38)}` }],
  ]) {
    const { courier } = simulated();
    const ticket = courier.submit(report(1));
    const said = courier.settle(courier.next().ticket, event);
    assert.deepEqual([said.verdict, said.reason], [verdict, reason]);
    const status = courier.status();
    assert.deepEqual(status.last, { ticket, ...said });
    assert.deepEqual(status.lastFailure, { ticket, reason });
    assert.equal(status.nextAttempt, said.at ?? said.until);
    courier.free();
  }
});

test('an older report of a job that newer ones overtook keeps what its last attempt got', () => {
  const { courier, run } = simulated({ refuseAfter: 3 });
  courier.submit(report(1, 'older'));
  for (const newer of ['newer', 'newer still', 'newest']) courier.submit(report(1, newer));
  run((id) => (id === 'older' ? DISLIKED : ACCEPTED));
  const { number, message } = new EdgeReportError('Overtaken');
  // It was tried again right after each newer one was accepted, and its own verdict says so.
  const [{ ticket, reason }] = courier.deadLetters();
  assert.deepEqual([ticket, reason], [1, { code: 'Overtaken', number, message, status: 403 }]);
  assert.equal(courier.takeDeadLetter(), undefined);
  assert.deepEqual([courier.status().delivered, courier.status().waiting], [3, 0]);
  courier.free();
});

test('backlog latest: after an outage each job is current at once', () => {
  for (const [backlog, sent] of [['latest', ['first', 'j1-9', 'j2-9', 'final']], ['all', 21], [undefined, 21]]) {
    const { courier, run, answered } = simulated({ backlog });
    courier.submit(report(3, 'first'));
    run(() => new EdgeReportError('NotSent'), 3_600_000);
    answered.length = 0;
    for (let n = 1; n <= 9; n++) for (const job of [1, 2]) courier.submit(report(job, `j${job}-${n}`));
    courier.submit(report(4, 'final', 'job_finish'));
    courier.submit(report(5, 'x'));
    courier.submit(report(5, 'y'));
    run(() => ACCEPTED);
    const status = courier.status();
    assert.equal(adds(status), status.submitted);
    if (backlog === 'latest') {
      // Across jobs the order is nobody's.
      assert.deepEqual(answered.sort(), [...sent, 'y'].sort());
      assert.equal(status.superseded, 17);
    } else {
      assert.deepEqual([answered.length, status.superseded], [22, 0]);
    }
    courier.free();
  }
});

/** Fills the letters of a small courier. */
function full(whenLettersFull) {
  const { courier, run, set } = simulated({ whenLettersFull, minBackoffMs: 1, maxBackoffMs: 1 }, { capacity: 16_384 });
  for (let n = 1; n <= 20; n++) courier.submit({ ...report(n, `r${n}`), msg_confirm_topic: 't'.repeat(400) });
  run(() => REFUSED, 1_000);
  return { courier, run, set };
}

test('letters that are full: drop the oldest, and count them; or hold', () => {
  const { courier: dropping } = full();
  const dropped = dropping.status();
  assert.deepEqual([dropped.refused, dropped.waiting, dropped.letters + dropped.lettersDropped], [20, 0, 20]);
  assert.ok(dropped.lettersDropped > 0);
  assert.equal(dropping.deadLetters()[0].ticket, dropped.lettersDropped + 1);
  dropping.free();

  const { courier, run, set } = full('hold');
  const held = courier.status();
  assert.ok(held.waiting > 0 && held.aside > 0 && held.lettersDropped === 0);
  assert.deepEqual([held.letters, adds(held)], [held.refused, 20]);
  assert.equal(held.lastFailure.reason.code, 'LettersFull');
  const ids = [];
  for (let round = 0; round < 20 && courier.status().waiting > 0; round++) {
    const letters = courier.deadLetters();
    ids.push(...letters.map(({ body }) => parse(body).message_id));
    courier.forgetDeadLetters(letters.at(-1).ticket);
    courier.wake();
    run(() => REFUSED, 100);
    set.now += 1;
  }
  ids.push(...courier.deadLetters().map(({ body }) => parse(body).message_id));
  assert.deepEqual(ids.toSorted(), Array.from({ length: 20 }, (_, n) => `r${n + 1}`).toSorted());
  courier.free();
});

test('letters: listed in the order of death, forgotten and submitted again by ticket', () => {
  const { courier, run } = simulated({ maxAttempts: 6 });
  courier.submit(report(1, 'poison'));
  for (let n = 2; n <= 6; n++) courier.submit(report(n, `r${n}`));
  // The first dies after others.
  run((id) => (id === 'poison' ? DISLIKED : id === 'r6' ? ACCEPTED : REFUSED));
  const tickets = () => courier.deadLetters().map(({ ticket }) => ticket);
  assert.deepEqual(tickets(), [2, 3, 4, 5, 1]);
  assert.equal(courier.deadLetter().ticket, 2);
  assert.equal(courier.deadLetter(5).ticket, 1);
  assert.equal(courier.deadLetter(1), undefined);
  assert.equal(courier.deadLetter(99).ticket, 2);
  courier.forgetDeadLetter(3);
  courier.forgetDeadLetter(3);
  assert.deepEqual(tickets(), [2, 4, 5, 1]);
  assert.equal(courier.resubmitDeadLetter(3), undefined);
  assert.equal(courier.resubmitDeadLetter(0), undefined);
  assert.equal(courier.resubmitDeadLetter(5), 7);
  assert.equal(courier.resubmitDeadLetter(), 8);
  assert.deepEqual(tickets(), [4, 1]);
  courier.forgetDeadLetters(99);
  courier.forgetDeadLetters(4);
  assert.deepEqual(tickets(), [1]);
  // A list is of its moment.
  for (const { ticket } of courier.deadLetters()) courier.forgetDeadLetter(ticket);
  const status = courier.status();
  assert.deepEqual([status.letters, status.lettersDropped, status.refused, status.expired, status.waiting], [0, 0, 4, 1, 2]);
  courier.free();
});

// From letter to letter: a walk from the first one to each would take a minute.
test('listing 40,000 letters takes a time that grows with their number', () => {
  const { courier, run } = simulated({ minBackoffMs: 0, maxBackoffMs: 0 }, { capacity: 32 * 1024 * 1024 });
  for (let n = 1; n <= 40_000; n++) courier.submit(report(n));
  run(() => REFUSED);
  const start = performance.now();
  assert.deepEqual([courier.deadLetters().length, courier.status().letters], [40_000, 40_000]);
  assert.ok(performance.now() - start < 15_000);
  courier.free();
});

test('the oldest that waits: by the wall clock, or as told', () => {
  const { courier, run } = simulated();
  const before = Date.now();
  courier.submit(report(1));
  assert.ok(courier.status().oldest >= before && courier.status().oldest <= Date.now());
  courier.submit(report(2), 1_591_104_868_201);
  courier.submit(report(3), new Date(1_591_104_868_202));
  run(() => REFUSED, 0);
  assert.equal(courier.status().oldest, 1_591_104_868_202);
  run(() => ACCEPTED);
  courier.resubmitDeadLetter(undefined, 5);
  assert.equal(courier.status().oldest, 5);
  assert.throws(() => courier.submit(report(4), new Date(NaN)), code('TimeOutOfRange'));
  assert.throws(() => courier.resubmitDeadLetter(undefined, NaN), code('TimeOutOfRange'));
  assert.deepEqual([courier.status().waiting, courier.status().letters], [1, 1]);
  courier.free();
});
