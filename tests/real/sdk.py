"""The real SDKs for tests: how to get the versions that tests/clients pins."""

import shutil
import sys

import packages
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
        packages.once(TARGET / name, pins.read_bytes() + sys.version.encode(), lambda target, pins=pins: packages.pip(target, pins))
    files = [SCRIPTS / name for name in ("package.json", "package-lock.json")]
    packages.once(TARGET / "npm", b"".join(file.read_bytes() for file in files), lambda target: _npm(files, target))
    # A module of Node's finds its packages beside itself.
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, TARGET / "npm")


def _npm(files, target):
    for file in files:
        shutil.copy(file, target)
    packages.run(["npm", "ci", "--prefix", target, *packages.NPM])
