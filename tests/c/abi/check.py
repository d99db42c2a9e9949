#!/usr/bin/env python3
"""Holds the header to the first one of its SONAME (edge_report-0.1.h), as docs/c-abi.md promises: functions, types and numbers stay as they
were, and structs only grow at their end."""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
# What a version says of itself, and macros that follow their structs.
MAY_CHANGE = re.compile(r"EDGE_REPORT_(VERSION\w*|\w+_INIT)\b")


def read(path):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)
    structs = dict(re.findall(r"typedef struct (\w+) \{(.*?)\n\} \1;", text, re.S))
    members = {name: [" ".join(member.split()) for member in body.split(";")[:-1]] for name, body in structs.items()}
    functions = {m[1]: " ".join(m[0].split()) for m in re.finditer(r"^\w[\w *]*?\b(edge_report_\w+)\([^{};]*\);", text, re.M)}
    types = {m[1]: " ".join(m[0].split()) for m in re.finditer(r"^typedef (?:[^{};(]*?)(\w+);|^typedef \w+ \(\*(\w+)\)\([^;]*\);", text, re.M) if m[1]}
    numbers = dict(re.findall(r"^\s*(EDGE_REPORT_\w+) = (\d+)", text, re.M))
    # With the conditions around them: a size differs by machine.
    numbers |= {f"{name} of {i}": value for i, (name, value) in enumerate(re.findall(r'^#define (EDGE_REPORT_(?!\w+_INIT)\w+) (\d+|".*")[ \t]*$', text, re.M))
                if not MAY_CHANGE.match(name) and not name.startswith("EDGE_REPORT_COURIER_")}
    return members, {"function": functions, "type": types, "number": {re.sub(" of .*", "", name): value for name, value in numbers.items()}}


then_structs, then = read(HERE / "edge_report-0.1.h")
now_structs, now = read(ROOT / "include/edge_report.h")
assert len(then["function"]) > 55 and len(then["number"]) > 100 and len(then_structs) > 20
wrong = []
for kind, all_of_them in then.items():
    for name, text in all_of_them.items():
        if now[kind].get(name) != text:
            wrong.append(f"{kind} {name}: was {text}\n  and is {now[kind].get(name)}")
for name, members in then_structs.items():
    is_fixed = not members[0].endswith("struct_size")
    known = now_structs.get(name, [])
    if known[: len(members)] != members or (is_fixed and known != members):
        wrong.append(f"struct {name}: was {members}\n  and is {known}")
if wrong:
    sys.exit("\n".join(["the header breaks programs of its own SONAME (docs/c-abi.md):", *wrong]))
