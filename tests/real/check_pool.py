"""Kept children on the real CLIs: which conversations a child is given, what of one reaches another, and what is left when
something ends that should not have.
"""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agents import AGENTS
from backends import BACKENDS
from check_agents import ROWS
from check_conversations import serving
from registry import scenario
from scene import ANSWER, HELLO, PATIENCE, holds, same, wait_until
from standin import Chosen, Hang, Text, shell

KEPT = BACKENDS | {name: AGENTS[name] for name in ("opencode", "qwen")}

# What only one conversation may know.
SECRET = re.compile(r"heron[0-9a-f]{12}")

# Its tools run, as far as that is the server's to say.
FREE = {"approval_mode": "none"}


def secret():
    return f"heron{uuid.uuid4().hex[:12]}"


def kept_scenario(function):
    return scenario(of=KEPT)(function)


def ask(served, prompt, path="/api/v1/prompt", headers={}, **options):
    """The answer to a prompt, as an object."""
    return served.post(path, {"prompt": prompt} | options, **headers)[1]


def lines(served, prompt, **options):
    """The events of a prompt, as they come."""
    request = urllib.request.Request(
        served.url + "/api/v1/prompt",
        json.dumps({"prompt": prompt} | options).encode(),
        {"Content-Type": "application/json", "Accept": "application/x-ndjson"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            yield from (json.loads(line) for line in answer if line.strip())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} {error.read().decode()}") from None


def called(served, method, path, headers={}):
    request = urllib.request.Request(served.url + path, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def programs(served):
    """The pids of the programs that the server has started and that are there."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if int(parent) == served.process.pid and state != "Z":
            found.add(int(entry.name))
    return found


def only(served):
    """The one program that is kept."""
    wait_until(lambda: len(programs(served)) == 1, f"one program is kept, not {len(programs(served))}")
    [pid] = programs(served)
    return pid


def bodies(scene, since=0):
    """What the model was sent, whole."""
    return [json.dumps(request["body"]) for request in scene.server.requests[since:]]


def unknown(scene, since, *secrets):
    """From that request on the model hears nothing of these."""
    for body in bodies(scene, since):
        known = [each for each in secrets if each in body]
        same(known, [], f"what a conversation knows of another: {body[-3000:]}")


def told(scene, *texts):
    """The last request had each of these, once, and in this order."""
    said = "\n".join(text for _, text in scene.server.conversation())
    same([said.count(text) for text in texts], [1] * len(texts), f"how often {texts} are in {said[-2000:]}")
    places = [said.find(text) for text in texts]
    same(places, sorted(places), f"the places of {texts}")


# ------------------------------------------------------------------------------------- conversations


@kept_scenario
def pool_goes_on_with_a_conversation(scene):
    """Each turn in the same child, which is told the new prompt only."""
    one, two, three = secret(), secret(), secret()
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        first = ask(served, one)
        pid = only(served)
        for prompt, before in ((two, [one]), (three, [one, two])):
            again = ask(served, prompt, session_id=first["session_id"])
            same((again["content"], again["session_id"]), (ANSWER, first["session_id"]), "(answer, session)")
            same(again["usage"], first["usage"], "what one turn used")
            told(scene, *before, prompt)
            same(only(served), pid, "the program")
        [child] = called(served, "GET", "/api/v1/pool")["children"]
        same([child[name] for name in ("backend", "pid", "turns")], [scene.backend.name, pid, 3], "what the server says of it")


@kept_scenario
def pool_begins_a_conversation_in_a_child_that_had_another(scene):
    """Of prompts, answers and tools of the one nothing is in the other; a tool's `cd` and variables neither."""
    prompt, tool, answer = secret(), secret(), secret()
    with serving(scene, max_approval_mode="none") as served:
        (scene.work / "below").mkdir()
        scene.server.play(shell(f"cd below; export KNOWN={tool}; echo $KNOWN"), Text(answer))
        ask(served, prompt, **FREE)
        pid, since = only(served), len(scene.server.requests)
        scene.server.play(shell('pwd; echo "[$KNOWN]"'), Text(HELLO))
        same(ask(served, "where are you?", **FREE)["content"], ANSWER, "the answer")
        same(only(served), pid, "the program")
        unknown(scene, since, prompt, tool, answer)
        output = next(text for role, text in reversed(scene.server.conversation()) if role == "tool")
        holds(str(scene.work) in output and "below" not in output and "[]" in output, f"its tool said {output}")


@kept_scenario
def pool_heeds_the_options_of_each_turn(scene):
    """Another model or system prompt holds from the turn on in which it is asked for, and for no other conversation."""
    agent = scene.backend.name not in BACKENDS
    asked, seen = ROWS[scene.backend.name].model if agent else ("fast", scene.backend.fast)
    one, two, three = secret(), secret(), secret()
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        session = ask(served, "hi", system_prompt=one)["session_id"]
        usual = scene.server.model()
        holds(one in bodies(scene)[-1], "the model did not get the system prompt")
        ask(served, "hi", session_id=session, model=asked, system_prompt=two)
        holds(seen in scene.server.model(), f"model: {scene.server.model()}")
        holds(two in bodies(scene)[-1], "the model did not get the second system prompt")
        since = len(scene.server.requests)
        ask(served, "hi", system_prompt=three)
        same(scene.server.model(), usual, "the model of a conversation that asks for none")
        holds(three in bodies(scene)[-1], "the model did not get the third system prompt")
        unknown(scene, since, one, two)


@kept_scenario
def pool_keeps_sixteen_chats_apart(scene):
    """At once, each of two turns with a tool; half of them over chat/completions."""
    chats = [(secret(), secret(), secret()) for _ in range(16)]
    of = {each: chat for chat in chats for each in chat}

    def turn(said):
        # What stands in front of a prompt is the vendor's.
        chat = of[SECRET.findall("\n".join(text for role, text in said if role == "user"))[-1]]
        uses_tool = said[-1][0] != "tool" and chat[1] not in json.dumps(said) and chat[2] not in json.dumps(said)
        return Text(call=shell(f"echo {chat[1]}")) if uses_tool else Text(["I heard ", chat[0], "."], delay=0.05)

    def answered(asked):
        """What a client gets who asks once more: with so many turns at once opencode may end one without what was said in it
        (https://github.com/anomalyco/opencode/issues/17505), and clinvk calls that no answer.
        """
        try:
            return asked()
        except AssertionError as error:
            if scene.backend.name != "opencode" or "the model's answer is empty" not in str(error):
                raise
            print("       opencode told nothing of an answer, and is asked once more", flush=True)
            return asked()

    def native(served, chat):
        first = answered(lambda: ask(served, chat[0], **FREE))
        again = answered(lambda: ask(served, chat[2], session_id=first["session_id"], **FREE))
        return [first["content"], again["content"]]

    def surface(served, chat):
        messages, answers = [{"role": "system", "content": f"You are {chat[0]}."}], []
        for prompt in (chat[1], chat[2]):
            messages.append({"role": "user", "content": prompt})
            body = {"model": scene.backend.name, "messages": messages}
            _, answer = answered(lambda body=body: served.post("/openai/v1/chat/completions", body))
            answers.append(answer["choices"][0]["message"]["content"])
            messages.append({"role": "assistant", "content": answers[-1]})
        return answers

    pool = {"per_process": len(chats)}
    with serving(scene, pool, max_approval_mode="none") as served, ThreadPoolExecutor(len(chats)) as threads:
        scene.server.play(Text(HELLO))
        # Sixteen agents would be too much for most machines.
        ask(served, "hi", **FREE)
        served.post("/openai/v1/chat/completions", {"model": scene.backend.name, "messages": [{"role": "user", "content": "hi"}]})
        scene.server.play(Chosen(turn))
        ways = [(native, surface)[number % 2] for number in range(len(chats))]
        waiting = [threads.submit(way, served, chat) for way, chat in zip(ways, chats)]
        for chat, answers in zip(chats, [each.result() for each in waiting]):
            same(answers, [f"I heard {chat[0]}."] * 2, "the answers")
        for body in bodies(scene):
            known = {of[each] for each in SECRET.findall(body)}
            holds(len(known) < 2, f"one request knows of {len(known)} chats: {body[-3000:]}")
        wait_until(lambda: len(programs(served)) <= 4, f"four programs are kept, not {len(programs(served))}")


@kept_scenario
def pool_is_each_keys_own(scene):
    keys = {name: {"X-Api-Key": uuid.uuid4().hex} for name in ("one", "two")}
    listed = ",".join(f"{name}={headers['X-Api-Key']}" for name, headers in keys.items())
    secrets, pids, sessions = {name: secret() for name in keys}, {}, {}
    with serving(scene, variables={"CLINVK_API_KEYS": listed}) as served:
        scene.server.play(Text(HELLO))
        for name, headers in keys.items():
            since = len(scene.server.requests)
            sessions[name] = ask(served, secrets[name], headers=headers)["session_id"]
            unknown(scene, since, *(text for other, text in secrets.items() if other != name))
            wait_until(lambda: len(programs(served)) == len(pids) + 1, "a further program is kept")
            pids[name] = programs(served) - set(pids.values())
            [pids[name]] = pids[name]
        for name, headers in keys.items():
            since = len(scene.server.requests)
            ask(served, "again", headers=headers, session_id=sessions[name])
            told(scene, secrets[name])
            unknown(scene, since, *(text for other, text in secrets.items() if other != name))
            children = called(served, "GET", "/api/v1/pool", headers)["children"]
            same([(child["key"], child["pid"]) for child in children], [(name, pids[name])], "the programs that a key is told of")
        same(programs(served), set(pids.values()), "the programs")


@scenario(only=lambda backend: backend.name != "gemini", of=KEPT)
def pool_shares_a_session_with_other_programs(scene):
    """A turn that another clinvk adds between two of the server's is part of the conversation, and neither is refused."""
    one, two, three, four = (secret() for _ in range(4))
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        session = ask(served, one)["session_id"]
        for prompt in (two, three):
            command = [scene.clinvk, "resume", session, prompt]
            ran = subprocess.run(
                command, cwd=scene.work, env=scene.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            same((ran.returncode, ran.stdout, ran.stderr), (0, ANSWER + "\n", ""), "what the other clinvk said")
        told(scene, one, two, three)
        same(ask(served, four, session_id=session)["content"], ANSWER, "the answer")
        told(scene, one, two, three, four)


# ------------------------------------------------------------------------------------------ endings


@kept_scenario
def pool_goes_on_after_a_stopped_turn(scene):
    one, two, three, four = (secret() for _ in range(4))
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        session = ask(served, one)["session_id"]
        count = len(scene.server.asked)
        scene.server.play(Text(HELLO, gated=True))
        run = served.post("/api/v1/prompt", {"prompt": two, "session_id": session, "detach": True})[1]["run_id"]
        scene.server.wait_asked(count + 1)
        scene.server.release()
        called(served, "DELETE", f"/api/v1/runs/{run}")
        wait_until(lambda: called(served, "GET", f"/api/v1/runs/{run}")["state"] == "done", "the run is over")
        scene.server.play(Text(HELLO))
        same(ask(served, three, session_id=session)["content"], ANSWER, "the answer of the next turn")
        said = "\n".join(text for _, text in scene.server.conversation())
        holds(one in said and three in said, f"the next turn told {said[-2000:]}")
        since = len(scene.server.requests)
        same(ask(served, four)["content"], ANSWER, "the answer of another conversation")
        unknown(scene, since, one, two, three)


@kept_scenario
def pool_replaces_a_child_that_was_killed(scene):
    one, two = secret(), secret()
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        session = ask(served, one)["session_id"]
        pid = only(served)
        os.kill(pid, signal.SIGKILL)
        # The kernel takes its time with many threads, and what the program had started serves as long.
        kept = lambda: [child["pid"] for child in called(served, "GET", "/api/v1/pool")["children"]]
        wait_until(lambda: pid not in kept(), "the program is gone")
        same(ask(served, two, session_id=session)["content"], ANSWER, "the answer")
        told(scene, one, two)
        holds(only(served) != pid, "another one is kept")


@kept_scenario
def pool_tries_again_what_was_not_begun(scene):
    """The child dies in a turn of which nothing was told: a fresh one answers."""
    one, two = secret(), secret()
    with serving(scene) as served, ThreadPoolExecutor(1) as threads:
        scene.server.play(Text(HELLO))
        session = ask(served, one)["session_id"]
        pid, count = only(served), len(scene.server.asked)
        scene.server.play(Hang(), Text(HELLO))
        waiting = threads.submit(ask, served, two, session_id=session)
        scene.server.wait_asked(count + 1)
        os.kill(pid, signal.SIGKILL)
        same(waiting.result()["content"], ANSWER, "the answer")
        wait_until(lambda: pid not in programs(served), "the program is another one")
        said = "\n".join(text for _, text in scene.server.conversation())
        holds(one in said and two in said, f"the second attempt told {said[-2000:]}")


@kept_scenario
def pool_does_not_repeat_what_was_begun(scene):
    """The child dies when a part of the answer was told: that is the end of the run, and not of what comes after it."""
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        ask(served, "hi")
        pid = only(served)
        scene.server.play(Text(HELLO, gated=True))
        scene.server.release()
        heard = []
        for event in lines(served, "hi again"):
            if event["type"] == "message" and not heard:
                os.kill(pid, signal.SIGKILL)
            heard += [event] if event["type"] in ("message", "done") else []
        same([event["content"].get("text") for event in heard], [HELLO[0], None], "the parts that were told")
        holds(heard[-1]["content"]["kind"], f"the end: {heard[-1]}")
        scene.server.play(Text(HELLO))
        same(ask(served, "hi")["content"], ANSWER, "the answer afterwards")


@kept_scenario
def pool_ends_with_its_server(scene):
    """However that ends."""
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        ask(served, "hi")
        only(served)
        served.kill()
        wait_until(lambda: not scene.left(), "the end of all processes", 30)
