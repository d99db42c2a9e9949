"""The programs that are compared: what builds and installs them, and what is said where one cannot be."""

import json
import os
import pathlib
import shutil
import subprocess
import venv
from dataclasses import dataclass

BENCHES = pathlib.Path(__file__).resolve().parent.parent
PEERS = BENCHES / "peers"
CACHE = BENCHES / ".cache"
# Each workload's bytes and fields, for the programs that are not ours.
WORKLOADS = CACHE / "workloads"
SDK = "huaweicloudsdkdli==3.1.219"


class Absent(Exception):
    """Why a peer is not measured."""


@dataclass
class Programs:
    encode: str
    # The same with the feature `simd`.
    encode_simd: str
    client: str
    # Commands for encoders and readers outside Rust, without their arguments' last: a number of rounds, or a workload.
    outside: dict
    curl: str | None
    # A line for each that is not measured.
    absent: list


def prepare():
    CACHE.mkdir(exist_ok=True)
    encode_simd = shutil.copy(cargo("encode", "--features=simd"), CACHE / "encode-simd")
    encode, client = cargo("encode"), cargo("client")
    write_workloads(encode)
    programs = Programs(encode, encode_simd, client, {}, None, [])
    makers = {
        "simdjson": simdjson,
        "yyjson": yyjson,
        "RapidJSON": rapidjson,
        "JavaScript": javascript,
        "the vendor's SDK": sdk,
    }
    for name, make in makers.items():
        try:
            programs.outside[name] = [*make(), str(WORKLOADS)]
        except Absent as why:
            programs.absent.append(f"{name} is not measured: {why}")
    try:
        curl = ["cc", "-O2", str(PEERS / "curl.c"), "-lcurl"]
        programs.curl = compiled("curl", curl, "apt-get install libcurl4-openssl-dev")
    except Absent as why:
        programs.absent.append(f"libcurl is not measured: {why}")
    if not (BENCHES.parent / "bindings/wasm/dist/node.js").exists():
        build = "cd bindings/wasm && npm ci && npm run build"
        programs.absent.append(f"edge-report (npm) is not measured: it is not built ({build})")
    return programs


def cargo(crate, *features):
    subprocess.run(["cargo", "build", "--release", *manifest(crate), *features], check=True)
    return f"{metadata(crate)['target_directory']}/release/edge-report-bench-{crate}"


def metadata(crate):
    command = ["cargo", "metadata", "--no-deps", "--format-version=1", *manifest(crate)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def manifest(crate):
    return ["--quiet", "--locked", "--manifest-path", str(BENCHES / crate / "Cargo.toml")]


def write_workloads(encode):
    WORKLOADS.mkdir(exist_ok=True)
    for number in range(1, 8):
        for part, end in {"bytes": "json", "fields": "fields"}.items():
            with open(WORKLOADS / f"W{number}.{end}", "wb") as file:
                subprocess.run([encode, part, f"W{number}"], check=True, stdout=file)


def simdjson():
    vendored = source("simdjson.txt", "fastsimdjson") / "vendor"
    flags = ["-isystem", str(vendored), str(PEERS / "simdjson.cpp"), str(vendored / "simdjson.cpp")]
    return [cpp("simdjson", flags)]


def yyjson():
    vendored = source("yyjson.txt", "yyjson") / "yyjson"
    built = compiled("yyjson.o", ["cc", "-O3", "-c", str(vendored / "yyjson.c")], "apt-get install gcc")
    return [cpp("yyjson", ["-isystem", str(vendored), str(PEERS / "yyjson.cpp"), built])]


def rapidjson():
    return [cpp("rapidjson", [str(PEERS / "rapidjson.cpp")], "apt-get install rapidjson-dev")]


def javascript():
    if not shutil.which("node") or not shutil.which("npm"):
        raise Absent("node or npm is not there")
    run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], "npm ci fails", cwd=PEERS)
    return ["node", str(PEERS / "stringify.mjs")]


def sdk(script="sdk.py"):
    python = CACHE / "venv/bin/python"
    run([pip(), "install", "--quiet", "--disable-pip-version-check", "--retries=2", SDK], f"{SDK} cannot be installed")
    return [str(python), str(PEERS / script)]


def pip():
    if not (CACHE / "venv/bin/pip").exists():
        try:
            venv.create(CACHE / "venv", with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise Absent(f"no virtual environment (apt-get install python3-venv): {error}") from error
    return str(CACHE / "venv/bin/pip")


def source(requirement, package):
    """The unpacked source of a package."""
    there = list(CACHE.glob(f"{package}-*/"))
    if not there:
        how = ["--quiet", "--disable-pip-version-check", "--retries=2", "--no-deps", "--no-binary=:all:", "--require-hashes"]
        run([pip(), "download", *how, "-r", str(PEERS / requirement), "-d", str(CACHE)], "pip download fails")
        for archive in CACHE.glob(f"{package}-*.tar.gz"):
            run(["tar", "-xzf", str(archive), "-C", str(CACHE)], f"{archive.name} cannot be unpacked")
        there = list(CACHE.glob(f"{package}-*/"))
    return there[0]


def cpp(name, arguments, package="apt-get install g++"):
    return compiled(name, ["c++", "-O3", "-std=c++20", *arguments], package)


def compiled(name, command, package):
    """Compiled anew when a source is newer."""
    out = CACHE / "bin" / name
    out.parent.mkdir(exist_ok=True)
    sources = [pathlib.Path(part) for part in command if os.path.isfile(part)] + [PEERS / "peer.hpp"]
    if not out.exists() or any(part.stat().st_mtime > out.stat().st_mtime for part in sources):
        run([*command, "-o", str(out)], f"it does not compile ({package})")
    return str(out)


def run(command, why, **how):
    try:
        done = subprocess.run(command, capture_output=True, text=True, **how)
    except OSError as error:
        raise Absent(f"{why}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in said if "error" in line.lower()]
        raise Absent(f"{why}: {(errors or said or [done.returncode])[-1]}")


def versions():
    """What was built with what."""
    said = [["rustc", "--version"], ["c++", "--version"], ["node", "--version"]]
    tree = ["cargo", "tree", "--depth=1", "--prefix=none", "--format={p}", *manifest("encode")]
    crates = first_lines(tree, 100)
    tools = ["Node " + line if line.startswith("v") else line for command in said for line in first_lines(command, 1)]
    peers = [" ".join(line.split()[:2]).replace(" v", " ") for line in crates if "edge-report" not in line]
    return [", ".join(tools) + ".", ", ".join(peers) + "."]


def first_lines(command, count):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[:count]
    except (OSError, subprocess.CalledProcessError):
        return []
