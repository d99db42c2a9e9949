#!/usr/bin/env python3
"""Writes C that does not compile unless the header's structs have the sizes of bindings/c/src/layout.rs."""

import pathlib
import re

root = pathlib.Path(__file__).resolve().parent.parent.parent
table = (root / "bindings/c/src/layout.rs").read_text()
header = (root / "include/edge_report.h").read_text()
structs = set(re.findall(r"^typedef struct (edge_report_\w+) \{", header, re.M))

print("#include <edge_report.h>")
found = set()
# A part of the table may be for one of the two builds.
for condition, part in re.findall(r"^(#\[cfg\([^\n]*\n)?(?:sizes|growing)! \{\n(.*?)^\}", table, re.M | re.S):
    print("#ifdef EDGE_REPORT_BARE" if "not(feature" in condition else "#ifndef EDGE_REPORT_BARE" if condition else "#if 1")
    for name, on_64, on_32 in re.findall(r"::(edge_report_\w+), (\d+), (\d+);", part):
        found.add(name)
        print(f'_Static_assert(sizeof({name}) == (sizeof(void *) == 8 ? {on_64} : {on_32}), "{name}");')
    print("#endif")
assert structs == found, structs ^ found
