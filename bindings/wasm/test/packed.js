// The package as users get it: packed, and unpacked into a fresh project.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** The directory of a new project, and that of the package in it. */
export function project() {
  const work = mkdtempSync(join(tmpdir(), 'edge-report-'));
  const installed = join(work, 'node_modules/edge-report');
  execFileSync('npm', ['pack', '--silent', '--pack-destination', work], { cwd: root });
  const [tarball] = readdirSync(work).filter((name) => name.endsWith('.tgz'));
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xf', join(work, tarball), '-C', installed, '--strip-components=1']);
  return { work, installed };
}

/** A program's lines: what it encodes must be these bytes. */
export const REPORT = `{ jobs: [{ job_id: 7n, status: 'job_running', create_time: 1591104868201 }], message_id: '1', msg_confirm_topic: 't' }`;
export const BYTES = '{"jobs":[{"job_id":7,"status":"job_running","create_time":1591104868201}],"msg_confirm_topic":"t","message_id":"1"}';
