"""The documentation holds together: each block of code is run by a test, each link leads somewhere, and no page is left out.

A block is run where a runner of its language names the page. Pages for those who measure or change the library have commands that nobody
runs; of these, the files, packages and tests that they name must be there, and in all pages the files in backticks.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNERS = {
    "rust": ["src/lib.rs", "tests/packages/run"],
    "c": ["tests/c/snippets.py"],
    "cpp": ["tests/c/snippets.py"],
    "js": ["bindings/wasm/test/package.test.js"],
    "ts": ["bindings/wasm/test/package.test.js"],
    "sh": ["tests/host/examples.rs", "tests/c/delivery/run", "bindings/wasm/test/package.test.js", "crates/receiver/tests/chapter.rs", "crates/agent/tests/chapter.rs"],
    "sql": ["crates/receiver/tests/chapter.rs"],
    "text": ["crates/receiver/tests/chapter.rs"],
    "toml": ["crates/receiver/tests/chapter.rs", "crates/agent/tests/chapter.rs"],
}
BY_HAND = ["CONTRIBUTING.md", "docs/c-cross.md", "docs/measurements/"]
FIRST = ["README.md", "docs/architecture.md"]
# What commands make.
MADE = ("fuzz/corpus", "examples/web/dist")
# In backticks these are places in the repository, but for patterns and what is to be filled in.
DIRECTORIES = r"`((?:bindings|benches|crates|docs|examples|fuzz|include|src|tests)/[a-z0-9_./-]*)`"


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


MANIFESTS = "".join((ROOT / path).read_text() for path in git("ls-files", "*Cargo.toml").split())
wrong = []


def blocks(text):
    """The words after the opening fence, and the content, of each block."""
    language, lines = None, []
    for line in text.splitlines():
        fence = line.strip().startswith("```")
        if fence and language is None:
            language, lines = line.strip()[3:], []
        elif fence:
            yield language, "\n".join(lines)
            language = None
        elif language is not None:
            lines.append(line)


def look_at_block(page, language, text):
    if language == "json":
        json.loads(text)
    elif language == "sh" and page.startswith(tuple(BY_HAND)):
        named = re.findall(r"(?:-p|--package|--test) ([\w-]+)", text)
        files = re.findall(r"(?<![\w$./{}-])\w[\w.-]*(?:/[\w.-]+)+", text)
        wrong.extend(f"{page}: no package or test {name}" for name in named if f'name = "{name}"' not in MANIFESTS)
        wrong.extend(f"{page}: no file {name}" for name in files if not (ROOT / name).exists() and not name.startswith(MADE))
    elif "ignore" in language or not any(names(runner, page) for runner in RUNNERS.get(language.split(",")[0], [])):
        wrong.append(f"{page}: no test runs its blocks of {language or 'no language'}")


def names(runner, page):
    return re.search(rf"""(?:["' ]|\.\./){re.escape(page)}\b""", (ROOT / runner).read_text())


def anchors(page):
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?ms)^ *```.*?^ *```", "", (ROOT / page).read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page, text):
    """The files of this repository that a page leads to."""
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            wrong.append(f"{page}: a link to {link}, which is not there")
            continue
        name = str(target.resolve().relative_to(ROOT))
        if anchor and anchor not in anchors(name):
            wrong.append(f"{page}: {name} has no heading for #{anchor}")
        yield name


pages = [page for page in git("ls-files", "--cached", "--others", "--exclude-standard", "*.md").split() if (ROOT / page).exists()]
leads_to = {}
for page in pages:
    text = (ROOT / page).read_text()
    for language, block in blocks(text):
        look_at_block(page, language, block)
    leads_to[page] = set(links(page, text))
    wrong.extend(f"{page}: no {name}" for name in re.findall(DIRECTORIES, text) if not (ROOT / name).exists() and not name.startswith(MADE))

for first in FIRST:
    seen, new = set(), [first]
    while new:
        page = new.pop()
        if page not in seen:
            seen.add(page)
            new.extend(leads_to.get(page, ()))
    left_out = [page for page in pages if page.startswith("docs/") and page not in seen]
    wrong.extend(f"{page}: not reached from {first}" for page in left_out)

for line in git("grep", "-noE", r"\bdocs/[a-z-]+(/[a-z-]+)*\.md").splitlines():
    place, number, name = line.split(":")
    if not (ROOT / place).exists() or (ROOT / name).exists() or (ROOT / place).parent.joinpath(name).exists():
        continue
    wrong.append(f"{place}:{number}: {name} is not there")

if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(pages)} pages")
