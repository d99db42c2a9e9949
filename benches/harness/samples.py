"""What was measured, and what is read off it."""

from collections import defaultdict
from statistics import median, quantiles

OURS = "edge-report"
SIMD = f"{OURS}, simd"
NPM = f"{OURS} (npm)"


class Samples:
    def __init__(self, lines):
        # (what, workload) → peer → nanoseconds of one call, by round
        self.times = defaultdict(lambda: defaultdict(list))
        # (what, workload) → bytes
        self.bytes = {}
        # (what, workload) → peer → instructions of one call
        self.counts = defaultdict(dict)
        # client → its columns, by turn
        self.sends = defaultdict(list)
        self.system_calls = {}
        # In one line each: the machine, the rounds, what is not measured.
        self.notes = []
        for line in lines:
            match line:
                case ["encode" | "check" | "rewrite" | "size" as what, workload, peer, size, nanos]:
                    self.times[what, workload][peer].append(float(nanos))
                    self.bytes[what, workload] = int(size)
                case ["count", what, workload, peer, count]:
                    self.counts[what, workload][peer] = int(count)
                case ["send", client, *columns]:
                    self.sends[client].append([float(column) for column in columns])
                case ["strace", client, calls]:
                    self.system_calls[client] = float(calls)
                case ["note", text]:
                    self.notes.append(text)
                case _:
                    raise ValueError(f"not understood: {line}")

    def workloads(self, what):
        return [workload for kind, workload in self.times if kind == what]

    def peers(self, what):
        seen = {peer: None for workload in self.workloads(what) for peer in self.times[what, workload]}
        return list(seen)

    def nanos(self, what, workload, peer):
        return median(self.times[what, workload][peer])

    def rate(self, what, workload, peer):
        """GB/s."""
        return self.bytes[what, workload] / self.nanos(what, workload, peer)

    def ratios(self, what, workload, peer, ours=OURS):
        """How many times as long as ours the peer takes, round by round."""
        times = self.times[what, workload]
        return [theirs / own for theirs, own in zip(times[peer], times[ours])]

    def fastest(self, what, workload):
        """The fastest of the peers off the shelf."""
        peers = [peer for peer in self.times[what, workload] if is_off_the_shelf(peer)]
        return min(peers, key=lambda peer: self.nanos(what, workload, peer))


def is_ours(peer):
    return peer.startswith(OURS)


def is_off_the_shelf(peer):
    return not is_ours(peer) and peer != "memcpy" and not peer.endswith(", by hand")


def spread(values):
    """The median, and half of what the middle half of the values spans."""
    if len(values) < 2:
        return values[0], 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return median(values), (high - low) / 2
