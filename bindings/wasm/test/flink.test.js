// The watch of a Flink cluster: the vectors that Rust, C and JavaScript share, a table over a restart, wrong use.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Courier, EdgeReportError, FlinkWatch, check } from 'edge-report';

const directory = new URL('../../../tests/vectors/flink/', import.meta.url);
const JID = '000000000000000000000000000183c6';
const OVERVIEW = `{"jobs":[{"jid":"${JID}","name":"edge","state":"FAILED","start-time":1795401196385,"end-time":1795401197594}]}`;
const ANSWERS = {
  '/jobs/overview': OVERVIEW,
  [`/jobs/${JID}`]: `{"jid":"${JID}","state":"FAILED","timestamps":{"RUNNING":1795401196405}}`,
  [`/jobs/${JID}/exceptions?maxExceptions=1`]: '{"root-exception":"java.lang.IllegalStateException: out of range\\n\\tat Edge.map(Edge.java:17)"}',
};
const code = (name, words = /./) => (error) => error instanceof EdgeReportError && error.code === name && words.test(error.message);

function bodyOf({ file, text, cut }) {
  return (file ? readFileSync(new URL(file, directory)) : Buffer.from(text)).subarray(0, cut);
}

/** What it asks and reports, in order. */
function eventsOf({ options, phases, until }) {
  let at = 0;
  const named = Object.fromEntries(Object.entries(options).map(([name, value]) => [name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()), value]));
  const watch = new FlinkWatch({ jobs: 16, textBytes: 16_384, clock: () => at, ...named });
  const events = [];
  while (at <= until) {
    const step = watch.next();
    assert.deepEqual(watch.next(), step);
    if (step.step === 'wait') {
      at += step.ms;
    } else if (step.step === 'get') {
      const answer = phases.findLast(({ from }) => from <= at).answers[step.path];
      try {
        watch.response(answer ? (answer.status ?? 200) : 404, answer ? bodyOf(answer) : '');
      } catch (error) {
        assert.ok(error instanceof EdgeReportError && error.code !== 'Internal', error);
      }
      events.push({ at, get: step.path });
    } else {
      const report = Buffer.from(step.report).toString();
      assert.ok(report.endsWith(`"message_id":${JSON.stringify(step.messageId)}}`));
      watch.reported(true);
      events.push({ at, report });
    }
  }
  watch.close();
  return events;
}

test('watch.json', () => {
  const { cases } = JSON.parse(readFileSync(new URL('watch.json', directory)));
  assert.ok(cases.length >= 9);
  for (const one of cases) assert.deepEqual(eventsOf(one), one.events, one.name);
});

/** A watch that has seen a job fail, and the step that reports it. */
function failed(options = {}, table = undefined) {
  let now = 0;
  const watch = new FlinkWatch({ node: 'node-7', clock: () => now, ...options });
  if (table) watch.restore(table);
  for (;;) {
    const step = watch.next();
    if (step.step === 'report' || now + step.ms > 4000) return { watch, step, pass: (ms) => (now += ms) };
    if (step.step === 'wait') now += step.ms;
    else watch.response(200, ANSWERS[step.path]);
  }
}

test('an end is reported once, over a restart, too; not stored, it comes again as it was', () => {
  const { watch, step, pass } = failed();
  assert.deepEqual([step.messageId, step.isFinal], [`node-7-${JID}-FAILED-1795401197594`, true]);
  assert.deepEqual(check(step.report).map(({ code: name }) => name), ['TopicMissing']);
  assert.deepEqual(watch.status(), { jobs: 1, unreported: 1, unwatched: 0, isUp: true, needsSaving: true });
  watch.reported(false);
  pass(2000);
  assert.equal(watch.next().path, '/jobs/overview');
  watch.response(200, new TextEncoder().encode(OVERVIEW));
  pass(3000);
  assert.deepEqual(watch.next(), step);
  const courier = new Courier();
  assert.equal(courier.submit(step.report), 1);
  courier.free();
  watch.reported(true);
  const table = watch.save();
  assert.equal(watch.status().needsSaving, false);
  assert.equal(failed({}, table).step.step, 'wait');
  table[20] ^= 1;
  const next = new FlinkWatch({ node: 'node-7' });
  assert.throws(() => next.restore(table), code('FlinkTable'));
  assert.throws(() => next.restore(new Uint8Array()), code('FlinkTable'));
  assert.equal(next.status().jobs, 0);
});

test('options: each has its effect, and each wrong one its name', () => {
  const report = (options) => JSON.parse(Buffer.from(failed(options).step.report)).jobs[0];
  assert.match(report().exceptions.exception, /^java\.lang\.IllegalStateException/);
  assert.match(report({ exceptions: 'text' }).exceptions, /^java\.lang\.IllegalStateException/);
  assert.equal(report({ exceptionBytes: 4 }).exceptions.exception, 'java');
  assert.equal(report({ mapped: { edge: 7 } }).job_id, 7);
  assert.equal(report({ mapped: { [JID]: 8n } }).job_id, 8);
  assert.equal(report({ mapped: { edge: 0 } }).job_id, undefined);
  assert.equal(report({ textBytes: 0 }).status, 'job_running_exception');
  for (const [options, words] of [
    [{ jobs: 0 }, /jobs is/],
    [{ jobs: 100_001 }, /jobs is/],
    [{ textBytes: 1.5 }, /textBytes is/],
    [{ pollMs: -1 }, /pollMs$/],
    [{ pollMs: '5' }, /pollMs$/],
    [{ heartbeatMs: null }, /heartbeatMs$/],
    [{ heartbeatMs: Infinity }, /heartbeatMs$/],
    [{ requests: 65_536 }, /requests$/],
    [{ cacheMs: 1.5 }, /cacheMs$/],
    [{ steadyMs: 5n }, /steadyMs$/],
    [{ exceptionBytes: -1 }, /exceptionBytes$/],
    [{ metrics: ['uptime'] }, /metrics$/],
    [{ node: 7 }, /node$/],
    [{ plan: 'once' }, /plan is 'when-new', 'never' or 'always'$/],
    [{ exceptions: 'json' }, /exceptions is 'object' or 'text'$/],
    [{ otherIds: true }, /otherIds is 'hash63', 'hash31' or 'none'$/],
  ]) assert.throws(() => new FlinkWatch(options), code('OutOfRange', words), JSON.stringify(words.source));
  assert.throws(() => new FlinkWatch({ mapped: { edge: 2 ** 60 } }), code('IntegerNotExact'));
  for (const wrong of [{ jobs: '5' }, { clock: 5 }, { clock: () => NaN }, { mapped: { edge: '7' } }, { polMs: 5 }, null, 5]) {
    assert.throws(() => new FlinkWatch(wrong), TypeError, JSON.stringify(wrong));
  }
});

test('ids', () => {
  const watch = new FlinkWatch();
  assert.equal(FlinkWatch.jid(99270), JID);
  assert.equal(watch.jobId(JID), 99270);
  assert.equal(watch.jobId('86e800e9cadd207fdd53824a4d38f79c', 'edge'), 2_508_777_619_210_884_037n);
  assert.equal(new FlinkWatch({ otherIds: 'none' }).jobId('86e800e9cadd207fdd53824a4d38f79c'), undefined);
  assert.equal(watch.stopAsked(JID), false);
  for (const use of [() => watch.jobId('183c6'), () => watch.stopAsked('183c6')]) assert.throws(use, code('FlinkJobId', /^jid/));
  for (const wrong of [undefined, 5, null]) assert.throws(() => watch.stopAsked(wrong), TypeError);
  assert.throws(() => FlinkWatch.jid(0), code('NotPositive'));
  assert.throws(() => FlinkWatch.jid(1.5), code('IntegerNotExact'));
  assert.throws(() => FlinkWatch.jid('7'), TypeError);
});

test('wrong use tells what it is, and the watch goes on', () => {
  let now = 0;
  const watch = new FlinkWatch({ clock: () => now });
  assert.throws(() => watch.response(200, OVERVIEW), code('FlinkNotAsked'));
  watch.failed();
  watch.reported(true);
  assert.equal(watch.next().path, '/jobs/overview');
  for (const wrong of [undefined, '200', 200n]) assert.throws(() => watch.response(wrong, OVERVIEW), TypeError);
  for (const wrong of [-1, 200.5, 65_736, NaN]) assert.throws(() => watch.response(wrong, OVERVIEW), code('OutOfRange'));
  for (const wrong of [5, {}, []]) assert.throws(() => watch.response(200, wrong), TypeError);
  for (const wrong of [undefined, 1, 'true']) assert.throws(() => watch.reported(wrong), TypeError);
  for (const wrong of [undefined, 5, {}]) assert.throws(() => watch.restore(wrong), TypeError);
  assert.throws(() => watch.response(503, undefined), code('FlinkStatus'));
  now = 5000;
  watch.next();
  assert.throws(() => watch.response(200, '{"jobs":[{"jid":"7"}]}'), (error) => error.code === 'FlinkJobId' && error.path === 'jid' && error.offset === 16);
  now = 10_000;
  watch.next();
  assert.throws(() => watch.response(200, undefined), code('JsonUnexpectedEnd'));
  now = 15_000;
  watch.next();
  watch.response(200, '{"jobs":[]}');
  assert.equal(watch.status().isUp, true);
  watch.close();
  watch.free();
  for (const use of [() => watch.next(), () => watch.response(200, ''), () => watch.failed(), () => watch.reported(true), () => watch.save(), () => watch.status()]) {
    assert.throws(use, code('NotUsable', /this watch was closed/));
  }
});
