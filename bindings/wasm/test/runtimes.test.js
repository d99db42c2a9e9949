// The package in Deno and Bun: a durable courier, delivered over their fetch, whose directory Rust reads.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { project, root } from './packed.js';
import { program, startReceiver } from './receiver.js';

const { work } = project();
writeFileSync(join(work, 'package.json'), '{"type":"module"}');
writeFileSync(join(work, 'durable.mjs'), `import process from 'node:process';
  import { Client, Courier, check } from 'edge-report';
  const [path, url] = process.argv.slice(2);
  const courier = await Courier.open(path, { policy: { startSpreadMs: 0, minBackoffMs: 1 } });
  for (let n = 1; n <= 10; n++) courier.submit({ jobs: [{ status: 'job_running', create_time: 1 }], message_id: 'm' + n });
  const second = await Courier.open(path).catch(({ code }) => code);
  const told = [];
  const client = new Client({ baseUrl: url, projectId: 'p' });
  const said = await client.deliver(courier, { onVerdict: ({ what }) => told.push(what) });
  courier.submit('{"jobs":[{"status":"job_running","create_time":1}],"message_id":"last"}');
  courier.close();
  console.log(JSON.stringify([second, said, told.filter((what) => what === 'delivered').length, check('{}').length > 0]));`);

for (const [name, args] of [['deno', ['run', '--allow-all', '--node-modules-dir=manual']], ['bun', ['run']]]) {
  test(name, { timeout: 120_000 }, async () => {
    const receiver = await startReceiver(['status=503@first 1', 'reset-after@every 4']);
    const path = join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'spool');
    const child = spawn(join(root, 'node_modules/.bin', name), [...args, 'durable.mjs', path, receiver.url], { cwd: work, stdio: ['ignore', 'pipe', 'pipe'] });
    let [said, errors] = ['', ''];
    child.stdout.on('data', (part) => (said += part));
    child.stderr.on('data', (part) => (errors += part));
    const status = await new Promise((resolve) => child.once('close', resolve));
    receiver.stop();
    assert.equal(status, 0, errors);
    assert.equal(said.trim(), '["SpoolInUse","idle",10,true]', errors);
    assert.equal(receiver.accepted().length, 10);
    const rust = spawnSync(program('edge-report-agent'), ['status', '--spool', path], { encoding: 'utf8' }).stdout;
    assert.match(rust, /^submitted 11\ndelivered 10\n.*^waiting 1$/ms);
  });
}
