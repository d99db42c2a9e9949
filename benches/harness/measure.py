"""Runs the programs in turn. What they print is kept as it is: lines with tabs between."""

import json
import re
import subprocess
import tempfile

from .programs import WORKLOADS
from .samples import OURS, SIMD

# Workloads and peers whose instructions are counted, and how often a call is repeated for it.
COUNTED = {("encode", "W1"): 1000, ("encode", "W3"): 4, ("encode", "W5"): 4, ("check", "W1"): 1000, ("check", "W3"): 4}


def same_meaning(programs):
    """Fails for a peer that encodes something else. (Those in Rust look to it themselves.)"""
    for name, command in programs.outside.items():
        for path in sorted(WORKLOADS.glob("*.json")):
            if json.loads(output([*command, path.stem])) != json.loads(path.read_bytes()):
                raise SystemExit(f"{name} encodes something else than {path.stem}")


def encoders(programs, turns, rounds):
    """Each program in turn, so that what else the machine does meets all; each turn has some rounds."""
    for _ in range(turns):
        yield from lines([programs.encode, "time", str(rounds)])
        for what, workload, peer, *rest in lines([programs.encode_simd, "time", str(rounds)]):
            if peer == OURS:
                yield [what, workload, SIMD, *rest]
        for command in programs.outside.values():
            yield from lines([*command, str(rounds)])


def sizes(programs, rounds, most):
    return lines([programs.encode, "size", str(rounds), str(most)])


def instructions(programs):
    """Of one call, as callgrind counts them: what a program needs to start cancels out of two runs."""
    for (what, workload), times in COUNTED.items():
        for (peer,) in lines([programs.encode, "peers", what]):
            one, two = (
                counted([programs.encode, "count", what, workload, peer, str(n)]) for n in (times, 2 * times)
            )
            yield ["count", what, workload, peer, str(round((two - one) / times))]


def counted(command):
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    said = subprocess.run([*callgrind, *command], check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", said).group(1))


def clients(programs, turns, calls, strace):
    server = subprocess.Popen([programs.client, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        senders = [[programs.client, kind, address] for kind in ("socket", "token", "signed")]
        if programs.curl:
            senders.append([programs.curl, address])
        for _ in range(turns):
            for sender in senders:
                yield from lines([*sender, str(calls)])
        for sender in senders if strace else []:
            name = lines([*sender, "1"])[0][1]
            one, two = (system_calls([*sender, str(n)]) for n in (200, 400))
            yield ["strace", name, f"{(two - one) / 200:.2f}"]
    finally:
        server.kill()
        server.wait()


def system_calls(command):
    with tempfile.NamedTemporaryFile("r") as table:
        subprocess.run(["strace", "-f", "-c", "-o", table.name, *command], check=True, stdout=subprocess.DEVNULL)
        total = table.read().splitlines()[-1].split()
    return int(total[3])


def lines(command):
    return [line.split("\t") for line in output(command).decode().splitlines()]


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
