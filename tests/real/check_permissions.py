"""What the agent may do: approval modes, sandboxes, tool lists, the project's own files."""

import json
from pathlib import Path

from backends import CLAUDE, CODEX, MEMORY_TEXT
from mcp_server import over_http
from registry import honours, scenario
from scene import ANSWER, HELLO, Scene, holds, same
from standin import Text, shell, tool, write_file

DONE = Text("Done.")
LOOKUP_SERVER = Path(__file__).with_name("mcp_server.py")
SECRET = "not for a log"
# Nobody is there: it is not come so far.
PAGE = "https://127.0.0.1:9/page"


def attempts(scene):
    """A file by the shell, one by the shell outside the working directory, one by the vendor's tool."""
    return {
        # Not a bare `touch`, which claude takes for an edit.
        "shell": (scene.work / "shell.txt", shell("sh -c 'touch shell.txt'")),
        "outside": (scene.home / "outside.txt", shell(f"sh -c 'touch {scene.home}/outside.txt'")),
        "write": (scene.work / "write.txt", write_file(str(scene.work / "write.txt"), "written\n")),
    }


def attempt(scene, *words, turn=Scene.run):
    """Let the model try all of it; gives what came of it."""
    tries = attempts(scene)
    ran = turn(scene, *words, turns=[*(call for _, call in tries.values()), DONE])
    same((ran.out, ran.status), ("Done.\n", 0), "(stdout, status)")
    # What was refused is said; nothing else is.
    denied = "clinvk: permission denied: "
    same([line for line in ran.err.splitlines() if not line.startswith(denied)], [], "other lines on standard error")
    same(ran.asked, len(tries) + 1, "requests")
    return [name for name, (path, _) in tries.items() if path.exists()]


def named(backend):
    """The rows of its table by names without blanks."""
    return {words.replace("--", "").replace(" ", "-") or "default": words for words in backend.permissions}


@scenario(named)
def permissions(scene, words):
    same(attempt(scene, *words.split()), scene.backend.permissions[words].split(), "what was made")


@scenario(only=honours("denied tools"))
def denied_tools(scene):
    """A denied tool is not offered, and does not work when the model calls it all the same."""
    tools = scene.backend.tools
    made = attempt(scene, "--approval", "none", "--denied-tools", tools["write"])
    same(made, ["shell", "outside"], "what was made")
    holds(tools["write"] not in scene.server.tools(), f"offered: {scene.server.tools()}")
    holds(tools["shell"] in scene.server.tools(), f"offered: {scene.server.tools()}")


@scenario(only=honours("allowed tools"))
def allowed_tools(scene):
    """Only the listed tools are there, and they need no approval."""
    tools = scene.backend.tools
    made = attempt(scene, "--allowed-tools", f"{tools['read']},{tools['write']}")
    same(made, ["write"], "what was made")
    same(sorted(scene.server.tools()), sorted([tools["read"], tools["write"]]), "offered")


@scenario(only=lambda backend: backend is CLAUDE)
def allowed_pattern(scene):
    """A pattern allows what fits it, and nothing else of the tool."""
    turns = [shell("touch fits.txt"), shell("sh -c 'touch other.txt'"), DONE]
    ran = scene.run("--allowed-tools", "Bash(touch *)", turns=turns)
    same((ran.out, ran.status), ("Done.\n", 0), "(stdout, status)")
    holds(ran.err.startswith("clinvk: permission denied: Bash"), f"stderr: {ran.err}")
    same(sorted(path.name for path in scene.work.iterdir()), ["fits.txt"], "what was made")


@scenario(only=lambda backend: "web" in backend.tools)
def read_only_asks_for_the_web(scene):
    """Under read-only a list of tools only chooses: the web is not reached without approval."""
    web = scene.backend.tools["web"]
    for words in ([], ["--allowed-tools", web]):
        turns = [tool(web, {"url": PAGE, "prompt": f"what does {PAGE} say?"}), DONE]
        ran = scene.run("--sandbox", "read-only", *words, "-o", "json", turns=turns)
        same(json.loads(ran.out)["permission_denials"], 1, f"denials with {words}")


def planted(scene, *words):
    """Which of the project's files had an effect."""
    for path, content in scene.backend.project.items():
        scene.plant(path, content if isinstance(content, str) else json.dumps(content))
    # Slow enough for a server of the project's to be started meanwhile.
    ran = scene.run(*words, turns=[Text(HELLO, delay=0.5)])
    # There may be a warning: the server is none.
    same((ran.status, ran.out), (0, ANSWER + "\n"), "(status, stdout)")
    signs = {
        "hook": (scene.work / "hook-ran").exists(),
        "server": (scene.work / "server-ran").exists(),
        "memory": any(MEMORY_TEXT in json.dumps(request["body"]) for request in scene.server.asked),
        "model": scene.server.model() == "planted-model",
    }
    return {sign for sign, seen in signs.items() if seen}


def trust(scene):
    """Let the user have said that this project may do what it likes."""
    if scene.backend.trust:
        path, text = scene.backend.trust
        with (scene.home / path).open("a") as file:
            file.write(text.format(work=scene.work))


@scenario()
def project_config(scene):
    """The vendor's own doing, so that the next scenario proves something."""
    trust(scene)
    same(planted(scene), scene.backend.project_does[0], "what the project's files did")


@scenario()
def no_project_config(scene):
    trust(scene)
    same(planted(scene, "--no-project-config"), scene.backend.project_does[1], "what the project's files did")


@scenario(only=lambda backend: backend is CODEX)
def no_trust_by_accident(scene):
    """A run that may write does not make codex trust the project, now or for good."""
    config = scene.home / ".codex" / "config.toml"
    before = config.read_text()
    same(planted(scene, "--approval", "none"), {"memory"}, "what the project's files did")
    same(config.read_text(), before, "the user's configuration")


def lookup_server(scene):
    """An MCP server `look` for a run; what it hears is in `looked.log`."""
    trust_for_servers(scene)
    env = {"LOOKUP_WORD": "swordfish", "LOOKUP_SECRET": SECRET}
    server = {"command": "python3", "args": [str(LOOKUP_SERVER), str(scene.home / "looked.log")], "env": env}
    return json.dumps({"mcpServers": {"look": server}})


def trust_for_servers(scene):
    """The user trusts the directory, where the CLI has no servers otherwise."""
    trusted = scene.home / ".gemini" / "trustedFolders.json"
    if scene.backend.warns_of_servers and not trusted.exists():
        trust(scene)


def looked(scene):
    """The uses of the server's tool."""
    lines = (scene.home / "looked.log").read_text().splitlines()
    return [line for line in lines if json.loads(line).get("method") == "tools/call"]


@scenario(only=honours("mcp servers"))
def mcp_servers_by_approval(scene):
    """A tool of a server that was given for the run asks as any other does, and is refused where that is a no."""
    turns = [Text(call=tool(scene.backend.lookup, {"thing": "otter"})), DONE]
    for words, uses in ([], 0), (["--approval", "always"], 0), (["--approval", "none"], 1):
        ran = scene.run("-o", "json", *words, "--mcp", lookup_server(scene), turns=turns, env={"CLINVK_DEBUG": "1"})
        same((ran.status, ran.object["permission_denials"]), (0, 1 - uses), f"(status, denials) with {words}")
        same(len(looked(scene)), uses, f"uses with {words}")
        holds(SECRET not in ran.err, "the log has a secret")


@scenario(only=honours("mcp servers"))
def mcp_servers_over_http(scene):
    """The header that was given is in the requests."""
    trust_for_servers(scene)
    turns = [Text(call=tool(scene.backend.lookup, {"thing": "otter"})), DONE]
    with over_http() as url:
        servers = {"look": {"type": "http", "url": url, "headers": {"X-Lookup-Word": "swordfish"}}}
        ran = scene.run("--approval", "none", "--mcp", json.dumps(servers), turns=turns)
    same((ran.out, ran.status), ("Done.\n", 0), "(stdout, status)")
    told = [text for role, text in scene.server.conversation() if role == "tool"]
    holds("otter is swordfish" in told[-1], f"the model was told: {told}")


@scenario(only=honours("allowed tools"))
def mcp_servers_by_list(scene):
    """A list of tools names those of servers too."""
    turns = [Text(call=tool(scene.backend.lookup, {"thing": "otter"})), DONE]
    tools = [scene.backend.tools["read"], scene.backend.lookup]
    for listed, uses in (tools[:1], 0), (tools, 1):
        scene.run("--allowed-tools", ",".join(listed), "--mcp", lookup_server(scene), turns=turns)
        same(len(looked(scene)), uses, f"uses with {listed}")


@scenario(only=lambda backend: backend is CODEX)
def mcp_servers_of_the_user(scene):
    """A server by the name of one of the user's is refused; beside others it is there."""
    (scene.home / ".codex" / "config.toml").open("a").write('\n[mcp_servers.look]\ncommand = "true"\n')
    ran = scene.run("-o", "json", "--mcp", lookup_server(scene), turns=[DONE])
    ran.ends(1, "invalid_request")
    holds("configured with an MCP server `look`" in ran.err, f"stderr: {ran.err}")
