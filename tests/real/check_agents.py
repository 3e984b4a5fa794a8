"""The agents that are known by name, through clinvk.  What is expected of all stands in the scenarios, what is
different with one of them in its row below, and why.
"""

import base64
import json
import signal
from dataclasses import dataclass, field

from agents import AGENTS, MODELS
from backends import NOTES_TEXT
from check_answers import pixel
from check_endings import sleeper
from registry import scenario
from scene import ANSWER, HELLO, PROMPT, holds, processes, same, wait_until
from standin import CACHED, INPUT, OUTPUT, REASONING, Failure, Hang, Refused, Text, shell, write_file

# So that an agent that tries again without end costs little.
IMPATIENT = {"CLINVK_UNIFIED_FLAGS_VENDOR_CONNECT_SECS": "5"}

# The agent tries again and does not say why, until `vendor_connect_secs` are over.
UNHEARD = "unreachable"

# It says nothing of what was used.
NOTHING = (0, 0, 0, 0)

# Some are programs that print: nothing of a protocol is to be had of them.
PRINTS = "it speaks no protocol"

# What is made on the disk by mode, of `write shell`; None: the mode is refused.
MODES = {
    "": "",
    "--approval auto": "write",
    "--approval none": "write shell",
    "--approval always": "",
    "--sandbox read-only": "",
    "--sandbox workspace": None,
}

KINDS = {"401": "login", "500": "overloaded", "refused": "unreachable", "hang": "unreachable"}


@dataclass(frozen=True)
class Row:
    """What clinvk is to make of this agent, where it is not what it makes of the others."""

    # What the stand-in's numbers become: (input, output, cached, reasoning).
    usage: tuple = (INPUT, OUTPUT, CACHED, REASONING)
    # A model that one asks for, and a part of what it is called in the agent's request.
    model: tuple = (MODELS[1], MODELS[1])
    modes: dict = field(default_factory=dict)
    kinds: dict = field(default_factory=dict)
    # Scenarios that are not played, and why.
    skips: dict = field(default_factory=dict)


ROWS = {
    "opencode": Row(kinds={"500": UNHEARD}),
    "qwen": Row(kinds={"500": UNHEARD}),
    # It does not count what was thought.
    "vibe": Row(
        usage=(INPUT, OUTPUT, CACHED, 0),
        kinds={"500": UNHEARD},
        skips={"hostile-file": "it reads the project's files that a prompt names, whatever stands around it"},
    ),
    "fast-agent": Row(
        usage=NOTHING,
        # Its model is an argument of its start.
        model=(f"generic.{MODELS[1]}", MODELS[1]),
        kinds={"401": UNHEARD, "500": UNHEARD},
        # It has no tools of its own.
        modes={"--approval auto": "", "--approval none": ""},
        skips={
            "stopped": "it has no tools of its own",
            "unknown-model": "it takes any name",
            "images": "it shows pictures only to the models that it knows",
        },
    ),
    # Its list of models is codex's own.  What runs by itself in its mode of
    # `auto` is held by codex's sandbox, as with codex itself.
    "codex-acp": Row(
        model=("gpt-5.6-luna", "gpt-5.6-luna"), modes={"--approval auto": "write shell"}, kinds={"401": UNHEARD, "500": UNHEARD}
    ),
    "copilot": Row(kinds={"500": UNHEARD}, skips={"unknown-model": "it takes any name"}),
    # It says how full its context is, not what was used.  Its variables name one model.  It edits unasked in a git work tree.
    "kimi": Row(usage=NOTHING, model=(MODELS[0], MODELS[0]), modes={"--approval always": None}, kinds={"500": UNHEARD}),
    # Anthropic counts cached input beside the rest, and knows no count of reasoning.
    "claude-agent-acp": Row(usage=(INPUT + CACHED, OUTPUT, CACHED, 0), model=("haiku", "haiku")),
    "llm": Row(
        usage=NOTHING,
        # All but the first: it has no tools that would ask.
        modes=dict.fromkeys(list(MODES)[1:]),
        # A program's failure is its exit status and its words.
        kinds=dict.fromkeys(KINDS, "crash"),
        skips={
            "images": PRINTS,
            "unknown-model": PRINTS,
            "error-hang": f"{PRINTS}: its limit is --timeout",
            "stopped": "it has no tools of its own",
        },
    ),
}


def agent_scenario(cases=None):
    """Register a function for every agent."""
    return scenario(cases, of=AGENTS, skips=lambda agent, name: ROWS[agent.name].skips.get(name, ""))


def row(scene):
    return ROWS[scene.backend.name]


def heard(scene, prompt):
    """The model got this prompt as it was typed.  What some agents put in front of it is their own."""
    texts = scene.server.user_texts()
    holds(any(text.strip("\u200b\n ").endswith(prompt) for text in texts), f"the model did not get {prompt!r}: {str(texts)[-600:]}")


def body(scene):
    return json.dumps(scene.server.asked[-1]["body"], ensure_ascii=False)


# ---------------------------------------------------------------------------------------- answers


@agent_scenario()
def text(scene):
    ran = scene.run("-o", "json", turns=[Text(HELLO, thinking=["Hm."])])
    ran.ends(0, "")
    answer = ran.object
    same((answer["backend"], answer["content"], ran.asked), (scene.backend.name, ANSWER, 1), "(backend, content, requests)")
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    used = answer["usage"] or dict.fromkeys(names, 0)
    same(tuple(used[name] for name in names), row(scene).usage, "usage")
    same((ran.err, answer["warnings"]), ("", []), "(stderr, warnings)")
    heard(scene, PROMPT)


@agent_scenario()
def streams(scene):
    """Each piece is read before the model may send the next one."""
    pieces = ["alpha", " beta", " gamma", " delta"]
    running = scene.start(turns=[Text(pieces, gated=True)])
    for sent, piece in enumerate(pieces, 1):
        scene.server.release()
        running.read_until(lambda out: piece.encode() in out)
        same(scene.server.sent, sent, "pieces sent")
    running.finish().gives(out="".join(pieces) + "\n")


@agent_scenario()
def model(scene):
    asked, seen = row(scene).model
    scene.run("-m", asked, turns=[Text(HELLO)]).gives()
    holds(seen in scene.server.model(), f"model: {scene.server.model()}")


@agent_scenario()
def unknown_model(scene):
    ran = scene.run("-o", "json", "-m", "no-such-model", turns=[Text(HELLO)])
    ran.ends(2, "unknown_model")
    same(ran.asked, 0, "requests")


@agent_scenario()
def images(scene):
    (scene.work / "pixel.png").write_bytes(pixel())
    scene.run("--image", "pixel.png", turns=[Text(HELLO)]).gives()
    # Some say there what comes with it.
    holds(any(PROMPT in text for text in scene.server.user_texts()), "the model did not get the prompt")
    holds(base64.b64encode(pixel()).decode() in body(scene), "the model did not get the picture's bytes")


@agent_scenario()
def system_prompt(scene):
    scene.run("--system-prompt", "You are a heron.", turns=[Text(HELLO)]).gives()
    holds("You are a heron." in body(scene), "the model did not get the system prompt")
    heard(scene, PROMPT)


# ---------------------------------------------------------------------------------------- prompts

HOSTILE = {
    "command": "/help",
    "unknown-command": "/no-such words",
    "file": "see @notes.txt",
    "far-file": "@/etc/passwd",
    "dollar": "$x",
    "flag": "-p",
    "controls": "a\x01b\x1b[31mc\x7f",
}


@agent_scenario(HOSTILE)
def hostile(scene, prompt):
    scene.plant("notes.txt", NOTES_TEXT)
    scene.run("--", prompt, prompt=None, turns=[Text(HELLO)]).gives()
    heard(scene, prompt)
    for text in (NOTES_TEXT, "root:x:0"):
        holds(text not in body(scene), "the model saw a file that it was not shown")


@agent_scenario()
def prompt_of_1_mb(scene):
    prompt = "".join(f"{number:09} of a million\n" for number in range(43_000)) + "end"
    scene.run(prompt=prompt, turns=[Text(HELLO)]).gives()
    heard(scene, prompt)


# --------------------------------------------------------------------------------------- sessions


@agent_scenario()
def session(scene):
    """The first turn is in the model's second request, and not in the second answer."""
    scene.run(prompt="the first prompt", turns=[Text("The first answer.")]).gives(out="The first answer.\n")
    scene.run("-c", prompt="the second prompt", turns=[Text(HELLO)]).gives()
    told = "\n".join(text for _, text in scene.server.conversation())
    places = [told.find(text) for text in ("the first prompt", "The first answer.", "the second prompt")]
    holds(-1 not in places and places == sorted(places), f"places {places} in what the model was told: {told[-600:]}")


@agent_scenario()
def cancel(scene):
    """Ctrl-C in mid-stream: the model is let go, nothing stays, and the session goes on."""
    running = scene.start("-o", "stream-json", prompt="the first prompt", turns=[Text(HELLO, gated=True)])
    scene.server.release()
    running.read_until(lambda out: HELLO[0].encode() in out)
    running.process.send_signal(signal.SIGINT)
    running.finish(30).ends(-signal.SIGINT, "cancelled")
    wait_until(lambda: scene.server.asked[-1]["gone"], "the agent hangs up")
    scene.run("-c", prompt="the second prompt", turns=[Text(HELLO)]).gives()


# ------------------------------------------------------------------------------------ permissions


@agent_scenario({words.replace("--", "").replace(" ", "-") or "default": words for words in MODES})
def permission(scene, words):
    """What is there afterwards of a file by the agent's own tool and one by its shell."""
    expected = (MODES | row(scene).modes)[words]
    made = {"write": scene.work / "write.txt", "shell": scene.work / "shell.txt"}
    # The tool first: some agents end their turn with a refusal.
    turns = [write_file(str(made["write"]), "written\n"), shell("sh -c 'touch shell.txt'"), Text("Done.")]
    ran = scene.run("-o", "json", *words.split(), turns=turns)
    if expected is None:
        same((ran.status, ran.asked), (1, 0), "(status, requests)")
        holds("cannot honour" in ran.err and words.removeprefix("--") in ran.err, f"stderr: {ran.err}")
    else:
        # An agent that gives up when it is refused something has no answer.
        holds(ran.status == 0 or ran.kind == "permission_denied", f"status {ran.status}, kind {ran.kind}")
        # What was refused is said; nothing else is.
        denials = ran.object["permission_denials"]
        same(denials > 0, "permission denied: " in ran.err, f"denials {denials}, told: {ran.err}")
    same(" ".join(name for name, path in made.items() if path.exists()), expected or "", "what was made")


# ---------------------------------------------------------------------------------------- endings


def failures(agent):
    # In OpenAI's words, because not all pass the status on.
    turns = {"401": [Failure(401, "Incorrect API key provided: dummy.")], "500": [Failure(500)], "refused": [], "hang": [Hang()]}
    return {name: (turns[name], kind) for name, kind in (KINDS | ROWS[agent.name].kinds).items()}


@agent_scenario(failures)
def error(scene, case):
    turns, kind = case
    env = IMPATIENT if kind == UNHEARD else {}
    with Refused() as nobody:
        ran = scene.run("-o", "json", turns=turns or None, url=None if turns else nobody.url, env=env)
    ran.ends(1, kind)
    holds(ran.object["error"], "no error in the JSON")
    holds(ran.seconds < 60, f"it took {ran.seconds:.0f} s")


@agent_scenario()
def stopped(scene):
    """Ctrl-C while the agent's tool runs, with a process in a session of its own: nothing is left."""
    running, argument = sleeper(scene)
    running.process.send_signal(signal.SIGINT)
    running.finish(30).ends(-signal.SIGINT, "cancelled")
    same(processes(argument, "cmdline"), [], "sleeping processes")
