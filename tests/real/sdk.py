"""The real SDKs for tests: how to get the versions that tests/clients pins."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import vendor

SCRIPTS = vendor.ROOT / "tests" / "clients"
TARGET = vendor.ROOT / "target" / "clients"

# Sets of Python packages: a file of pins each, because they want different versions of the same packages.
PYTHON = ["openai", "openai1", "anthropic", "langchain", "litellm"]


def install():
    """Install what is pinned unless that was done before."""
    for name in PYTHON:
        pins = SCRIPTS / f"{name}.txt"
        # Some packages have a compiled part.
        _once(TARGET / name, pins.read_bytes() + sys.version.encode(), lambda target, pins=pins: _pip(pins, target))
    files = [SCRIPTS / name for name in ("package.json", "package-lock.json")]
    _once(TARGET / "npm", b"".join(file.read_bytes() for file in files), lambda target: _npm(files, target))
    # A module of Node's finds its packages beside itself.
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, TARGET / "npm")


def _once(target, wanted, make):
    stamp, digest = target / "installed", hashlib.sha256(wanted).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    print(f"installing {target.name} for tests", file=sys.stderr, flush=True)
    make(target)
    stamp.write_text(digest)


def _pip(pins, target):
    """Into a folder: that needs neither `venv`, which Debian packs apart, nor a place among the system's packages."""
    flags = ["--quiet", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--only-binary=:all:", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", target, "-r", pins], check=True)


def _npm(files, target):
    for file in files:
        shutil.copy(file, target)
    flags = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "--loglevel=error"]
    subprocess.run(["npm", "ci", "--prefix", target, *flags], check=True)
