// A courier on files in Node: the directory of Rust's spool, its lock, its format, and what a disk's errors do.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs, { chmodSync, existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Client, Courier, EdgeReportError, parse, readReply } from 'edge-report';
import { project } from './packed.js';
import { program, startReceiver } from './receiver.js';

const { work } = project();

const report = (n, id = `m${n}`, status = 'job_running') => ({ jobs: [{ job_id: n, status, create_time: 1591104868201 }], msg_confirm_topic: 't', message_id: id });
const ACCEPTED = readReply(200, undefined, '{"is_success":true}');
const REFUSED = readReply(400, undefined, '{"error_code":"DLI.0001","error_msg":"no such job"}');
const POLICY = { startSpreadMs: 0, minBackoffMs: 10, maxBackoffMs: 10 };
const code = (name, words = /./) => (error) => error instanceof EdgeReportError && error.code === name && words.test(error.message);
const directory = () => join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool');
const ids = (courier) => [...courier.waiting()].map(({ body }) => parse(body).message_id);

/** Settles the oldest report, when its time has come. */
function settle(courier, event) {
  let step = courier.next();
  while (step.step === 'wait') step = courier.next();
  assert.equal(step.step, 'send');
  return courier.settle(step.ticket, event);
}

test('what was submitted is there after a restart, with letters and counters', async () => {
  const path = directory();
  const courier = await Courier.open(path, { policy: POLICY });
  for (let n = 1; n <= 5; n++) assert.equal(courier.submit(report(n)), n);
  assert.deepEqual(settle(courier, ACCEPTED), { verdict: 'delivered' });
  assert.equal(settle(courier, REFUSED).verdict, 'refused');
  assert.deepEqual(courier.waitingTickets(), [3, 4, 5]);
  courier.close();
  courier.close();
  assert.throws(() => courier.status(), code('NotUsable'));
  assert.equal(statSync(path).mode & 0o7777, 0o700);
  for (const name of readdirSync(path)) assert.equal(statSync(join(path, name)).mode & 0o7777, 0o600, name);
  assert.ok(!existsSync(join(path, 'owner')));
  const again = await Courier.open(pathToFileURL(path), { policy: POLICY });
  const { submitted, delivered, refused, waiting, letters } = again.status();
  assert.deepEqual({ submitted, delivered, refused, waiting, letters }, { submitted: 5, delivered: 1, refused: 1, waiting: 3, letters: 1 });
  assert.deepEqual(ids(again), ['m3', 'm4', 'm5']);
  assert.equal([...again.waiting()][0].submittedAt > 1e12, true);
  const [letter] = again.deadLetters();
  assert.deepEqual([letter.ticket, letter.reason.status, letter.reason.errorCode, parse(letter.body).message_id], [2, 400, 'DLI.0001', 'm2']);
  assert.equal(again.submit(report(6)), 6);
  again.close();
});

test('each acknowledgement comes after its sync, and names are synced, too', async (t) => {
  const calls = [];
  for (const name of ['fsyncSync', 'fdatasyncSync', 'writeSync']) {
    const whole = fs[name];
    t.mock.method(fs, name, (fd, ...rest) => {
      calls.push([name, fs.fstatSync(fd).isDirectory()]);
      return whole(fd, ...rest);
    });
  }
  const path = directory();
  const courier = await Courier.open(path);
  const count = (name, isDirectory) => calls.filter(([called, of]) => called === name && of === isDirectory).length;
  // The parent, and the directory.
  assert.ok(count('fsyncSync', true) >= 2);
  courier.submit(report(1));
  // New files are filled, synced and named.
  assert.ok(count('fsyncSync', false) >= 2 && count('fsyncSync', true) >= 4);
  for (let n = 2; n <= 50; n++) {
    calls.length = 0;
    courier.submit(report(n));
    assert.deepEqual([count('fdatasyncSync', false), calls.at(-1)[0]], [1, 'fdatasyncSync'], JSON.stringify(calls));
  }
  courier.close();
  const batch = await Courier.open(path, { durability: { reports: 10, ms: 60_000 } });
  batch.submit(report(1));
  calls.length = 0;
  for (let n = 0; n < 40; n++) batch.submit(report(1));
  assert.equal(count('fdatasyncSync', false), 4);
  batch.close();
});

test('what a directory must be', async () => {
  const path = directory();
  (await Courier.open(path)).close();
  chmodSync(path, 0o750);
  await assert.rejects(Courier.open(path), code('SpoolDirectory', /may be read by others than its owner \(mode 0750\): chmod 700 \//));
  chmodSync(path, 0o700);
  symlinkSync(path, `${path}-link`);
  for (const link of [`${path}-link`, `${path}-link/`]) await assert.rejects(Courier.open(link), code('SpoolDirectory', /symbolic link/));
  writeFileSync(`${path}-file`, '');
  await assert.rejects(Courier.open(`${path}-file`), code('Storage', /cannot open .*ENOTDIR/));
  await assert.rejects(Courier.open(join(path, 'a/b')), code('Storage', /cannot create .*ENOENT/));
  // No file but its own is written to.
  const victim = `${path}-victim`;
  for (const make of [symlinkSync, linkSync]) {
    const other = directory();
    mkdirSync(other, { mode: 0o700 });
    writeFileSync(victim, 'x'.repeat(70_000), { mode: 0o600 });
    make(victim, join(other, 'live-00000001.seg'));
    await assert.rejects(Courier.open(other), code('Storage', /live-00000001.seg in .*(link)/));
    assert.equal(readFileSync(victim, 'latin1'), 'x'.repeat(70_000));
    assert.ok(!existsSync(join(other, 'owner')));
  }
  for (const wrong of [5, undefined, null, {}]) await assert.rejects(Courier.open(wrong), TypeError);
  for (const wrong of [{ maxBytes: 1 }, { maxBytes: '1' }, { maxBytes: 2 ** 40 }, { segmentBytes: 4096 }, { deadLetterBytes: 0 }, { durability: 'batch' }, { durability: { reports: 0, ms: 1 } }]) {
    await assert.rejects(Courier.open(path, wrong), code('SpoolOptions'));
  }
  await assert.rejects(Courier.open(path, { maxBytes: 100 }), code('SpoolOptions', /maxBytes is 100; 16384 or more is needed/));
  await assert.rejects(Courier.open(path, { policy: { holdMs: 'x' } }), code('OutOfRange'));
  assert.ok(!existsSync(join(path, 'owner')));
});

test('a directory that others use is not to be taken from them', async () => {
  const path = directory();
  mkdirSync(path);
  chmodSync(path, 0o1777);
  await assert.rejects(Courier.open(path), code('SpoolDirectory', /is a directory that others use, too: name one of its own$/));
  chmodSync(path, 0o755);
  writeFileSync(join(path, 'notes.txt'), 'of others');
  await assert.rejects(Courier.open(path), code('SpoolDirectory', /is a directory that others use, too/));
});

test('a segment that is removed, moved or replaced while it is open is no acknowledgement', async () => {
  const ways = [
    (path) => fs.unlinkSync(path),
    (path) => fs.renameSync(path, `${path}.old`),
    (path) => {
      fs.copyFileSync(path, `${path}.copy`);
      fs.renameSync(`${path}.copy`, path);
    },
  ];
  for (const vanish of ways) {
    const path = directory();
    const courier = await Courier.open(path);
    courier.submit(report(1));
    vanish(join(path, 'live-00000001.seg'));
    assert.throws(() => courier.submit(report(2)), code('Storage'));
    // What is to be written anew may be gone, too.
    try {
      courier.close();
    } catch (error) {
      assert.ok(code('Storage')(error), error);
    }
  }
});

test('too many open files cost no report', async (t) => {
  const path = directory();
  const courier = await Courier.open(path, { policy: POLICY, maxBytes: 256 * 1024, segmentBytes: 4096 });
  const submitted = Array.from({ length: 200 }, (_, index) => `m${index + 1}`);
  submitted.forEach((id, index) => courier.submit(report(index + 1, id)));
  const { mock } = t.mock.method(fs, 'openSync', () => {
    throw Object.assign(new Error('EMFILE: too many open files, open'), { code: 'EMFILE', syscall: 'open' });
  });
  for (let n = 0; n < 20; n++) {
    try {
      const step = courier.next();
      if (step.step === 'send') courier.settle(step.ticket, new EdgeReportError('NotSent'));
    } catch (error) {
      assert.ok(code('Storage')(error), error);
    }
    courier.wake();
  }
  mock.restore();
  const sent = [];
  while (courier.status().waiting > 0) {
    try {
      const step = courier.next();
      if (step.step !== 'send') continue;
      sent.push(parse(step.body).message_id);
      courier.settle(step.ticket, ACCEPTED);
    } catch (error) {
      assert.ok(code('Storage')(error), error);
    }
  }
  assert.deepEqual([sent, courier.status().corrupt], [submitted, 0]);
  courier.close();
});

test('a directory that is renamed while it is open keeps what is written', async () => {
  const path = directory();
  const courier = await Courier.open(path);
  fs.renameSync(path, `${path}-moved`);
  mkdirSync(path, { mode: 0o700 });
  courier.submit(report(1));
  courier.close();
  assert.deepEqual(readdirSync(path), []);
  const moved = await Courier.open(`${path}-moved`);
  assert.deepEqual(ids(moved), ['m1']);
  moved.close();
});

const agent = (...args) => spawnSync(program('edge-report-agent'), args, { encoding: 'utf8' });

test('a second opener is refused, of either language', async () => {
  const path = directory();
  const courier = await Courier.open(path);
  courier.submit(report(1));
  await assert.rejects(Courier.open(path), code('SpoolInUse', /is in use by this process: only one process at a time/));
  const rust = agent('resubmit', 'all', '--spool', path);
  assert.equal(rust.status, 2);
  assert.match(rust.stderr, new RegExp(`is in use by process ${process.pid}`));
    writeFileSync(join(work, 'second.mjs'), `import { Courier } from 'edge-report'; await Courier.open(process.argv[2]).catch(({ code, message }) => console.log(code, message));`);
  const second = () => execFileSync(process.execPath, ['second.mjs', path], { cwd: work }).toString().trim();
  assert.match(second(), new RegExp(`^SpoolInUse .* is in use by process ${process.pid}: `));
  courier.close();
  assert.equal(second(), '');
  // Rust has it.
  const holder = spawn(program('edge-report-agent'), ['pipe', '--spool', path, '--url', 'http://127.0.0.1:9', '--project-id', 'p'], { stdio: ['pipe', 'pipe', 'ignore'] });
  holder.stdin.write(`${JSON.stringify(report(2))}\n`);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  await assert.rejects(Courier.open(path), code('SpoolInUse', new RegExp(`by process ${holder.pid}: `)));
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  const after = await Courier.open(path);
  assert.deepEqual(ids(after), ['m1', 'm2']);
  after.close();
});

test('an owner that has ended keeps nobody out', async () => {
  const path = directory();
  (await Courier.open(path)).close();
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  const sleeper = spawn('sleep', ['60']);
  const start = () => Number(readFileSync(`/proc/${sleeper.pid}/stat`, 'latin1').split(') ')[1].split(' ')[19]);
  const line = { pid: sleeper.pid, start_time: start(), boot_id: boot };
  const owner = join(path, 'owner');
  for (const kept of [JSON.stringify(line), JSON.stringify({ pid: sleeper.pid, more: 1 })]) {
    writeFileSync(owner, kept, { mode: 0o600 });
    await assert.rejects(Courier.open(path), code('SpoolInUse', new RegExp(`process ${sleeper.pid}`)));
    assert.equal(readFileSync(owner, 'utf8'), kept);
  }
  for (const stale of ['', '{"pid":', '{"pid":0}', '{"pid":4294967295}', 'x'.repeat(5000), JSON.stringify({ ...line, start_time: line.start_time - 1 }), JSON.stringify({ ...line, boot_id: '0' })]) {
    writeFileSync(owner, stale, { mode: 0o600 });
    const courier = await Courier.open(path);
    assert.equal(JSON.parse(readFileSync(owner, 'utf8')).pid, process.pid);
    courier.close();
    assert.deepEqual(readdirSync(path).filter((name) => name.startsWith('owner')), []);
  }
  sleeper.kill();
});

test('what Node began Rust goes on with, and the other way round', async () => {
  const path = directory();
  const courier = await Courier.open(path, { policy: POLICY });
  for (let n = 1; n <= 300; n++) courier.submit(report(n, `m${n}-${'p'.repeat(n * 7)}`));
  for (let n = 1; n <= 100; n++) settle(courier, n % 10 ? ACCEPTED : REFUSED);
  const { submitted, delivered, refused, waiting, letters } = courier.status();
  courier.close();
  const status = Object.fromEntries(agent('status', '--spool', path).stdout.trim().split('\n').map((line) => line.split(' ')));
  assert.deepEqual([submitted, delivered, refused, waiting, letters].map(String), ['submitted', 'delivered', 'refused', 'waiting', 'letters'].map((name) => status[name]));
  assert.deepEqual([waiting, letters, status.corrupt, status.torn, status.foreign], [200, 10, '0', '0', '0']);
  const lines = agent('letters', '--spool', path).stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ ticket }) => ticket), Array.from({ length: 10 }, (_, n) => (n + 1) * 10));
  assert.match(JSON.stringify(lines[0]), /DLI.0001/);
  // Rust delivers what Node took, and takes more.
  const receiver = await startReceiver(['status=503@every 5']);
  const fed = `${[301, 302].map((n) => JSON.stringify(report(n))).join('\n')}\n`;
  // Not waited for in place: the receiver's own words must be read meanwhile.
  const rust = spawn(program('edge-report-agent'), ['pipe', '--spool', path, '--url', receiver.url, '--project-id', 'p', '--min-backoff', '1'], { stdio: ['pipe', 'ignore', 'ignore'] });
  rust.stdin.end(fed);
  assert.equal(await new Promise((resolve) => rust.once('exit', resolve)), 0);
  receiver.stop();
  assert.equal(receiver.accepted().length, 202);
  // And Node goes on again.
  const again = await Courier.open(path);
  assert.deepEqual([again.status().waiting, again.status().delivered, again.status().letters], [0, 292, 10]);
  assert.equal(again.submit(report(303)), 303);
  assert.equal(again.resubmitDeadLetter(10), 304);
  again.close();
  // One that is killed in Rust, with reports in it.
  const other = directory();
  const begun = spawn(program('edge-report-agent'), ['pipe', '--spool', other, '--url', 'http://127.0.0.1:9', '--project-id', 'p'], { stdio: ['pipe', 'pipe', 'ignore'] });
  for (let n = 1; n <= 50; n++) begun.stdin.write(`${JSON.stringify(report(n))}\n`);
  let said = '';
  for await (const part of begun.stdout) if ((said += part).split('stored').length > 50) break;
  const dead = new Promise((resolve) => begun.once('exit', resolve));
  begun.kill('SIGKILL');
  await dead;
  const node = await Courier.open(other);
  assert.deepEqual(ids(node), Array.from({ length: 50 }, (_, n) => `m${n + 1}`));
  node.close();
});

test('errors of the disk have a code and the words of the system, cost nothing, and pass', async (t) => {
  for (const errno of ['EIO', 'ENOSPC', 'EROFS']) {
    const path = directory();
    const courier = await Courier.open(path, { policy: POLICY, maxBytes: 65_536 });
    const taken = new Set();
    let fails = false;
    const whole = { ...fs };
    const mocks = ['writeSync', 'fsyncSync', 'fdatasyncSync', 'openSync', 'ftruncateSync', 'renameSync', 'unlinkSync'].map((name) =>
      t.mock.method(fs, name, (...args) => {
        if (fails) throw Object.assign(new Error(`${errno}: bad luck, ${name}`), { code: errno, syscall: name });
        return whole[name](...args);
      }));
    for (let n = 1; n <= 200; n++) {
      fails = n % 3 === 0;
      try {
        courier.submit(report(n));
        taken.add(`m${n}`);
      } catch (error) {
        assert.ok(code('Storage', new RegExp(`cannot \\w+ .*: ${errno}: bad luck$`))(error) || code('OutboxFull')(error), error.stack);
        assert.ok(fails || error.code === 'OutboxFull', error.stack);
      }
    }
    fails = false;
    assert.ok(courier.status().waiting >= taken.size && taken.size > 100);
    mocks.forEach((mock) => mock.mock.restore());
    courier.close();
    const again = await Courier.open(path, { policy: POLICY });
    // What was not acknowledged may be there.
    const there = new Set(ids(again));
    assert.deepEqual([...taken].filter((id) => !there.has(id)), []);
    for (let left = there.size; left > 0; left--) settle(again, ACCEPTED);
    assert.equal(again.next().step, 'idle');
    again.close();
  }
});

test('a disk that others fill: submit says so, what waits is delivered, and is not sent again', { skip: process.platform !== 'linux' }, async () => {
  const disk = mkdtempSync(join(tmpdir(), 'edge-report-disk-'));
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
  assert.equal(status, 0, `needs a small disk: run it as root, or under unshare --user --map-root-user --mount: ${error ?? stderr}`);
  try {
    const path = join(disk, 'spool');
    const options = { policy: POLICY, maxBytes: 262_144, deadLetterBytes: 65_536 };
    const courier = await Courier.open(path, options);
    let taken = 0;
    const fill = () => {
      const fd = fs.openSync(join(disk, 'other'), 'a');
      try {
        for (;;) fs.writeSync(fd, Buffer.alloc(512));
      } catch (error) {
        assert.equal(error.code, 'ENOSPC');
      } finally {
        fs.closeSync(fd);
      }
    };
    for (; taken < 200; taken++) courier.submit(report(taken + 1));
    fill();
    let refused;
    for (let n = 0; n < 5000 && !refused; n++) {
      try {
        courier.submit(report(1000 + n));
        taken += 1;
      } catch (error) {
        refused = error;
      }
    }
    assert.ok(code('Storage', /ENOSPC: no space left on device/)(refused), refused?.stack);
    for (let n = 0; n < taken; n++) {
      settle(courier, ACCEPTED);
      if (n % 50 === 0) fill();
    }
    courier.close();
    const again = await Courier.open(path, options);
    const { waiting, delivered, corrupt } = again.status();
    assert.deepEqual({ waiting, delivered, corrupt }, { waiting: 0, delivered: taken, corrupt: 0 });
    // With room again it goes on.
    fs.unlinkSync(join(disk, 'other'));
    again.submit(report(1));
    again.close();
    assert.deepEqual(readdirSync(path).filter((name) => name.startsWith('spare-live')), ['spare-live-1', 'spare-live-2']);
  } finally {
    spawnSync('umount', ['-l', disk]);
  }
});

test('a courier that was forgotten leaves its directory to others', () => {
    const text = `import { Courier } from 'edge-report'; import { existsSync } from 'node:fs';
    const path = process.argv[2];
    (await Courier.open(path)).submit('{"jobs":[{"status":"job_running","create_time":1}],"message_id":"1"}');
    for (let n = 0; n < 200 && existsSync(path + '/owner'); n++) { gc(); await new Promise((resolve) => setTimeout(resolve, 10)); }
    console.log((await Courier.open(path)).status().waiting);`;
  writeFileSync(join(work, 'forgotten.mjs'), text);
  assert.equal(execFileSync(process.execPath, ['--expose-gc', 'forgotten.mjs', directory()], { cwd: work }).toString().trim(), '1');
});

test('after a trap a durable courier reads its files anew', () => {
    const text = `import { readFileSync } from 'node:fs'; import { createRequire } from 'node:module';
    const start = WebAssembly.Instance; let trap;
    const may = (exports) => new Proxy({}, { get: (_, name) => name !== trap ? exports[name] : (...all) => { trap = undefined; exports[name](...all); throw new WebAssembly.RuntimeError('unreachable'); } });
    WebAssembly.Instance = class { constructor(...all) { this.exports = may(new start(...all).exports); } };
    const { Client, Courier } = await import('edge-report');
    const code = (use) => { try { return use(); } catch (error) { return error.code; } };
    const courier = await Courier.open(process.argv[2], { policy: { startSpreadMs: 0 } });
    const report = (n) => ({ jobs: [{ status: 'job_running', create_time: 1 }], message_id: 'm' + n });
    for (let n = 1; n <= 20; n++) courier.submit(report(n));
    trap = 'courier_submit';
    console.log(code(() => courier.submit(report(21))), courier.status().waiting >= 20);
    let sent = 0;
    const fetch = async () => { if ((sent += 1) % 5 === 0) trap = ['courier_settle', 'courier_next'][sent % 2]; return Response.json({ is_success: true }); };
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
    let said; const codes = [];
    while (said !== 'idle') said = await client.deliver(courier).catch(({ code }) => codes.push(code) && code);
    console.log(courier.status().waiting, courier.status().delivered >= 20, [...new Set(codes)].join());
    // Once more, while the files are read anew.
    trap = 'courier_status';
    const first = code(() => courier.status());
    trap = 'courier_open';
    console.log(first, code(() => courier.status()), courier.status().waiting);
    courier.close();`;
  writeFileSync(join(work, 'trap.mjs'), text);
  assert.equal(execFileSync(process.execPath, ['trap.mjs', directory()], { cwd: work }).toString().trim(), 'Internal true\n0 true Internal\nInternal Internal 0');
});

test('fetch and files together: a client delivers a durable courier', async () => {
  const receiver = await startReceiver(['status=503@first 2', 'reset-after@every 4']);
  const courier = await Courier.open(directory(), { policy: { startSpreadMs: 0, minBackoffMs: 1, maxBackoffMs: 5 } });
  for (let n = 1; n <= 20; n++) courier.submit(report(n));
  const client = new Client({ baseUrl: receiver.url, projectId: 'p' });
  assert.equal(await client.deliver(courier), 'idle');
  receiver.stop();
  assert.deepEqual(receiver.accepted().map(({ message_id: id }) => id), Array.from({ length: 20 }, (_, n) => `m${n + 1}`));
  courier.close();
});
