// Not from node.cjs itself: for its names Node would read all of it a second time, longer than all else takes.
import api from './node.load.cjs';

export const {
  Client,
  Courier,
  EdgeReportError,
  FlinkWatch,
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
