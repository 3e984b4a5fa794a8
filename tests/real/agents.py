"""The agents that clinvk knows by name, for tests: which versions, how to get them, how to point them at a stand-in.

CLINVK_AGENTS says which: without it all of them; `opencode,qwen` are these alone, `-kimi,-vibe` all but these, and
`none` is none.  What is left out is printed and counted.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import packages
import vendor

VARIABLE = "CLINVK_AGENTS"
TARGET = vendor.ROOT / "target" / "agents"
# A file of pins for each that is from PyPI.
PINS = vendor.ROOT / "tests" / "agents"

# What npm's agents need besides is of this day.
DAY = "2026-11-29"

# Most of npm's agents want a newer Node than Debian's.
NODE = "node@22.23.3"

# A client of agents, which wants that Node too.
ACPX = "acpx@0.19.1"

# A server of the same kind as ours, for claude alone.
PROXY = "claude-max-api-proxy@1.0.0"

# Those of PyPI's agents that speak the protocol want it.
PYTHON = "3.13"

# The two models that the agents' own configuration knows, where that is a thing one configures.
MODELS = ("stub-model", "stub-other")

# Their contexts, in tokens: a prompt of a megabyte has to fit.
LARGE = 2_000_000


@dataclass(frozen=True)
class Agent:
    name: str
    # What starts it in the way that clinvk knows by itself.
    command: list
    # Its files below a home, and the variables, with which it talks to a model at this URL.
    lead: Callable[[Path, str], dict]
    # Its package of npm; none: it is from PyPI.
    package: str = ""
    # What clinvk's configuration says of it.
    declared: dict = field(default_factory=dict)
    # The file names that it leaves in TMPDIR.
    litter: str = "(?!)"

    @property
    def folder(self):
        return TARGET / self.name

    def install(self, python):
        if self.package:
            make = lambda target: packages.npm(target, self.package, before=DAY)
            return packages.once(self.folder, f"{self.package} {DAY}".encode(), make)
        pins = PINS / f"{self.name}.txt"
        packages.once(self.folder, pins.read_bytes() + python.encode(), lambda target: packages.pip(target, pins, python))


class Installed:
    """The agents that are to be tested; to a scene it is what a folder of the vendors' CLIs is."""

    def __init__(self, agents):
        self.tested = tuple(agents)

    def tests(self, name):
        return name in self.tested

    def label(self, name):
        return ""

    def environment(self, names: list[str], home: Path, url: str) -> dict[str, str]:
        """The complete environment of a user who has this agent, and of clinvk's configuration what it takes to use it."""
        [agent] = [AGENTS[name] for name in names]
        env = {"HOME": str(home), "PATH": _path(agent.folder), "LANG": "C.UTF-8"}
        if not agent.package:
            env["PYTHONPATH"] = str(agent.folder)
        if agent.declared:
            _write(Path(home) / ".clinvk" / "config.json", json.dumps({"backends": {agent.name: agent.declared}}))
        return env | agent.lead(Path(home), url)


def installed(names=None) -> Installed:
    """Those of these agents (none: all) that are to be tested and can be, installed.  Ends the program when that cannot be."""
    names = list(AGENTS) if names is None else names
    left_out, python = dict.fromkeys(_unwanted(names), f"{VARIABLE}={os.environ.get(VARIABLE)}"), _python()
    if not python:
        why = f"there is no Python {PYTHON} here, neither `python{PYTHON}` on PATH nor one of pyenv's"
        left_out |= {name: why for name in names if not AGENTS[name].package and name not in left_out}
    wanted = [name for name in names if name not in left_out]
    for name, why in left_out.items():
        print(f"agents: {name} is NOT TESTED: {why}", flush=True)
    try:
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(install_node), *(pool.submit(AGENTS[name].install, python) for name in wanted)]:
                done.result()
    except packages.Unreachable as error:
        sys.exit(f"the agents cannot be had from npm and PyPI: {error}; {VARIABLE} chooses, see tests/real/agents.py")
    return Installed(wanted)


def install_acpx():
    _install("acpx", ACPX)


def install_proxy():
    _install("proxy", PROXY)


def _install(folder, package):
    """A program that wants that Node too."""
    install_node()
    packages.once(TARGET / folder, f"{package} {DAY}".encode(), lambda target: packages.npm(target, package, before=DAY))


def install_node():
    packages.once(TARGET / "node", NODE.encode(), lambda target: packages.npm(target, NODE))


def _path(folder):
    """PATH: the programs of this folder's packages, Node for them, and the system."""
    own = [folder / "node_modules" / ".bin", folder / "bin", TARGET / "node" / "node_modules" / ".bin"]
    return os.pathsep.join([*map(str, own), "/usr/bin", "/bin"])


ACPX_PATH = _path(TARGET / "acpx")
PROXY_PATH = _path(TARGET / "proxy")


def _unwanted(names):
    chosen = os.environ.get(VARIABLE, "")
    if chosen in ("", "none"):
        return names if chosen else []
    words = [word.strip() for word in chosen.split(",")]
    for word in words:
        if word.removeprefix("-") not in AGENTS or word.startswith("-") != words[0].startswith("-"):
            sys.exit(f"{VARIABLE}: `{chosen}` is neither `none` nor names such as `opencode,qwen` or `-kimi,-vibe`")
    left_out = [word.removeprefix("-") for word in words if word.startswith("-")]
    return [name for name in names if name in left_out or not (left_out or name in words)]


def _python():
    """The path of a Python of that version; "" for none."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{PYTHON}.*/bin/python{PYTHON}"))
    for program in [f"python{PYTHON}", *map(str, pyenv)]:
        try:
            # A name on PATH may be pyenv's, and of a version that is not chosen.
            asked = subprocess.run([program, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
        except OSError:
            continue
        if asked.returncode == 0:
            return asked.stdout.strip()
    return ""


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _opencode(home, url):
    model = {"attachment": True, "modalities": {"input": ["text", "image"], "output": ["text"]}}
    model |= {"limit": {"context": LARGE, "output": 8_000}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Stub",
        "options": {"baseURL": f"{url}/v1", "apiKey": "dummy"},
        "models": {name: model | {"name": name} for name in MODELS},
    }
    config = {"provider": {"stub": provider}, "model": f"stub/{MODELS[0]}", "autoupdate": False, "share": "disabled"}
    return {"OPENCODE_CONFIG_CONTENT": json.dumps(config), "OPENCODE_DISABLE_MODELS_FETCH": "1"}


def _qwen(home, url):
    model = {"envKey": "OPENAI_API_KEY", "baseUrl": f"{url}/v1"}
    model |= {"generationConfig": {"contextWindowSize": LARGE, "modalities": {"image": True}}}
    settings = {
        "security": {"auth": {"selectedType": "openai"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
        # It asks the model after each answer what is to be remembered, and what the user may say next.
        "ui": {"enableFollowupSuggestions": False},
        "memory": {"enableManagedAutoMemory": False, "enableManagedAutoDream": False},
        "modelProviders": {"openai": [model | {"id": name, "name": name} for name in MODELS]},
    }
    _write(home / ".qwen" / "settings.json", json.dumps(settings))
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "dummy", "OPENAI_MODEL": MODELS[0]}


def _claude(home, url):
    # Nor is the model asked after each answer what the user may say next.
    return vendor.SETTERS["claude"](home, url) | {"CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION": "false"}


def _copilot(home, url):
    return {
        "COPILOT_PROVIDER_BASE_URL": f"{url}/v1",
        "COPILOT_PROVIDER_API_KEY": "dummy",
        "COPILOT_MODEL": MODELS[0],
        "COPILOT_PROVIDER_MAX_PROMPT_TOKENS": str(LARGE),
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
        # It unpacks itself, 190 MB, once in a home.
        "COPILOT_CACHE_HOME": str(AGENTS["copilot"].folder / "cache"),
    }


def _kimi(home, url):
    return {
        "KIMI_MODEL_NAME": MODELS[0],
        "KIMI_MODEL_API_KEY": "dummy",
        "KIMI_MODEL_BASE_URL": f"{url}/v1",
        "KIMI_MODEL_PROVIDER_TYPE": "openai",
        "KIMI_MODEL_MAX_CONTEXT_SIZE": str(LARGE),
    }


def _vibe(home, url):
    more = f'provider = "stub"\nsupports_images = true\nauto_compact_threshold = {LARGE}\n'
    models = "".join(f'\n[[models]]\nname = "{name}"\nalias = "{name}"\n{more}' for name in MODELS)
    _write(
        home / ".vibe" / "config.toml",
        f"""\
active_model = "{MODELS[0]}"
enable_telemetry = false
enable_update_checks = false
enable_auto_update = false

[[providers]]
name = "stub"
api_base = "{url}/v1"
api_key_env_var = "STUB_API_KEY"
api_style = "openai"
backend = "generic"
{models}""",
    )
    return {"STUB_API_KEY": "dummy"}


# Its model is chosen at its start.
FAST_AGENT = f"generic.{MODELS[0]}"


def _llm(home, url):
    models = [{"model_id": name, "model_name": name, "api_base": f"{url}/v1"} for name in MODELS]
    # YAML has JSON in it.
    _write(home / ".config" / "io.datasette.llm" / "extra-openai-models.yaml", json.dumps(models))
    return {"OPENAI_API_KEY": "dummy", "LLM_MODEL": MODELS[0]}


def _fast_agent(home, url):
    return {"GENERIC_BASE_URL": f"{url}/v1", "GENERIC_API_KEY": "dummy"}


# The slowest to start first, so that nobody waits for one alone.
AGENTS = {
    agent.name: agent
    for agent in [
        Agent("opencode", ["opencode", "acp"], _opencode, "opencode-ai@1.18.33", litter=r"\.[0-9a-f]+-[0-9a-f]+\.so"),
        Agent("qwen", ["qwen", "--acp"], _qwen, "@qwen-code/qwen-code@0.24.4"),
        Agent("vibe", ["vibe-acp"], _vibe),
        Agent("fast-agent", ["fast-agent", "acp", "--model", FAST_AGENT], _fast_agent, declared={"model": FAST_AGENT}),
        Agent(
            "codex-acp", ["codex-acp"], vendor.SETTERS["codex"], "@agentclientprotocol/codex-acp@2.6.0",
            litter=r"codex-bwrap-synthetic-mount-targets-\d+/.*",
        ),
        Agent("copilot", ["copilot", "--acp"], _copilot, "@github/copilot@1.0.102", litter="node-compile-cache/.*"),
        Agent("kimi", ["kimi", "acp"], _kimi, "@moonshot-ai/kimi-code@2.1.0"),
        Agent(
            "claude-agent-acp", ["claude-agent-acp"], _claude, "@agentclientprotocol/claude-agent-acp@0.101.0",
            litter=r"claude-\d+/.*",
        ),
        # The one that speaks no protocol.
        Agent("llm", ["llm"], _llm),
    ]
}  # fmt: skip


if __name__ == "__main__":
    print(*installed().tested)
