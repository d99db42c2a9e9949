"""Which file of src imports which: no file imports upwards, and no files import each other in a circle.

All paths in the code count, with `use` or without, below any `cfg`; those in comments, strings and unit tests do not. A name that
a `mod.rs` only passes on counts for the file that has it.

    python3 tests/layers.py            checks
    python3 tests/layers.py --list     prints what each file imports
"""

import re
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"

# From the ground up: a file imports what stands on its own line or on lines above it.
ROOMS = [
    ["code.rs", "divide.rs", "small.rs", "split.rs", "time.rs"],
    ["json"],
    ["report"],
    ["exchange"],
    ["courier"],
    ["flink"],
    ["host"],
    ["lib.rs"],
]
# The same inside of the courier, but those on one line know nothing of each other.
COURIER = [
    ["entropy.rs", "reason.rs"],
    ["outbox.rs"],
    ["aside.rs", "newest.rs", "policy.rs"],
    ["engine", "log", "ram"],
]

# Circles that may be, and why. A file that is in none any more must leave its line.
CIRCLES = [
    # `Courier` is one type; each file has the methods of one question.
    ["courier/engine.rs", *(f"courier/engine/{name}.rs" for name in ("canary", "held", "outcome", "round", "turn", "witness"))],
    # What `Sink` offers to write is written by these, into any `Sink`.
    ["json/sink.rs", "json/integer.rs", "json/string.rs", "json/kernel"],
    # `Client::builder` and `ClientBuilder::build`.
    ["host/client.rs", "host/builder.rs"],
    # One picks between the other two, and has what both need.
    ["host/tls.rs", "host/tls_rustls.rs", "host/tls_system.rs"],
]

# The machine decides which of the two is the module `json::kernel`.
KERNEL = {"json/blocks.rs": "json/kernel", "json/words.rs": "json/kernel"}


def without_comments(text):
    """Without comments, strings and characters, in which anything may stand."""
    token = r'//[^\n]*|/\*.*?\*/|b?r(?P<hashes>#*)".*?"(?P=hashes)|[bc]?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\\\'])\''
    return re.sub(token, " ", text, flags=re.S)


def block_end(code, start):
    """After the brace that closes the next one that opens."""
    depth = 0
    for brace in re.finditer(r"[{}]", code[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return start + brace.end()
    sys.exit("a block does not end")


def without_tests(code):
    while found := re.search(r"#\[cfg\(test\)\][^{;]*[{;]", code):
        end = found.end() if found[0].endswith(";") else block_end(code, found.end() - 1)
        code = code[: found.start()] + code[end:]
    return code


def leaves(tree, before=()):
    """`a::{b, c as d}` names (a, b) as b, and (a, c) as d."""
    head, brace, rest = tree.partition("{")
    path, _, name = head.partition(" as ")
    path = before + tuple(re.findall(r"\w+|\*", path))
    if not brace:
        return [(path, name.strip() or path[-1])]
    found, part, depth = [], "", 0
    for char in rest.rstrip().removesuffix("}") + ",":
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            found += leaves(part.strip(), path) if part.strip() else []
            part = ""
        else:
            part += char
    return found


class File:
    def __init__(self, path):
        name = path.relative_to(SRC).as_posix()
        self.name = KERNEL.get(name, name)
        self.module = tuple(self.name.removesuffix(".rs").split("/"))
        self.is_front = self.module[-1] in ("mod", "lib")
        if self.is_front:
            self.module = self.module[:-1]
        code = without_tests(without_comments(path.read_text(encoding="utf-8")))
        self.children = set(re.findall(r"\bmod (\w+)\s*;", code))
        # Modules written in this file: there, `super` is this file.
        inner = [(found.start(), block_end(code, found.start())) for found in re.finditer(r"\bmod \w+\s*{", code)]

        self.imports, self.passed_on = [], {}

        def take(path, place, name=None):
            depth = sum(start < place < end for start, end in inner)
            path = self.absolute(path, depth)
            if path is None:
                return
            if name:
                self.passed_on.setdefault(name, []).append(path)
            if not (name and self.is_front):
                self.imports.append(path)

        def use(found):
            for path, name in leaves(" ".join(found[2].split())):
                take(path, found.start(), name if found[1] else None)
            return " " * len(found[0])

        code = re.sub(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);", use, code)
        for found in re.finditer(r"\b(?:crate|super)(?:\s*::\s*\w+)+", code):
            take(tuple(re.findall(r"\w+", found[0])), found.start())

    def absolute(self, path, depth):
        """From the root of the crate; None for other crates, and for what is in this file."""
        if path[0] == "crate":
            return path[1:]
        if path[0] not in ("self", "super"):
            return self.module + path if path[0] in self.children else None
        here = list(self.module) + [None] * depth
        while path and path[0] in ("self", "super"):
            if path[0] == "super":
                here.pop()
            path = path[1:]
        return None if None in here else (*here, *path)


files = [File(path) for path in sorted(SRC.rglob("*.rs"))]
modules = {}
for file in files:
    modules.setdefault(file.module, []).append(file)


def homes(path, seen=()):
    """The files that have what a path names."""
    cut = len(path)
    while path[:cut] not in modules:
        cut -= 1
    found = set()
    for file in modules[path[:cut]]:
        targets = file.passed_on.get(path[cut], []) if cut < len(path) else []
        if cut < len(path) and not targets:
            # `pub use report::*`
            insides = (target[:-1] for target in file.passed_on.get("*", []))
            targets = [(*inside, path[cut]) for inside in insides if path[cut] in modules[inside][0].passed_on]
        targets = [(*target, *path[cut + 1 :]) for target in targets]
        targets = [target for target in targets if target not in seen]
        found |= set().union(*(homes(target, (*seen, path)) for target in targets)) if targets else {file.name}
    return found


arrows = {file.name: set() for file in files}
for file in files:
    for path in file.imports:
        arrows[file.name] |= homes(path) - {file.name}

if sys.argv[1:] == ["--list"]:
    for name, targets in sorted(arrows.items()):
        print(f"{name}:", *sorted(targets))
    sys.exit()


def floor(name, floors):
    """On which line it stands."""
    for number, line in enumerate(floors):
        if any(name.removesuffix(".rs") == one.removesuffix(".rs") or name.startswith(f"{one}/") for one in line):
            return number
    sys.exit(f"tests/layers.py does not say where {name} stands")


wrong = []
for name, targets in sorted(arrows.items()):
    floor(name, ROOMS)
    for target in sorted(targets):
        if floor(target, ROOMS) > floor(name, ROOMS):
            wrong.append(f"src/{name} imports upwards, from src/{target}")
        inside = [one.removeprefix("courier/") for one in (name, target)]
        if not (name.startswith("courier/") and target.startswith("courier/")) or "mod.rs" in inside:
            continue
        here, there = (floor(one, COURIER) for one in inside)
        tops = [one.split("/")[0].removesuffix(".rs") for one in inside]
        if there > here or (there == here and tops[0] != tops[1]):
            wrong.append(f"src/{name} may know nothing of src/{target}")


def reached(start):
    seen, todo = set(), [start]
    while todo:
        new = arrows[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


reach = {name: reached(name) for name in arrows}
circles = {frozenset(other for other in reach[name] if name in reach[other]) for name in arrows} - {frozenset()}
for circle in sorted(map(sorted, circles)):
    if not any(set(circle) <= set(allowed) for allowed in CIRCLES):
        wrong.append(f"these files of src import each other in a circle: {', '.join(circle)}")
for allowed in CIRCLES:
    for name in sorted(set(allowed) - set().union(*circles)):
        wrong.append(f"src/{name} is in no circle any more: strike it out in tests/layers.py")

if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(arrows)} files, {sum(map(len, arrows.values()))} imports, none upwards, {len(circles)} circles that may be")
