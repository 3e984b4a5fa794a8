"""Many runs at once: parallel, compare and chain over all three vendors in one clinvk."""

import json
import signal

from backends import BACKENDS
from registry import scenario_of_all
from scene import ANSWER, HELLO, holds, same, wait_until
from standin import Failure, Hang, Text

ANSWERS = [Text(HELLO)]


def tasks(scene, *words, each=None, turns=ANSWERS, status=0):
    """`parallel` with a task for each vendor; gives the object that it printed."""
    plan = {"tasks": [{"backend": name, "prompt": f"a task for {name}", **(each or {})} for name in BACKENDS]}
    ran = scene.run("parallel", "-q", "--json", *words, prompt=json.dumps(plan), turns=turns)
    same((ran.err, ran.status), ("", status), "(stderr, status)")
    return json.loads(ran.out)


def sessions(scene):
    return list((scene.home / ".clinvk" / "sessions").glob("*.json"))


@scenario_of_all
def parallel(scene):
    """Each vendor answers its own task, and none leaves a session."""
    said = tasks(scene)
    same((said["total_tasks"], said["completed"]), (3, 3), "(tasks, completed)")
    results = said["results"]
    same([result["backend"] for result in results], list(BACKENDS), "backends")
    same([result["output"] for result in results], [ANSWER] * 3, "outputs")
    for result, backend in zip(results, BACKENDS.values()):
        usage = [result["usage"][f"{kind}_tokens"] for kind in ("input", "output", "cached", "reasoning")]
        same(tuple(usage), backend.usage, f"usage of {backend.name}")
        holds(result["session_id"] is None, "an ephemeral run has a session")
    told = "\n".join(text for number in range(3) for text in scene.server.user_texts(number))
    holds(all(f"a task for {name}" in told for name in BACKENDS), "a task did not arrive")
    same(sessions(scene), [], "sessions")


@scenario_of_all
def parallel_keeps_sessions_where_that_is_wanted(scene):
    said = tasks(scene, "--keep-sessions")
    ids = {result["session_id"] for result in said["results"]}
    same({path.stem for path in sessions(scene)}, ids, "sessions")
    ran = scene.run("resume", said["results"][0]["session_id"], prompt="and then?", turns=ANSWERS)
    ran.gives()


@scenario_of_all
def parallel_fails_fast(scene):
    """One is refused at once; the other two are stopped with all that they started."""
    plan = {"fail_fast": True, "tasks": [{"backend": name, "prompt": "hi"} for name in BACKENDS]}
    # Who asks first is refused, the others wait for ever.
    running = scene.start("parallel", "-q", "--json", prompt=json.dumps(plan), turns=[Failure(400), Hang()])
    said = json.loads(running.finish().out)
    states = sorted(result["status"] for result in said["results"])
    same(states, ["cancelled", "cancelled", "failed"], "states")
    same(running.ran.status, 1, "status")


@scenario_of_all
def parallel_is_cancelled(scene):
    plan = {"tasks": [{"backend": name, "prompt": "hi"} for name in BACKENDS]}
    running = scene.start("parallel", "-q", "--json", prompt=json.dumps(plan), turns=[Hang()])
    running.wait_until(lambda: len(scene.server.asked) >= 3, "all three ask")
    running.process.send_signal(signal.SIGINT)
    said = json.loads(running.finish().out)
    same((said["cancelled"], running.ran.status), (3, -signal.SIGINT), "(cancelled, status)")


@scenario_of_all
def parallel_resumes_after_a_kill(scene):
    """What had succeeded is not asked again."""
    plan = {"max_parallel": 1, "tasks": [{"backend": name, "prompt": f"for {name}"} for name in ("codex", "claude")]}
    words = ["parallel", "-q", "--json", "--resume", "out"]
    running = scene.start(*words, prompt=json.dumps(plan), turns=[Text(HELLO), Hang()])
    running.wait_until(lambda: len(scene.server.asked) >= 2, "the second one asks")
    running.process.kill()
    running.process.wait()
    # The vendor's program sees its input close, and ends when its turn does.
    scene.server.play(*ANSWERS)
    scene.server.release()
    wait_until(lambda: not scene.left(), "the killed run's programs end")
    ran = scene.run(*words, prompt=json.dumps(plan), turns=ANSWERS)
    said = json.loads(ran.out)
    same((said["completed"], said["resumed"], ran.asked), (2, 1, 1), "(completed, resumed, requests)")


@scenario_of_all
def compare(scene):
    ran = scene.run("compare", "-q", "--all-backends", "--agree", "--json", turns=ANSWERS)
    said = json.loads(ran.out)
    same((said["backends"], said["agree"]), (sorted(BACKENDS), True), "(backends, agree)")
    same([result["output"] for result in said["results"]], [ANSWER] * 3, "outputs")
    same((ran.err, ran.status), ("", 0), "(stderr, status)")


@scenario_of_all
def compare_races(scene):
    """The first answer wins, and nothing of the other two is left."""
    ran = scene.run(
        "compare", "-q", "--backends", ",".join(BACKENDS), "--race", "--json", turns=[Text(HELLO), Hang()]
    )
    said = json.loads(ran.out)
    states = sorted(result["status"] for result in said["results"])
    same((states, ran.status), (["cancelled", "cancelled", "completed"], 0), "(states, status)")
    holds(said["winner"] in BACKENDS, "nobody has won")


@scenario_of_all
def chain(scene):
    """Each step is told the answer of the one before."""
    steps = [{"name": name, "backend": name, "prompt": f"{name}: {{{{previous}}}}"} for name in BACKENDS]
    steps[0]["prompt"] = "begin: {{input}}"
    scene.plant("chain.json", json.dumps({"steps": steps}))
    turns = [Text(f"answer {number}.") for number in range(1, 4)]
    ran = scene.run("chain", "-q", "-f", "chain.json", prompt="the input", turns=turns)
    ran.gives("answer 3.\n")
    expected = ["begin: the input", "codex: answer 1.", "gemini: answer 2."]
    for number, text in enumerate(expected):
        holds(any(text in told for told in scene.server.user_texts(number)), f"step {number + 1} was not told `{text}`")


@scenario_of_all
def chain_goes_on_in_one_conversation(scene):
    """With pass_session each vendor remembers its own earlier step; afterwards no session of ours is left."""
    steps = [{"backend": name, "prompt": f"{word} for {name}"} for word in ("first", "second") for name in BACKENDS]
    scene.plant("chain.json", json.dumps({"pass_session": True, "steps": steps}))
    ran = scene.run("chain", "-q", "--json", "-f", "chain.json", turns=ANSWERS)
    same((json.loads(ran.out)["completed_steps"], ran.err, ran.status), (6, "", 0), "(steps, stderr, status)")
    for number, name in enumerate(BACKENDS, start=3):
        told = "\n".join(text for _, text in scene.server.conversation(number))
        places = [told.find(f"{word} for {name}") for word in ("first", "second")]
        holds(-1 < places[0] < places[1], f"{name} was told {told[-600:]}")
    same(sessions(scene), [], "sessions")
