// The page of examples/web in Chromium, and what people do with it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, serve } from './browser.js';

export const file = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
/** Where it is built. */
export const directory = mkdtempSync(join(tmpdir(), 'edge-report-page-'));

let browser;
let server;

before(async () => {
  execFileSync(process.execPath, [file('examples/web/build.js'), directory]);
  [browser, server] = await Promise.all([launch(), serve(directory)]);
});

after(async () => {
  server?.stop();
  await browser?.close();
});

/** Runs `use` on the page just opened. No error may be thrown in it, and no request may leave the directory. */
export async function opened(use, { url = server.url, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1280, height: 900 }, permissions: ['clipboard-read', 'clipboard-write'], ...options });
  const wrong = [];
  const requests = [];
  const isInside = (asked) => /^(data|blob):/.test(asked.url()) || asked.url().startsWith(new URL('.', url).href);
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on('pageerror', (error) => wrong.push(error.stack));
    context.on('request', (request) => requests.push(request));
    await page.goto(url);
    await use(page);
    assert.deepEqual(wrong, []);
    // Chromium names also what its policy held back.
    const left = requests.filter((request) => !isInside(request) && request.failure()?.errorText !== 'csp');
    assert.deepEqual(left.map((request) => request.url()), []);
  } finally {
    await context.close();
  }
}

/** Pastes over everything, as with the keyboard. */
export async function paste(page, text, into = '#report') {
  await page.evaluate((written) => navigator.clipboard.writeText(written), text);
  await page.focus(into);
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Control+V');
}

export async function drop(page, name, bytes) {
  const transfer = await page.evaluateHandle(
    ([called, base64]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], called));
      return data;
    },
    [name, Buffer.from(bytes).toString('base64')],
  );
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer });
}

export async function endpoint(page, url, secretKey = 'SK') {
  await page.fill('#base-url', url);
  await page.fill('#project-id', '0a1b2c');
  await page.fill('#access-key', 'AK');
  await page.fill('#secret-key', secretKey);
}

export const verdict = (page, text) => page.getByText(text).and(page.locator('#verdict')).waitFor();
export const text = (page, selector) => page.locator(selector).textContent();

/** A recording with a report a minute; of each job its statuses, one a report. */
export const recorded = (jobs) =>
  Object.values(jobs)[0].map((_, minute) => {
    const report = { jobs: Object.entries(jobs).map(([id, statuses]) => ({ job_id: Number(id), status: `job_${statuses[minute]}`, create_time: 1591104868201 })), message_id: `${minute}` };
    return `${JSON.stringify({ received_ms: 1591104900000 + minute * 60_000, project_id: 'p', report })}\n`;
  }).join('');
