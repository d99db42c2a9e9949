"""Prints the public interface of a crate, an item, member or implementation a line, from the directory of its documentation.

    python3 tests/api/interface.py target/doc/edge_report

It reads rustdoc's pages. Its JSON would say more, but no stable compiler gives it, and changes its form every few weeks.
Left out are methods of trait implementations, and what nearly every type has: blanket implementations, and auto traits unless a type
lacks `Send`, `Sync` or `Unpin`.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

KINDS = {"struct", "enum", "union", "trait", "traitalias", "fn", "constant", "static", "macro", "type", "attr", "derive"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
# Of a line as long as the text in a constant.
MAX_LENGTH = 240


class Page(HTMLParser):
    """Finds the declaration of an item, and the headings of what it has: (section of the page, id, text)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.section = ""
        # The open tags: name, id, and whether what is in them is left out.
        self.open = []
        # The depth and the text of what is being taken.
        self.depth = self.text = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in VOID:
            return
        attributes = dict(attributes)
        ident, classes = attributes.get("id") or "", set((attributes.get("class") or "").split())
        if tag == "h2":
            self.section = ident
        self.open.append((tag, ident, tag == "summary" or bool(classes & {"rightside", "tooltip"})))
        if self.text is None and classes & {"item-decl", "code-header"}:
            self.depth, self.text = len(self.open), ""

    def handle_endtag(self, tag):
        while self.open:
            if self.text is not None and len(self.open) == self.depth:
                ident = next((ident for _, ident, _ in reversed(self.open) if ident), "")
                self.found.append((self.section, ident, self.text))
                self.text = None
            if self.open.pop()[0] == tag:
                return

    def handle_data(self, data):
        if self.text is not None and not any(left_out for *_, left_out in self.open[self.depth :]):
            self.text += data


def members(body):
    """Of a declaration, by its indentation."""
    member = ""
    for line in body.splitlines():
        if re.match(r"    [^\s)}]", line) and not line.startswith("    where"):
            yield from [member.removesuffix(",")] if member else []
            member = ""
        if not line.strip().startswith("//") and line != "}":
            member = f"{member} {line.strip()}".strip()
    yield from [member.removesuffix(",")] if member else []


def lines(page, kind, item, module):
    """What a page says of its item."""
    of_trait = False
    for section, ident, text in page.found:
        line = " ".join(text.replace("]pub ", "] pub ").replace(">where", "> where").split())
        if section == "blanket-implementations":
            continue
        if ident.startswith("impl-"):
            of_trait = " for " in line
            is_auto = section == "synthetic-implementations"
            if of_trait and "StructuralPartialEq" not in line and (not is_auto or re.search(r"!(Send|Sync|Unpin)\b", line)):
                yield f"{item}: {line}"
        elif re.match(r"(method|tymethod|associatedconstant|associatedtype)\.", ident):
            # Those of a trait stand in its declaration.
            if not of_trait and kind != "trait" and section == "implementations":
                yield f"{item}: {line}"
        elif kind in ("struct", "enum", "union", "trait") and "\n" in text:
            head, body = text.split("{\n", 1) if "{\n" in text else (text, "")
            yield f"{module}: {' '.join(head.replace(']pub ', '] pub ').split())}"
            for member in members(body):
                yield f"{item}: {member}"
        elif text:
            yield f"{module}: {line}"


def main():
    directory = Path(sys.argv[1])
    all_lines = set()
    for path in directory.rglob("*.html"):
        kind, _, name = path.stem.partition(".")
        if kind in KINDS and name:
            module = "::".join((directory.name, *path.relative_to(directory).parts[:-1]))
            page = Page(path.read_text(encoding="utf-8"))
            all_lines.update(line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + "…" for line in lines(page, kind, f"{module}::{name}", module))
    if not all_lines:
        sys.exit(f"{directory} has no pages of items: is this the directory of a crate's documentation?")
    print("\n".join(sorted(all_lines)))


if __name__ == "__main__":
    main()
