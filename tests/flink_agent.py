#!/usr/bin/env python3
"""Runs an example's agent of a Flink cluster, between a scripted Flink with real responses and a receiver that runs: flink_agent.py URL RECORD WORK COMMAND...

The agent is COMMAND FLINK-URL URL PROJECT-ID SPOOL-DIRECTORY TABLE-FILE NODE. What the receiver gets must be the bytes of the vectors; started again, the agent
asks for its end no more. Flink answers with an error at first.
"""

import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

VECTORS = pathlib.Path(__file__).resolve().parent / "vectors/flink"
CASE = "Flink 2.3: a job that failed"
LONG = 60

url, record, work, *command = sys.argv[1:]
case = next(case for case in json.loads((VECTORS / "watch.json").read_text())["cases"] if case["name"] == CASE)
answers = case["phases"][0]["answers"]
reports = {json.loads(event["report"])["message_id"]: event["report"] for event in case["events"] if "report" in event}
final = next(name for name in reports if "-FAILED-" in name)
jid = final.split("-")[1]
asked = []


class Flink(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        body = (VECTORS / answers[self.path]["file"]).read_bytes() if self.path in answers else b""
        self.send_response(503 if len(asked) == 1 else 200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def wait_for(what, holds):
    until = time.monotonic() + LONG
    while not holds():
        if time.monotonic() > until or agent.poll() is not None:
            sys.exit(f"{what} did not come; asked: {asked}; the agent said:\n{(pathlib.Path(work) / 'said').read_text()}")
        time.sleep(0.05)


def got():
    path = pathlib.Path(record)
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if json.loads(line)["message_id"] == final]


def start():
    place = [f"http://127.0.0.1:{flink.server_port}", url, "p", f"{work}/flink-spool", f"{work}/flink-table", final.split("-")[0]]
    said = open(f"{work}/said", "a")
    return subprocess.Popen([*command, *place], env={**os.environ, "EDGE_REPORT_AK": "AK", "EDGE_REPORT_SK": "SK"}, stdout=said, stderr=said)


def stop():
    agent.send_signal(signal.SIGTERM)
    if agent.wait(LONG) != 0:
        sys.exit(f"the agent ended with {agent.returncode}")


flink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flink)
threading.Thread(target=flink.serve_forever, daemon=True).start()
agent = start()
try:
    wait_for("the report of the end", got)
    stop()
    asked[:] = ["before"]
    agent = start()
    wait_for("a second overview", lambda: asked.count("/jobs/overview") >= 2)
    stop()
finally:
    agent.kill()
if any(jid in path for path in asked) or len(got()) != 1 or not got()[0].endswith(f'"report":{reports[final]}}}'):
    sys.exit(f"the end was told {len(got())} times, in other bytes than those of the vectors, or asked for again: {asked}\n{got()}")
print(f"{final} is there, once")
