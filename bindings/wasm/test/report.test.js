// Reports in JavaScript's own values: what is exact, what is said of a place, and what a misspelt status may be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeReportError, JOB_STATUSES, check, encode, parse } from 'edge-report';

const job = (more) => ({ status: 'job_running', create_time: 1591104868201, ...more });
const report = (more) => ({ jobs: [job(more)], msg_confirm_topic: 't', message_id: '1' });

test('integers stay exact: numbers as long as they are, bigints beyond', () => {
  const most = Number.MAX_SAFE_INTEGER;
  for (const [written, read] of [['7', 7], ['999999999999999', 999999999999999], [`${most}`, most], ['9007199254740992', 2n ** 53n], ['9007199254740993', 2n ** 53n + 1n], ['9223372036854775807', 2n ** 63n - 1n]]) {
    for (const name of ['job_id', 'create_time']) {
      const text = JSON.stringify(report({ [name]: '?' })).replace('"?"', written);
      const [{ [name]: value }] = parse(text).jobs;
      assert.equal(value, read, `${name} ${written}`);
      assert.equal(Buffer.from(encode(parse(text))).toString(), Buffer.from(encode(text)).toString());
    }
  }
});

test('a number that is not exact is named; one that is no integer is another matter', () => {
  for (const [value, code] of [[2 ** 53, 'IntegerNotExact'], [1e21, 'IntegerNotExact'], [1.5, 'NotAnInteger'], [Number.MAX_SAFE_INTEGER, undefined]]) {
    for (const name of ['job_id', 'create_time']) {
      const found = check(report({ [name]: value })).filter(({ severity }) => severity === 'error');
      assert.equal(found[0]?.code, code, `${name} ${value}`);
      assert.equal(found[0]?.path, code && `jobs[0].${name}`);
    }
  }
});

test('the first byte is a place, too', () => {
  assert.throws(() => encode('x'), ({ offset, line, column, message }) => offset === 0 && line === 1 && column === 1 && message.includes('(byte 0)'));
});

test('encode takes what can be a report, and says so; check lists what is wrong with anything', () => {
  for (const wrong of [undefined, null, 7, 7n, true, Symbol('x'), () => {}]) assert.throws(() => encode(wrong), /^TypeError: a report is an object, JSON text or its bytes$/);
  assert.throws(() => encode([]), (error) => error instanceof EdgeReportError && error.code === 'NotAnObject');
  assert.equal(check(null)[0].code, 'NotAnObject');
});

test('a status that is unknown by a letter or two has a suggestion', () => {
  const [text] = check(JSON.stringify(report({ status: 'job_runing' })));
  assert.deepEqual([text.code, text.suggestion], ['UnknownStatus', 'job_running']);
  assert.match(text.message, /: is job_running meant\?$/);
  for (const [written, meant] of [['running', 'job_running'], ['JOB_RUNNING', 'job_running'], ['finished', 'job_finish'], ['job-cancel-success', 'job_cancel_success'], ['canceled', undefined],
    ['job_submit_failed', 'job_submit_fail'], ['something else', undefined], ['RUNNING', 'job_running'], ['job_finished', 'job_finish'], ['job_cancelling', 'job_canceling'], ['finish', 'job_finish'], ['x', undefined], ['', undefined], ['job_paused_by_operator', undefined], ['漢', undefined], ['"\\_job_running', 'job_running'], ['job_arrearage_recovering_now', 'job_arrearage_recovering'], ['x'.repeat(1000), undefined]]) {
    const found = check(report({ status: written })).find(({ path }) => path === 'jobs[0].status');
    assert.equal(found?.suggestion, meant, written);
    assert.equal('suggestion' in (found ?? {}), meant !== undefined);
  }
  for (const { name } of JOB_STATUSES) assert.deepEqual(check(report({ status: name })), []);
});
