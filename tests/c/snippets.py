#!/usr/bin/env python3
"""Writes the C and C++ programs of README.md, docs and the header's comments into a folder, one file each; prints their names."""

import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent.parent
folder = pathlib.Path(sys.argv[1])
pages = "".join(page.read_text() for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))])
found = re.findall(r"^```(c|cpp)\n(.*?)^```$", pages, re.M | re.S)
for example in re.findall(r"@code\{\.c\}\n(.*?)@endcode", (root / "include/edge_report.h").read_text(), re.S):
    found.append(("c", re.sub(r"^ \* ?", "", example, flags=re.M)))
assert len(found) >= 2, "the documentation and the header have examples"
for number, (kind, text) in enumerate(found):
    name = f"snippet{number}.{kind}"
    (folder / name).write_text(text)
    print(name)
