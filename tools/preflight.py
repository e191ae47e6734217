"""What a bare system must have before DeepScan can be set up; needs nothing but some python3.

Looks for a Python 3.11 or 3.12 that can make environments and has the shared libpython that Triton's Python backend
loads, and names everything that is missing together with the one apt line that mends it.

    python3 tools/preflight.py            what `make scan` needs
    python3 tools/preflight.py --bench    what `make bench` needs as well (libb64 for perf_analyzer)

This file must run on any python3 from 3.7 on, so it uses nothing newer.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import json
import os
import platform
import shutil
import subprocess
import sys

WANTED = ("3.11", "3.12")
# Runs inside a candidate interpreter. On Debian `venv` imports without its package, `ensurepip` does not.
PROBE = r"""
import ctypes, importlib.util, json, os, sys, sysconfig
get = sysconfig.get_config_var
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folders = [get("LIBDIR"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or "")]
def loads(path):
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True
shared = any(folder and os.path.exists(os.path.join(folder, name)) for folder in folders)
print(json.dumps({
    "executable": sys.executable,
    "version": "%d.%d" % sys.version_info[:2],
    "full_version": "%d.%d.%d" % sys.version_info[:3],
    "venv": importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None,
    "shared": shared or (sys.base_prefix == "/usr" and loads(name)),
    "system": sys.base_prefix == "/usr",
    "header": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
}))
"""


def probe(command):
    """What an interpreter says of itself, or None where it does not run."""
    try:
        done = subprocess.run(
            [command, "-I", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False
        )
        return json.loads(done.stdout.decode()) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates():
    """Commands that may be a Python, best first; the variable PYTHON stands alone."""
    if os.environ.get("PYTHON"):
        return [os.environ["PYTHON"]]
    names = ["python" + version for version in WANTED] + ["python3"]
    found = [sys.executable] + [path for path in map(shutil.which, names) if path]
    found += ["/usr/bin/" + name for name in names]
    for version in WANTED:
        found += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/" + version + ".*/bin/python")), reverse=True)
    return list(dict.fromkeys(path for path in found if os.path.exists(path)))


def choose():
    """The best interpreter, or None, and every version that was seen.

    The order of :func:`candidates` holds, except that a complete one goes before an incomplete one.
    """
    seen = [found for found in map(probe, candidates()) if found]
    right = [found for found in seen if found["version"] in WANTED]
    complete = [found for found in right if found["venv"] and found["shared"] and not compiler_lacks(found)]
    return (complete or right or [None])[0], sorted({found["full_version"] for found in seen})


def compiler_lacks(found):
    """Packages for building geventhttpclient, of which there is a wheel for Python 3.11 and none for 3.12."""
    if found["version"] == "3.11":
        return []
    lacks = [] if shutil.which("cc") or shutil.which("gcc") else ["gcc", "libc6-dev"]
    return lacks if found["header"] else [*lacks, "python" + found["version"] + "-dev"]


def has_library(name):
    """Whether the loader finds a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def look(bench):
    """Check this machine.

    Returns:
        (interpreter or None, what is missing as [(sentence, packages)], notes as [(sentence, packages)]).
    """
    missing, notes = [], []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        missing.append((f"Linux on x86-64 is needed, this is {sys.platform} on {platform.machine()}", []))
        return None, missing, notes
    glibc = platform.libc_ver()[1] or "0"
    if tuple(int(part) for part in glibc.split(".")[:2]) < (2, 35):
        missing.append(("glibc 2.35 or newer is needed (Debian 12, Ubuntu 22.04), this is " + glibc, []))
    found, seen = choose()
    if found is None:
        asked = os.environ.get("PYTHON")
        where = "PYTHON=" + asked if asked else "this machine"
        # Debian 12 and Ubuntu 24.04 have one of them each; apt says which where it is neither.
        version = "3.12" if 'VERSION_ID="24.04"' in read("/etc/os-release") else "3.11"
        package = "python" + version
        packages = [package, package + "-venv", "lib" + package]
        versions = " (found: " + ", ".join(seen) + ")" if seen else ""
        missing.append((f"Python 3.11 or 3.12 is needed, {where} has none{versions}", packages))
    else:
        python = "python" + found["version"]
        if not found["venv"]:
            packages = [python + "-venv"] if found["system"] else [python, python + "-venv", "lib" + python]
            missing.append(
                ("{} cannot make environments: venv or ensurepip is missing".format(found["executable"]), packages)
            )
        if not found["shared"]:
            packages = ["lib" + python] if found["system"] else [python, python + "-venv", "lib" + python]
            advice = "" if found["system"] else "; it was built without --enable-shared, take the system's own"
            what = "the shared libpython%s of %s is missing, Triton loads it%s"
            missing.append((what % (found["version"], found["executable"], advice), packages))
        lacks = compiler_lacks(found)
        if lacks:
            missing.append(("Python 3.12 builds one package itself: a C compiler and Python.h are needed", lacks))
    if not has_library("libb64.so.0d"):
        entry = ("libb64 is missing, which perf_analyzer (`make bench`) needs", ["libb64-0d"])
        (missing if bench else notes).append(entry)
    return found, missing, notes


def read(path):
    """A text file, empty where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def apt_line(entries):
    """The one line that installs everything that the entries name."""
    packages = list(dict.fromkeys(package for _, needed in entries for package in needed))
    if not packages:
        return ""
    sudo = "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
    return "{}apt-get update && {}apt-get install -y {}".format(sudo, sudo, " ".join(packages))


def report(missing, notes, stream):
    """Print what is missing and how to mend it."""
    for sentence, _ in missing:
        stream.write("missing: " + sentence + "\n")
    for sentence, _ in notes:
        stream.write("note: " + sentence + "\n")
    line = apt_line(missing + notes)
    if missing and line:
        stream.write("mend it with this line, then run make again:\n\n    " + line + "\n\n")
    elif line:
        stream.write("      when you want it: " + line + "\n")


def main():
    """Command line; exit status 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", action="store_true", help="ask for what make bench needs as well")
    arguments = parser.parse_args()
    found, missing, notes = look(arguments.bench)
    report(missing, notes, sys.stdout)
    if not missing and found:
        print("ready: Python {} at {}".format(found["full_version"], found["executable"]))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
