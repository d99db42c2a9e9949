// The vectors that Rust, C and JavaScript share.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Courier, EdgeReportError, JOB_STATUSES, buildRequest, canonicalRequest, check, encode, parse, readReply, sign } from 'edge-report';

const directory = new URL('../../../tests/vectors/', import.meta.url);
const bytesOf = (name) => readFileSync(new URL(name, directory));
const load = (name) => JSON.parse(bytesOf(name));
const text = (bytes) => Buffer.from(bytes).toString('utf8');

/** Runs each case, and tells all that fail. */
function run(cases, atLeast, runCase) {
  assert.ok(cases.length >= atLeast, `only ${cases.length} cases`);
  const failed = [];
  for (const [index, one] of cases.entries()) {
    try {
      runCase(one);
    } catch (error) {
      failed.push(`${one.name ?? index}: ${error.message}`);
    }
  }
  assert.deepEqual(failed, []);
}

/** What `run` throws. */
function thrown(run) {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

test('json.json', () => {
  let decoded = 0;
  run(load('json.json').cases, 950, (c) => {
    const input = c.hex !== undefined ? Buffer.from(c.hex, 'hex') : c.repeat !== undefined ? c.repeat.repeat(c.times) : c.text;
    // The codes below 20 are those of JSON.
    const wrong = check(input).filter((finding) => finding.number < 20);
    assert.equal(wrong.length === 0, c.accept, JSON.stringify(wrong));
    if (c.offset !== undefined) assert.equal(wrong[0].offset, c.offset);
    if (c.decoded !== undefined) {
      const report = Buffer.concat([
        Buffer.from('{"message_id":"1","jobs":[{"status":"job_idle","create_time":1,"metrics":'),
        Buffer.from(input),
        Buffer.from('}]}'),
      ]);
      // `decoded` is of a text with one string, often the text itself.
      if (check(report).some((finding) => finding.severity === 'error')) return;
      assert.equal(parse(report).jobs[0].metrics, c.decoded);
      decoded += 1;
    }
  });
  assert.ok(decoded >= 10, `only ${decoded} strings`);
});

test('reports.json', () => {
  let encoded = 0;
  run(load('reports.json').reports, 260, (c) => {
    const input = c.hex !== undefined ? Buffer.from(c.hex, 'hex')
      : c.file !== undefined ? bytesOf(c.file)
      : c.parts !== undefined ? c.parts.map(([part, times]) => part.repeat(times)).join('')
      : c.input;
    const findings = check(input).map(({ path, offset, number, code, severity }) => ({ path, offset, code: number, name: code, severity }));
    assert.deepEqual(findings, c.findings);
    const first = c.findings.find((finding) => finding.severity === 'error');
    if (first) {
      const error = thrown(() => encode(input));
      assert.ok(error instanceof EdgeReportError);
      assert.deepEqual([error.number, error.code, error.path ?? '', error.offset], [first.code, first.name, first.path, first.offset]);
      assert.deepEqual(error.findings, check(input));
      assert.equal(thrown(() => parse(input)).message, error.message);
      assert.throws(() => new Courier().submit(input), { code: first.name });
      return;
    }
    const canonical = c.canonical_same_as_input ? text(Buffer.from(input)) : c.canonical;
    assert.equal(text(encode(input)), canonical);
    // What is read as an object says the same, and so does what stands in it.
    const report = parse(input);
    assert.equal(text(encode(report)), canonical);
    const known = findings.filter((finding) => finding.name !== 'UnknownKey').map(({ path, name }) => `${path} ${name}`);
    assert.deepEqual(check(report).map(({ path, code }) => `${path} ${code}`).sort(), known.sort());
    encoded += 1;
  });
  assert.ok(encoded >= 70, `only ${encoded} valid`);
});

test('lines and columns', () => {
  const places = (input) => check(input).filter((f) => f.severity === 'error').map((f) => [f.path, f.line, f.column]);
  const report = '{\r\n "jobs": [\n  {"status": "漢😀", "create_time": 0},\n\n  {"status": 7, "create_time": "x"}],\n "message_id": ""}';
  assert.deepEqual(places(report), [
    ['jobs[0].create_time', 3, 35],
    ['jobs[1].status', 5, 14],
    ['jobs[1].create_time', 5, 32],
    ['message_id', 6, 16],
  ]);
  // What is missing is told at the start of its object, which is further up.
  assert.deepEqual(places('{"jobs":[\n{\n"status":1}]}'), [['jobs[0].status', 3, 10], ['jobs[0].create_time', 2, 1], ['message_id', 1, 1]]);
});

// From forward and back, in one line and in many: the work must grow with the text, not with its square.
test('lines and columns of 100,000 findings', () => {
  const start = performance.now();
  for (const end of ['', '\n']) {
    const job = `{"漢":0,${end}"job_id":0}`;
    const report = `{"message_id":"1",${end}"jobs":[${`${job},${end}`.repeat(25_000)}${job}]}`;
    const found = check(report);
    assert.ok(found.length > 100_000);
    const bytes = Buffer.from(report);
    for (const { offset, line, column } of [...found.slice(0, 20), ...found.slice(-20)]) {
      const lines = bytes.subarray(0, offset).toString().split('\n');
      assert.deepEqual([line, column], [lines.length, [...lines.at(-1)].length + 1]);
    }
  }
  // A time limit of the test itself stops nothing that runs without a pause.
  assert.ok(performance.now() - start < 20_000);
});

test('codes.json', () => {
  const { codes, statuses } = load('codes.json');
  assert.ok(codes.length >= 53);
  for (const { number, name, text: line } of codes) {
    for (const code of [number, name]) {
      const error = new EdgeReportError(code);
      assert.deepEqual([error.number, error.code, error.message, error.name], [number, name, line, 'EdgeReportError']);
    }
  }
  assert.deepEqual(JOB_STATUSES, statuses);
});

test('replies.json', () => {
  const { replies, classes, unusable_service_codes: unusable } = load('replies.json');
  const now = 1_591_104_868_000;
  run(replies, 460, (c) => {
    const headers = { 'Retry-After': c.headers?.retry_after, date: c.headers?.date };
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
    const body = c.hex !== undefined ? Buffer.from(c.hex, 'hex') : (c.body ?? c.parts.map(([part, times]) => part.repeat(times)).join(''));
    const outcome = readReply(c.status, given, body, c.now_ms ?? now, { serviceCodes: c.service_codes });
    const { text: line, ...members } = outcome;
    const wanted = {
      outcome: c.outcome,
      status: c.status,
      errorCode: c.error_code,
      errorMsg: c.error_msg,
      message: c.message,
      requestId: c.request_id,
      // Over 2^63 both are as good as endless.
      retryAfterMs: c.retry_after_ms === undefined ? undefined : Math.min(Number(c.retry_after_ms), 2 ** 63),
      clockSkewMs: c.clock_skew_ms,
    };
    assert.deepEqual(members, JSON.parse(JSON.stringify(wanted)));
    assert.ok(line.startsWith(`${c.outcome}: ${c.status}`), line);
    assert.ok(!/[\0-\x1f\x7f]/.test(line), line);
  });
  let statuses = 0;
  for (const { from, to, body, outcome } of classes) {
    for (let status = from; status <= to; status++, statuses++) {
      assert.equal(readReply(status, undefined, body).outcome, outcome, `status ${status}, body ${body}`);
    }
  }
  assert.ok(statuses >= 8000, `only ${statuses} statuses`);
  assert.ok(unusable.length >= 8);
  for (const serviceCodes of unusable) {
    assert.throws(() => readReply(200, undefined, undefined, now, { serviceCodes }), (error) => error.code === 'ServiceCodes', JSON.stringify(serviceCodes));
  }
});

/** `20200602T133428Z` */
function dateOf(stamp) {
  return new Date(stamp.replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z'));
}

test('sign.json', () => {
  run(load('sign.json').vectors, 19, (c) => {
    const { method, host, path, query, body } = c;
    const date = c.string_to_sign.split('\n')[1];
    const token = c.headers.find(([name]) => name === 'X-Security-Token')?.[1];
    const signs = (headers, pairs, keys) => {
      const request = { method, host, path, query: pairs, headers, body: body ?? '' };
      const added = { 'X-Sdk-Date': date, Authorization: c.authorization };
      if (keys.securityToken !== undefined) added['X-Security-Token'] = token;
      assert.deepEqual(sign(request, keys, dateOf(c.now)), added);
      assert.equal(canonicalRequest(request, keys, dateOf(c.now)), c.canonical_request);
    };
    const keys = { accessKey: c.ak, secretKey: c.sk };
    signs(c.headers, query, keys);
    signs(c.headers.toReversed(), query.toReversed(), keys);
    signs(Object.fromEntries(c.headers), new URLSearchParams(query), keys);
    if (token !== undefined) {
      signs(c.headers.filter(([name]) => name !== 'X-Security-Token'), query, { ...keys, securityToken: token });
    }
  });
});

test('endpoints.json', () => {
  const { right, wrong } = load('endpoints.json');
  const request = (c) => buildRequest({ jobs: [{ status: 'job_running', create_time: 1 }], message_id: 'x' }, { baseUrl: c.base_url, projectId: c.project_id });
  run(right.map((c) => ({ name: c.base_url, ...c })), 5, (c) => assert.equal(request(c).path, c.path));
  run(wrong.map((c) => ({ name: `${c.base_url} ${c.project_id}`, ...c })), 30, (c) => {
    const { code, offset } = thrown(() => request(c));
    assert.deepEqual({ code, offset }, { code: c.code, offset: c.offset });
  });
});

test('captures', () => {
  const names = readdirSync(new URL('captures/', directory)).filter((name) => name.endsWith('.http'));
  run(names.map((name) => ({ name })), 9, ({ name }) => {
    const bytes = bytesOf(`captures/${name}`);
    const end = bytes.indexOf('\r\n\r\n');
    const [first, ...lines] = text(bytes.subarray(0, end)).split('\r\n');
    const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]));
    const body = bytes.subarray(end + 4);
    const path = first.split(' ')[1];
    const signed = headers.get('Authorization').match(/SignedHeaders=([^,]*)/)[1].split(';');
    const request = {
      host: headers.get('Host'),
      path,
      headers: [...headers].filter(([header]) => header !== 'Host' && signed.includes(header.toLowerCase())),
      body,
    };
    const keys = { accessKey: 'EXAMPLEAK', secretKey: 'EXAMPLESK' };
    // The date is among the headers.
    assert.equal(sign(request, keys, 0).Authorization, headers.get('Authorization'));
    // The path comes from the project id.
    const endpoint = { baseUrl: `http://${request.host}`, projectId: headers.get('X-Project-Id'), allowPlainHttp: true };
    // The vendor's SDK sends a slash in it all the same.
    if (endpoint.projectId.includes('/')) assert.equal(thrown(() => buildRequest(body, endpoint)).code, 'ProjectId');
    else assert.equal(buildRequest(body, endpoint).path, path);
    // The body is read, and says the same.
    assert.deepEqual(parse(body), JSON.parse(text(body)));
  });
});

test('workloads', () => {
  const names = readdirSync(new URL('workloads/', directory));
  assert.ok(names.length >= 6);
  for (const name of names) {
    const bytes = bytesOf(`workloads/${name}`);
    assert.deepEqual(parse(bytes), JSON.parse(text(bytes)), name);
    assert.equal(text(encode(JSON.parse(text(bytes)))), text(encode(bytes)), name);
  }
});
