// The page of examples/web, as somebody uses it in Chromium.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import axe from 'axe-core';
import { encode } from 'edge-report';
import { en } from '../../../examples/web/texts/en.js';
import { zh } from '../../../examples/web/texts/zh.js';
import { serve } from './browser.js';
import { drop, endpoint, file, directory, opened, paste, recorded, text, verdict } from './page.js';
import { startReceiver } from './receiver.js';
import { cmd, powershell } from './shells.js';

const artifacts = file('tests/.cache/artifacts');
mkdirSync(artifacts, { recursive: true });
const workload = (name) => readFileSync(file(`tests/vectors/workloads/${name}.json`), 'utf8');
const { codes } = JSON.parse(readFileSync(file('tests/vectors/codes.json'), 'utf8'));

const BAD = '{"jobs":[{"job_id":-7,"status":"job_runing","create_time":1591104868201}],\n"msg_confirm_topic":"t","message_id":"1"}';
const KEYS = ['--ak', 'AK', '--sk', 'SK'];
const bash = (line, cwd) => execFileSync('bash', ['-c', line], { cwd, stdio: ['ignore', 'pipe', 'ignore'] }).toString();

test('a bad report: each finding, its spot, and the way there', () =>
  opened(async (page) => {
    await paste(page, BAD);
    await verdict(page, 'Cannot be sent: 1 error, 1 warning');
    const finding = page.locator('.finding.error');
    assert.match(await finding.textContent(), /^✕Error: jobs\[0\]\.job_id must be greater than 0line 1, column 20 · NotPositive/);
    assert.equal(await text(page, '#marks mark.error'), '-7');
    assert.equal(await text(page, '#marks mark.warning'), '"job_runing"');
    // The spot lies exactly under its letters, so the two texts must be one.
    assert.equal(await text(page, '#marks'), `${BAD}\n`);
    await finding.click();
    assert.equal(await page.evaluate(() => getSelection().toString()), '-7');
    await page.keyboard.type('7');
    await verdict(page, 'Can be sent: 0 errors, 1 warning');
    assert.equal(await text(page, '#bytes'), Buffer.from(encode(BAD.replace('-7', '7'))).toString());
    await page.keyboard.press('Control+Z');
    await verdict(page, 'Cannot be sent: 1 error, 1 warning');
  }));

test('the curl line is accepted by a receiver that verifies signatures, whatever the strings hold', () =>
  opened(async (page) => {
    const receiver = await startReceiver([], KEYS);
    try {
      await endpoint(page, receiver.url);
      const id = `it's $(touch hacked) \`x\` "y" \\ 上报`;
      await paste(page, JSON.stringify({ jobs: [{ status: 'job_running', create_time: 1591104868201 }], message_id: id }, null, 2));
      await page.locator('#curl:visible').waitFor();
      const line = await text(page, '#curl');
      assert.ok(!line.includes('SK\'') && line.includes('SDK-HMAC-SHA256 Access=AK'), line);
      const answer = bash(line, directory);
      assert.deepEqual(receiver.accepted().map(({ message_id: accepted }) => accepted), [id]);
      await paste(page, answer, '#answer');
      assert.match(await text(page, '#meaning'), /Accepted.*It is done with this report/s);
      // A body that is too long for a line goes by the file that is downloaded.
      await paste(page, workload('W3'));
      const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save-bytes')]);
      await download.saveAs(join(directory, 'report.json'));
      bash(await text(page, '#curl'), directory);
      assert.equal(receiver.accepted().length, 2);
      // With a wrong key: the receiver says so, and the page what that means.
      await page.fill('#secret-key', 'other');
      await paste(page, bash(await text(page, '#curl'), directory), '#answer');
      assert.match(await text(page, '#meaning'), /Credentials.*holds all sending for 5 min/s);
    } finally {
      receiver.stop();
    }
  }));

test('for other shells the line is quoted as they want it, and the body goes by a file', () =>
  opened(async (page) => {
    await page.click('#sample-good');
    await endpoint(page, 'https://gateway.example/it\'s');
    for (const [shell, line] of [
      ['powershell', /^curl\.exe .*'https:\/\/gateway\.example\/it''s\/v1\/.* `\n  --data-binary '@report\.json'$/s],
      ['cmd', /^curl .*"https:\/\/gateway\.example\/it's\/v1\/.* \^\n  --data-binary "@report\.json"$/s],
      ['posix', /^curl .*'https:\/\/gateway\.example\/it'\\''s\/v1\/.* \\\n  --data-binary '\{/s],
    ]) {
      await page.selectOption('#shell', shell);
      assert.match(await text(page, '#curl'), line);
      assert.equal(/report\.json/.test(await text(page, '#request-state')), shell !== 'posix');
    }
  }));

test('curl gets the same in each shell, whatever the strings hold', () =>
  opened(async (page) => {
    await page.click('#sample-good');
    await endpoint(page, 'https://gateway.example/it\'s%41%42;(a)&b');
    await page.check('[value=token]');
    const line = async (shell) => {
      await page.selectOption('#shell', shell);
      return text(page, '#curl');
    };
    for (const token of ['plain', `a'b $(x) \`y\`;z&|<>(%PATH%)^!#,@{}`, 'a"b&c|"d%PATH%^\\"\\', '"', 'a\\']) {
      await page.fill('#token-value', token);
      const wanted = bash(`curl() { printf '%s\\0' "$@"; }; ${await line('posix')}`, directory).split('\0').slice(0, -2);
      assert.ok(wanted.includes(`X-Auth-Token: ${token}`));
      wanted.push('@report.json');
      const variables = { PATH: '"x&y', 41: 'z' };
      assert.deepEqual(cmd((await line('cmd')).replace(/^curl /, ''), variables), wanted);
      // No one form of these is right for all versions of PowerShell.
      if (/"|\\$/.test(token)) continue;
      for (const escapes of [false, true]) assert.deepEqual(powershell((await line('powershell')).replace(/^curl\.exe /, ''), { escapes }), wanted);
    }
  }));

test('what is no report at all is said to be what it looks like', () =>
  opened(async (page) => {
    const report = '{"jobs":[{"status":"job_running","create_time":1}],"message_id":"1"}';
    for (const [pasted, words] of [
      ['<!doctype html><title>x</title>', /web page/],
      [`curl --data '${report}' https://h`, /curl line/],
      ["const report = { jobs: [] }", /JavaScript/],
      ['[{"status":"job_running","create_time":1}]', /list of jobs/],
      ['{"status":"job_running","create_time":1}', /one job/],
    ]) {
      await paste(page, pasted);
      assert.match(await text(page, '#looks'), words, pasted);
    }
    await drop(page, 'a.json', `\ufeff${report}`);
    await page.getByText(/save it as UTF-8 without one/).waitFor();
    await drop(page, 'a.json', Buffer.from(report, 'utf16le'));
    await page.getByText(/looks like UTF-16/).waitFor();
    await paste(page, report);
    assert.equal(await text(page, '#looks'), '');
  }));

test('what a button replaces comes back', () =>
  opened(async (page) => {
    for (const button of ['#clear', '#sample-good', '#sample-bad']) {
      await paste(page, BAD);
      await page.click(button);
      await page.focus('#report');
      await page.keyboard.press('Control+Z');
      assert.equal(await page.inputValue('#report'), BAD, button);
      await verdict(page, 'Cannot be sent: 1 error, 1 warning');
    }
  }));

test('on a phone the first view has the verdict', () =>
  opened(
    async (page) => {
      for (const button of ['#sample-bad', '#sample-good']) {
        await page.click(button);
        await page.evaluate(() => scrollTo(0, 0));
        const box = await page.locator('#verdict').boundingBox();
        assert.ok(box.y > 0 && box.y + box.height < 844, JSON.stringify(box));
      }
    },
    { viewport: { width: 390, height: 844 } },
  ));

test('wrong settings are said at their field', () =>
  opened(async (page) => {
    await page.click('#sample-good');
    await endpoint(page, 'http://gateway.example', '');
    for (const [field, value, wrong, words] of [
      ['#secret-key', 'SK', '#base-url', /except to loopback/],
      ['#base-url', 'https://gateway.example?x', '#base-url', /no query/],
      ['#base-url', 'https://gateway.example', undefined, /Signed at \d{4}-\d\d-\d\dT[\d:]+Z/],
      ['#project-id', '..', '#project-id', /project id/],
      ['#project-id', 'p', undefined, /Signed/],
      ['#secret-key', '', '#secret-key', /secret key is empty/],
    ]) {
      await page.fill(field, value);
      assert.match(await text(page, '#request-state'), words);
      assert.deepEqual(await page.locator('#endpoint [aria-invalid=true]').evaluateAll((all) => all.map(({ id }) => `#${id}`)), wrong ? [wrong] : []);
    }
    await page.check('[value=token]');
    await page.fill('#token-value', 'secret');
    assert.match(await text(page, '#curl'), /X-Auth-Token: secret/);
    await page.check('[value=none]');
    assert.doesNotMatch(await text(page, '#curl'), /Auth/);
  }));

test('answers: what they mean, and what an agent does next', () =>
  opened(async (page) => {
    for (const [answer, meaning] of [
      ['{"error_code":"DLI.0001","error_msg":"bad"}', /400 is a guess.*Refused.*DLI\.0001.*bad.*dead letter/s],
      ['{"is_success":"true"}', /200 is a guess.*Accepted/s],
      ['{"error_code":"APIGW.0301"}', /403 is a guess.*Credentials.*APIGW\.0301/s],
      ['{"error_code":"APIGW.0308"}', /^Which HTTP status/],
      ['<html>', /^Which HTTP status/],
      ['HTTP/1.1 404 x\n\n<html>', /^\S+ Not understood/],
      ['{"is_success":"false","message":"no such job"}', /Refused.*no such job/s],
      ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{"is_success":"true"}', /Accepted/],
      ['HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 400 x\r\n\r\n{"error_code":"DLI.0001"}', /Refused.*DLI\.0001/s],
      ['HTTP/1.1 503 x\n\nHTTP/1.1 required', /Try again/],
      ['HTTP/2 503 \r\nRetry-After: 30\r\n\r\n', /Try again.*30 s.*waits 30 s to 33 s/s],
      ['HTTP/1.1 500 x', /Try again.*waits 1 s to 2 s/s],
      ['HTTP/1.1 302 Found', /Misconfigured.*holds all sending for 5 min to 5\.5 min/s],
      ['HTTP/1.1 200 OK\n\n<html><img src=x onerror="window.hacked=1">', /Not understood.*waits/s],
      [`HTTP/1.1 401 Unauthorized\nDate: ${new Date(Date.now() - 3_600_000).toUTCString()}\n\n`, /Credentials.*−60(\.\d)? min.*corrects its clock by −60(\.\d)? min/s],
    ]) {
      await page.fill('#answer', answer);
      assert.match(await text(page, '#meaning'), meaning);
    }
    await page.fill('#answer', '{"error_code":"DLI.0001"}');
    await page.fill('#status', '503');
    assert.match(await text(page, '#meaning'), /Try again/);
    assert.doesNotMatch(await text(page, '#meaning'), /guess/);
    await page.fill('#status', '99');
    assert.match(await text(page, '#meaning'), /from 100 to 599/);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    // A report that has members of an answer stays a report.
    await drop(page, 'report.json', BAD.replace('{', '{"is_success":true,"error_code":"DLI.0001",'));
    await verdict(page, 'Cannot be sent: 1 error, 3 warnings');
    await page.click('#clear');
    // One that is pasted for a report goes where it belongs.
    await paste(page, '{"error_code":"APIGW.0101"}');
    assert.deepEqual([await page.inputValue('#report'), await page.inputValue('#answer')], ['', '{"error_code":"APIGW.0101"}']);
    await paste(page, '{"error_code":"DLI.0001","error_msg":"elsewhere"}');
    assert.deepEqual([await page.inputValue('#report'), await page.inputValue('#answer')], ['', '{"error_code":"DLI.0001","error_msg":"elsewhere"}']);
  }));

test('empty, the page shows three ways in, each to its place', () =>
  opened(async (page) => {
    for (const [way, place] of [[1, 'report'], [2, 'answer'], [3, 'sample-recording']]) {
      const link = page.locator(`#ways li:nth-child(${way}) a`);
      await page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
      const { y, height } = await link.boundingBox();
      assert.ok(y + height < 900);
      await link.click();
      await page.keyboard.press(place === 'sample-recording' ? 'Tab' : 'Shift+Tab');
      await page.keyboard.press(place === 'sample-recording' ? 'Shift+Tab' : 'Tab');
      assert.equal(await page.evaluate(() => document.activeElement.id), place);
    }
    await page.click('#sample-good');
    await page.locator('#ways').waitFor({ state: 'hidden' });
    await page.click('#clear');
    await page.locator('#ways').waitFor();
  }));

test('bare jobs can be made a report, and lines of reports be looked at one by one', () =>
  opened(async (page) => {
    const job = '{"job_id":9007199254740993,"status":"job_running","create_time":1591104868201}';
    for (const pasted of [job, `[${job}, ${job}]`]) {
      await paste(page, pasted);
      await verdict(page, /Cannot be sent/);
      await page.click('#offers button');
      await verdict(page, /^Can be sent: 0 errors/);
      assert.match(await page.inputValue('#report'), /^\{"jobs":\[.*9007199254740993.*\],"message_id":"[0-9a-f]{32}"\}$/);
      assert.equal(await page.locator('#offers button').count(), 0);
      await page.focus('#report');
      await page.keyboard.press('Control+Z');
      assert.equal(await page.inputValue('#report'), pasted);
    }
    await paste(page, '[{"status":]');
    await page.getByText(/list of jobs/).waitFor();
    assert.equal(await page.locator('#offers button').count(), 0);

    const line = (id) => `{"jobs":[{"status":"job_running","create_time":1591104868201}],"msg_confirm_topic":"t","message_id":"${id}"}`;
    await paste(page, [line('a'), line(''), line('c')].join('\n'));
    assert.deepEqual(await page.locator('#offers button').allTextContents(), ['Line 1', 'Line 2', 'Line 3']);
    await page.click('#offers button:nth-child(2)');
    await verdict(page, 'Cannot be sent: 1 error, 0 warnings');
    await page.click('#offers button:nth-child(3)');
    await verdict(page, 'Can be sent: 0 errors, 0 warnings');
    assert.equal(await page.inputValue('#report'), line('c'));
    assert.deepEqual(await page.locator('#offers button[aria-pressed=true]').allTextContents(), ['Line 3']);
    await paste(page, line('other'));
    assert.equal(await page.locator('#offers button').count(), 0);
  }));

test('hostile input is text: markup, bytes that are no text, megabytes', { timeout: 60_000 }, () =>
  opened(async (page) => {
    const markup = '<img src=x onerror="window.hacked=1">';
    await paste(page, JSON.stringify({ jobs: [{ status: markup, create_time: 1, [markup]: 1 }], [markup]: markup, message_id: markup }));
    await verdict(page, /Can be sent/);
    assert.ok((await text(page, '#findings')).includes('<img src=x onerror='));
    await drop(page, `${markup}.json`, Buffer.from(`{"jobs":[{"status":"\xff${markup}"}]}`, 'latin1'));
    await verdict(page, /Cannot be sent/);
    assert.match(await text(page, '#findings'), /JsonNotUtf8/);
    assert.match(await text(page, '#excerpt'), /^Not UTF-8/);
    assert.match(await page.locator('#marks mark.error').first().textContent(), /^�/);
    assert.equal(await page.locator('#report').evaluate((input) => input.readOnly), true);
    assert.equal(await page.evaluate(() => window.hacked ?? document.querySelectorAll('img').length), 0);

    const job = '{"job_id":7,"status":"job_running","create_time":1591104868201,"metrics":"\\"x\\""},';
    const jobs = job.repeat(Math.ceil((5 * 1024 * 1024) / job.length));
    const report = `{"jobs":[${jobs}{"job_id":7,"status":"job_running","create_time":0}],"msg_confirm_topic":"t","message_id":"1"}`;
    const within = async (ms, what, use) => {
      const start = performance.now();
      await use();
      const took = performance.now() - start;
      assert.ok(took < ms, `${what}: ${took} ms`);
    };
    await within(8000, '5 MB, one error at the end', async () => {
      await drop(page, 'huge.json', report);
      await verdict(page, 'Cannot be sent: 1 error, 0 warnings');
    });
    assert.ok((await page.inputValue('#report')).length < 20_000);
    await page.click('.finding');
    assert.equal(await page.evaluate(() => getSelection().toString()), '0');
    assert.equal(await text(page, '#marks mark.error'), '0');
    await within(8000, '5 MB pasted, valid', async () => {
      await paste(page, report.replace('"create_time":0', '"create_time":1591104868201'));
      await verdict(page, 'Can be sent: 0 errors, 0 warnings');
    });
    await within(15_000, '5 MB, a warning for each few bytes', async () => {
      await drop(page, 'huge.json', `{${'"a":1,'.repeat(800_000)}"b":2}`);
      await verdict(page, /Cannot be sent/);
    });
    await page.click('#clear');
    await verdict(page, 'No report yet.');
  }));

test('with the keyboard alone', () =>
  opened(async (page) => {
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent);
    const tabTo = async (name) => {
      for (let steps = 0; steps < 60; steps++) {
        await page.keyboard.press('Tab');
        const outlined = await page.evaluate(() => {
          const element = document.activeElement.closest('.editor') ?? document.activeElement;
          return getComputedStyle(element).outlineStyle !== 'none';
        });
        assert.ok(outlined, `${await focused()} does not show its focus`);
        if ((await focused()) === name) return;
      }
      assert.fail(`Tab does not come to ${name}`);
    };
    await tabTo('skip');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'report');
    await page.keyboard.type(BAD);
    await tabTo('finding error');
    await page.keyboard.press('Enter');
    await page.keyboard.type('7');
    await verdict(page, /Can be sent/);
    await tabTo('base-url');
    await page.keyboard.type('https://gateway.example');
    await tabTo('project-id');
    await page.keyboard.type('0a1b2c');
    await tabTo('access-key');
    await page.keyboard.type('AK');
    await tabTo('secret-key');
    await page.keyboard.type('SK');
    await tabTo('copy-curl');
    await page.keyboard.press('Enter');
    await page.getByText('Copied').waitFor({ state: 'attached' });
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await text(page, '#curl'));
    await tabTo('sample-answer');
    await page.keyboard.press('Space');
    await tabTo('sample-recording');
    await page.keyboard.press('Space');
    assert.match(await text(page, '#recording-state'), /61 reports/);
  }));

test('text that is dragged within a field stays there; one that is dropped on an empty report is taken', () =>
  opened(async (page) => {
    const drag = async (from, to) => {
      await page.mouse.move(...from);
      await page.mouse.down();
      await page.mouse.move(...to, { steps: 5 });
      await page.mouse.up();
    };
    const at = async (selector) => {
      const { x, y } = await page.locator(selector).boundingBox();
      return [x + 30, y + 22];
    };
    await page.fill('#report', 'moved ');
    await page.locator('#report').evaluate((input) => input.setSelectionRange(0, 6));
    await drag(await at('#report'), await at('#secret-key'));
    assert.deepEqual([await page.inputValue('#report'), await page.inputValue('#secret-key')], ['', 'moved ']);
    await page.locator('#secret-key').evaluate((input) => (input.type = 'text'));
    await page.fill('#secret-key', BAD);
    await page.locator('#secret-key').selectText();
    await drag(await at('#secret-key'), await at('#report'));
    await verdict(page, 'Cannot be sent: 1 error, 1 warning');
  }, { viewport: { width: 1280, height: 2000 } }));

test('where the clipboard may not be written, all of the bytes are shown and selected', () =>
  opened(async (page) => {
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
    await drop(page, 'report.json', workload('W3'));
    await page.locator('#copy-bytes:enabled').click();
    await page.getByText('Selected; copy it with the keyboard').waitFor();
    assert.equal(await page.evaluate(() => getSelection().toString()), Buffer.from(encode(workload('W3'))).toString());
  }));

test('opens from the disk; its policy lets nothing out', async () => {
  const outside = await serve(directory);
  try {
    await opened(
      async (page) => {
        await page.click('#sample-good');
        await verdict(page, 'Can be sent: 0 errors, 0 warnings');
        const tried = await page.evaluate(async (url) => {
          const rules = [];
          addEventListener('securitypolicyviolation', ({ effectiveDirective: rule }) => rules.push(rule));
          new Image().src = url;
          document.head.append(Object.assign(document.createElement('script'), { src: url }));
          navigator.sendBeacon(url);
          await fetch(url).catch(() => {});
          const form = Object.assign(document.createElement('form'), { action: url });
          document.body.append(form);
          form.submit();
          await new Promise((resolve) => setTimeout(resolve, 300));
          return rules.sort();
        }, outside.url);
        assert.deepEqual(tried, ['connect-src', 'connect-src', 'form-action', 'img-src', 'script-src-elem']);
        assert.equal(outside.requests(), 0);
      },
      { url: pathToFileURL(join(directory, 'index.html')).href },
    );
  } finally {
    outside.stop();
  }
});

const leaves = (texts, prefix = '') =>
  Object.entries(texts).flatMap(([name, value]) => (value.constructor === Object && name !== 'codes' ? leaves(value, `${prefix}${name}.`) : [`${prefix}${name}`]));

test('every text is there in both languages', () => {
  assert.deepEqual(leaves(zh).filter((name) => name !== 'codes').sort(), leaves(en).sort());
  const ofReports = codes.filter(({ number }) => number < 80).map(({ name }) => name);
  assert.deepEqual(ofReports.filter((name) => !zh.codes[name]), []);
  assert.deepEqual(Object.keys(zh.codes).filter((name) => !codes.some((code) => code.name === name)), []);
});

for (const [width, colorScheme] of [1280, 768, 360].flatMap((width) => ['light', 'dark'].map((scheme) => [width, scheme]))) {
  test(`axe finds nothing, ${colorScheme}, ${width} pixels wide`, { timeout: 60_000 }, () =>
    opened(
      async (page) => {
        await page.evaluate(axe.source);
        const audit = async (state) => {
          const violations = await page.evaluate(async () => {
            const { violations: found } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
            return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
          });
          assert.deepEqual(violations, [], state);
          assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${state}: wider than the window`);
        };
        for (const lang of ['en', 'zh-CN']) {
          assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
          await page.click('#clear');
          await audit(`empty, ${lang}`);
          await page.fill('#report', `${BAD.replace('\n', '')}\n{"jobs":[]}`);
          await audit(`offers, ${lang}`);
          await page.click('#sample-bad');
          await page.click('#sample-answer');
          await drop(page, 'reports.jsonl', recorded({ 1: ['finish', 'running_exception', 'idle'], 2: ['init', 'savepointing', 'running'] }));
          await page.locator('.strips .run').first().click();
          await page.click('summary');
          await audit(`errors, ${lang}`);
          await page.screenshot({ path: join(artifacts, `page-errors-${lang}-${colorScheme}-${width}.png`), fullPage: true });
          await page.click('#sample-good');
          await endpoint(page, 'https://gateway.example');
          await audit(`valid, ${lang}`);
          await page.screenshot({ path: join(artifacts, `page-valid-${lang}-${colorScheme}-${width}.png`), fullPage: true });
          await page.click('#language');
        }
        // The button goes over what the system wants.
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const seen = [await ground()];
        for (let click = 0; click < 2; click++) {
          await page.click('#theme');
          seen.push(await ground());
        }
        assert.equal(new Set(seen).size, 2);
      },
      { colorScheme, viewport: { width, height: 900 } },
    ));
}
