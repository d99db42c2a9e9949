// An agent of a Flink cluster: learns from its REST API what its jobs do, and delivers that until it is accepted, over restarts and power cuts.
//
//     npm install edge-report
//     node flink.mjs FLINK_URL URL PROJECT_ID SPOOL_DIRECTORY TABLE_FILE NODE
//
// Keys come from EDGE_REPORT_AK and EDGE_REPORT_SK. SIGTERM ends it; what waits is delivered after the next start.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, Courier, EdgeReportError, FlinkWatch, Reporter } from 'edge-report';

const LONGEST = 1024 * 1024;
const [flink, baseUrl, projectId, directory, table, node] = process.argv.slice(2);
const { EDGE_REPORT_AK: accessKey, EDGE_REPORT_SK: secretKey } = process.env;
const credentials = accessKey && secretKey ? { accessKey, secretKey } : {};
const ending = new AbortController();
process.once('SIGTERM', () => ending.abort());

const watch = new FlinkWatch({ node });
if (existsSync(table)) orTell(() => watch.restore(readFileSync(table)));
const courier = await Courier.open(directory, { policy: { startSpreadMs: 0 } }); // one node alone need not spread its start
const reporter = new Reporter(new Client({ baseUrl, projectId, credentials }), courier, (event) => console.error(event));
while (!ending.signal.aborted) {
  const step = watch.next();
  if (step.step === 'get') await ask(step.path);
  else if (step.step === 'report') store(step.report);
  else await pause(step.ms, undefined, { signal: ending.signal }).catch(() => {});
}
await reporter.stop();

async function ask(path) {
  let response, body;
  try {
    response = await fetch(flink + path, { signal: AbortSignal.any([ending.signal, AbortSignal.timeout(10_000)]) });
    body = await read(response);
  } catch (error) {
    console.error(path, error.message);
    return watch.failed();
  }
  orTell(() => watch.response(response.status, body)); // a wrong one is of no use, and the watch goes on
}

/** A response's body; one that is too long counts as none. */
async function read(response) {
  const parts = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > LONGEST) throw new Error('the response is too long');
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function store(report) {
  const isStored = orTell(() => reporter.submit(report));
  watch.reported(isStored); // if not, it comes again
  if (!isStored) return;
  // Whole, or not at all. What is lost costs repeats, under the same message ids.
  writeFileSync(`${table}.new`, watch.save());
  renameSync(`${table}.new`, table);
}

/** Whether it went well. */
function orTell(use) {
  try {
    use();
    return true;
  } catch (error) {
    if (!(error instanceof EdgeReportError)) throw error;
    console.error(error.message);
    return false;
  }
}
