"""Packages of npm and PyPI for tests: each set in a folder of its own under target/, installed once."""

import hashlib
import shutil
import subprocess
import sys

# Nothing is asked of the network but the packages, and those only when npm has no copy.
NPM = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "--loglevel=error"]


class Unreachable(Exception):
    """A registry did not give what was asked of it."""


def once(target, wanted, make):
    """Let make(target) fill this folder, unless it did so before with the same bytes `wanted`."""
    stamp, digest = target / "installed", hashlib.sha256(wanted).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    print(f"installing {target.name} for tests", file=sys.stderr, flush=True)
    make(target)
    stamp.write_text(digest)


def npm(target, *packages, before=None):
    """Packages with their versions, `before`: and what they need as it was on that day."""
    day = [f"--before={before}"] if before else []
    run(["npm", "install", "--save-exact", "--prefix", target, *NPM, *day, *packages])


def pip(target, pins, python=sys.executable):
    """Into a folder: that needs neither `venv`, which Debian packs apart, nor a place among the system's packages."""
    flags = ["--quiet", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
    command = [python, "-m", "pip", "install", *flags, "--only-binary=:all:", "--no-deps", "--no-compile"]
    run([*command, "--target", target, "-r", pins])


def run(command):
    if status := subprocess.run(command).returncode:
        raise Unreachable(f"`{' '.join(map(str, command))}` ended with {status}")
