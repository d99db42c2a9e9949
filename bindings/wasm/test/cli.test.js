// The command, as a shell sees it.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startReceiver } from './receiver.js';

const program = fileURLToPath(new URL('../bin/edge-report.js', import.meta.url));
const w1 = fileURLToPath(new URL('../../../tests/vectors/workloads/W1.json', import.meta.url));
const INVALID = '{"jobs":[{"status":"x","create_time":0}],\n"message_id":""}';

function run(args, input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { input });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

test('check', () => {
  assert.deepEqual(run(['check', w1]), { status: 0, stdout: `${w1}: no findings\n`, stderr: '' });
  const { status, stdout } = run(['check', '-'], INVALID);
  assert.equal(status, 1);
  assert.match(stdout, /^-:1:38: error: jobs\[0\]\.create_time: must be greater than 0 \[NotPositive\]$/m);
  assert.match(stdout, /^-:2:14: error: message_id: /m);
  assert.match(stdout, /^-:1:20: warning: jobs\[0\]\.status: /m);
  const [{ file, findings }] = JSON.parse(run(['check', '-', '--json'], INVALID).stdout);
  assert.equal(file, '-');
  assert.deepEqual(findings.filter(({ severity }) => severity === 'error').map(({ path }) => path), ['jobs[0].create_time', 'message_id']);
});

test('encode', () => {
  const spaced = JSON.stringify(JSON.parse(readFileSync(w1, 'utf8')), null, 2);
  assert.deepEqual(run(['encode', '-'], spaced), { status: 0, stdout: readFileSync(w1, 'utf8'), stderr: '' });
  const { status, stdout, stderr } = run(['encode', '-'], INVALID);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /jobs\[0\]\.create_time/);
});

test('a reader that stops before the end is no crash', async () => {
  const child = spawn(process.execPath, [program, 'check', '-', '--json']);
  child.stdin.end(`{${'"a":1,'.repeat(50_000)}"b":2}`);
  let complaint = '';
  child.stderr.on('data', (part) => (complaint += part));
  child.stdout.once('data', () => child.stdout.destroy());
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual([status, complaint], [2, '']);
});

test('explain', () => {
  const explain = (input, ...more) => run(['explain', '-', ...more], input);
  const refused = '{"error_code":"DLI.0001","error_msg":"bad"}';
  const { status, stdout } = explain(refused, '--status', '400');
  assert.deepEqual([status, stdout], [1, 'refused: 400 DLI.0001 bad\n']);
  // A body alone has no meaning: nothing is guessed.
  for (const body of [refused, '{"error_code":"APIGW.0301"}', '<html>', '']) {
    const { status, stdout, stderr } = explain(body);
    assert.deepEqual([status, stdout], [2, ''], body);
    assert.match(stderr, /which HTTP status/);
  }
  // A whole response has status and headers.
  for (const [response, line] of [
    [`HTTP/1.1 400 Bad Request\r\nDate: x\r\n\r\n${refused}`, 'refused: 400 DLI.0001 bad\n'],
    ['HTTP/1.1 401 Unauthorized\n\n{"error_code":"APIGW.0301"}', 'credentials: 401 APIGW.0301\n'],
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200 \r\nserver: y\r\n\r\n{"is_success":true}', 'accepted: 200\n'],
    ['HTTP/1.1 400 Bad Request\r\n\r\n<html>', 'not_understood: 400\n'],
    ['HTTP/1.1 503 Busy', 'try_again: 503\n'],
  ]) {
    assert.equal(explain(response).stdout, line, response);
  }
  const busy = 'HTTP/1.1 503 Busy\r\nretry-after:  30\r\nDate: Tue, 02 Jun 2020 13:34:28 GMT\r\n\r\n';
  const { retryAfterMs, clockSkewMs } = JSON.parse(explain(busy, '--json').stdout);
  assert.ok(retryAfterMs === 30_000 && clockSkewMs < 0);
  assert.equal(explain('HTTP/1.1 200 OK\n\n{}', '--status', '429').stdout, 'try_again: 429\n');
  // Error codes of its own.
  const own = '{"error_code":"EDGE.7"}';
  assert.equal(explain(own, '--status', '400').stdout, 'not_understood: 400 EDGE.7\n');
  assert.equal(explain(own, '--status', '400', '--service-code', 'DLI.', '--service-code', 'EDGE.').stdout, 'refused: 400 EDGE.7\n');
  assert.equal(explain(own, '--status', '400', '--service-code', '').status, 2);
  assert.equal(run(['explain', '-', '--status', '200'], '{"is_success":"true"}').status, 0);
  assert.equal(JSON.parse(run(['explain', '-', '--status', '429', '--json']).stdout).outcome, 'try_again');
});

test('send', async () => {
  const receiver = await startReceiver(['reset-after@first 1'], ['--ak', 'AK', '--sk', 'SK']);
  const send = (...more) =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [program, 'send', w1, '--url', receiver.url, '--project-id', 'p', ...more]);
      child.on('exit', resolve);
    });
  // It was tried, and may have arrived.
  assert.equal(await send('--ak', 'AK', '--sk', 'SK'), 1);
  assert.equal(await send('--ak', 'AK', '--sk', 'SK'), 0);
  assert.equal(await send('--ak', 'AK', '--sk', 'other'), 1);
  assert.deepEqual(receiver.accepted().map(({ message_id: id }) => id), ['uuid']);
  receiver.stop();
  assert.equal(await send('--ak', 'AK', '--sk', 'SK'), 2);
  assert.equal(await send('--ak', 'AK'), 2);
  assert.equal(await send('--token', 'T', '--service-code', ''), 2);
});

test('wrong use', () => {
  for (const args of [[], ['nothing'], ['check'], ['encode'], ['explain', '-', '--status', 'x'], ['send', w1], ['check', '--no']]) {
    const { status, stdout, stderr } = run(args);
    assert.deepEqual([status, stdout], [2, ''], args.join(' '));
    assert.match(stderr, /^edge-report: .*\nusage: /s);
  }
  assert.equal(run(['--help']).status, 0);
  assert.match(run(['--version']).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('a file that cannot be read hides nothing of the others', () => {
  const { status, stdout, stderr } = run(['check', 'no-such-file', w1, '-'], INVALID);
  assert.equal(status, 2);
  assert.match(stderr, /^edge-report: ENOENT.*no-such-file'\n$/);
  assert.match(stdout, /W1\.json: no findings\n-:1:20: /);
  assert.equal(run(['encode', 'no-such-file']).status, 2);
});

test('what is no report at all is said to be what it looks like', () => {
  const text = '{"jobs":[{"status":"job_running","create_time":1}],"message_id":"1"}';
  for (const [input, words] of [
    [`\ufeff${text}`, /byte order mark/],
    [Buffer.from(text, 'utf16le'), /UTF-16/],
    [Buffer.from(`\ufeff${text}`, 'utf16le'), /UTF-16/],
    [Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10]), /image/],
    ['<!DOCTYPE html><title>x</title>', /web page/],
    ['HTTP/1.1 200 OK\n\n{}', /explain/],
    [`curl -X POST https://h --data '${text}'`, /curl line/],
    [`${text}\n${text}\n`, /--ndjson/],
    [`${text}\n`.repeat(2000), /--ndjson/],
    ["const report = { jobs: [] }", /JavaScript/],
    ["{ jobs: [], message_id: '1' }", /JavaScript/],
    ['{"job_id":7,"status":"job_running","create_time":1}', /one job/],
    ['[{"job_id":7,"status":"job_running","create_time":1}]', /list of jobs/],
  ]) {
    const { status, stdout } = run(['check', '-'], input);
    assert.equal(status, 1);
    assert.match(stdout, new RegExp(`^-: it .*${words.source}`, 'm'), String(input));
  }
  assert.doesNotMatch(run(['check', '-'], INVALID).stdout, /looks like/);
});

test('NDJSON: each line is a report, and places are those of the file', () => {
  const good = readFileSync(w1, 'utf8').trim();
  const bad = good.replace(/"message_id":"[^"]*"/, '"message_id":""');
  const { status, stdout, stderr } = run(['check', '-', '--ndjson'], `${good}\r\n\n  ${bad}\n${good}`);
  assert.deepEqual([status, stderr], [1, '']);
  assert.match(stdout, /^-:3:\d+: error: message_id: [^\n]*\n$/);
  const input = `${good}\n${bad}\n`;
  const [{ findings: [{ line, offset, path }] }] = JSON.parse(run(['check', '-', '--ndjson', '--json'], input).stdout);
  assert.deepEqual([line, path, input.slice(offset, offset + 2)], [2, 'message_id', '""']);
  assert.deepEqual(run(['check', '-', '--ndjson'], `${good}\n${good}\n`), { status: 0, stdout: '-: no findings\n', stderr: '' });
});

test('colours on a terminal alone, and not with NO_COLOR', { skip: process.platform !== 'linux' }, () => {
  assert.equal(spawnSync('script', ['--version']).status, 0, 'needs script: apt-get install bsdutils');
  const onTerminal = (more) => {
    // Nothing else of this environment: what runs the tests may say by it (`CI`) that nobody sees colours.
    const env = { PATH: process.env.PATH, TERM: 'xterm-256color', ...more };
    return spawnSync('script', ['-qec', `'${process.execPath}' '${program}' check '${w1}'`, '/dev/null'], { env, input: '' }).stdout.toString();
  };
  assert.match(onTerminal({}), /\x1b\[32mno findings\x1b\[0m/);
  assert.match(onTerminal({ NO_COLOR: '1' }), /W1\.json: no findings/);
  assert.match(onTerminal({ TERM: 'dumb' }), /W1\.json: no findings/);
});

test('a device that is full is an error, and no crash', { skip: process.platform !== 'linux' }, async () => {
  const { openSync } = await import('node:fs');
  const { status, stderr } = spawnSync(process.execPath, [program, 'check', w1], { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'] });
  assert.equal(status, 2);
  assert.match(stderr.toString(), /^edge-report: .*ENOSPC.*\n$/);
});
