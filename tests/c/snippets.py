#!/usr/bin/env python3
"""Writes the C and C++ programs of README.md and of the header's comments into a folder, one file each; prints their names."""

import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent.parent
folder = pathlib.Path(sys.argv[1])
found = re.findall(r"^```(c|cpp)\n(.*?)^```$", (root / "README.md").read_text(), re.M | re.S)
for example in re.findall(r"@code\{\.c\}\n(.*?)@endcode", (root / "include/edge_report.h").read_text(), re.S):
    found.append(("c", re.sub(r"^ \* ?", "", example, flags=re.M)))
assert len(found) >= 2, "README.md and the header have examples"
for number, (kind, text) in enumerate(found):
    name = f"snippet{number}.{kind}"
    (folder / name).write_text(text)
    print(name)
