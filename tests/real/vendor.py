"""The real vendor CLIs for tests: which versions, how to get them, how to point them at a stand-in."""

import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target" / "vendor"

PACKAGES = {
    "claude": "@anthropic-ai/claude-code@2.1.197",
    "codex": "@openai/codex@0.169.0",
    "gemini": "@google/gemini-cli@0.61.0",
}


def install(target: Path = TARGET) -> Path:
    """Install the pinned CLIs unless that was done before; gives the folder of their commands."""
    marker = target / "installed.json"
    wanted = json.dumps(PACKAGES)
    if not marker.exists() or marker.read_text() != wanted:
        target.mkdir(parents=True, exist_ok=True)
        # Nothing is asked of the network but the packages, and those only when npm has no copy.
        flags = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "--loglevel=error"]
        subprocess.run(["npm", "install", "--prefix", target, *flags, *PACKAGES.values()], check=True)
        marker.write_text(wanted)
    return commands(target)


def commands(target: Path = TARGET) -> Path:
    return target / "node_modules" / ".bin"


def environment(names: list[str], home: Path, url: str, target: Path = TARGET) -> dict[str, str]:
    """The complete environment in which these CLIs talk to `url` only, with their files under `home`.

    It is a user's set-up behind a proxy, no more: what clinvk has to set for itself (gemini's
    trust and retention, retries, ...) is left for clinvk to set.
    """
    node = Path(shutil.which("node")).parent
    env = {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(commands(target)), str(node), "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
    }
    for name in names:
        env |= _SETTERS[name](Path(home), url)
    return env


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


_SETTERS = {"claude": _claude, "codex": _codex, "gemini": _gemini}


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    print(install())
