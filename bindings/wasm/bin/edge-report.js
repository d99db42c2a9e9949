#!/usr/bin/env node
// The command: checks, encodes and sends reports, and explains the service's responses.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Client, EdgeReportError, check, encode, readReply } from 'edge-report';
import { looksLike } from './looks.js';

const USAGE = `usage: edge-report check FILE… [--ndjson] [--json]
                                             lists all that is wrong or doubtful
       edge-report encode FILE               writes the canonical bytes, which are signed and sent
       edge-report explain FILE [--status N] [--service-code PREFIX]… [--json]
                                             says what a response means
       edge-report send FILE --url URL --project-id ID [--ak AK --sk SK [--security-token T] | --token T] [--allow-plain-http] [--service-code PREFIX]… [--json]
                                             sends once, and says what came back
       edge-report --version

With --ndjson each line of a file is a report. On a terminal there are colours, unless NO_COLOR is set.
explain takes what curl --include prints, with its status and headers, or a body alone and its --status. --service-code, instead of DLI.,
is how the service's own error codes begin: only with one of these is a report refused. FILE may be - for standard input. Keys and tokens are also read from EDGE_REPORT_AK, EDGE_REPORT_SK and EDGE_REPORT_TOKEN.
Ends with 0 when all is well, 1 when a report is invalid, was not accepted or may have arrived, 2 when it could not be tried.`;

const text = () => ({ type: 'string' });
const OPTIONS = {
  ndjson: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  status: text(),
  'service-code': { type: 'string', multiple: true },
  url: text(),
  'project-id': text(),
  ak: text(),
  sk: text(),
  'security-token': text(),
  token: text(),
  'allow-plain-http': { type: 'boolean' },
};

/** What is wrong with the command line, not with a report. */
class UsageError extends Error {}

/** A file that cannot be read. */
class FileError extends Error {}

/** What somebody gave in place of a report. */
const LOOKS = {
  bom: 'it begins with a byte order mark: save it as UTF-8 without one',
  utf16: 'it looks like UTF-16: save it as UTF-8',
  image: 'it looks like an image',
  compressed: 'it looks compressed: unpack it first',
  html: 'it looks like a web page, perhaps of a proxy or a portal',
  response: 'it looks like a response: edge-report explain says what it means',
  curl: 'it looks like a curl line: its --data is the report',
  lines: 'it looks like a report a line: check it with --ndjson',
  object: 'it looks like JavaScript: JSON has names and texts in double quotes',
  job: 'it looks like one job: a report is {"jobs": [it], "message_id": …}',
  jobs: 'it looks like a list of jobs: a report is {"jobs": it, "message_id": …}',
};

/** What severities look like on a terminal. */
const COLOURS = { error: 31, warning: 33, good: 32 };

const commands = {
  check(files, { json, ndjson }) {
    if (files.length === 0) throw new UsageError('check: which file?');
    // One that cannot be read hides nothing of the others.
    const all = files.map((file) => {
      try {
        const bytes = read(file);
        const findings = ndjson ? checkLines(bytes) : check(bytes);
        return { file, findings, hint: ndjson ? undefined : hintOf(bytes, findings) };
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        return { file, unreadable: error.message };
      }
    });
    if (json) print(JSON.stringify(all));
    for (const { file, findings, hint, unreadable } of json ? [] : all) {
      if (unreadable) complain(unreadable);
      else tellFindings(process.stdout, file, findings, hint);
    }
    if (all.some(({ unreadable }) => unreadable)) return 2;
    return all.some(({ findings }) => findings.some(isError)) ? 1 : 0;
  },

  encode(files, { json }) {
    const file = only('encode', files);
    const bytes = read(file);
    const findings = check(bytes);
    if (!findings.some(isError)) {
      process.stdout.write(encode(bytes));
      return 0;
    }
    if (json) process.stderr.write(`${JSON.stringify(findings)}\n`);
    else tellFindings(process.stderr, file, findings, hintOf(bytes, findings));
    return 1;
  },

  explain(files, { status: given, 'service-code': serviceCodes, json }) {
    if (given !== undefined && !/^[1-5]\d\d$/.test(given)) throw new UsageError('--status: an HTTP status has three digits');
    const response = responseOf(read(only('explain', files)));
    const status = given ?? response.status;
    // The same body means one thing with 400 and another with 401.
    if (status === undefined) throw new UsageError('explain: which HTTP status did it come with? --status N says it, or the whole response, as curl --include prints it');
    return tell(readReply(Number(status), response.headers, response.body, undefined, { serviceCodes }), json);
  },

  async send(files, options) {
    const report = read(only('send', files));
    const { url, 'project-id': projectId } = options;
    if (!url || !projectId) throw new UsageError('send: --url and --project-id are needed');
    const client = new Client({
      baseUrl: url,
      projectId,
      credentials: credentialsOf(options),
      allowPlainHttp: options['allow-plain-http'],
      serviceCodes: options['service-code'],
    });
    return tell(await client.send(report), options.json);
  },
};

function credentialsOf({ ak, sk, token, 'security-token': securityToken }) {
  const { EDGE_REPORT_AK, EDGE_REPORT_SK, EDGE_REPORT_TOKEN } = process.env;
  const keys = { accessKey: ak ?? EDGE_REPORT_AK, secretKey: sk ?? EDGE_REPORT_SK, securityToken };
  if (token ?? (ak || sk ? undefined : EDGE_REPORT_TOKEN)) return { token: token ?? EDGE_REPORT_TOKEN };
  if (!keys.accessKey && !keys.secretKey) return {};
  if (!keys.accessKey || !keys.secretKey) throw new UsageError('--ak and --sk go together');
  return keys;
}

/** The parts of what `curl --include` prints; without a head, all is body. Of several heads, as of interim responses (1xx), the last counts. */
function responseOf(bytes) {
  const HEAD = /^HTTP\/\S+ (\d{3})[^]*?(?:\r?\n\r?\n|$)/;
  // A character for each byte.
  let rest = bytes.toString('latin1');
  let head;
  for (let found; (found = HEAD.exec(rest)); rest = rest.slice(found[0].length)) head = found;
  if (!head) return { body: bytes };
  const headers = head[0].trim().split(/\r?\n/).slice(1).map((line) => {
    const [name, ...value] = line.split(':');
    return [name.trim(), value.join(':').trim()];
  });
  return { status: head[1], headers, body: Buffer.from(rest, 'latin1') };
}

function tell(reply, json) {
  print(json ? JSON.stringify(reply) : reply.text);
  return reply.outcome === 'accepted' ? 0 : 1;
}

function only(command, files) {
  if (files.length !== 1) throw new UsageError(`${command}: one file`);
  return files[0];
}

function read(file) {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    throw new FileError(error.message);
  }
}

/** Each line by itself; lines, columns and bytes are those of the file. */
function checkLines(bytes) {
  const all = [];
  for (let [begin, line] = [0, 1]; begin < bytes.length; line++) {
    const newline = bytes.indexOf('\n', begin);
    const end = newline < 0 ? bytes.length : newline;
    const report = bytes.subarray(begin, end);
    const isBlank = report.toString('latin1').trim() === '';
    for (const finding of isBlank ? [] : check(report)) all.push({ ...finding, line, offset: begin + finding.offset });
    begin = end + 1;
  }
  return all;
}

/** Colours where people look at it; Node knows NO_COLOR and its like. */
function painter(stream) {
  return stream.hasColors?.() ? (name, text) => `\x1b[${COLOURS[name]}m${text}\x1b[0m` : (_, text) => text;
}

/** As compilers write it, so that editors find the place. */
function line(file, { path, line, column, severity, code, message }, paint) {
  const place = line === undefined ? '' : `:${line}:${column}`;
  return `${file}${place}: ${paint(severity, `${severity}:`)} ${path ? `${path}: ` : ''}${message} [${code}]`;
}

function isError({ severity }) {
  return severity === 'error';
}

function hintOf(bytes, findings) {
  return findings.some(isError) ? LOOKS[looksLike(bytes)] : undefined;
}

function tellFindings(stream, file, findings, hint) {
  const paint = painter(stream);
  const say = (text) => stream.write(`${text}\n`);
  for (const finding of findings) say(line(file, finding, paint));
  if (hint) say(`${file}: ${hint}`);
  if (findings.length === 0) say(`${file}: ${paint('good', 'no findings')}`);
}

function complain(text) {
  process.stderr.write(`edge-report: ${text}\n`);
}

function version() {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url))).version;
}

function print(text) {
  process.stdout.write(`${text}\n`);
}

async function main() {
  let options;
  try {
    const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
    options = values;
    const [name, ...files] = positionals;
    if (values.help) return print(USAGE) ?? 0;
    if (values.version) return print(version()) ?? 0;
    if (!Object.hasOwn(commands, name ?? '')) throw new UsageError(name ? `no command ${name}` : 'which command?');
    return await commands[name](files, values);
  } catch (error) {
    if (error instanceof EdgeReportError) {
      const { code, number, path, line, column, message } = error;
      process.stderr.write(`${options?.json ? JSON.stringify({ code, number, path, line, column, message }) : `edge-report: ${message} [${code}]`}\n`);
      return error.findings || error.code === 'MayHaveArrived' ? 1 : 2;
    }
    if (error instanceof FileError) return complain(error.message) ?? 2;
    if (!(error instanceof UsageError) && !error.code?.startsWith('ERR_PARSE_ARGS')) throw error;
    process.stderr.write(`edge-report: ${error.message}\n${USAGE}\n`);
    return 2;
  }
}

// Who reads may stop before the end, as `head` does.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') complain(error.message);
  process.exit(2);
});
process.exitCode = await main();
