#!/usr/bin/env python3
"""Writes C that does not compile unless the header's structs have the sizes of bindings/c/src/layout.rs."""

import pathlib
import re

root = pathlib.Path(__file__).resolve().parent.parent.parent
rows = re.findall(r"::(edge_report_\w+), (\d+), (\d+);", (root / "bindings/c/src/layout.rs").read_text())
header = (root / "include/edge_report.h").read_text()
structs = set(re.findall(r"^typedef struct (edge_report_\w+) \{", header, re.M))
assert structs == {name for name, _, _ in rows}, structs ^ {name for name, _, _ in rows}

print("#include <edge_report.h>")
for name, on_64, on_32 in rows:
    print(f'_Static_assert(sizeof({name}) == (sizeof(void *) == 8 ? {on_64} : {on_32}), "{name}");')
