#!/usr/bin/env python3
"""Writes the C and C++ programs of the documentation and of the header's comments into a directory, one file each; prints their names.

A block without a `main` becomes the body of one.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# tests/docs.py looks here for who compiles the blocks of a page.
PAGES = ["README.md", "docs/c.md", "docs/c-abi.md", "docs/c-cross.md", "docs/bare-metal.md", "docs/flink.md"]
AROUND = "#include <edge_report.h>\n#include <stdio.h>\n\nint main(void) {{\n{}  return 0;\n}}\n"

directory = pathlib.Path(sys.argv[1])
found = [block for page in PAGES for block in re.findall(r"^```(c|cpp)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)]
for example in re.findall(r"@code\{\.c\}\n(.*?)@endcode", (ROOT / "include/edge_report.h").read_text(), re.S):
    found.append(("c", re.sub(r"^ \* ?", "", example, flags=re.M)))
assert len(found) >= 5, "the pages and the header have examples"
for number, (kind, text) in enumerate(found):
    name = f"snippet{number}.{kind}"
    (directory / name).write_text(text if "int main(" in text else AROUND.format(text))
    print(name)
