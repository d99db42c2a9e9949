import api from './node.cjs';

export const {
  Client,
  Courier,
  EdgeReportError,
  JOB_STATUSES,
  buildRequest,
  canonicalRequest,
  check,
  encode,
  parse,
  readReply,
  sign,
} = api;
