"""What the clients in Python share: the list of scenarios, and the line to the harness, tests/real/clients.py.

A client plays its scenarios one after the other. Standard output is the line: what is asked of the harness and what
came of a scenario go out as lines of JSON, and the harness answers each with one.
"""

import json
import os
import sys
import time
import traceback
import urllib.request
from functools import cache

# Libraries print what they like; on the line it would be noise.
_line = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

PROMPT = "one two three four five"

# What the stand-in's model says where nothing else is asked of it.
HELLO = ["Hello", " from", " the", " stub", "."]
ANSWER = "".join(HELLO)

# One grey pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="

# Letters that break careless writers and readers of lines and of JSON.
LETTERS = "日本 \u2028 \u2029 \x85 😀 \x00 \t \" \\ </script> end"

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}

VENDORS = ("claude", "codex", "gemini")

_scenarios = []


def ask(**what):
    """One question to the harness."""
    _tell(**what)
    return json.loads(sys.stdin.readline())


def _tell(**what):
    print(json.dumps(what), file=_line, flush=True)


@cache
def server(name="echo"):
    """The address of the server of this name, which runs from now on."""
    return ask(server=name)["url"]


def agent(name):
    """What starts `clinvk acp` with this configuration: its command, its environment and its folder."""
    return ask(agent=name)


def play_model(*turns):
    """What the model behind the vendors' CLIs answers next: texts in pieces, {"json": ..}, {"gated": ..}, {"writes": ..}."""
    ask(turns=turns)


def heard():
    """The last request to the model: its system text, what was said in it, and which number it was."""
    return ask(heard=True)


def is_told(*turns):
    """That the model was told these turns in their order, each by its speaker: a session went on."""
    said = [text.strip() for role, text in heard()["said"] if role in ("user", "assistant")]
    same(said[-len(turns) :], list(turns), "what the model was told")


def is_transcript(*turns):
    """That the model was told these turns in one."""
    told = [text for role, text in heard()["said"] if role == "user"][-1]
    places = [told.find(turn) for turn in turns]
    holds(-1 not in places and places == sorted(places), f"{turns} are at {places} in: {told}")


def is_told_or_transcript(*turns):
    """The one while the program is kept that holds the conversation, the other when it is gone."""
    try:
        is_told(*turns)
    except AssertionError:
        is_transcript(*turns)


# How a conversation goes on: gemini's sessions are gone with its program.
CONTINUES = {"claude": is_told, "codex": is_told, "gemini": is_told_or_transcript}


def scenario(case="", runs=1, requests=None, when=True):
    """Register a function.

    runs, requests: how many runs and how many requests it costs the server: a client that tries again in vain is caught
    by them.  when: whether this version of the client has it at all.
    """

    def register(function):
        name = function.__name__.replace("_", "-") + (f"-{case}" if case else "")
        if when:
            _scenarios.append((name, function, runs, requests))
        return function

    return register


def play():
    """Play all scenarios, or those whose names start with one of the arguments."""
    words = tuple(sys.argv[1:])
    chosen = [one for one in _scenarios if not words or one[0].startswith(words)]
    for name, function, runs, requests in chosen:
        _tell(begins=name)
        since, problem = time.monotonic(), ""
        try:
            function()
        except AssertionError as error:
            problem = str(error) or traceback.format_exc()
        except Exception:
            problem = traceback.format_exc()
        seconds = time.monotonic() - since
        ask(scenario=name, problem=problem, seconds=seconds, runs=runs, requests=requests)
    _tell(scenarios=len(chosen))


def same(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def raises(kind, call, status=None, says=""):
    """The error that this call has to raise."""
    try:
        answer = call()
    except kind as error:
        if status:
            same(error.status_code, status, f"status of {error!r}")
        holds(says in str(error), f"`{says}` is not in: {error}")
        return error
    raise AssertionError(f"no {kind.__name__} was raised, but there is {answer!r}")


def in_pieces(pieces, whole, what="the stream"):
    """That these pieces make the whole, and are several."""
    same("".join(pieces), whole, what)
    holds(len(pieces) > 1, f"{what} came in one piece")


def wait_for_run(name):
    """Wait until a run goes on behind this server."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{server(name)}/api/v1/runs") as answer:
            if json.load(answer)["runs"]:
                return
        time.sleep(0.05)
    raise AssertionError("no run begins")
