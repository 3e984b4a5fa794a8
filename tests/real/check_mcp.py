"""`clinvk mcp` with the vendors' own programs as its clients: an agent asks another through it."""

import json
import subprocess

from backends import CLAUDE, CODEX
from check_permissions import trust_for_servers
from registry import scenario
from scene import HELLO, holds, same
from standin import Text, tool

DONE = Text("Done.")
WITH = ["--approval", "none"]


def server(scene, *words):
    """`clinvk mcp` as a server `clinvk` of a run."""
    trust_for_servers(scene)
    env = {name: scene.environment[name] for name in ("HOME", "PATH")}
    return json.dumps({"clinvk": {"command": scene.clinvk, "args": ["mcp", *words], "env": env}})


def call(scene, name, arguments):
    """The model calls that tool of ours, and answers once it has the result."""
    names = scene.backend.lookup.replace("look", "clinvk", 1).removesuffix("lookup")
    return [Text(call=tool(names + name, arguments)), Text(HELLO)]


def told(scene):
    """What the tools have told the model."""
    return [text for role, text in scene.server.conversation() if role == "tool"]


@scenario()
def asks_another(scene):
    """The agent asks `echo` through us, and has its answer."""
    turns = call(scene, "prompt", {"prompt": "forty-two herons", "backend": "echo"})
    scene.run(*WITH, "--mcp", server(scene), turns=turns).gives(err=scene.backend.warns_of_servers)
    holds("forty-two herons" in told(scene)[-1], f"the model was told: {told(scene)}")


@scenario()
def asks_several(scene):
    """Tasks that depend on each other are answered, and a failure is told with its kind."""
    tasks = [{"id": "a", "prompt": "herons"}, {"prompt": "two {{a.output}}", "depends_on": ["a"]}]
    turns = call(scene, "parallel", {"tasks": [*tasks, {"prompt": "x", "backend": "nobody"}]})
    scene.run(*WITH, "--mcp", server(scene, "-b", "echo"), turns=turns).gives(err=scene.backend.warns_of_servers)
    for part in "two herons", "unknown_backend":
        holds(part in told(scene)[-1], f"no {part} in what the model was told: {told(scene)}")


@scenario()
def asks_within_the_flags(scene):
    turns = call(scene, "prompt", {"prompt": "x", "backend": "echo", "approval_mode": "none"})
    scene.run(*WITH, "--mcp", server(scene), turns=turns).gives(err=scene.backend.warns_of_servers)
    holds("clinvk mcp --approval" in told(scene)[-1], f"the model was told: {told(scene)}")


@scenario()
def asks_itself(scene):
    """An agent that asks itself, and so for ever, comes to an end: the third run has nobody to ask."""
    asks = call(scene, "prompt", {"prompt": "ask on", "backend": scene.backend.name})[0]
    trust_for_servers(scene)
    (scene.home / ".clinvk").mkdir(exist_ok=True)
    mcp = {"command": scene.clinvk, "args": ["mcp", *WITH, "--sandbox", "full"], "env": scene.environment}
    config = {"backends": {scene.backend.name: {"mcp": json.dumps({"clinvk": mcp})}}}
    (scene.home / ".clinvk" / "config.json").write_text(json.dumps(config))
    # Each run asks on; each that is told something is done.
    ran = scene.run(*WITH, turns=[asks, asks, asks, DONE])
    same((ran.out, ran.status), ("Done.\n", 0), "(stdout, status)")
    same(ran.asked, 6, "requests: two of each run")
    texts = [text for number in range(6) for role, text in scene.server.conversation(number) if role == "tool"]
    refused = [text for text in texts if "a run inside 3 others is not allowed" in text]
    same(len(refused), 1, f"refusals in {texts}")


def configure(scene):
    """Give the CLI the server as the manual says."""
    words = ["mcp", "--backends", "echo"]
    if scene.backend is CLAUDE:
        add = ["claude", "mcp", "add", "clinvk", "--", scene.clinvk, *words]
        subprocess.run(add, env=scene.environment, cwd=scene.work, check=True, capture_output=True)
    elif scene.backend is CODEX:
        with (scene.home / ".codex" / "config.toml").open("a") as file:
            file.write(f'\n[mcp_servers.clinvk]\ncommand = "{scene.clinvk}"\nargs = {json.dumps(words)}\n')
            file.write("tool_timeout_sec = 600\n")
    else:
        trust_for_servers(scene)
        path = scene.home / ".gemini" / "settings.json"
        settings = json.loads(path.read_text())
        settings["mcpServers"] = {"clinvk": {"command": scene.clinvk, "args": words, "timeout": 600000}}
        path.write_text(json.dumps(settings))


@scenario()
def configured_as_the_manual_says(scene):
    configure(scene)
    turns = call(scene, "prompt", {"prompt": "forty-two herons", "backend": "echo"})
    scene.run(*WITH, turns=turns).gives()
    holds("forty-two herons" in told(scene)[-1], f"the model was told: {told(scene)}")


@scenario(only=lambda backend: backend is CODEX)
def the_users_server_asks_itself(scene):
    """The same where codex is configured with the server, which it starts with a few variables."""
    (scene.home / ".codex" / "config.toml").open("a").write(
        f'\n[mcp_servers.clinvk]\ncommand = "{scene.clinvk}"\nargs = ["mcp", "--approval", "none", "--sandbox", "full"]\n'
        f'env = {{ CODEX_HOME = "{scene.environment["CODEX_HOME"]}", STUB_API_KEY = "dummy" }}\n'
    )
    asks = call(scene, "prompt", {"prompt": "ask on", "backend": "codex"})[0]
    ran = scene.run(*WITH, turns=[asks, asks, asks, DONE])
    same((ran.out, ran.status, ran.asked), ("Done.\n", 0, 6), "(stdout, status, requests)")
