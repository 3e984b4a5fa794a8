"""Each option of a prompt, proved by what the model receives or by what the agent can do: on the first turn of a
conversation and on one that continues it (faults.md A3).
"""

import base64
import json
import tempfile
from pathlib import Path

from backends import MEMORY_TEXT, OPTIONS
from check_answers import SCHEMA, body, pixel, set_traps
from check_permissions import attempt, lookup_server
from check_sessions import sessions
from registry import scenario
from scene import ANSWER, HELLO, holds, same
from standin import Text, shell, tool, write_file

MINE = "You are a 'stub' in a \"test\".\nSecond line: ünïcödé."
BEFORE = "the first prompt"
PLAIN = [Text(HELLO)]


def says(scene, turn, *words, turns=PLAIN, out=ANSWER + "\n", err=""):
    """Run the turn with these words; it has to work, and what came before is told to the model."""
    turn(scene, *words, turns=turns).gives(out=out, err=err)


# ------------------------------------------------------------------- one function for each option


def model(scene, turn):
    says(scene, turn, "--model", "stub-other")
    same(scene.server.model(), "stub-other", "model")


def system_prompt(scene, turn):
    """The vendor's own is gone."""
    usual = usual_line(scene)
    says(scene, turn, "--system-prompt", MINE)
    text = scene.server.system_text()
    same((MINE in text, usual in text), (True, False), "the model has (my prompt, the vendor's)")


def appended_system_prompt(scene, turn):
    """The vendor's own is still there."""
    usual = usual_line(scene)
    says(scene, turn, "--append-system-prompt", MINE)
    text = scene.server.system_text()
    same((MINE in text, usual in text), (True, True), "the model has (my prompt, the vendor's)")


def usual_line(scene):
    """A line of the vendor's own system prompt."""
    scene.run("--ephemeral", turns=PLAIN).gives()
    return next(line for line in scene.server.system_text().splitlines() if len(line) > 200)


def max_turns(scene, turn):
    ran = turn(scene, "-o", "json", "--max-turns", "2", "--approval", "none", turns=[shell("true")])
    ran.ends(1, "turn_limit")
    same(ran.asked, 2, "requests")


def in_request(option):
    """The words of the option become something in the request to the model that the backend's table tells."""

    def check(scene, turn):
        words = " ".join(OPTIONS[option])
        says(scene, turn, *OPTIONS[option])
        holds(scene.backend.seen[words] in body(scene), f"not in the request: {scene.backend.seen[words]}")

    return check


def permits(words):
    """What the agent can do is as the backend's table says."""

    def check(scene, turn):
        same(attempt(scene, *words.split(), turn=turn), scene.backend.permissions[words].split(), "what was made")

    return check


def allowed_tools(scene, turn):
    tools = scene.backend.tools
    says(scene, turn, "--allowed-tools", tools["read"])
    same(scene.server.tools(), [tools["read"]], "tools that the model is offered")


def denied_tools(scene, turn):
    tools = scene.backend.tools
    says(scene, turn, "--denied-tools", tools["write"])
    offered = scene.server.tools()
    same((tools["write"] in offered, tools["read"] in offered), (False, True), f"(denied, other) in {offered}")


def extra_directories(scene, turn):
    """The agent writes there; without the option it does not."""
    with tempfile.TemporaryDirectory(dir=scene.home) as there:
        made = Path(there, "made.txt")
        turns = [write_file(str(made), "made\n"), Text(HELLO)]
        words = ["--approval", "auto"]
        scene.run("--ephemeral", *words, turns=turns)
        holds(not made.exists(), "written without the option")
        says(scene, turn, *words, "--add-dir", there, turns=turns)
        holds(made.exists(), "not written with the option")


def json_schema(scene, turn):
    by_tool = scene.backend.name == "claude"
    answer = tool("StructuredOutput", {"answer": 42}) if by_tool else Text(['{"answer":', "42}"])
    says(scene, turn, "--json-schema", json.dumps(SCHEMA), turns=[answer, Text("Done.")], out='{"answer":42}\n')
    holds(json.dumps(SCHEMA["properties"]) in body(scene), "the model did not get the schema")


def images(scene, turn):
    (scene.work / "pixel.png").write_bytes(pixel())
    says(scene, turn, "--image", "pixel.png")
    holds(base64.b64encode(pixel()).decode() in body(scene), "the model did not get the picture's bytes")


def ephemeral(scene, turn):
    before = [(one["id"], one["turn_count"]) for one in sessions(scene)]
    says(scene, turn, "--ephemeral")
    same([(one["id"], one["turn_count"]) for one in sessions(scene)], before, "our sessions and their turns")


def interpret(scene, turn):
    set_traps(scene)
    prompt, seen = scene.backend.interpreted
    ran = turn(scene, "--interpret", prompt=prompt, turns=PLAIN)
    same(ran.status, 0, "status")
    if seen is None:
        same(ran.asked, 0, "requests")
    else:
        holds(seen in body(scene), f"the model did not see: {seen}")


def no_project_config(scene, turn):
    for path, content in scene.backend.project.items():
        scene.plant(path, content if isinstance(content, str) else json.dumps(content))
    says(scene, turn, "--no-project-config")
    holds(MEMORY_TEXT not in body(scene), "the model was told what the project's files say")


def mcp_servers(scene, turn):
    """The agent uses the server's tool, and its answer, made with a variable of the run's own, reaches the model."""
    turns = [Text(call=tool(scene.backend.lookup, {"thing": "otter"})), Text(HELLO)]
    words = ["--approval", "none", "--mcp", lookup_server(scene)]
    says(scene, turn, *words, turns=turns, err=scene.backend.warns_of_servers)
    told = [text for role, text in scene.server.conversation() if role == "tool"]
    holds("otter is swordfish" in told[-1], f"the model was told: {told}")


PROOFS = {
    "model": model,
    "system prompt": system_prompt,
    "appended system prompt": appended_system_prompt,
    "max turns": max_turns,
    "max tokens": in_request("max tokens"),
    "approval auto": permits("--approval auto"),
    "approval none": permits("--approval none"),
    "approval always": permits("--approval always"),
    "sandbox read-only": permits("--approval none --sandbox read-only"),
    "sandbox workspace": permits("--approval none --sandbox workspace"),
    "sandbox full": permits("--approval none --sandbox full"),
    "allowed tools": allowed_tools,
    "denied tools": denied_tools,
    "extra directories": extra_directories,
    "json schema": json_schema,
    "images": images,
    "effort": in_request("effort"),
    "ephemeral": ephemeral,
    "interpret": interpret,
    "no project config": no_project_config,
    "mcp servers": mcp_servers,
}

# An option without a proof is one that may be dropped in silence.
assert PROOFS.keys() == OPTIONS.keys(), PROOFS.keys() ^ OPTIONS.keys()


# ----------------------------------------------------------------------------------- the two turns


def proofs(backend):
    return {option.replace(" ", "-"): proof for option, proof in PROOFS.items() if option not in backend.refuses}


@scenario(proofs)
def option_first(scene, proof):
    proof(scene, lambda scene, *words, **how: scene.run(*words, **how))


@scenario(proofs)
def option_continued(scene, proof):
    scene.run(prompt=BEFORE, turns=PLAIN).gives()

    def turn(scene, *words, **how):
        ran = scene.run("-c", *words, **how)
        if ran.asked:
            told = [text for _, text in scene.server.conversation()]
            holds(any(BEFORE in text for text in told), f"the model was not told of the turn before, but {told}")
        return ran

    proof(scene, turn)
