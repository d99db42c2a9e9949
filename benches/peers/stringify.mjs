// JSON.stringify with a TextEncoder, JSON.parse with Ajv, and beside them the npm package if it is built.
//
//     node stringify.mjs DIRECTORY ROUNDS|WORKLOAD
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';

const [directory, what] = process.argv.slice(2);
const built = new URL('../../bindings/wasm/dist/node.js', import.meta.url);
const ours = existsSync(built) && (await import(built));

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
let room = new Uint8Array(0);

/** The encoders: of a report, its bytes. */
const encoders = {
  'JSON.stringify': (report) => {
    const { written } = encoder.encodeInto(JSON.stringify(report), room);
    return room.subarray(0, written);
  },
  ...(ours && { 'edge-report (npm)': (report) => ours.encode(report) }),
};

/** The readers: of bytes, whether they are a report. */
const readers = {
  'JSON.parse + Ajv': (valid, bytes) => valid(JSON.parse(decoder.decode(bytes))),
  ...(ours && { 'edge-report (npm)': (_, bytes) => ours.check(bytes).every(({ severity }) => severity !== 'error') }),
};

/** From bytes to bytes that are checked and written anew. */
const rewriters = {
  'JSON.parse + Ajv + JSON.stringify': (valid, bytes) => {
    const report = JSON.parse(decoder.decode(bytes));
    if (!valid(report)) throw new Error('refused');
    return encoders['JSON.stringify'](report);
  },
  ...(ours && { 'edge-report (npm)': (_, bytes) => ours.encode(bytes) }),
};

/** What the contract asks for, as far as a schema can say it. */
const text = { type: 'string' };
const members = (required, properties) => ({ type: 'object', required, properties });
const detail = ['error_id', 'error_type', 'error_cause', 'exception', 'error_time'];
const job = members(['status', 'create_time'], {
  job_id: { type: 'integer', minimum: 1 },
  status: { type: 'string', minLength: 1 },
  create_time: { type: 'integer', minimum: 1 },
  exceptions: { anyOf: [text, members(detail, Object.fromEntries(detail.map((name) => [name, text])))] },
  metrics: text,
  plan: text,
});
const schema = members(['jobs', 'message_id'], {
  jobs: { type: 'array', minItems: 1, items: job },
  msg_confirm_topic: text,
  message_id: { type: 'string', minLength: 1 },
});

/** Nanoseconds of one call, from turns of some milliseconds. */
function timed(run, state) {
  for (;; state.times *= 2) {
    const start = process.hrtime.bigint();
    for (let n = 0; n < state.times; n++) run();
    const time = Number(process.hrtime.bigint() - start);
    if (time >= 4e6) return time / state.times;
  }
}

function load(workload) {
  const bytes = readFileSync(join(directory, `${workload}.json`));
  room = new Uint8Array(Math.max(room.length, bytes.length));
  return { bytes, report: JSON.parse(bytes.toString()) };
}

function race(rounds) {
  const valid = new Ajv().compile(schema);
  for (const workload of ['W1', 'W2', 'W3', 'W4', 'W5', 'W6', 'W7']) {
    const { bytes, report } = load(workload);
    const runs = Object.entries(encoders).map(([name, encode]) => ['encode', name, () => encode(report)]);
    if (['W1', 'W3', 'W7'].includes(workload)) {
      for (const [name, read] of Object.entries(readers)) {
        if (!read(valid, bytes)) throw new Error(`${name} refuses ${workload}`);
        runs.push(['check', name, () => read(valid, bytes)]);
      }
      for (const [name, rewrite] of Object.entries(rewriters)) {
        runs.push(['rewrite', name, () => rewrite(valid, bytes)]);
      }
    }
    for (const run of runs) run.push({ times: 1 });
    for (let round = 0; round <= rounds; round++) {
      for (const [kind, name, run, state] of runs) {
        const nanos = timed(run, state);
        // The first round is for the compiler.
        if (round > 0) console.log([kind, workload, name, bytes.length, nanos.toFixed(2)].join('\t'));
      }
    }
  }
}

if (what.startsWith('W')) {
  const { report } = load(what);
  const all = Object.values(encoders).map((encode) => Buffer.from(encode(report)));
  if (!all.every((bytes) => bytes.equals(all[0]))) throw new Error('the encoders differ');
  process.stdout.write(all[0]);
} else {
  race(Number(what));
}
