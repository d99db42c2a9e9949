#!/usr/bin/env python3
"""Writes tests/vectors as a stream that vectors.c reads without knowing JSON.

A record is its kind in one byte, then its fields: numbers as 8 bytes, little-endian; texts as their length, then their bytes.
The length of a text that is absent is 2^64 - 1. With --small, texts over 100 KB are left out, for slow ways to run.
"""

import datetime
import json
import pathlib
import sys

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
MOST = 100_000 if "--small" in sys.argv else sys.maxsize
out = sys.stdout.buffer


def load(name):
    return json.loads((VECTORS / name).read_text())


def number(value):
    out.write((value % (1 << 64)).to_bytes(8, "little"))


def text(value):
    if value is None:
        return number((1 << 64) - 1)
    value = value.encode() if isinstance(value, str) else value
    number(len(value))
    out.write(value)


def record(kind, name):
    out.write(kind.encode())
    text(name)


def codes():
    vectors = load("codes.json")
    for code in vectors["codes"]:
        record("N", code["name"])
        number(code["number"])
        text(code["text"])
    for outcome in vectors["outcomes"]:
        record("O", outcome["name"])
        number(outcome["number"])


def input_of(case):
    if "input" in case:
        return case["input"].encode()
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "file" in case:
        return (VECTORS / case["file"]).read_bytes()
    return "".join(part * times for part, times in case["parts"]).encode()


def reports():
    for case in load("reports.json")["reports"]:
        given = input_of(case)
        if len(given) > MOST:
            continue
        canonical = given if case.get("canonical_same_as_input") else case.get("canonical")
        record("C", case["name"])
        text(given)
        number(len(case["findings"]))
        for finding in case["findings"]:
            number(finding["code"])
            number(finding["severity"] == "error")
            number(finding["offset"])
            text(finding["path"])
        if canonical is not None:
            canonical = canonical.encode() if isinstance(canonical, str) else canonical
            encode(case["name"], canonical)


def encode(name, canonical):
    """The report that has these canonical bytes, member by member."""
    report = json.loads(canonical)
    record("E", name)
    text(canonical)
    text(report.get("msg_confirm_topic"))
    text(report["message_id"])
    number(len(report["jobs"]))
    for job in report["jobs"]:
        number(job.get("job_id", 0))
        text(job["status"])
        number(job["create_time"])
        exceptions = job.get("exceptions")
        detail = exceptions if isinstance(exceptions, dict) else None
        text(None if detail is not None else exceptions)
        number(detail is not None)
        for member in ("error_id", "error_type", "error_cause", "exception", "error_time"):
            text(detail and detail[member])
        text(job.get("metrics"))
        text(job.get("plan"))


def body_of(case):
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    return "".join(part * times for part, times in case.get("parts", [(case.get("body"), 1)]))


def prefixes(codes):
    number(len(codes))
    for code in codes:
        text(code)


def replies():
    vectors = load("replies.json")
    for case in vectors["replies"]:
        headers = case.get("headers", {})
        record("R", case["name"])
        prefixes(case.get("service_codes", []))
        number(case["status"])
        text(headers.get("retry_after"))
        text(headers.get("date"))
        text(body_of(case))
        number(case.get("now_ms", 1591104868000))
        text(case["outcome"])
        for member in ("error_code", "error_msg", "message", "request_id"):
            text(case.get(member))
        for member in ("retry_after_ms", "clock_skew_ms"):
            number(member in case)
            number(int(case.get(member, 0)))
    for case in vectors["classes"]:
        record("S", case["outcome"])
        number(case["from"])
        number(case["to"])
        text(case.get("body", ""))
    for i, codes in enumerate(vectors["unusable_service_codes"]):
        record("B", f"unusable service codes {i}")
        prefixes(codes)


def unix_ms(sdk_date):
    at = datetime.datetime.strptime(sdk_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 1000


def signatures():
    for case in load("sign.json")["vectors"]:
        headers = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in case["headers"]]
        sign(case["name"], case, headers, None)
        token = dict(headers).get("X-Security-Token")
        if token is not None:
            # It may come with the keys instead.
            sign(case["name"] + " by its keys", case, [h for h in headers if h[0] != "X-Security-Token"], token)


def sign(name, case, headers, token):
    record("A", name)
    for member in ("ak", "sk"):
        text(case[member])
    text(token)
    for member in ("method", "host", "path", "body"):
        text(case[member])
    for pairs in (case["query"], headers):
        number(len(pairs))
        for key, value in pairs:
            text(key)
            text(value)
    number(unix_ms(case["now"]))
    text(case["string_to_sign"].split("\n")[1])
    text(case["authorization"])
    text(case["canonical_request"])


def endpoints():
    numbers = {code["name"]: code["number"] for code in load("codes.json")["codes"]}
    places = load("endpoints.json")
    for place in places["right"] + places["wrong"]:
        record("U", place["base_url"] + " " + place["project_id"])
        text(place["base_url"])
        text(place["project_id"])
        text(place.get("path"))
        number(numbers[place["code"]] if "code" in place else 0)
        number(place.get("offset", 0))


def captures():
    for file in sorted((VECTORS / "captures").glob("*.http")):
        head, body = file.read_bytes().split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        # The vendor's SDK sends such project ids; here they are refused.
        if "/" in headers["X-Project-Id"]:
            continue
        record("P", file.name)
        text(headers["Host"])
        text(headers["X-Project-Id"])
        text(first.split(" ")[1])
        text(body)


def couriers():
    kinds = ["submit", "next", "settle", "wake", "dead_letter", "resubmit_dead_letter", "forget_dead_letters", "status"]
    members = ["min_backoff_ms", "max_backoff_ms", "hold_ms", "start_spread_ms", "max_attempts", "max_time_ms", "refuse_after"]
    outcomes = {outcome["name"]: outcome["number"] for outcome in load("codes.json")["outcomes"]}
    verdicts = {"delivered": 1, "refused": 2, "again": 3, "held": 4, "expired": 5}
    for case in load("courier.json")["cases"]:
        record("V", case["name"])
        assert not case["policy"].keys() - set(members), case["policy"]
        for member in members:
            number(member in case["policy"])
            number(case["policy"].get(member, 0))
        number(len(case["steps"]))
        for step in case["steps"]:
            number(kinds.index(step["do"]))
            number(1 if "send" in step else 2 if "wait" in step else 3)
            for member in ("now", "ticket", "job_id", "after", "send", "wait", "clock_offset_ms"):
                number(int(step.get(member, 0)))
            # The event.
            for member in ("entropy", "failure", "status"):
                number(int(step.get(member, 0)))
            number(outcomes.get(step.get("outcome"), 0))
            for member in ("retry_after_ms", "clock_skew_ms"):
                number(member in step)
                number(int(step.get(member, 0)))
            number(verdicts.get(step.get("verdict"), 0))
            for member in ("error", "reason", "at_ms", "submitted", "delivered", "refused", "expired", "waiting"):
                number(step.get(member, 0))
            number("aside" in step)
            number(step.get("aside", 0))


def watches():
    plans = {"never": 1, "always": 2}
    for case in load("flink/watch.json")["cases"]:
        record("F", case["name"])
        options = dict(case["options"])
        for member in ("poll_ms", "heartbeat_ms", "exception_bytes"):
            number(member in options)
            number(options.pop(member, 0))
        text(options.pop("metrics", None))
        text(options.pop("node", None))
        number(plans[options.pop("plan")] if "plan" in options else 0)
        assert not options, options
        number(case["until"])
        number(len(case["phases"]))
        for phase in case["phases"]:
            number(phase["from"])
            number(len(phase["answers"]))
            for path, body in phase["answers"].items():
                text(path)
                number(body.get("status", 200))
                whole = (VECTORS / "flink" / body["file"]).read_bytes() if "file" in body else body["text"].encode()
                text(whole[: body.get("cut")])
        number(len(case["events"]))
        for event in case["events"]:
            number(event["at"])
            number("report" in event)
            text(event.get("report", event.get("get")))


codes()
reports()
replies()
signatures()
endpoints()
captures()
couriers()
watches()
out.write(b"Z")
