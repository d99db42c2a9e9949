"""The rust-version that Cargo.toml promises is one that all crates of Cargo.lock allow, over all features and platforms.

Dependencies are checked with those of the tests and examples: README has people run the examples with that version.
What the project's own code uses of std is checked by clippy (incompatible_msrv).
"""

import json
import subprocess
import sys


def version(text):
    return tuple(int(part) for part in f"{text}.0".split(".")[:3])


command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
members = metadata["workspace_members"]


def needed(kinds):
    """The crates that the workspace needs in these ways; what only their own tests need is left out."""
    seen, open_ids = set(), list(members)
    while open_ids:
        here = open_ids.pop()
        for dependency in nodes[here]["deps"]:
            used = {kind["kind"] for kind in dependency["dep_kinds"]}
            if dependency["pkg"] not in seen and used & (kinds if here in members else {None, "build"}):
                seen.add(dependency["pkg"])
                open_ids.append(dependency["pkg"])
    return [packages[id] for id in seen - set(members)]


promised = {packages[id]["rust_version"] for id in members}
if len(promised) != 1 or None in promised:
    sys.exit(f"the members of the workspace differ in rust-version: {promised}")
promised = promised.pop()

with open("README.md", encoding="utf-8") as readme:
    failed = f"Rust {promised} or newer" not in readme.read()
if failed:
    print(f"README.md does not say: Rust {promised} or newer")

for name, kinds in ("users", {None, "build"}), ("tests and examples", {None, "build", "dev"}):
    crates = needed(kinds)
    told = [crate for crate in crates if crate["rust_version"]]
    highest = max(version(crate["rust_version"]) for crate in told)
    names = sorted(f"{crate['name']} {crate['version']}" for crate in told if version(crate["rust_version"]) == highest)
    highest = ".".join(map(str, highest))
    silent = len(crates) - len(told)
    print(f"for {name}: {len(crates)} crates ({silent} do not say), the highest wants Rust {highest}: {', '.join(names)}")
    for crate in told:
        if version(crate["rust_version"]) > version(promised):
            failed = True
            print(f"{crate['name']} {crate['version']} wants Rust {crate['rust_version']}, Cargo.toml promises {promised}")
if failed:
    sys.exit(1)
