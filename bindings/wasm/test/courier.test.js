// tests/vectors/courier.json: what a courier says, step by step, as in Rust and C.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Courier, EdgeReportError } from 'edge-report';

const { cases } = JSON.parse(readFileSync(new URL('../../../tests/vectors/courier.json', import.meta.url)));
const REPORT = { jobs: [{ job_id: 99270, status: 'job_running', create_time: 1591104868201 }], message_id: 'm' };

/** Numbers beyond 2^53 are strings, and as good as the greatest. */
const number = (value) => (typeof value === 'string' ? Math.max(Math.min(Number(value), Number.MAX_SAFE_INTEGER), -Number.MAX_SAFE_INTEGER) : value);
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const reasonOf = (reason) => reason?.status ?? (reason ? reason.number + 1000 : undefined);

function run(courier, step, set) {
  if (step.now !== undefined) set.now = number(step.now);
  switch (step.do) {
    case 'submit':
      return assert.equal(courier.submit(REPORT), step.ticket);
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
      for (const name of ['submitted', 'delivered', 'refused', 'expired', 'waiting']) assert.equal(status[name], step[name], name);
      return;
    }
    default:
      throw new Error(step.do);
  }
}

assert.ok(cases.length >= 20);
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
