"""The vendor's SDK: what it does to a report before it goes out.

    python3 sdk.py DIRECTORY ROUNDS|WORKLOAD
"""

import json
import pathlib
import sys
import time
import warnings

import simplejson
from huaweicloudsdkcore.utils import http_utils
from huaweicloudsdkdli.v1 import ChangeFlinkJobStatusReportRequestBody, Job

warnings.simplefilter("ignore", DeprecationWarning)  # the vendor's mark on this call
NAME = "vendor's SDK"


def load(path):
    report = json.loads(path.read_bytes())
    return ChangeFlinkJobStatusReportRequestBody(**{**report, "jobs": [Job(**job) for job in report["jobs"]]})


def encode(body):
    """As the SDK's Client does it."""
    return simplejson.dumps(http_utils.sanitize_for_serialization(body), use_decimal=True).encode()


def timed(body):
    times, start = 0, time.perf_counter_ns()
    while (spent := time.perf_counter_ns() - start) < 4_000_000:
        encode(body)
        times += 1
    return spent / times


def main():
    directory, what = pathlib.Path(sys.argv[1]), sys.argv[2]
    if what.startswith("W"):
        sys.stdout.buffer.write(encode(load(directory / f"{what}.json")))
        return
    for path in sorted(directory.glob("W?.json")):
        body, size = load(path), path.stat().st_size
        encode(body)
        for _ in range(int(what)):
            print("encode", path.stem, NAME, size, f"{timed(body):.2f}", sep="\t")


if __name__ == "__main__":
    main()
