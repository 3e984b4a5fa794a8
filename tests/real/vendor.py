"""The real vendor CLIs for tests: which versions, how to get them, how to point them at a stand-in.

CLINVK_VENDOR says which: without it the pinned versions, and the newest ones of the npm registry where they differ;
`pinned` is the first alone; `claude@2.1.197,codex@0.169.0` are these versions and no others.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import packages

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "CLINVK_VENDOR"

PACKAGES = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
}

PINS = {"claude": "2.1.332", "codex": "0.171.0", "gemini": "0.61.0"}

# A registry that does not answer is no reason to wait for long.
PATIENCE = 120


@dataclass(frozen=True)
class Clis:
    """The three CLIs in one folder, and those of them that are to be tested."""

    kind: str  # pinned, newest, named
    target: Path
    versions: dict
    tested: tuple

    @property
    def commands(self):
        return self.target / "node_modules" / ".bin"

    def tests(self, name):
        """Whether a scenario of this backend, or of all of them together, is to be played with these."""
        return name in (*self.tested, "all")

    def label(self, name):
        """What tells a scenario's name from that of another folder: `newest codex 0.172.0`; "" for the pins."""
        if self.kind == "pinned":
            return ""
        named = [name] if name in self.versions else self.tested
        return " ".join([self.kind, *(f"{each} {self.versions[each]}" for each in named)])

    def install(self):
        """Install them unless that was done before."""
        wanted = [f"{PACKAGES[name]}@{version}" for name, version in self.versions.items()]
        packages.once(self.target, json.dumps(wanted).encode(), lambda target: packages.npm(target, *wanted))

    def environment(self, names: list[str], home: Path, url: str) -> dict[str, str]:
        """The complete environment in which these CLIs talk to `url` only, with their files under `home`.

        It is a user's set-up behind a proxy, no more: what clinvk has to set for itself (gemini's
        trust and retention, retries, ...) is left for clinvk to set.
        """
        env = {"HOME": str(home), "PATH": self.path, "LANG": "C.UTF-8"}
        for name in names:
            env |= SETTERS[name](Path(home), url)
        return env

    @property
    def path(self):
        """PATH: the CLIs, Node for them, and the system."""
        node = Path(shutil.which("node")).parent
        return os.pathsep.join([str(self.commands), str(node), "/usr/bin", "/bin"])


def installed() -> list[Clis]:
    """The folders to test, each installed.  Ends the program when that cannot be."""
    with _registry():
        folders = _all()
        for clis in folders:
            clis.install()
    return folders


def one() -> Clis:
    """The folder for what is no test: the pinned versions, or those that CLINVK_VENDOR names."""
    with _registry():
        clis = _chosen()
        clis.install()
    return clis


@contextlib.contextmanager
def _registry():
    try:
        yield
    except packages.Unreachable as error:
        sys.exit(f"the vendors' CLIs cannot be had from the npm registry: {error}")


def _chosen():
    chosen = os.environ.get(VARIABLE, "")
    if chosen in ("", "pinned"):
        return Clis("pinned", ROOT / "target" / "vendor", PINS, tuple(PINS))
    named = _named(chosen)
    return Clis("named", ROOT / "target" / "vendor-named", PINS | named, tuple(named))


def _all():
    clis, chosen = _chosen(), os.environ.get(VARIABLE, "")
    if chosen:
        _say(f"{VARIABLE}={chosen}: the newest versions are not asked for and not tested")
        return [clis]
    newest = {name: _newest(name) for name in PACKAGES}
    differ = tuple(name for name in PACKAGES if newest[name] != PINS[name])
    if not differ:
        _say("the pinned versions are the newest ones: " + ", ".join(f"{name} {newest[name]}" for name in newest))
        return [clis]
    for name in differ:
        _say(f"newest {name} is {newest[name]}, pinned is {PINS[name]}: both are tested")
    return [clis, Clis("newest", ROOT / "target" / "vendor-newest", newest, differ)]


def _named(chosen):
    """`claude@2.1.197,codex@0.169.0` by name."""
    named = {}
    for part in chosen.split(","):
        name, _, version = part.strip().partition("@")
        if name not in PACKAGES or not version:
            sys.exit(f"{VARIABLE}: `{part}` is neither `pinned` nor a version such as `codex@0.169.0`")
        named[name] = version
    return named


def _newest(name):
    """The version that the registry calls the latest one."""
    command = ["npm", "view", "--prefer-online", "--fetch-retries=1", "--json", PACKAGES[name], "dist-tags.latest"]
    what = f"which {name} is the newest; {VARIABLE}=pinned does without"
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        version = json.loads(asked.stdout)
    except subprocess.TimeoutExpired:
        raise packages.Unreachable(f"it does not say within {PATIENCE} s {what}") from None
    except ValueError:
        version = None
    if asked.returncode or not isinstance(version, str):
        raise packages.Unreachable(f"it does not say {what}\n{asked.stderr.strip()}")
    return version


def _say(words):
    print(f"vendors' CLIs: {words}", flush=True)


def _claude(home, url):
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "dummy",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _codex(home, url):
    # A provider of its own, since the built-in one tries WebSockets for seconds first.
    _write(
        home / ".codex" / "config.toml",
        f"""\
model = "stub-model"
model_provider = "stub"
check_for_update_on_startup = false

[model_providers.stub]
name = "stub"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "STUB_API_KEY"

[analytics]
enabled = false
""",
    )
    return {"CODEX_HOME": str(home / ".codex"), "STUB_API_KEY": "dummy"}


def _gemini(home, url):
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
    }
    _write(home / ".gemini" / "settings.json", json.dumps(settings))
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "dummy"}


SETTERS = {"claude": _claude, "codex": _codex, "gemini": _gemini}


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    for clis in installed():
        print(clis.commands)
