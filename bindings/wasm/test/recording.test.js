// Recordings on the page of examples/web: strips over time, and tables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drop, opened, recorded, text } from './page.js';
import { startReceiver } from './receiver.js';

test('a recording becomes a strip of each job, and a table', () =>
  opened(async (page) => {
    const receiver = await startReceiver([]);
    try {
      const send = (minute, ...jobs) => {
        const report = { jobs: jobs.map(([id, status]) => ({ job_id: id, status, create_time: 1591104868201 })), message_id: `m${minute}` };
        return fetch(`${receiver.url}/v1/p/edgesrv/job-report`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify(report).replaceAll('"big"', '9007199254740993'),
        });
      };
      await send(1, [1, 'job_submitting'], ['big', 'job_running']);
      await send(2, [1, 'job_running']);
      await send(3, [1, 'job_running'], ['big', 'job_finish']);
      const lines = receiver.accepted().map((entry, index) => JSON.stringify({ ...entry, received_ms: 1591104868201 + index * 60_000 }).replaceAll('9007199254740992', '9007199254740993'));
      await drop(page, 'reports.jsonl', `${lines.join('\n')}\n{"received_ms":1,"torn`);
    } finally {
      receiver.stop();
    }
    assert.match(await text(page, '#recording-state'), /^3 reports of 2 jobs; 1 line passed over/);
    assert.deepEqual(await page.locator('.strips figcaption').allTextContents(), ['Job 1', 'Job 9007199254740993']);
    const [first, second] = await page.locator('.strips figure svg').all();
    assert.match(await first.getAttribute('aria-label'), /^Statuses of Job 1 over time; .*34:28\.201 job_submitting; .*35:28\.201 job_running$/);
    assert.deepEqual(await second.locator('.run').evaluateAll((all) => all.map((run) => run.getAttribute('class'))), ['run running', 'run ended']);
    const widths = () => first.locator('.ground').evaluateAll((all) => all.map((rect) => Number(rect.getAttribute('width'))));
    const [before, rest] = await widths();
    assert.ok(before > 400 && rest > 400);
    await page.setViewportSize({ width: 360, height: 700 });
    await page.waitForFunction(() => document.querySelector('.strips .ground').getAttribute('width') < 200);
    // A finger has no pointer to hover with.
    await first.locator('.run').first().click();
    assert.match(await text(page, '.told'), /^job_submitting: 2020-06-02 13:34:28\.201 – 2020-06-02 13:35:28\.201; 1 report$/);
    await page.click('summary');
    assert.deepEqual(await page.locator('#strip td:nth-child(2)').allTextContents(), ['job_submitting', 'job_running', 'job_running', 'job_finish (final)']);
    // Times that no date can have, and no job_id to name the job by.
    const timeless = '{"received_ms":1e300,"project_id":"p","report":{"jobs":[{"status":"job_idle","create_time":9223372036854775807}],"message_id":"1"}}';
    await drop(page, 'timeless.jsonl', timeless);
    await page.getByText('No job_id, created 9223372036854775807 UTC').and(page.locator('figcaption')).waitFor();
    await drop(page, 'other.jsonl', 'nothing of the kind');
    assert.match(await text(page, '#recording-state'), /No line/);
  }));

for (const width of [360, 768, 1280]) {
  test(`a recording of many jobs, ${width} pixels wide: filtered and sorted`, () =>
    opened(
      async (page) => {
        const life = ['init', 'running', 'running', 'running', 'running', 'idle', 'running', 'running', 'running', 'finish'];
        const jobs = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [n + 1, life]));
        jobs[7] = [...life.slice(0, 5), 'running_exception', 'running_exception', 'running', 'running', 'finish'];
        jobs[30] = [...life.slice(0, 4), 'finish', 'submit_fail', 'idle', 'idle', 'idle', 'idle'];
        jobs[31] = [...life.slice(0, 5), 'arrearage_stopped', 'arrearage_recovering', 'running', 'running', 'running'];
        await drop(page, 'reports.jsonl', recorded(jobs));
        const names = () => page.locator('.strips figcaption').allTextContents();
        await page.locator('.strips .ground').first().waitFor();
        assert.equal((await names()).length, 40);
        const { height } = await page.locator('.strips').boundingBox();
        assert.ok(height < (width < 500 ? 2600 : 1700), `${height} px`);
        // An axis at both ends, each with round times.
        for (const axis of await page.locator('.ticks').all()) {
          const round = (await axis.locator('text').allTextContents()).filter((name) => /^13:\d\d$/.test(name));
          assert.ok(round.length >= (width < 500 ? 1 : 3), round.join());
        }
        await page.check('#trouble-only');
        const late = 'Job 30a status after a final one';
        assert.deepEqual(await names(), ['Job 7', late, 'Job 31']);
        await page.selectOption('#order', 'trouble');
        assert.deepEqual(await names(), [late, 'Job 7', 'Job 31']);
        assert.match(await page.locator('.strips figure svg').first().getAttribute('aria-label'), /job_finish; .*job_submit_fail \(a status after a final one\)/);
        await page.selectOption('#order', 'changed');
        assert.deepEqual(await names(), ['Job 7', 'Job 31', late]);
        await page.uncheck('#trouble-only');
        await page.selectOption('#order', 'name');
        assert.deepEqual((await names()).slice(0, 3), ['Job 1', 'Job 2', 'Job 3']);
        // Words of the table stay whole.
        await page.click('summary');
        const broken = await page.locator('#strip td:nth-child(2) code').evaluateAll((all) =>
          all.filter((code) => [...code.childNodes].some((node) => {
            const range = new Range();
            range.selectNodeContents(node);
            return node.nodeType === Node.TEXT_NODE && range.getClientRects().length > 1;
          })).map((code) => code.textContent));
        assert.deepEqual(broken, []);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
        await drop(page, 'reports.jsonl', recorded({ 1: ['running', 'running'] }));
        await page.check('#trouble-only');
        assert.match(await text(page, '#recording-state'), /None of these jobs is in trouble/);
      },
      { viewport: { width, height: 900 } },
    ));
}

test('a job that is created anew after its end is not late', () =>
  opened(async (page) => {
    const lines = [['job_finish', 1591104868201], ['job_running', 1591104899999]].map(([status, created], minute) =>
      JSON.stringify({ received_ms: 1591104900000 + minute * 60_000, project_id: 'p', report: { jobs: [{ job_id: 1, status, create_time: created }], message_id: 'm' } }));
    await drop(page, 'reports.jsonl', lines.join('\n'));
    assert.deepEqual(await page.locator('.strips figcaption').allTextContents(), ['Job 1']);
  }));
