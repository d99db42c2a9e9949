export { statuses as JOB_STATUSES } from './codes.js';
export { EdgeReportError } from './error.js';
export { check, encode, parse } from './report.js';
export { buildRequest, canonicalRequest, readReply, sign } from './exchange.js';
export { Courier } from './courier.js';
export { Client } from './client.js';
export { Reporter } from './reporter.js';
export { FlinkWatch } from './flink.js';
