// Errors and findings: what the numbers of the module mean, by the one table of codes.
import { codes } from './codes.js';

const table = new Map(codes.flatMap(([number, name, severity, text]) => [number, name].map((key) => [key, { number, name, severity, text }])));

/** @param {number | string} code a number or name of the table */
export function describe(code) {
  return table.get(code) ?? { number: code, name: 'Internal', severity: 'error', text: `code ${code}` };
}

export class EdgeReportError extends Error {
  /** @param {number | string} code a number or name of the table */
  constructor(code, { path, offset, line, column, detail, findings, cause } = {}) {
    if (typeof code !== 'number' && !table.has(code)) throw new TypeError(`there is no code ${String(code)}`);
    const { number, name, text } = describe(code);
    let message = path ? `${path}: ${text}` : text;
    if (offset !== undefined) message += ` (byte ${offset})`;
    if (detail) message += `: ${detail}`;
    super(message, cause === undefined ? undefined : { cause });
    this.code = name;
    this.number = number;
    for (const [member, value] of Object.entries({ path, offset, line, column, detail, findings })) {
      if (value !== undefined) this[member] = value;
    }
  }
}
Object.defineProperty(EdgeReportError.prototype, 'name', { value: 'EdgeReportError', configurable: true, writable: true });

/** The object of an answer that has no code; with one, throws it. */
export function unwrap(json) {
  const answer = JSON.parse(json);
  if (answer.code !== undefined) {
    const { code, ...where } = answer;
    throw new EdgeReportError(code, where);
  }
  return answer;
}
