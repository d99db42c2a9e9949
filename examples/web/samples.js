// What the buttons show: a report with errors, the service's own sample, an answer, and a recording.
export const bad = `{
  "jobs": [
    {
      "job_id": 99270,
      "status": "job_runing",
      "create_time": 1591104868
    },
    {
      "job_id": -7,
      "status": "job_finish",
      "create_time": "2020-06-02 13:34:28",
      "state": "ok"
    }
  ],
  "msg_confirm_topic": "hw/events/messages/dli/message/confirm",
  "message_id": ""
}
`;

export const good = `{
  "jobs": [
    {
      "create_time": 1591104868201,
      "job_id": 99270,
      "exceptions": {
        "error_id": "Agent.51000",
        "error_type": "JOB_SUBMIT_EXCEPTION",
        "error_cause": "agent_submit_job_exception_error",
        "exception": "",
        "error_time": "2020-06-02 13:34:28"
      },
      "status": "job_submit_fail"
    }
  ],
  "msg_confirm_topic": "hw/events/messages/dli/message/confirm",
  "message_id": "uuid"
}
`;

export const answer = `HTTP/1.1 429 Too Many Requests
Content-Type: application/json
Retry-After: 30

{"error_code":"APIGW.0308","error_msg":"The throttling threshold has been reached","request_id":"5f0e1c2d"}
`;

const START = 1591104868201;
const MINUTE = 60_000;
/** Of each job: what it was, from which minute on. */
const LIVES = {
  99270: { 0: 'job_submitting', 2: 'job_running', 21: 'job_running_exception', 26: 'job_running', 44: 'job_savepointing', 46: 'job_running', 58: 'job_finish' },
  99271: { 3: 'job_downloading', 9: 'job_submitting', 11: 'job_submit_fail' },
  99272: { 5: 'job_init', 6: 'job_running', 30: 'job_idle', 41: 'job_running', 52: 'job_canceling', 55: 'job_cancel_success' },
};

export const recording = Array.from({ length: 61 }, (_, minute) => {
  const jobs = Object.entries(LIVES).flatMap(([id, life]) => {
    const since = Object.keys(life).map(Number).findLast((from) => from <= minute);
    return since === undefined ? [] : [{ job_id: Number(id), status: life[since], create_time: START }];
  });
  const id = `node-7-${minute}`;
  const report = { jobs, msg_confirm_topic: 'confirm', message_id: id };
  return `${JSON.stringify({ received_ms: START + minute * MINUTE, project_id: '0a1b2c', message_id: id, report })}\n`;
}).join('');
