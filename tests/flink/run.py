"""The whole way, for real: jobs on a Flink cluster, the agents of three languages beside it, the receiver behind them.

    cargo build --workspace --features edge-report-receiver/program
    (cd bindings/wasm && npm ci && npm run build)
    python3 tests/flink/run.py [VERSION]...

The agent in Rust is the program; those in C and JavaScript are the examples, over the static library and the npm package. Jobs finish, go on,
fail, flap, are cancelled, are stopped with a savepoint, and are refused, while the cluster is stopped and killed, and the receiver and each agent
are killed and started again. What has to be in the receiver's database then is in STORIES.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from cluster import Cluster, free_port

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
CARGO = "cargo build --workspace --features edge-report-receiver/program"
NPM = "(cd bindings/wasm && npm ci && npm run build)"
PACKAGE = ROOT / "bindings" / "wasm"
PATIENCE = 120
# So often the slowest of the agents asks.
POLL = 5
BEGINS = ["job_submitting", "job_running"]
TROUBLE = "job_running_exception"
REASON = "java.lang.IllegalStateException: sensor value 20 is out of range"

# What becomes of each job: its mode, the states in which it ends, the statuses that it may have before, and the last one, if it has an end.
STORIES = {
    1: ("finish", BEGINS, "job_finish"),
    2: ("stream", [*BEGINS, "job_canceling"], "job_cancel_success"),
    3: ("fail", BEGINS, TROUBLE),
    4: ("flap", [*BEGINS, TROUBLE], TROUBLE),
    5: ("refuse", [], None),
    6: ("stream", BEGINS, "job_finish"),
    7: ("stream", BEGINS, None),
}


class Program:
    """A process that can be killed and started again; what it says is kept."""

    def __init__(self, directory, name, command, **environment):
        self.name, self.command = name, [str(part) for part in command]
        self.environment = {**os.environ, **environment}
        self.log = directory / f"{name}.log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def killed_and_started(self):
        assert self.process.poll() is None, f"{self.name} ended by itself:\n{self.said()}"
        self.kill()
        self.start()

    def ends(self):
        """By SIGTERM, in peace."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=PATIENCE)
        assert status == 0, f"{self.name} ended with {status}:\n{self.said()}"

    def said(self):
        return self.log.read_text(errors="replace")[-4000:]


def built(path, command):
    if not path.exists():
        sys.exit(f"{path} is missing; make it first: {command}")
    return path


def in_c(directory):
    """examples/c/flink.c, built as somebody with the static library would."""
    library = built(TARGET / "libedge_report.a", CARGO)
    program = directory / "flink"
    libcurl = subprocess.run(["pkg-config", "--cflags", "--libs", "libcurl"], check=True, capture_output=True, text=True).stdout.split()
    compiler = ["gcc", "-std=gnu11", "-I", ROOT / "include", ROOT / "examples/c/flink.c", "-o", program]
    subprocess.run([*compiler, library, *libcurl, "-lm", "-lpthread", "-ldl"], check=True)
    return [program]


def in_javascript(directory):
    """examples/js/flink.mjs, in a directory that has the package."""
    built(PACKAGE / "dist" / "node.cjs", NPM)
    (directory / "node_modules").mkdir()
    (directory / "node_modules" / "edge-report").symlink_to(PACKAGE)
    return ["node", shutil.copy(ROOT / "examples/js/flink.mjs", directory)]


def agents(directory, examples, flink, base):
    """One in each language, each with a project and a directory of its own. The program is told to ask often, which the examples cannot be."""
    rust = [TARGET / "edge-report-agent", "run", "--flink", flink, "--url", base, "--project-id", "rust", "--spool", directory / "rust", "--poll", "500", "--start-spread", "0"]
    running = [Program(directory, "rust", rust, EDGE_REPORT_AGENT_AK="AK", EDGE_REPORT_AGENT_SK="SK")]
    for name, command in examples.items():
        places = [flink, base, name, directory / name, directory / f"{name}.table", name]
        running.append(Program(directory, name, [*command, *places], EDGE_REPORT_AK="AK", EDGE_REPORT_SK="SK"))
    return running


class Receiver:
    def __init__(self, directory):
        self.database = directory / "reports.db"
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        command = [TARGET / "edge-report-receiver", "--listen", f"127.0.0.1:{port}", "--ak", "AK", "--sk", "SK"]
        self.program = Program(directory, "receiver", [*command, "--store", f"sqlite:{self.database}", "--quiet"])
        until(self.is_up, "the receiver is up")

    def is_up(self):
        try:
            return urllib.request.urlopen(f"{self.base}/healthz", timeout=5).status == 200
        except OSError:
            return False

    def jobs(self, project):
        """By job id, each report's entry for it, in the order in which they came, with the report's message id."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as database:
            rows = database.execute("SELECT message_id, body FROM report WHERE project = ? ORDER BY id", [project]).fetchall()
        jobs = {}
        for message_id, body in rows:
            report = json.loads(body)
            for job in report["jobs"]:
                jobs.setdefault(job["job_id"], []).append({**job, "message_id": message_id, "alone": len(report["jobs"]) == 1})
        return jobs

    def repeats(self):
        metrics = urllib.request.urlopen(f"{self.base}/metrics", timeout=5).read().decode()
        return [line for line in metrics.splitlines() if "repeat" in line and not line.startswith("#")]


def until(holds, what):
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)


def is_end(entry):
    """A failed job's last status is the one that it also has in trouble: its error says which it is."""
    status = entry["status"]
    exceptions = entry.get("exceptions")
    failed = status == TROUBLE and isinstance(exceptions, dict) and exceptions.get("error_id") == "Flink.FAILED"
    return failed or status in ("job_finish", "job_cancel_success", "job_submit_fail")


def check(project, jobs):
    """What the receiver knows of a project against STORIES."""
    for number, (mode, before, end) in STORIES.items():
        entries = jobs.pop(number, [])
        told = f"{project}, job {number} ({mode}): {[entry['status'] for entry in entries]}"
        if mode == "refuse":
            assert not entries, told
            continue
        ends = [entry for entry in entries if is_end(entry)]
        others = [entry["status"] for entry in entries if not is_end(entry)]
        assert all(status in before for status in others), told
        # Each of them in its order, however often it is said again.
        places = [before.index(status) for status in others if status != TROUBLE]
        assert places == sorted(places) or mode == "flap", told
        if end is None:
            assert not ends and others, told
            continue
        assert [entry["status"] for entry in ends] == [end], told
        assert entries[-1] is ends[0] and ends[0]["alone"], told
        if mode in ("fail", "flap"):
            exceptions = ends[0]["exceptions"]
            assert exceptions["error_cause"] == REASON, exceptions
            assert exceptions["exception"].startswith(REASON), exceptions
            assert "EdgeJob$Sensor.map" in exceptions["exception"], exceptions
    assert not jobs, f"{project}: nobody's jobs {sorted(jobs)}"


def play(version):
    began = time.monotonic()
    for program in ("edge-report-agent", "edge-report-receiver"):
        built(TARGET / program, CARGO)
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        examples = {"c": in_c(directory), "javascript": in_javascript(directory)}
        with Cluster(version) as cluster:
            names = watched(directory, examples, cluster)
    print(f"Flink {version}: {len(STORIES)} jobs, {', '.join(names)}, {time.monotonic() - began:.0f} s", flush=True)


def watched(directory, examples, cluster):
    """The story, with agents that watch it, and what the receiver has to know of it then."""
    receiver = Receiver(directory)
    running = agents(directory, examples, cluster.url, receiver.base)
    programs = [receiver.program, *running]
    try:
        story(cluster, receiver, running)
        for agent in running:
            agent.ends()
        for agent in running:
            check(agent.name, receiver.jobs(agent.name))
        receiver.program.ends()
    except BaseException:
        for program in programs:
            print(f"== {program.name}\n{program.said()}", file=sys.stderr)
        raise
    finally:
        for program in programs:
            program.kill()
    return [agent.name for agent in running]


def story(cluster, receiver, running):
    def knows(number, *statuses):
        def all_know():
            return all(
                any(entry["status"] in statuses for entry in receiver.jobs(agent.name).get(number, [])) for agent in running
            )

        until(all_know, f"job {number} is {' or '.join(statuses)}")

    def has_ended(*numbers):
        def all_have():
            return all(
                any(is_end(entry) for entry in receiver.jobs(agent.name).get(number, [])) for agent in running for number in numbers
            )

        until(all_have, f"the ends of {numbers}")

    cluster.upload()
    # A quick one and one that goes on, seen by everybody.
    jid = {number: cluster.submit(number, STORIES[number][0]) for number in (1, 2, 7)}
    knows(7, "job_running")
    knows(2, "job_running")
    # Killed while nothing is new: nothing is reported anew for it.
    for agent in running:
        agent.killed_and_started()
    cluster.cancel(jid[2])
    has_ended(1, 2)
    # The receiver is away while jobs fail, flap and are refused, and agents are killed while they wait for it.
    receiver.program.kill()
    jid |= {number: cluster.submit(number, STORIES[number][0]) for number in (3, 4)}
    assert cluster.submit(5, "refuse") is None
    cluster.wait(jid[3], "FAILED")
    cluster.wait(jid[4], "FAILED")
    # Long enough that each of them has seen it.
    time.sleep(POLL + 1)
    for agent in running:
        agent.killed_and_started()
    receiver.program.start()
    has_ended(3, 4)
    # The job manager hangs, and a job is stopped with a savepoint right after it.
    jid[6] = cluster.submit(6, "stream")
    knows(6, "job_running")
    cluster.pause("job manager")
    time.sleep(8)
    cluster.resume("job manager")
    cluster.stop(jid[6])
    cluster.wait(jid[6], "FINISHED")
    has_ended(6)
    # The cluster is killed, and comes back with an empty list.
    cluster.kill("job manager")
    cluster.kill("task manager")
    time.sleep(8)
    for agent in running:
        agent.killed_and_started()
    cluster.start()
    time.sleep(12)


if __name__ == "__main__":
    for version in sys.argv[1:] or ["2.3.0"]:
        play(version)
