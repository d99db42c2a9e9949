// The receiver's page in headless Chromium, over a database with 1,000 jobs and 100,000 reports. With SCREENSHOTS=DIRECTORY it keeps pictures.
//
//     cargo build -p edge-report-receiver --features program
//     node --test crates/receiver/tests/page/page.test.js
//
// Or with RECEIVER=PROGRAM. Chromium and axe are those of bindings/wasm, after `npm ci` there.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from '../../../../bindings/wasm/test/browser.js';

const axe = createRequire(new URL('../../../../bindings/wasm/package.json', import.meta.url))('axe-core');
const metadata = () => JSON.parse(execFileSync('cargo', ['metadata', '--no-deps', '--format-version', '1'], { maxBuffer: 1 << 26 }));
const program = process.env.RECEIVER ?? join(metadata().target_directory, 'debug/edge-report-receiver');
const HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
const PATIENCE_MS = 30_000;
const directory = mkdtempSync(join(tmpdir(), 'page-'));
const started = [];
let browser;

async function receiver(...args) {
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--quiet', ...args], { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  let said = '';
  for await (const part of child.stdout) {
    said += part;
    const url = /listening on (\S+)\n/.exec(said)?.[1];
    if (url) return url;
  }
  throw new Error(said);
}

async function report(url, project, id, jobs) {
  const body = JSON.stringify({ jobs, msg_confirm_topic: 't', message_id: id });
  const path = `${url}/v1/${encodeURIComponent(project)}/edgesrv/job-report`;
  const response = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  assert.equal(response.status, 200, await response.text());
}

/** 1,000 jobs, each 100 times: every hundredth is in trouble. */
const FILL = `
PRAGMA journal_mode = WAL;
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) SELECT i, i % 1000 + 1 AS job,
    CASE WHEN i >= 99000 AND i % 100 = 7 THEN 'job_running_exception' WHEN i % 3000 < 1000 THEN 'job_idle' ELSE 'job_running' END AS status,
    unixepoch() * 1000 - 100000000 + i * 1000 AS at FROM n;
INSERT INTO report (id, project, digest, received_ms, message_id, topic, body)
    SELECT i + 1, 'fleet', randomblob(32), at, 'm' || i, 't', CAST('{"jobs":[{"job_id":' || job || ',"status":"' || status || '","create_time":1}],"message_id":"m' || i || '"}' AS BLOB) FROM n;
INSERT INTO report_job SELECT 'fleet', job, i + 1, 0, 1, status FROM n;
INSERT INTO job SELECT 'fleet', job, 1, status, 0, NULL, at, i + 1, at - 7200000 FROM n WHERE i >= 99000;
`;

let url;
before(async () => {
  browser = await launch();
  url = await receiver('--store', 'sqlite:fleet.db');
  execFileSync('sqlite3', ['fleet.db'], { cwd: directory, input: FILL });
  await report(url, "o'ther", 'h', [{ job_id: 5, status: 'job_submit_fail', create_time: 1, exceptions: HOSTILE }]);
});
after(async () => {
  await browser.close();
  for (const child of started) child.kill();
  rmSync(directory, { recursive: true });
});

async function withPage(work, options = {}, from = url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en', ...options });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('request', (request) => request.url().startsWith(from) || errors.push(request.url()));
    const began = Date.now();
    await page.goto(from);
    await work(page, began);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
}

const rows = (page) => page.locator('#jobs > li');
const settled = (page, count) => page.waitForFunction((count) => document.querySelectorAll('#jobs > li').length === count, count);

async function accessible(page, name) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]), [], name);
  if (process.env.SCREENSHOTS) {
    mkdirSync(process.env.SCREENSHOTS, { recursive: true });
    await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
  }
}

test('the first view, more, filters', () =>
  withPage(async (page, began) => {
    await settled(page, 100);
    console.log(`# first view of 1,001 jobs after ${Date.now() - began} ms`);
    await page.click('#more');
    await settled(page, 200);
    await page.check('#trouble');
    await settled(page, 11);
    await page.fill('#project', 'fleet');
    await settled(page, 10);
    await page.uncheck('#trouble');
    await page.fill('#q', '999');
    await settled(page, 1);
    assert.match(await rows(page).innerText(), /fleet · 999[^]*for 2 h/);
    await page.fill('#q', 'nothing is like this');
    await settled(page, 0);
    await page.waitForFunction(() => document.querySelector('#state').textContent === 'No job is like this.');
  }));

test('the list of projects', () =>
  withPage(async (page) => {
    await settled(page, 100);
    const buttons = page.locator('#projects button');
    const texts = (await buttons.allInnerTexts()).filter((text) => !text.startsWith('live'));
    assert.deepEqual(texts, ['fleet · 1000 jobs · 10 in trouble', "o'ther · 1 job · 1 in trouble"]);
    await page.getByRole('button', { name: "o'ther" }).click();
    await settled(page, 1);
    assert.equal(await page.inputValue('#project'), "o'ther");
    assert.equal(await page.getByRole('button', { name: "o'ther" }).getAttribute('aria-pressed'), 'true');
    await page.keyboard.press('Enter');
    await settled(page, 100);
    assert.equal(await page.inputValue('#project'), '');
  }));

test('a job opens by keyboard: its strip, and the report as it came', () =>
  withPage(async (page) => {
    await page.fill('#q', '1000');
    await settled(page, 1);
    await page.locator('#jobs summary').focus();
    await page.keyboard.press('Enter');
    await page.waitForSelector('#jobs .strips svg.defs', { state: 'attached' });
    // From idle to running and back, 34 times.
    const label = await page.locator('#jobs figure > svg').getAttribute('aria-label');
    assert.match(label, /job_idle.*job_running/);
    const body = JSON.parse(await page.locator('#jobs pre').innerText());
    assert.deepEqual([body.message_id, body.jobs[0].job_id], ['m99999', 1000]);
  }));

test('what agents sent is text', () =>
  withPage(async (page) => {
    await page.fill('#project', "o'ther");
    await settled(page, 1);
    assert.equal(await page.locator('#jobs .cause').innerText(), HOSTILE);
    await page.click('#jobs summary');
    await page.waitForSelector('#jobs pre');
    assert.equal(await page.locator('#jobs img, #jobs script').count(), 0);
    assert.equal(await page.title(), 'edge-report – Jobs');
  }));

test('a report that comes in is seen at once', () =>
  withPage(async (page) => {
    await page.fill('#project', 'live');
    await settled(page, 0);
    const big = '9007199254740993';
    const body = `{"jobs":[{"job_id":${big},"status":"job_running","create_time":1}],"msg_confirm_topic":"t","message_id":"l"}`;
    const path = `${url}/v1/live/edgesrv/job-report`;
    assert.equal((await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })).status, 200);
    await settled(page, 1);
    assert.match(await rows(page).innerText(), new RegExp(`live · ${big}`));
  }));

for (const [name, options] of Object.entries({
  desktop: {},
  dark: { colorScheme: 'dark' },
  chinese: { locale: 'zh-CN' },
  phone: { viewport: { width: 360, height: 740 }, colorScheme: 'dark', locale: 'zh-CN' },
})) {
  test(`for everybody: ${name}`, () =>
    withPage(async (page) => {
      await page.check('#trouble');
      await settled(page, 11);
      await page.locator('#jobs summary').last().click();
      await page.waitForSelector('#jobs pre');
      assert.equal(await page.evaluate(() => document.documentElement.lang.slice(0, 2)), options.locale ? 'zh' : 'en');
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(over, 0, 'no scrolling to the side');
      await accessible(page, name);
    }, options));
}

test('with a read token', async () => {
  const guarded = await receiver('--store', 'sqlite:guarded.db', '--read-token', 'T');
  await report(guarded, 'p', '1', [{ job_id: 1, status: 'job_running', create_time: 1 }]);
  await withPage(async (page) => {
    await page.waitForSelector('#token-form:not([hidden])');
    assert.equal(await rows(page).count(), 0);
    await page.fill('#token', 'T');
    await page.click('#token-form button');
    await settled(page, 1);
    assert.equal(await page.locator('#token-form').isVisible(), false);
  }, {}, guarded);
});

test('texts of both languages have the same names', () => {
  const source = readFileSync(new URL('../../src/page/texts.js', import.meta.url), 'utf8');
  const [en, zh] = ['en', 'zh'].map((lang) => new RegExp(`const ${lang} = \\{([^]*?)\\n\\};`).exec(source)[1].match(/^ {2}\w+(?=:)/gm));
  assert.deepEqual(en, zh);
});
