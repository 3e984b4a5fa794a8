"""Sessions: the real CLIs really replay what was said before, as the stand-in's requests show."""

import json
import shutil
import signal
import subprocess
import time

from registry import scenario
from scene import HELLO, holds, same
from standin import Hang, Text

ANSWERS = [Text(HELLO)]


def turn(scene, *words, prompt, **how):
    """One turn that has to work; gives its run."""
    ran = scene.run("-o", "json", *words, prompt=prompt, turns=ANSWERS, **how)
    ran.ends(0, "")
    return ran


def heard(scene):
    """All that the model was told in the last request, in one text."""
    return "\n".join(text for _, text in scene.server.conversation())


def remembers(scene, *prompts):
    """The last request has these prompts in this order, and an answer after the first."""
    text = heard(scene)
    places = [text.find(prompt) for prompt in prompts]
    holds(-1 not in places and places == sorted(places), f"prompts at {places} in what the model was told: {text[-600:]}")
    holds("".join(HELLO) in text[places[0] :], "the answer to the first prompt is not in what the model was told")


def sessions(scene):
    """Our sessions, last used first."""
    listed = subprocess.run(
        [scene.clinvk, "sessions", "list", "--json"], env=scene.environment, capture_output=True, text=True, check=True
    )
    return json.loads(listed.stdout)["sessions"]


@scenario()
def session_continues(scene):
    first = turn(scene, prompt="the first prompt").object
    turn(scene, "-c", prompt="the second prompt")
    remembers(scene, "the first prompt", "the second prompt")
    third = turn(scene, "resume", first["session_id"][:10], prompt="the third prompt").object
    remembers(scene, "the first prompt", "the second prompt", "the third prompt")
    same(third["session_id"], first["session_id"], "our session")
    [session] = sessions(scene)
    same((session["turn_count"], session["status"]), (3, "completed"), "(turns, status)")


@scenario()
def session_counts_each_turn_once(scene):
    """What a turn used is this turn's, whatever the vendor sums up (faults.md A2)."""
    for number in range(3):
        usage = turn(scene, *(["-c"] if number else []), prompt=f"prompt {number}").object["usage"]
        told = tuple(usage[f"{kind}_tokens"] for kind in ("input", "output", "cached", "reasoning"))
        same(told, scene.backend.usage, f"usage of turn {number}")
    same(sessions(scene)[0]["usage"]["input_tokens"], 3 * scene.backend.usage[0], "input tokens of the session")


@scenario()
def session_survives_others(scene):
    """gemini loses sessions that are resumed soon, or after an unrelated one (real-clis.md 0.10, 4.3)."""
    first = turn(scene, prompt="the first prompt").object
    time.sleep(2)
    turn(scene, "resume", first["session_id"], prompt="the second prompt")
    turn(scene, prompt="something else")
    holds("the first prompt" not in heard(scene), "an unrelated prompt was told of another session")
    turn(scene, "resume", first["session_id"], prompt="the third prompt")
    remembers(scene, "the first prompt", "the second prompt", "the third prompt")


@scenario(only=lambda backend: backend.keeps_sessions)
def session_by_the_vendors_id(scene):
    first = turn(scene, prompt="the first prompt").object
    second = turn(scene, "resume", first["backend_session_id"], prompt="the second prompt").object
    same(second["session_id"], first["session_id"], "our session")
    remembers(scene, "the first prompt", "the second prompt")


@scenario(only=lambda backend: backend.keeps_sessions)
def session_lost_by_the_vendor(scene):
    """A clear error, never a new conversation in silence; and a way on."""
    turn(scene, prompt="the first prompt")
    for folder in (".claude/projects", ".codex/sessions"):
        shutil.rmtree(scene.home / folder, ignore_errors=True)
    for index in (scene.home / ".codex").glob("*.sqlite*"):
        index.unlink()
    ran = scene.run("-o", "json", "-c", prompt="the second prompt", turns=ANSWERS)
    ran.ends(4, "session_not_found")
    same((ran.asked, "--replay" in ran.object["error"]), (0, True), "(requests, the error names --replay)")
    turn(scene, "-c", "--replay", prompt="the third prompt")
    remembers(scene, "the first prompt", "the third prompt")
    turn(scene, "-c", prompt="the fourth prompt")
    remembers(scene, "the first prompt", "the third prompt", "the fourth prompt")


@scenario()
def session_handed_on(scene):
    """Another backend is told the whole conversation."""
    first = turn(scene, prompt="the first prompt").object
    ran = scene.run("-b", "echo", "resume", first["session_id"], prompt="and now?", turns=ANSWERS)
    same((ran.status, ran.asked), (0, 0), "(status, requests)")
    for wanted in ("the first prompt", "".join(HELLO), "and now?"):
        holds(wanted in ran.out, f"`{wanted}` is not in what the other backend was told")
    turn(scene, "resume", first["session_id"], prompt="the last prompt")
    remembers(scene, "the first prompt", "and now?", "the last prompt")


@scenario()
def session_after_an_interrupt(scene):
    turn(scene, prompt="the first prompt")
    running = scene.start("-c", prompt="the interrupted prompt", turns=[Hang()])
    running.wait_asked()
    [session] = sessions(scene)
    same(session["status"], "active", "status while it runs")
    running.process.send_signal(signal.SIGINT)
    same(running.finish().status, -signal.SIGINT, "exit status")
    [session] = sessions(scene)
    same((session["status"], session["last_error"]), ("error", "cancelled"), "(status, last error)")
    turn(scene, "-c", prompt="the third prompt")
    remembers(scene, "the first prompt", "the third prompt")
    [session] = sessions(scene)
    same((session["status"], session.get("last_error")), ("completed", None), "(status, last error)")


@scenario()
def session_is_held_by_its_run(scene):
    turn(scene, prompt="the first prompt")
    running = scene.start("-c", prompt="a long one", turns=[Hang()])
    running.wait_asked()
    second = subprocess.run(
        [scene.clinvk, "-b", scene.backend.name, "-o", "json", "-c", "too early"], env=scene.environment, cwd=scene.work,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    pid = str(running.process.pid)
    same((second.returncode, pid in second.stderr), (4, True), "(status, the error names the holder)")
    running.process.send_signal(signal.SIGTERM)
    same(running.finish().status, 7, "exit status")


@scenario()
def session_ephemeral_looks_on(scene):
    """An ephemeral turn on a session knows its past and leaves it as it was."""
    first = turn(scene, prompt="the first prompt").object
    turn(scene, "--ephemeral", "resume", first["session_id"], prompt="an aside")
    remembers(scene, "the first prompt", "an aside")
    turn(scene, "resume", first["session_id"], prompt="the second prompt")
    remembers(scene, "the first prompt", "the second prompt")
    holds("an aside" not in heard(scene), "the ephemeral turn was kept")
