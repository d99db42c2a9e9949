"""The vendor's SDK sends the documented sample, again and again.

    python3 sdk_send.py CA-FILE PORT REPORTS BETWEEN-MS REPORT-FILE
"""

import os
import pathlib
import sys
import time
import warnings

# The SDK's HTTP library would ask a proxy, and let a .netrc replace the signature.
os.environ.update(NO_PROXY="localhost", NETRC=os.devnull)

from huaweicloudsdkcore.auth.credentials import BasicCredentials  # noqa: E402
from huaweicloudsdkcore.http.http_config import HttpConfig  # noqa: E402
from huaweicloudsdkdli.v1 import DliClient, UpdateFlinkJobStatusReportRequest  # noqa: E402

from sdk import load  # noqa: E402

warnings.simplefilter("ignore", DeprecationWarning)  # the vendor's mark on this call


def main():
    ca_file, port, reports, between, report = sys.argv[1:]
    config = HttpConfig.get_default_config()
    config.ssl_ca_cert = ca_file
    builder = DliClient.new_builder().with_http_config(config).with_credentials(BasicCredentials("EXAMPLEAK", "EXAMPLESK", "0a1b2c"))
    client = builder.with_endpoints([f"https://localhost:{port}"]).build()
    body = load(pathlib.Path(report))
    for number in range(int(reports)):
        if number:
            time.sleep(int(between) / 1000)
        client.update_flink_job_status_report(UpdateFlinkJobStatusReportRequest(body))


main()
