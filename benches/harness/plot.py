"""The plots, as SVG that is readable on light and on dark ground."""

from math import log10
from xml.sax.saxutils import escape

from .samples import is_ours

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.note { fill: #57606a }
.bar, .dot { fill: #8c959f } .bar.ours, .dot.ours { fill: #0969da }
.line { fill: none; stroke: #8c959f; stroke-width: 1.5 } .line.ours { stroke: #0969da; stroke-width: 2.5 }
.grid { stroke: #d0d7de; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .bar, .dot { fill: #6e7681 } .bar.ours, .dot.ours { fill: #58a6ff }
  .line { stroke: #6e7681 } .line.ours { stroke: #58a6ff }
  .grid { stroke: #30363d }
}
"""


def throughput(samples, path):
    """A field for each workload, with a bar for each peer. memcpy would leave no room for the others."""
    peers = [peer for peer in samples.peers("encode") if peer != "memcpy"]
    columns, width, names, bar = 2, 470, 180, 16
    height = bar * len(peers) + 44
    workloads = samples.workloads("encode")
    parts = []
    for number, workload in enumerate(workloads):
        left, top = number % columns * width, number // columns * height
        rates = {peer: samples.rate("encode", workload, peer) for peer in peers}
        scale = (width - names - 70) / max(rates.values())
        parts.append(text(left + 8, top + 24, f"{workload}: GB/s written", "title"))
        for row, (peer, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
            y = top + 34 + row * bar
            kind = "bar ours" if is_ours(peer) else "bar"
            parts.append(text(left + names - 6, y + 11, peer, anchor="end"))
            parts.append(f'<rect class="{kind}" x="{left + names}" y="{y + 1}" width="{rate * scale:.1f}" height="{bar - 4}"/>')
            parts.append(text(left + names + rate * scale + 4, y + 11, f"{rate:.2f}", "note"))
    rows = -(-len(workloads) // columns)
    write(path, columns * width, rows * height, parts)


def sizes(samples, path):
    """Nanoseconds of a job against jobs of a report, both in powers of ten."""
    sizes = samples.workloads("size")
    each = {
        peer: [samples.nanos("size", size, peer) / int(size) for size in sizes] for peer in samples.peers("size") if peer != "memcpy"
    }
    width, height, left, right, top, bottom = 760, 400, 50, 190, 30, 40
    decades = len(sizes) - 1
    low = min(map(min, each.values())) / 1.15
    high = max(map(max, each.values())) * 1.15

    def x(index):
        return left + (width - left - right) * index / max(decades, 1)

    def y(nanos):
        return top + (height - top - bottom) * (log10(high) - log10(nanos)) / (log10(high) - log10(low))

    parts = [text(left - 42, 18, "ns a job", "title"), text((left + width - right) / 2, height - 6, "jobs of a report", anchor="middle")]
    for index, size in enumerate(sizes):
        parts.append(text(x(index), height - bottom + 16, f"{int(size):,}", "note", "middle"))
    for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000):
        if low <= tick <= high:
            parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
            parts.append(text(left - 6, y(tick) + 4, str(tick), "note", "end"))
    lowest = height
    for peer, nanos in sorted(each.items(), key=lambda item: item[1][-1]):
        kind = "ours" if is_ours(peer) else ""
        points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(nanos))
        parts.append(f'<polyline class="line {kind}" points="{points}"/>')
        parts += [f'<circle class="dot {kind}" cx="{x(index):.1f}" cy="{y(value):.1f}" r="2.5"/>' for index, value in enumerate(nanos)]
        # Names of lines that end close together are moved apart.
        lowest = min(y(nanos[-1]) + 4, lowest - 14)
        parts.append(text(width - right + 8, lowest, peer))
    write(path, width, height, parts)


def text(x, y, content, kind="", anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def write(path, width, height, parts):
    path.parent.mkdir(exist_ok=True)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    path.write_text("\n".join([svg, f"<style>{STYLE}</style>", *parts, "</svg>", ""]), encoding="utf-8")
