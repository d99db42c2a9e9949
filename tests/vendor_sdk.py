"""A live peer: the vendor's SDK reports to the receiver, which verifies its signatures.

    cargo build -p edge-report-receiver
    python3 tests/vendor_sdk.py target/debug/edge-report-receiver

Needs the package huaweicloudsdkdli 3.1.219; tests/run installs it in tests/.cache/venv.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import warnings

# The SDK's HTTP library would ask a proxy, and let a .netrc replace the signature.
os.environ.update(NO_PROXY="127.0.0.1", NETRC=os.devnull)

from huaweicloudsdkcore.auth.credentials import BasicCredentials  # noqa: E402
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException  # noqa: E402
from huaweicloudsdkdli.v1 import (  # noqa: E402
    ChangeFlinkJobStatusReportRequestBody,
    DliClient,
    Job,
    UpdateFlinkJobStatusReportRequest,
)

RECEIVER = os.path.abspath(sys.argv.pop(1))
SAMPLE = os.path.join(os.path.dirname(__file__), "vectors", "workloads", "W1.json")
AK, SK = "EXAMPLEAK", "EXAMPLESK"


class VendorSdk(unittest.TestCase):
    def setUp(self):
        warnings.simplefilter("ignore", DeprecationWarning)  # the vendor's mark on this call
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.record = os.path.join(directory.name, "reports.jsonl")
        command = [RECEIVER, "--listen", "127.0.0.1:0", "--ak", AK, "--sk", SK, "--record", self.record, "--quiet"]
        receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(receiver.stdout.close)
        self.addCleanup(receiver.wait)
        self.addCleanup(receiver.kill)
        said = receiver.stdout.readline()
        self.assertRegex(said, r"^listening on http://127\.0\.0\.1:\d+\n$")
        self.url = said.split()[-1]

    def send(self, report, sk=SK, project_id="0a1b2c", security_token=None):
        credentials = BasicCredentials(AK, sk, project_id)
        if security_token:
            credentials = credentials.with_security_token(security_token)
        client = DliClient.new_builder().with_credentials(credentials).with_endpoints([self.url]).build()
        jobs = [Job(**job) for job in report["jobs"]]
        body = ChangeFlinkJobStatusReportRequestBody(**{**report, "jobs": jobs})
        return client.update_flink_job_status_report(UpdateFlinkJobStatusReportRequest(body))

    def recorded(self):
        with open(self.record, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def assert_arrives(self, report, **how):
        answer = self.send(report, **how)
        self.assertEqual((answer.status_code, answer.is_success), (200, True))
        self.assertEqual(self.recorded()[-1]["report"], report)

    def test_the_documented_sample(self):
        with open(SAMPLE, encoding="utf-8") as file:
            sample = json.load(file)
        self.assert_arrives(sample)
        self.assertEqual(self.recorded()[0]["project_id"], "0a1b2c")
        self.assertEqual(self.recorded()[0]["message_id"], sample["message_id"])

    def test_text_arrives_the_same(self):
        for number, text in enumerate(["作业提交失败：边缘节点", "𝄞 é\u2028", "\u0000\b\f\n\r\t\u001f\u007f", '{"a":"\\"}']):
            job = {"job_id": 2**31 - 1, "status": "job_running_exception", "create_time": 1591104868201}
            job |= {"exceptions": text, "metrics": text, "plan": text}
            report = {"jobs": [job, job], "message_id": f"{number} {text}", "msg_confirm_topic": text}
            with self.subTest(text=text):
                self.assert_arrives(report)

    def test_optional_fields_left_out(self):
        self.assert_arrives({"jobs": [{"status": "job_running", "create_time": 1591104868201}], "message_id": "1"})

    def test_odd_project_ids(self):
        for number, project_id in enumerate(["a b", "项目", "a/b", "100%", "a+b~c*'()"]):
            job = {"status": "job_running", "create_time": 1591104868201}
            with self.subTest(project_id=project_id):
                self.assert_arrives({"jobs": [job], "message_id": str(number)}, project_id=project_id)
                self.assertEqual(self.recorded()[-1]["project_id"], project_id)

    def test_temporary_keys(self):
        job = {"status": "job_running", "create_time": 1591104868201}
        self.assert_arrives({"jobs": [job], "message_id": "1"}, security_token="EXAMPLE-SECURITY-TOKEN/+==")

    def test_a_repeat_is_accepted_and_kept_once(self):
        report = {"jobs": [{"status": "job_running", "create_time": 1591104868201}], "message_id": "1"}
        for _ in range(2):
            self.assert_arrives(report)
        self.assertEqual(len(self.recorded()), 1)

    def assert_refused(self, report, status, code, **how):
        with self.assertRaises(ClientRequestException) as raised:
            self.send(report, **how)
        refusal = raised.exception
        self.assertEqual((refusal.status_code, refusal.error_code), (status, code))
        self.assertEqual(self.recorded(), [])
        return refusal.error_msg

    def test_a_wrong_secret_key_is_refused(self):
        report = {"jobs": [{"status": "job_running", "create_time": 1591104868201}], "message_id": "1"}
        why = self.assert_refused(report, 401, "APIGW.0301", sk="WRONG")
        self.assertIn("signature", why)

    def test_a_report_that_breaks_the_contract_is_refused(self):
        report = {"jobs": [{"status": "job_running", "create_time": 0}], "message_id": "1"}
        why = self.assert_refused(report, 400, "DLI.0001")
        self.assertIn("jobs[0].create_time: must be greater than 0", why)


if __name__ == "__main__":
    unittest.main()
