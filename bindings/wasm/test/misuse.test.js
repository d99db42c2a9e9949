// Wrong arguments: an error that names them, never another result, and no harm to a courier that keeps reports meanwhile.
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import vm from 'node:vm';
import { Client, Courier, EdgeReportError, Reporter, buildRequest, canonicalRequest, check, encode, readReply, sign } from 'edge-report';

const REPORT = { jobs: [{ status: 'job_running', create_time: 1591104868201 }], msg_confirm_topic: 't', message_id: '1' };
const TEXT = JSON.stringify(REPORT);
const KEYS = { accessKey: 'AK', secretKey: 'SK' };
const ENDPOINT = { baseUrl: 'https://gateway.example', projectId: 'p' };
const LINE = { host: 'h', path: '/' };
const HALF = '\ud800';

const bystander = new Courier();
bystander.submit(REPORT);
afterEach(() => assert.equal(bystander.status().waiting, 1));
after(() => bystander.free());

const own = new Error('of the caller');
const fail = () => {
  throw own;
};
const code = (name, words = /./) => (error) => error instanceof EdgeReportError && error.code === name && words.test(error.message);

function detached() {
  const bytes = new TextEncoder().encode(TEXT);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

test('bytes: of any realm, shared, transferred away', () => {
  const shared = new SharedArrayBuffer(TEXT.length);
  new Uint8Array(shared).set(Buffer.from(TEXT));
  const foreign = vm.runInNewContext('Uint8Array.from(bytes)', { bytes: [...Buffer.from(TEXT)] });
  for (const bytes of [shared, new DataView(shared), foreign, foreign.buffer]) assert.equal(Buffer.from(encode(bytes)).toString(), TEXT);
  for (const bytes of [detached(), detached().buffer]) assert.throws(() => check(bytes), TypeError);
});

test('objects: what their own code throws, and what no JSON can show', () => {
  assert.throws(() => encode({ get jobs() { return fail(); } }), own);
  assert.throws(() => check(new Proxy({}, { get: fail })), own);
  const cyclic = { ...REPORT };
  cyclic.self = cyclic;
  assert.throws(() => check(cyclic), TypeError);
  for (const value of [undefined, null, NaN, 5n, Symbol('x'), fail, []]) assert.equal(check(value)[0].code, 'NotAnObject');
});

test('a forgotten await, and objects that have their content elsewhere', () => {
  assert.throws(() => encode(Promise.resolve(REPORT)), /TypeError: the report is a promise: await it/);
  for (const [value, kind] of [[new Map(Object.entries(REPORT)), 'Map'], [new Blob([TEXT]), 'Blob'], [new Response(TEXT), 'Response']]) {
    assert.throws(() => check(value), new RegExp(`TypeError: the report is a ${kind}, `));
  }
  const classy = Object.assign(new (class Mine {})(), REPORT);
  assert.equal(Buffer.from(encode(classy)).toString(), TEXT);
});

test('a token and keys together', () => {
  for (const credentials of [{ token: 'T', ...KEYS }, { token: 'T', accessKey: 'AK' }]) {
    assert.throws(() => buildRequest(REPORT, { ...ENDPOINT, credentials }), code('Conflict', /a token, or keys/));
  }
  assert.equal(buildRequest(REPORT, { ...ENDPOINT, credentials: { token: 'T', accessKey: undefined } }).headers['X-Auth-Token'], 'T');
});

test('half of a surrogate pair is found in text as in objects', () => {
  const text = TEXT.replace('"1"', `"漢${HALF}"`);
  assert.deepEqual(check(text).map(({ code: name, column }) => [name, column]), [['JsonLoneSurrogate', text.indexOf(HALF) + 1]]);
  assert.throws(() => encode({ ...REPORT, message_id: HALF }), code('JsonLoneSurrogate'));
});

test('readReply: a status is taken as it is or not at all; headers in every form', () => {
  for (const status of [undefined, null, NaN, -1, 200.5, 65_736, '200', 200n, Symbol('x')]) {
    assert.throws(() => readReply(status, undefined, '{"is_success":true}'), code('OutOfRange', /status/));
  }
  const forms = [new Map([['Retry-After', '5']]), new Headers({ 'Retry-After': '5' }), [['RETRY-AFTER', '5']], { 'retry-after': 5, 'set-cookie': ['a', 'b'], date: undefined }];
  for (const headers of forms) assert.equal(readReply(503, headers, null, null).retryAfterMs, 5000);
  for (const headers of [5, 'Retry-After: 5', ['Retry-After', '5']]) assert.throws(() => readReply(503, headers), TypeError);
  assert.throws(() => readReply(503, undefined, {}), TypeError);
  for (const wrong of ['DLI.', [5], {}, 5]) assert.throws(() => readReply(400, undefined, '', 0, { serviceCodes: wrong }), TypeError);
  for (const wrong of [[], [HALF], ['']]) assert.throws(() => readReply(400, undefined, '', 0, { serviceCodes: wrong }), code('ServiceCodes'));
  assert.equal(readReply(400, undefined, '{"error_code":"DLI.1"}', 0, { serviceCodes: undefined }).outcome, 'refused');
  assert.throws(() => readReply(503, { get date() { return fail(); } }), own);
});

test('sign: what cannot be signed as it will be sent', () => {
  for (const wrong of [{ host: undefined }, { path: new URL('https://h/') }, { body: {} }, { body: 5 }, { body: detached() }, { query: 'a=1' }, { query: [['a']] },
    { query: { a: undefined } }, { query: { a: ['1', '2'] } }, { headers: 5 }, { headers: { a: null } }]) {
    assert.throws(() => sign({ ...LINE, ...wrong }, KEYS), TypeError, JSON.stringify(wrong));
  }
  assert.match(canonicalRequest({ ...LINE, query: { a: HALF }, headers: { b: '1' } }, KEYS), /\na=%EF%BF%BD\nb:1\n/);
  assert.throws(() => sign(LINE, KEYS, new Date(NaN)), code('TimeOutOfRange'));
  for (const date of ['2026-01-01', '1591104868201', true, 5n, Symbol('x')]) assert.throws(() => sign(LINE, KEYS, date), /^TypeError: date must be a Date, or a number/);
  const foreign = vm.runInNewContext('new Date(1591104868201)');
  assert.deepEqual(sign(LINE, KEYS, foreign), sign(LINE, KEYS, 1591104868201));
  assert.equal(typeof sign(LINE, KEYS, null).Authorization, 'string');
});

test('credentials that are undefined or misspelt are not nobody’s', () => {
  const signer = (credentials) => Object.keys(buildRequest(REPORT, { ...ENDPOINT, credentials }).headers).slice(3).join();
  for (const nobody of [undefined, null, {}]) assert.equal(signer(nobody), '');
  assert.equal(signer(KEYS), 'X-Sdk-Date,Authorization');
  assert.throws(() => signer({ token: undefined }), code('Token'));
  for (const keys of [{ accessKey: undefined, secretKey: undefined }, { ak: 'AK', sk: 'SK' }, { ...KEYS, accessKey: HALF }, 'AK:SK']) {
    assert.throws(() => signer(keys), code('AccessKey'));
  }
});

test('a courier: each wrong option by its name', () => {
  for (const [options, words] of [
    [{ capacity: NaN }, /capacity/],
    [{ capacity: 16_383 }, /capacity/],
    [{ capacity: 2 ** 32 }, /capacity/],
    [{ capacity: Infinity }, /capacity/],
    [{ policy: { minBackoffMs: 1.5 } }, /policy\.minBackoffMs$/],
    [{ policy: { maxAttempts: 2 ** 33 } }, /policy\.maxAttempts$/],
    [{ policy: { refuseAfter: -1 } }, /policy\.refuseAfter$/],
    [{ policy: { refuseAfter: '8' } }, /policy\.refuseAfter$/],
    [{ policy: { backlog: 'newest' } }, /policy\.backlog is 'all' or 'latest'$/],
    [{ policy: { backlog: HALF } }, /policy\.backlog is 'all' or 'latest'$/],
    [{ policy: { backlog: true } }, /policy\.backlog is/],
    [{ policy: { whenLettersFull: 'drop' } }, /policy\.whenLettersFull is 'drop-oldest' or 'hold'$/],
  ]) assert.throws(() => new Courier(options), code('OutOfRange', words));
  for (const wrong of [{ capacity: Symbol('x') }, { capacity: '65536' }, { capacity: null }, { clock: 5 }, { clock: () => NaN }, { clock: () => -1 }, { entropy: () => 5 }, { entropy: () => 'x' }, { entropy: () => undefined }]) {
    assert.throws(() => new Courier(wrong), TypeError);
  }
  for (const wrong of [{ clock: fail }, { entropy: fail }]) assert.throws(() => new Courier(wrong), own);
});

test('a courier: wrong tickets and events leave the report in flight', () => {
  let now = () => 0;
  const courier = new Courier({ policy: { startSpreadMs: 0 }, clock: () => now() });
  const ticket = courier.submit(REPORT);
  assert.equal(courier.next().ticket, ticket);
  const accepted = readReply(200, undefined, '{"is_success":true}');
  for (const wrong of [undefined, null, NaN, ticket + 0.5, String(ticket), BigInt(ticket), Symbol('x'), {}, -1]) {
    assert.throws(() => courier.settle(wrong, accepted), TypeError);
    assert.throws(() => courier.forgetDeadLetters(wrong), TypeError);
    assert.throws(() => courier.forgetDeadLetter(wrong), TypeError);
    if (wrong === undefined) continue;
    assert.throws(() => courier.deadLetter(wrong), TypeError);
    assert.throws(() => courier.resubmitDeadLetter(wrong), TypeError);
  }
  for (const wrong of [undefined, null, {}, new Error('x')]) assert.throws(() => courier.settle(ticket, wrong), TypeError);
  assert.throws(() => courier.settle(ticket, { outcome: 'accepted', status: 70_000 }), code('OutOfRange'));
  assert.throws(() => courier.settle(ticket, { ...accepted, errorCode: Object.create(null) }), TypeError);
  now = fail;
  assert.throws(() => courier.settle(ticket, accepted), own);
  now = () => 1;
  assert.deepEqual(courier.settle(ticket, accepted), { verdict: 'delivered' });
  courier.free();
});

test('a client: timeouts and fetch', async () => {
  for (const timeoutMs of [NaN, 0, 0.5, -1, 86_400_001, Infinity]) assert.throws(() => new Client({ ...ENDPOINT, timeoutMs }), code('OutOfRange', /timeoutMs/));
  for (const name of ['timeoutMs', 'minRate']) for (const wrong of ['5', null]) assert.throws(() => new Client({ ...ENDPOINT, [name]: wrong }), new RegExp(`^TypeError: ${name} must be a number`));
  assert.throws(() => new Client({ ...ENDPOINT, fetch: 5 }), TypeError);
  for (const minRate of [NaN, 0, -1]) assert.throws(() => new Client({ ...ENDPOINT, minRate }), code('OutOfRange', /minRate/));
  const answers = (answer) => new Client({ ...ENDPOINT, fetch: answer, timeoutMs: 86_400_000 });
  // A timer of more than 2^31 ms would fire at once.
  const late = answers((_, { signal }) => new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
    setTimeout(() => resolve(new Response('{"is_success":true}')), 20);
  }));
  assert.equal((await late.send(REPORT)).outcome, 'accepted');
  await assert.rejects(answers(() => Promise.reject()).send(REPORT), code('MayHaveArrived'));
  await assert.rejects(late.deliver(bystander, { timeoutMs: '5' }), /^TypeError: timeoutMs must be a number, 0 or more$/);
  for (const timeoutMs of [NaN, -1]) await assert.rejects(late.deliver(bystander, { timeoutMs }), code('OutOfRange', /timeoutMs/));
});

test('an option that is unknown is named, with the one that may be meant', async () => {
  const client = new Client(ENDPOINT);
  const courier = new Courier();
  const reporter = new Reporter(client, courier);
  for (const [call, words] of [
    [() => client.deliver(bystander, { timeout: 5 }), /deliver has no option timeout; is timeoutMs meant\?/],
    [() => client.deliver(bystander, { onverdict() {} }), /is onVerdict meant/],
    [() => client.deliver(bystander, { retries: 5 }), /deliver has no option retries; it has signal, timeoutMs, forever, onVerdict$/],
    [() => client.send(REPORT, { Signal: undefined }), /send has no option Signal; is signal meant/],
    [() => reporter.flush({ timeout: 5 }), /flush has no option timeout; is timeoutMs meant/],
    [() => new Client({ ...ENDPOINT, timeout: 5 }), /Client has no option timeout; is timeoutMs meant/],
    [() => new Client({ ...ENDPOINT, baseURL: 'https://h' }), /is baseUrl meant/],
    [() => new Client({ ...ENDPOINT, project_id: 'p' }), /is projectId meant/],
    [() => new Courier({ capacityBytes: 5 }), /Courier has no option capacityBytes/],
    [() => new Courier({ policy: { holdMs: 1, maxBackoff: 1 } }), /policy has no option maxBackoff; is maxBackoffMs meant\?/],
    [() => new Courier({ policy: { [HALF]: 1 } }), /policy has no option .*; it has minBackoffMs, /],
    [() => new Courier({ policy: 5 }), /policy takes an object of options/],
    [() => new Courier({ maxBytes: 65_536 }), /Courier has no option maxBytes; it has capacity, /],
    [() => Courier.open('nowhere', { capacity: 65_536 }), /Courier\.open has no option capacity; it has maxBytes, /],
    [() => Courier.open('nowhere', { maxByte: 65_536 }), /is maxBytes meant/],
    [() => readReply(200, undefined, '', 0, { serviceCode: [] }), /readReply has no option serviceCode; is serviceCodes meant/],
  ]) {
    await assert.rejects(async () => call(), (error) => error instanceof TypeError && words.test(error.message), words.source);
  }
  await reporter.stop();
});

test('what would be passed over, or mean something else, is refused', () => {
  const courier = new Courier();
  const client = new Client(ENDPOINT);
  for (const wrong of [Symbol('x'), () => 5, NaN, {}, '5']) assert.throws(() => new Courier({ policy: { minBackoffMs: wrong } }), code('OutOfRange', /policy\.minBackoffMs/));
  for (const wrong of [1e300, -1e300, Infinity, NaN]) assert.throws(() => courier.submit(REPORT, wrong), code('TimeOutOfRange'));
  assert.throws(() => new Courier({ clock: () => Infinity }).submit(REPORT), /^TypeError: clock must give milliseconds$/);
  for (const wrong of ['NotSend', 'constructor', '__proto__', undefined]) assert.throws(() => new EdgeReportError(wrong), /^TypeError: there is no code /);
  for (const wrong of [[courier, client], [null, courier], [client, null], [client, {}], []]) assert.throws(() => new Reporter(...wrong), /^TypeError: a reporter takes a Client and a Courier/);
  for (const wrong of [undefined, null, 'https://gateway.example']) assert.throws(() => new Client(wrong), /^TypeError: Client takes an object of options$/);
  assert.throws(() => new Courier(null), /^TypeError: Courier takes an object of options$/);
  assert.equal(courier.status().waiting, 0);
  courier.free();
});
