// Starts edge-report-receiver, which fails as it is told.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url));

/** A program that cargo has built. */
export function program(name) {
  const path = join(target, 'debug', name);
  if (!existsSync(path)) throw new Error(`${path} is not there: tests/wasm/run builds it`);
  return path;
}

/** A running one: its url, the file with what it accepted, that read, and how to stop it. */
export async function startReceiver(faults, options = []) {
  const record = join(mkdtempSync(join(tmpdir(), 'edge-report-')), 'record');
  const specs = faults.flatMap((fault) => ['--fault', fault]);
  const child = spawn(program('edge-report-receiver'), ['--listen', '127.0.0.1:0', '--record', record, ...specs, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  const url = await new Promise((resolve, reject) => {
    let said = '';
    const listen = (part) => {
      said += part;
      const found = /127\.0\.0\.1:(\d+)/.exec(said);
      if (found) resolve(`http://${found[0]}`);
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('exit', () => reject(new Error(said)));
  });
  return {
    url,
    record,
    accepted: () => (existsSync(record) ? readFileSync(record, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)) : []),
    stop: () => child.kill(),
  };
}
