// Reads reports from standard input, a line of JSON each, and delivers them. What it has stored survives kills and power cuts.
//
//     npm install edge-report
//     node deliver.js DIRECTORY https://gateway.example PROJECT_ID < reports.jsonl
//
// Keys come from EDGE_REPORT_AK and EDGE_REPORT_SK. It answers on standard output, a line each: `stored`, `delivered` or `refused`, and the message id. At
// the end of the input it goes on until nothing waits. Started again after a kill, it takes up what waits.
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, Courier, EdgeReportError, Reporter, parse } from 'edge-report';

const [directory, baseUrl, projectId] = process.argv.slice(2);
const { EDGE_REPORT_AK: accessKey, EDGE_REPORT_SK: secretKey } = process.env;
const credentials = accessKey && secretKey ? { accessKey, secretKey } : {};

const client = new Client({ baseUrl, projectId, credentials });
const courier = await Courier.open(directory, { policy: { startSpreadMs: 0 } });
const reporter = new Reporter(client, courier, (event) => {
  if (event.what === 'delivered' || event.what === 'refused') console.log(event.what, event.messageId);
  else console.error(event);
});
process.once('SIGTERM', async () => {
  await reporter.stop(); // at once: what waits is there at the next start
  process.exit(0);
});

for await (const line of createInterface({ input: process.stdin })) await store(line);
await reporter.flush();
await reporter.stop();

/** Stores a report; while there is no room for it, what is delivered makes some. */
async function store(line) {
  for (;;) {
    try {
      reporter.submit(line);
      // On stable storage: whoever wrote it may forget it.
      return console.log('stored', parse(line).message_id);
    } catch (error) {
      if (!(error instanceof EdgeReportError)) throw error;
      if (!['OutboxFull', 'Storage'].includes(error.code)) return console.error(line, error.message);
      console.error(error.message);
      await pause(1000);
    }
  }
}
