"""A real Flink cluster on the loopback interface: its job manager and one task manager, from the libraries that PyPI has by name.

    python3 tests/flink/cluster.py [VERSION]

starts one, says where, and ends it at Ctrl-C. Needs a JDK of 11 to 17 (Debian: openjdk-17-jdk-headless) and pip.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache" / "flink"
# What is downloaded is run, so it must be what it was.
LIBRARIES = {
    "2.3.0": "570bf8831d3c1336311e924e97119e52d8842e5485a4a7709ff9a92db709b006",
    "1.20.5": "e6aee62ea1a1fe7b32e28894ad079f3f1a50a372a4caac3df52405267f4228c8",
    "1.13.6": "2834e022cd64864d570021562aaf84412c69ca34f6731c17453e04bba3db3efc",
}
# Packages of Java that Flink looks into.
OPEN = "lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks".split()
EXPORTED = ["java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5"]
SMALL = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xms64m", "-Xmx256m"]
TASK_MEMORY = {
    "taskmanager.cpu.cores": "2.0",
    "taskmanager.memory.framework.heap.size": "64m",
    "taskmanager.memory.framework.off-heap.size": "32m",
    "taskmanager.memory.task.heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "0b",
    "taskmanager.memory.managed.size": "32m",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "taskmanager.memory.jvm-metaspace.size": "160m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}
LOG = """rootLogger.level=INFO
rootLogger.appenderRef.file.ref=File
appender.file.name=File
appender.file.type=FILE
appender.file.fileName=${sys:log.file}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %-5p %c %m%n
"""
PATIENCE = 180


def libraries(version):
    """The directory of Flink's jars, downloaded once."""
    directory = CACHE / version
    if (directory / "whole").exists():
        return directory
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as download:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--dest", download, f"apache-flink-libraries=={version}"], check=True)
        (archive,) = Path(download).iterdir()
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != LIBRARIES[version]:
            raise RuntimeError(f"{archive.name} is not the one that was tested: its SHA-256 is {digest}")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                path = Path(member.name)
                if member.isfile() and path.match("deps/lib/*.jar"):
                    with tar.extractfile(member) as jar, open(directory / path.name, "wb") as out:
                        shutil.copyfileobj(jar, out)
        (directory / "whole").touch()
    return directory


def job(version):
    """The jar of job/EdgeJob.java, for this version."""
    jar = CACHE / f"edge-job-{version}.jar"
    source = HERE / "job" / "EdgeJob.java"
    if jar.exists() and jar.stat().st_mtime > source.stat().st_mtime:
        return jar
    with tempfile.TemporaryDirectory() as classes:
        subprocess.run(["javac", "-nowarn", "-d", classes, "-cp", f"{libraries(version)}/*", source], check=True)
        subprocess.run(["jar", "cfe", jar, "EdgeJob", "-C", classes, "."], check=True)
    return jar


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cluster:
    """Started and ended by `with`; each of its two processes can be killed and started again."""

    def __init__(self, version="2.3.0"):
        self.version = version
        self.classes = f"{libraries(version)}/*"
        self.home = Path(tempfile.mkdtemp(prefix="flink-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes = {}
        self._configure()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.home, ignore_errors=True)

    def _configure(self):
        for name in ("conf", "checkpoints", "tmp"):
            (self.home / name).mkdir()
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.rpc.port": free_port(),
            "blob.server.port": free_port(),
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self.port,
            "rest.bind-port": self.port,
            "jobmanager.memory.process.size": "704m",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": 8,
            "io.tmp.dirs": self.home / "tmp",
            "web.tmpdir": self.home / "tmp",
            "state.savepoints.dir": f"file://{self.home}/checkpoints",
            "execution.checkpointing.savepoint-dir": f"file://{self.home}/checkpoints",
            "cluster.registration.error-delay": 300,
        }
        # The file's name since Flink 2, and before.
        for name in ("config.yaml", "flink-conf.yaml"):
            (self.home / "conf" / name).write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        (self.home / "conf" / "log4j.properties").write_text(LOG)

    def _run(self, name, main, *arguments):
        command = ["java", *(f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTED)]
        command += [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in OPEN]
        command += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", *SMALL, f"-Djava.io.tmpdir={self.home}/tmp"]
        command += [f"-Dlog.file={self.home}/{name}.log", f"-Dlog4j.configurationFile=file:{self.home}/conf/log4j.properties"]
        command += ["-cp", self.classes, f"org.apache.flink.runtime.{main}", "--configDir", str(self.home / "conf"), *arguments]
        with open(self.home / f"{name}.out", "ab") as output:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def start(self):
        """Starts what does not run, and waits until there are slots for jobs."""
        if "job manager" not in self.processes:
            self._run("job manager", "entrypoint.StandaloneSessionClusterEntrypoint", "--executionMode", "cluster")
        if "task manager" not in self.processes:
            memory = (text for key, value in TASK_MEMORY.items() for text in ("-D", f"{key}={value}"))
            self._run("task manager", "taskexecutor.TaskManagerRunner", *memory)
        until = time.monotonic() + PATIENCE
        while not self._has_slots():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"Flink's {name} ended:\n{self.said(name)}")
            if time.monotonic() > until:
                raise RuntimeError(f"Flink does not come up:\n{self.said('job manager')}\n{self.said('task manager')}")
            time.sleep(0.1)

    def _has_slots(self):
        try:
            return self.get("/overview").get("slots-total", 0) > 0
        except OSError:
            return False

    def said(self, name):
        files = (self.home / f"{name}.{suffix}" for suffix in ("out", "log"))
        return "".join(path.read_text(errors="replace")[-2000:] for path in files if path.exists())

    def kill(self, name):
        """As a power cut would."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def pause(self, name):
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name):
        self.processes[name].send_signal(signal.SIGCONT)

    def get(self, path):
        return self._call("GET", path)

    def _call(self, method, path, body=None, content="application/json"):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": content}, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read() or b"null")

    def upload(self):
        """Gives the job's jar to the cluster; to each job manager anew."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="jarfile"; filename="job.jar"\r\nContent-Type: application/x-java-archive\r\n\r\n'
        body = head.encode() + job(self.version).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self._call("POST", "/jars/upload", body, f"multipart/form-data; boundary={boundary}")
        self.jar = answer["filename"].rsplit("/", 1)[-1]

    def submit(self, number, mode, millis=20):
        """Runs EdgeJob as the job with this number; gives Flink's id, or None if Flink refused it."""
        jid = f"{number:032x}"
        # Before 1.16 there was one text of arguments, which later versions still take.
        body = {"jobId": jid, "programArgsList": [mode, str(millis)]}
        try:
            return self._call("POST", f"/jars/{self.jar}/run", body)["jobid"]
        except urllib.error.HTTPError as error:
            error.read()
            return None

    def cancel(self, jid):
        self._call("PATCH", f"/jobs/{jid}?mode=cancel")

    def stop(self, jid):
        """With a savepoint, after which the job is finished."""
        self._call("POST", f"/jobs/{jid}/stop", {"targetDirectory": f"file://{self.home}/checkpoints", "drain": False})

    def wait(self, jid, *states):
        until = time.monotonic() + PATIENCE
        while True:
            found = next((entry["state"] for entry in self.get("/jobs/overview")["jobs"] if entry["jid"] == jid), None)
            if found in states:
                return found
            if time.monotonic() > until:
                raise RuntimeError(f"job {jid} is {found}, not {' or '.join(states)}")
            time.sleep(0.05)


if __name__ == "__main__":
    with Cluster(*sys.argv[1:]) as cluster:
        cluster.upload()
        print(f"Flink {cluster.version} at {cluster.url}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
