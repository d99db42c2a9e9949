// The client over fetch against the receiver's faults: the verdicts of the Rust client's table (tests/host/client.rs).
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { Client, Courier, EdgeReportError } from 'edge-report';
import { startReceiver } from './receiver.js';

const KEYS = { accessKey: 'AK', secretKey: 'SK' };
const ELSEWHERE = { baseUrl: 'https://gateway.example', projectId: 'p' };
const report = (id) => ({ jobs: [{ job_id: 7, status: 'job_running', create_time: 1591104868201 }], message_id: id, msg_confirm_topic: 't' });

/** fault, what comes of it, whether the receiver accepted the first report */
const TABLE = [
  ['status=400,code=DLI.0001', 'refused', 0],
  ['status=400,code=DLI.0999', 'try_again', 0],
  ['status=400,code=DLI.0019', 'try_again', 0],
  ['status=400,code=DLI.10001', 'try_again', 0],
  ['status=401', 'credentials', 0],
  ['status=403', 'not_understood', 0],
  ['status=403,code=APIGW.0301', 'credentials', 0],
  ['status=404', 'not_understood', 0],
  ['status=404,code=DLI.0001', 'refused', 0],
  ['status=404,code=APIGW.0101', 'misconfigured', 0],
  ['status=405', 'not_understood', 0],
  ['status=405,code=DLI.0001', 'refused', 0],
  ['status=408', 'try_again', 0],
  ['status=409,code=DLI.0001', 'refused', 0],
  ['status=413', 'not_understood', 0],
  ['status=413,code=DLI.0001', 'refused', 0],
  ['status=418', 'not_understood', 0],
  ['status=422', 'not_understood', 0],
  ['status=422,code=DLI.0001', 'refused', 0],
  ['status=200,code=portal', 'not_understood', 0],
  ['status=425', 'try_again', 0],
  ['status=429,retry-after=2', 'try_again', 0],
  ['status=500', 'try_again', 0],
  ['status=503', 'try_again', 0],
  ['redirect=http://127.0.0.1:9/', 'misconfigured', 0],
  ['refuse', 'refused', 0],
  ['success-string', 'accepted', 1],
  ['html', 'not_understood', 0],
  ['empty', 'not_understood', 0],
  ['delay=100', 'accepted', 1],
  ['delay=5000', 'MayHaveArrived', 1],
  ['silent', 'MayHaveArrived', 1],
  ['cut', 'MayHaveArrived', 1],
  ['reset-before', 'MayHaveArrived', 0],
  ['reset-after', 'MayHaveArrived', 1],
  ['close-idle', 'accepted', 1],
  ['huge', 'not_understood', 1],
];

async function outcomeOf(client, id) {
  try {
    return (await client.send(report(id))).outcome;
  } catch (error) {
    return error.code;
  }
}

test('every fault', { timeout: 120_000 }, async () => {
  for (const [fault, expected, accepted] of TABLE) {
    const receiver = await startReceiver([`${fault}@first 1`], ['--ak', 'AK', '--sk', 'SK']);
    try {
      const client = new Client({ baseUrl: receiver.url, projectId: '0a1b2c', credentials: KEYS, timeoutMs: 700 });
      assert.equal(await outcomeOf(client, 'first'), expected, fault);
      assert.equal(await outcomeOf(client, 'second'), 'accepted', `after ${fault}`);
      const first = receiver.accepted().filter(({ message_id: id }) => id === 'first');
      assert.equal(first.length, accepted, fault);
    } finally {
      receiver.stop();
    }
  }
});

test('no receiver, a wrong key, an invalid report', async () => {
  const receiver = await startReceiver([], ['--ak', 'AK', '--sk', 'SK']);
  const { url } = receiver;
  const wrong = new Client({ baseUrl: url, projectId: 'p', credentials: { ...KEYS, secretKey: 'other' } });
  assert.equal(await outcomeOf(wrong, '1'), 'credentials');
  wrong.setCredentials(KEYS);
  assert.equal(await outcomeOf(wrong, '1'), 'accepted');
  await assert.rejects(wrong.send({ jobs: [], message_id: '2' }), (error) => error.path === 'jobs' && error.findings.length > 0);
  receiver.stop();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(await outcomeOf(wrong, '3'), 'NotSent');
  assert.throws(() => new Client({ baseUrl: 'http://gateway.example', projectId: 'p' }), (error) => error.code === 'PlainHttp');
});

test('a long body is not judged by its first part, nor a code by what is not set', async () => {
  const answers = (status, body) => ({ baseUrl: 'https://gateway.example', projectId: 'p', fetch: async () => new Response(body, { status }) });
  const [accepted, refused] = ['{"is_success":true}', '{"error_code":"DLI.0001"}'];
  for (const [status, start, length, more, expected] of [
    [200, accepted, 65_536, '', 'accepted'],
    [200, accepted, 65_537, '', 'not_understood'],
    [200, accepted, 65_536, '<html>', 'not_understood'],
    [200, accepted, 655_360, '', 'not_understood'],
    [400, refused, 65_536, '', 'refused'],
    [400, refused, 65_536, 'x', 'not_understood'],
  ]) {
    assert.equal(await outcomeOf(new Client(answers(status, start.padEnd(length) + more)), '1'), expected, `${status} ${length} ${more}`);
  }
  const own = answers(400, '{"error_code":"EDGE.7"}');
  const serviceCodes = ['DLI.', 'EDGE.'];
  const client = new Client({ ...own, serviceCodes });
  serviceCodes.pop();
  assert.equal(await outcomeOf(client, '1'), 'refused');
  assert.equal(await outcomeOf(new Client(own), '1'), 'not_understood');
  for (const wrong of [[], [''], ['é'], Array(9).fill('x')]) {
    assert.throws(() => new Client({ ...own, serviceCodes: wrong }), (error) => error.code === 'ServiceCodes');
  }
});

test('an attempt that fails is not called unsent for a network that is gone later', async () => {
  const navigator = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  const arrived = [];
  const fetch = async (_, { body }) => {
    arrived.push(body);
    Object.defineProperty(globalThis, 'navigator', { value: { onLine: false }, configurable: true });
    throw new TypeError('Failed to fetch');
  };
  try {
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
    assert.equal(await outcomeOf(client, '1'), 'MayHaveArrived');
    assert.equal(arrived.length, 1);
  } finally {
    if (navigator) Object.defineProperty(globalThis, 'navigator', navigator);
    else delete globalThis.navigator;
  }
});

test('a timeout grows with the report, and says what it met', async () => {
  const encoder = new TextEncoder();
  const part = (signal) =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(encoder.encode('{"is_'));
        signal.addEventListener('abort', () => controller.error(signal.reason));
      },
    });
  const silent = (_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const halfway = async (_, { signal }) => new Response(part(signal));
  const long = { jobs: [{ status: 'job_running', create_time: 1, plan: 'x'.repeat(20_000) }], message_id: '1' };
  for (const [fetch, sent, minRate, least, most, says] of [
    [silent, report('1'), 1e9, 150, 1000, /no response within 0\.2 s; the report has \d+ bytes/],
    [silent, long, 20_000, 1150, 3000, /no response within 1\.2 s; the report has 200\d\d bytes/],
    [halfway, report('1'), 1e9, 150, 1000, /timeout within the response: its head and 5 bytes came in 0\.2 s/],
  ]) {
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch, timeoutMs: 160, minRate });
    const begin = performance.now();
    await assert.rejects(client.send(sent), (error) => error.code === 'MayHaveArrived' && says.test(error.message));
    const took = performance.now() - begin;
    assert.ok(took >= least && took < most, `${took} ms`);
  }
});

test('deliver tells the courier what the response or the error said, but no secret', async () => {
  const blocked = async () => Response.json({ error_code: 'WAF.7', error_msg: 'blocked' }, { status: 403 });
  const proxyWithLog = async (_, { headers }) => {
    throw new TypeError('fetch failed', { cause: Object.assign(new Error(`no route for ${headers['X-Auth-Token']}`), { code: 'ECONNREFUSED', syscall: 'connect' }) });
  };
  const { message } = new EdgeReportError('NotSent');
  for (const [fetch, reason] of [
    [blocked, { outcome: 'not_understood', status: 403, errorCode: 'WAF.7', text: 'blocked' }],
    [proxyWithLog, { code: 'NotSent', number: 140, message, text: 'ECONNREFUSED no route for …' }],
  ]) {
    const courier = new Courier({ policy: { startSpreadMs: 0 } });
    const ticket = courier.submit(report('1'));
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', credentials: { token: 'secret-token' }, fetch });
    assert.equal(await client.deliver(courier, { timeoutMs: 50 }), 'time_up');
    assert.deepEqual(courier.status().lastFailure, { ticket, reason });
    courier.free();
  }
});

test('a delivery sleeps until its courier changes', { timeout: 60_000 }, async () => {
  let requests = 0;
  const fetch = async () => {
    requests += 1;
    throw new TypeError('fetch failed', { cause: Object.assign(new Error('no'), { code: 'ECONNREFUSED', syscall: 'connect' }) });
  };
  // The greatest of all waits, by this chance.
  const policy = { startSpreadMs: 0, minBackoffMs: 300_000, maxBackoffMs: 300_000 };
  const courier = new Courier({ policy, entropy: () => 2n ** 64n - 1n });
  let looks = 0;
  const next = courier.next;
  courier.next = () => {
    looks += 1;
    return next.call(courier);
  };
  const until = async (reached) => {
    while (!reached()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
  courier.submit(report('1'));
  const stop = new AbortController();
  const delivery = client.deliver(courier, { signal: stop.signal });
  // The attempt, and the wait.
  await until(() => looks === 2);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual([requests, looks], [1, 2]);
  courier.submit(report('2'));
  await until(() => looks === 3);
  courier.wake();
  await until(() => requests === 2);
  await until(() => looks === 5);
  stop.abort();
  await assert.rejects(delivery, { name: 'AbortError' });
  // One that is gone is noticed, too.
  const gone = client.deliver(courier);
  courier.free();
  await assert.rejects(gone, (error) => error.code === 'NotUsable');
});

test('a courier is delivered, each report once, through failures', { timeout: 60_000 }, async () => {
  const receiver = await startReceiver(['status=503@first 2', 'reset-after@every 4'], ['--ak', 'AK', '--sk', 'SK']);
  const policy = { startSpreadMs: 0, minBackoffMs: 1, maxBackoffMs: 5 };
  const courier = new Courier({ policy });
  for (let number = 0; number < 12; number++) courier.submit(report(`r${number}`));
  const client = new Client({ baseUrl: receiver.url, projectId: 'p', credentials: KEYS });
  assert.equal(await client.deliver(courier, { timeoutMs: 0 }), 'time_up');
  const first = client.deliver(courier);
  await assert.rejects(client.deliver(courier), (error) => error.code === 'InUse' && /being delivered already/.test(error.message));
  assert.equal(await first, 'idle');
  assert.equal(courier.status().delivered, 12);
  assert.deepEqual(receiver.accepted().map(({ message_id: id }) => id), Array.from({ length: 12 }, (_, n) => `r${n}`));
  courier.submit(report('last'));
  await assert.rejects(client.deliver(courier, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  receiver.stop();
});

test('what is given to fetch: no cookies, no redirect, no referrer, and the credentials that were set last and can be used', async () => {
  const seen = [];
  const fetch = async (_, init) => {
    seen.push(init);
    return Response.json({ is_success: true });
  };
  const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', credentials: { token: 'first' }, fetch });
  await client.send(report('1'));
  for (const wrong of [{ token: 'a\nb' }, { accessKey: 'AK', secretKey: '' }, { accessKey: 'AK', secretKey: 'SK\n' }]) {
    assert.throws(() => client.setCredentials(wrong), (error) => ['Token', 'SecretKey'].includes(error.code));
    await client.send(report('2'));
  }
  client.setCredentials({ token: 'second' });
  await client.send(report('3'));
  assert.deepEqual(seen.map(({ headers }) => headers['X-Auth-Token']), ['first', 'first', 'first', 'first', 'second']);
  for (const { method, redirect, credentials, cache, referrerPolicy } of seen) {
    assert.deepEqual({ method, redirect, credentials, cache, referrerPolicy }, { method: 'POST', redirect: 'manual', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer' });
  }
});

test('of several addresses all must have failed to connect for a report to be unsent', async () => {
  const [refused, reset] = [{ code: 'ECONNREFUSED', syscall: 'connect' }, { code: 'ECONNRESET', syscall: 'read' }];
  for (const [errors, expected] of [
    [[refused, refused], 'NotSent'],
    [[refused, reset], 'MayHaveArrived'],
    [[reset, refused], 'MayHaveArrived'],
  ]) {
    const cause = new AggregateError(errors.map((error) => Object.assign(new Error('no'), error)));
    const fetch = async () => {
      throw new TypeError('fetch failed', { cause });
    };
    assert.equal(await outcomeOf(new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch }), '1'), expected);
  }
});

test('of a body without end no more is read than can be an answer', async () => {
  const part = new Uint8Array(16_384);
  let [pulled, cancelled] = [0, 0];
  const endless = {
    pull(controller) {
      pulled += 1;
      controller.enqueue(part);
    },
    cancel() {
      cancelled += 1;
    },
  };
  const fetch = async () => new Response(new ReadableStream(endless));
  const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
  assert.equal(await outcomeOf(client, '1'), 'not_understood');
  // 64 KiB and a byte, and what the stream keeps ready.
  assert.ok(pulled >= 5 && pulled <= 7, `${pulled} parts`);
  assert.equal(cancelled, 1);
});

test('a body that is cut decides nothing, and its status stands', async () => {
  const broken = (text) =>
    new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(text)),
      pull: (controller) => controller.error(new TypeError('terminated')),
    });
  for (const [status, text, expected] of [
    [503, '<html>', 'try_again'],
    [400, '{"error_code":"DLI.', 'not_understood'],
    [400, '{"error_code":"DLI.0001"}', 'not_understood'],
    [200, '{"is_success":true}', 'MayHaveArrived'],
  ]) {
    const fetch = async () => new Response(broken(text), { status });
    const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
    assert.equal(await outcomeOf(client, '1'), expected, `${status} ${text}`);
  }
});

test('a signal that lives long keeps nothing of the calls that are over', async () => {
  const { signal } = new AbortController();
  let number = 0;
  const fetch = async () => {
    number += 1;
    if (number % 3) throw new TypeError('fetch failed');
    return Response.json({ is_success: true });
  };
  const client = new Client({ baseUrl: 'https://gateway.example', projectId: 'p', fetch });
  const courier = new Courier({ policy: { startSpreadMs: 0, minBackoffMs: 10, maxBackoffMs: 10 } });
  for (const id of ['1', '2', '3']) {
    courier.submit(report(id));
    await client.send(report(id), { signal }).catch(() => {});
    assert.equal(await client.deliver(courier, { signal }), 'idle');
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  }
  courier.free();
});

test('no attempt begins after the time is up', async () => {
  let requests = 0;
  const client = new Client({ ...ELSEWHERE, fetch: async () => Response.json({ is_success: Boolean(++requests) }) });
  const courier = new Courier({ policy: { startSpreadMs: 0 } });
  courier.submit(report('1'));
  assert.equal(await client.deliver(courier, { timeoutMs: 0 }), 'time_up');
  assert.deepEqual([requests, courier.status().waiting], [0, 1]);
  courier.free();
});

test('a request is signed by the clock that is said to be right', async () => {
  const HOUR_MS = 3_600_000;
  const ahead = [];
  const date = () => new Date(Date.now() + HOUR_MS).toUTCString();
  const fetch = async (_, { headers }) => {
    const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(headers['X-Sdk-Date']).map(Number);
    const [year, month, ...rest] = parts;
    ahead.push(Math.round((Date.UTC(year, month - 1, ...rest) - Date.now()) / HOUR_MS) + 0);
    const wrong = ahead.at(-1) === 0;
    return wrong ? Response.json({ error_code: 'APIGW.0301' }, { status: 401, headers: { Date: date() } }) : Response.json({ is_success: true });
  };
  const client = new Client({ ...ELSEWHERE, credentials: KEYS, fetch });
  assert.equal((await client.send(report('1'), { clockOffsetMs: HOUR_MS })).outcome, 'accepted');
  // A courier learns it from the service.
  const courier = new Courier({ policy: { startSpreadMs: 0 } });
  courier.submit(report('2'));
  assert.equal(await client.deliver(courier), 'idle');
  assert.deepEqual(ahead, [1, 0, 1]);
  courier.free();
});

test('an attempt that is aborted counts as none: the report is offered again at once', async () => {
  const stop = new AbortController();
  const reason = new Error('enough');
  const fetch = (_, { signal }) =>
    new Promise((_, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener('abort', () => reject(signal.reason));
      stop.abort(reason);
    });
  const client = new Client({ ...ELSEWHERE, fetch });
  const courier = new Courier({ policy: { startSpreadMs: 0 } });
  const ticket = courier.submit(report('1'));
  await assert.rejects(client.deliver(courier, { signal: stop.signal }), reason);
  const { last, lastFailure, nextAttempt } = courier.status();
  assert.deepEqual([last, lastFailure, nextAttempt], [undefined, undefined, undefined]);
  const step = courier.next();
  assert.deepEqual([step.step, step.ticket], ['send', ticket]);
  await assert.rejects(client.send(report('1'), { signal: stop.signal }), reason);
  courier.free();
});

test('the request is for the base URL as fetch writes it, under all of its path, without a Host', async () => {
  const seen = [];
  const fetch = async (url, { headers }) => {
    seen.push(url);
    assert.ok(!Object.keys(headers).some((name) => name.toLowerCase() === 'host'), 'browsers let nobody set it');
    return Response.json({ is_success: true });
  };
  for (const baseUrl of ['https://GATEWAY.example:443', 'https://gateway.example/v1/x', 'https://gateway.example:8443']) {
    await new Client({ baseUrl, projectId: 'p', fetch }).send(report('1'));
  }
  const end = '/v1/p/edgesrv/job-report';
  assert.deepEqual(seen, [`https://gateway.example${end}`, `https://gateway.example/v1/x${end}`, `https://gateway.example:8443${end}`]);
  assert.throws(() => new Client({ baseUrl: 'https://gateway.example/a/../b', projectId: 'p' }), (error) => error.code === 'UrlPath');
});

test('what an error of fetch means: surely unsent, TLS, or unknown', async () => {
  for (const [cause, expected] of [
    [{ syscall: 'connect', code: 'ECONNREFUSED' }, 'NotSent'],
    [{ syscall: 'getaddrinfo', code: 'ENOTFOUND' }, 'NotSent'],
    [{ code: 'UND_ERR_CONNECT_TIMEOUT' }, 'NotSent'],
    [{ message: 'bad port' }, 'NotSent'],
    [{ syscall: 'read', code: 'ECONNRESET' }, 'MayHaveArrived'],
    [{ code: 'UND_ERR_SOCKET' }, 'MayHaveArrived'],
    [{ code: 'EPROTO' }, 'MayHaveArrived'],
    ...['ERR_TLS_CERT_ALTNAME_INVALID', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_OSSL_EVP_UNSUPPORTED', 'CERT_HAS_EXPIRED', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT',
      'HOSTNAME_MISMATCH', 'INVALID_CA', 'INVALID_PURPOSE'].map((code) => [{ code }, 'Tls']),
  ]) {
    const fetch = async () => {
      throw new TypeError('fetch failed', { cause: Object.assign(new Error(cause.message ?? 'no'), cause) });
    };
    assert.equal(await outcomeOf(new Client({ ...ELSEWHERE, fetch }), '1'), expected, JSON.stringify(cause));
  }
});
