"""The Markdown tables, each under the name of its place in docs/measurements/performance.md."""

import re
from math import log
from statistics import median

from .samples import NPM, OURS, SIMD, is_off_the_shelf, is_ours, spread

# How many times as fast as the fastest peer off the shelf.
ENCODE = {"W1": 1.6, "W2": 1.6, "W3": 1.9, "W4": 1.0, "W5": 1.9, "W6": 0.9, "W7": 1.15}
ENCODE_SIMD = {"W3": 3.0, "W4": 1.2, "W5": 4.5, "W6": 1.8}
CHECK = {"W1": 1.3, "W3": 1.3, "W7": 1.3}


def tables(samples):
    return {
        "setting": "\n".join(f"- {note}" for note in samples.notes),
        "goals": goals(samples),
        "encode": contest(samples, "encode"),
        "check": contest(samples, "check"),
        "rewrite": contest(samples, "rewrite", NPM),
        "size": sizes(samples),
        "instructions": instructions(samples),
        "send": sends(samples),
    }


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def goals(samples):
    rows = []
    for title, what, asked, ours in (
        ("encode", "encode", ENCODE, OURS),
        ("encode, simd", "encode", ENCODE_SIMD, SIMD),
        ("check", "check", CHECK, OURS),
    ):
        for workload in asked:
            if ours not in samples.times.get((what, workload), {}):
                continue
            peer = samples.fastest(what, workload)
            got, half = spread(samples.ratios(what, workload, peer, ours))
            wanted = f"≥ {asked[workload]:g}× the fastest peer"
            rows.append(goal(f"{title} {workload}", wanted, f"{got:.2f} ± {half:.2f}× {peer}", got >= asked[workload]))
    rows += linear(samples) + sending(samples)
    return table(["what", "goal", "got", ""], rows)


def keep(path, done):
    """Puts each table between its marks."""
    text = path.read_text(encoding="utf-8")
    for name, content in done.items():
        marks = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text, count = marks.subn(lambda found: f"{found[1]}{content}\n{found[2]}", text)
        if count != 1:
            raise SystemExit(f"{path} has no place for {name}")
    path.write_text(text, encoding="utf-8")


def goal(what, asked, got, is_met):
    return [what, asked, got, "met" if is_met else "**missed**"]


def linear(samples):
    """Between a hundred jobs, where what surrounds them no longer counts, and the most."""
    sizes = [size for size in samples.workloads("size") if int(size) >= 100]
    if len(sizes) < 2:
        return []
    least, most = sizes[0], sizes[-1]
    times = samples.nanos("size", most, OURS) / samples.nanos("size", least, OURS)
    power = log(times) / log(int(most) / int(least))
    got = f"jobs^{power:.3f}, from {least} to {int(most):,}"
    return [goal("cost against size", "time grows with jobs^1.00, at most jobs^1.02", got, power <= 1.02)]


def sending(samples):
    if OURS not in samples.sends:
        return []
    rows = []
    curl = next((client for client in samples.sends if client.startswith("libcurl")), None)
    if curl:
        got, half = spread([ours[0] / theirs[0] for ours, theirs in zip(samples.sends[OURS], samples.sends[curl])])
        rows.append(goal("send, CPU", f"≤ {curl}'s", f"{got:.2f} ± {half:.2f}× {curl}'s", got <= 1))
    if OURS in samples.system_calls:
        calls = samples.system_calls[OURS]
        rows.append(goal("send, system calls", "≤ 12", f"{calls:.1f}", calls <= 12))
    memory = median(columns[2] for columns in samples.sends[OURS]) / 1000
    rows.append(goal("send, memory", "≤ 4 MB", f"{memory:.1f} MB", memory <= 4))
    return rows


def contest(samples, what, ours=OURS):
    workloads = samples.workloads(what)
    rows = []
    for peer in samples.peers(what):
        name = peer if is_off_the_shelf(peer) else f"*{peer}*"
        if peer == ours:
            rates = (samples.rate(what, workload, peer) for workload in workloads)
            rows.append([f"**{peer}**", *(f"**{rate:.2f} GB/s**" for rate in rates)])
        else:
            rows.append([name, *(ratio(samples, what, workload, peer, ours) for workload in workloads)])
    return table(["", *workloads], rows)


def ratio(samples, what, workload, peer, ours):
    times = samples.times[what, workload]
    if peer not in times or ours not in times:
        return "–"
    middle, half = spread(samples.ratios(what, workload, peer, ours))
    digits = 0 if middle >= 20 else 1 if middle >= 5 else 2
    return f"{middle:.{digits}f} ± {half:.{digits}f}"


def sizes(samples):
    sizes = samples.workloads("size")
    rows = []
    for peer in samples.peers("size"):
        rows.append([peer, *(f"{samples.nanos('size', size, peer) / int(size):.1f}" for size in sizes)])
    return table(["ns a job", *(f"{int(size):,}" for size in sizes)], rows)


def instructions(samples):
    heads = list(samples.counts)
    rows = []
    for peer in {peer: None for counts in samples.counts.values() for peer in counts}:
        cells = [f"{samples.counts[head][peer]:,}" if peer in samples.counts[head] else "–" for head in heads]
        rows.append([f"**{peer}**" if is_ours(peer) else peer, *cells])
    return table(["", *(" ".join(head) for head in heads)], rows)


def sends(samples):
    rows = []
    for client, turns in samples.sends.items():
        cpu, wall, memory, allocations = (median(column) for column in zip(*turns))
        calls = samples.system_calls.get(client)
        counted = f"{calls:.1f}" if calls else "–"
        rows.append([client, f"{cpu:.1f}", f"{wall:.1f}", counted, f"{memory / 1000:.1f}", f"{allocations:.0f}"])
    return table(["", "CPU, µs", "median time, µs", "system calls", "memory, MB", "allocations"], rows)
