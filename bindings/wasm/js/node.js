import api from './node.cjs';

export const {
  Client,
  Courier,
  EdgeReportError,
  JOB_STATUSES,
  Reporter,
  buildRequest,
  canonicalRequest,
  check,
  encode,
  parse,
  readReply,
  sign,
} = api;
