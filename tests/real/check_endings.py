"""How runs end: failures of the vendor's side, time limits, signals, and what is left behind."""

import signal
import uuid

from backends import CLAUDE, CODEX, KINDS, STATUSES
from registry import honours, scenario
from scene import ANSWER, HELLO, files, holds, processes, same, wait_until
from standin import INPUT, Failure, Hang, Refused, Text, agent, background_command, shell, tool

# ---------------------------------------------------------------------------------------- failures

BROKEN = {
    **{str(status): [Failure(status)] for status in (400, 401, 403, 429, 500, 503, 529)},
    # In Google's words, because gemini does not pass the status on.
    "404": [Failure(404, "models/stub is not found for API version v1beta")],
    "404-bare": [Failure(404, "Not Found")],
    "quota": [Failure(429, "You exceeded your current quota.", "insufficient_quota")],
    "cut": [Text(HELLO, cut_after=2)],
    "stream-error": [Text(HELLO, error_after=2)],
    "empty": [Text()],
}


def failures(backend):
    kinds = KINDS | backend.kinds
    turns = BROKEN | {"too-long": [backend.too_long], "refused": []}
    return {name: (turns[name], kind) for name, kind in kinds.items() if kind is not None}


@scenario(failures)
def error(scene, case):
    """The right kind, a sentence, and no minutes of trying again."""
    turns, kind = case
    with Refused() as nobody:
        ran = scene.run("-o", "json", turns=turns or None, url=None if turns else nobody.url)
    ran.ends(STATUSES.get(kind, 1), kind)
    said = ran.object["error"]
    same(bool(said), bool(kind), "there is an error in the JSON")
    same(ran.err, f"clinvk: {scene.backend.name}: {said}\n" if said else "", "stderr")
    holds(ran.seconds < 60, f"it took {ran.seconds:.0f} s")


@scenario()
def error_in_text(scene):
    ran = scene.run(turns=[Failure(401)])
    same((ran.status, ran.out), (1, ""), "(status, stdout)")
    holds(ran.err.startswith(f"clinvk: {scene.backend.name}: "), f"stderr: {ran.err}")


@scenario()
def error_in_stream(scene):
    ran = scene.run("-o", "stream-json", turns=[Failure(401)])
    ran.ends(1, "login")
    same([event["type"] for event in ran.events][-2:], ["error", "done"], "last events")
    same(ran.events[-2]["content"]["code"], "login", "code of the error")


@scenario({"cut": Text(HELLO, cut_after=2), "error": Text(HELLO, error_after=2)})
def second_try(scene, broken):
    """The vendor tries again: the answer is told once, not one and a half times."""
    ran = scene.run("-o", "json", turns=[broken, Text(HELLO)])
    if scene.backend.recovers:
        ran.ends(0, "")
        same(ran.object["content"], ANSWER, "content")
    else:
        same((ran.status, ran.object["content"], ran.asked), (1, "Hello from", 1), "(status, content, requests)")


# The pieces arrive before the connection breaks, as they do with real models.
SLOWLY = {"delay": 0.3, "cut_after": 2}


def only_claude(backend):
    return backend is CLAUDE


@scenario(only=only_claude)
def broken_pieces(scene):
    """faults.md A4: what was streamed of tries that broke off is no part of the answer."""
    ran = scene.run("-o", "json", turns=[Text(HELLO, **SLOWLY), Text(HELLO, **SLOWLY), Text(HELLO)])
    ran.ends(0, "")
    same((ran.object["content"], ran.asked), (ANSWER, 3), "(content, requests)")


@scenario({"once": [Text(HELLO)], "always": []}, only=only_claude)
def refusal(scene, then):
    """faults.md A5: a refusal that claude gets over is none (2.1.197 does not try), one that it does not is `refusal`."""
    ran = scene.run("-o", "json", turns=[Text(["I cannot", " help."], refused=True), *then])
    if then and ran.asked > 1:
        ran.ends(0, "")
        same(ran.object["content"], ANSWER, "content")
    else:
        ran.ends(1, "refusal")


@scenario(only=only_claude)
def model_fallback(scene):
    """faults.md A5: the model that answered is named, and that it is another one is a warning."""
    words = ["--extra", "--fallback-model=claude-sonnet-4-5"]
    ran = scene.run("-o", "json", *words, turns=[Failure(529)] * 3 + [Text(HELLO)])
    ran.ends(0, "")
    same((ran.object["model"], len(ran.object["warnings"])), ("claude-sonnet-4-5", 1), "(model, warnings)")


@scenario(only=only_claude)
def sub_agent(scene):
    """faults.md A1: the agent's report reaches the model, and what that says of it the user."""
    turns = [agent("Report."), Text("I started an agent."), Text("The agent has reported.")]
    scene.server.play(*turns, agents=[shell("echo report"), Text(["A ", "report."], delay=1)])
    ran = scene.run("-o", "json", "--approval", "none")
    ran.ends(0, "")
    told = "".join(text for _, text in scene.server.conversation())
    holds("A report." in told, f"the model was not told of the report: {told[-1000:]}")
    # Older versions wait for the agent before they speak.
    said = ["I started an agent.", "The agent has reported."][: 2 if scene.version >= (2, 1, 332) else 1]
    same(ran.object["content"], "\n\n".join(said), "content")


@scenario(only=only_claude)
def command_behind_the_answer(scene):
    """faults.md A1: a background command goes on when the agent has answered, and what came of it is told.  Older
    versions do not say what is open, and end such commands themselves.
    """
    turns = [background_command("sleep 2; touch made.txt"), Text("I started it."), Text("It is done.")]
    ran = scene.run("-o", "json", "--approval", "none", turns=turns)
    ran.ends(0, "")
    is_told = scene.version >= (2, 1, 332)
    same(ran.object["content"], "I started it.\n\nIt is done." if is_told else "I started it.", "content")
    holds(not is_told or (scene.work / "made.txt").exists(), "the command was cut off")


def only_codex(backend):
    return backend is CODEX


@scenario(only=only_codex)
def retries_are_counted(scene):
    """A server that fails is asked as often as `vendor_retries` says, and once before (faults.md D7)."""
    for retries in (2, 0):
        env = {"CLINVK_UNIFIED_FLAGS_VENDOR_RETRIES": str(retries)}
        ran = scene.run("-o", "json", turns=[Failure(500)], env=env)
        ran.ends(1, "overloaded")
        same(ran.asked, retries + 1, "requests")


@scenario(only=only_codex)
def server_without_web_sockets(scene):
    """Codex's own provider tries web sockets first; a gateway that has none answers all the same."""
    scene.plant(scene.home / ".codex/config.toml", f'openai_base_url = "{scene.server.url}/v1"\n')
    ran = scene.run("-o", "json", turns=[Text(HELLO)], env={"CODEX_API_KEY": "dummy"})
    ran.ends(0, "")
    same((ran.object["content"], ran.asked), (ANSWER, 1), "(content, requests)")


@scenario(only=only_codex)
def goal(scene):
    """What codex has set out to do is done over several turns, which it begins by itself."""
    turns = [
        Text(call=tool("create_goal", {"objective": "to write"})), Text("I begin."), Text("I go on."),
        Text(call=tool("update_goal", {"status": "complete"})), Text("Done."),
    ]  # fmt: skip
    ran = scene.run("-o", "json", turns=turns)
    ran.ends(0, "")
    same(ran.object["content"], "I begin.\n\nI go on.\n\nDone.", "content")
    same(ran.object["usage"]["input_tokens"], 5 * INPUT, "input tokens")


@scenario(only=only_codex)
def command_in_background(scene):
    """The answer is the end, as it is for `codex exec`; what is ended with it is told."""
    turns = [tool("exec_command", {"cmd": "sleep 600", "yield_time_ms": 300}), Text(HELLO)]
    ran = scene.run("-o", "json", "--approval", "none", turns=turns)
    ran.ends(0, "")
    same(ran.object["content"], ANSWER, "content")
    holds("sleep 600" in " ".join(ran.object["warnings"]), f"warnings: {ran.object['warnings']}")


@scenario(only=lambda backend: backend.name == "gemini")
def shell_in_background(scene):
    """The same with gemini, which does not say what still runs."""
    command = {"command": "sleep 600", "description": "a command", "is_background": True}
    ran = scene.run("-o", "json", "--approval", "none", turns=[tool("run_shell_command", command), Text(HELLO)])
    ran.ends(0, "")
    holds("background" in " ".join(ran.object["warnings"]), f"warnings: {ran.object['warnings']}")


# ------------------------------------------------------------------------------------ time limits

LIMITS = {
    "timeout": [Hang()],
    "first-byte-timeout": [Hang()],
    "stall-timeout": [Text(HELLO, gated=True)],
}


@scenario({name: name for name in LIMITS})
def limit(scene, name):
    running = scene.start("-o", "json", f"--{name}", f"{scene.backend.limit}s", turns=LIMITS[name])
    running.wait_asked()
    if name == "stall-timeout":
        scene.server.release()
    ran = running.finish()
    ran.ends(6, "timeout")
    holds(f"--{name}" in ran.object["error"], f"error: {ran.object['error']}")
    same(ran.object["content"], HELLO[0] if name == "stall-timeout" else "", "content")


@scenario(only=honours("max turns"))
def max_turns(scene):
    turns = [shell("echo"), Text(HELLO)]
    ran = scene.run("-o", "json", "--max-turns", "1", "--approval", "none", turns=turns)
    ran.ends(1, "turn_limit")
    same(ran.asked, 1, "requests")


@scenario()
def unhurried(scene):
    """Limits that are kept change nothing."""
    words = [word for name in LIMITS for word in (f"--{name}", "100s")]
    scene.run(*words, turns=[Text(HELLO)]).gives()


# ---------------------------------------------------------------------------------------- signals


def sleeper(scene, *words):
    """Start an agent whose shell tool sleeps, itself and in a session of its own; gives the
    running clinvk and the argument that nobody else's sleep has."""
    argument = f"1000.{uuid.uuid4().int % 10**12}"
    command = f"setsid sleep {argument} & sh -c 'sleep {argument}; true'"
    running = scene.start("-o", "json", "--approval", "none", *words, turns=[shell(command), Text("Done.")])
    sleeping = lambda: len(processes(f"sleep\0{argument}", "cmdline")) == 2
    running.wait_until(sleeping, "the tool sleeps")
    return running, argument


@scenario({"int": signal.SIGINT, "term": signal.SIGTERM, "hup": signal.SIGHUP})
def stopped(scene, number):
    running, argument = sleeper(scene)
    running.process.send_signal(number)
    ran = running.finish(30)
    # A shell's loop ends with a program that dies of Ctrl-C.
    ran.ends(-number if number == signal.SIGINT else 7, "cancelled")
    same(processes(argument, "cmdline"), [], "sleeping processes")


@scenario()
def stopped_twice(scene):
    """The second Ctrl-C is not patient."""
    running, argument = sleeper(scene)
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    running.finish(30).ends(-signal.SIGINT, "cancelled")
    same(processes(argument, "cmdline"), [], "sleeping processes")


@scenario()
def timeout_in_a_tool(scene):
    running, argument = sleeper(scene, "--timeout", f"{scene.backend.limit}s")
    running.finish().ends(6, "timeout")
    same(processes(argument, "cmdline"), [], "sleeping processes")


@scenario()
def killed(scene):
    """Nobody tidies up after a SIGKILL, but the CLI sees its input close and ends by itself."""
    running = scene.start(turns=[Text(HELLO, gated=True)])
    running.wait_asked()
    running.process.kill()
    running.process.wait()
    scene.server.release(len(HELLO))
    wait_until(lambda: not scene.left(), "the CLI ends")


# --------------------------------------------------------------------------------------- leavings


@scenario()
def ephemeral(scene):
    """Nothing in HOME names the session or has the prompt, as it does otherwise."""
    prompt = f"the prompt {uuid.uuid4().hex}"

    def traces(*words):
        ran = scene.run("-o", "json", *words, prompt=prompt, turns=[Text(HELLO)])
        ran.ends(0, "")
        session = ran.object["backend_session_id"]
        found = files(scene.home) | files(scene.tmp)
        return [path for path, data in found.items() if session in path or prompt.encode() in data]

    same(traces("--ephemeral"), [], "files of an ephemeral run")
    # Else the line above proves nothing.
    vendors = [path for path in traces() if not path.startswith(".clinvk/")]
    same(bool(vendors), scene.backend.keeps_sessions, "an ordinary run leaves a session of the vendor's")


@scenario()
def nested(scene):
    """Inside another agent's session, and inside another clinvk."""
    outer = {
        "CLAUDECODE": "1",
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "CLAUDE_CODE_SSE_PORT": "12345",
        "CLAUDE_CODE_SESSION_ID": str(uuid.uuid4()),
        "GEMINI_CLI": "1",
        "CODEX_THREAD_ID": str(uuid.uuid4()),
        "CODEX_SANDBOX": "seatbelt",
        "CLINVK_RUN": "outer",
        "CLINVK_API_KEYS": "our-own-key",
    }
    turns = [shell("env"), Text(HELLO)]
    scene.run("--approval", "none", turns=turns, env=outer).gives()
    output = next(text for role, text in scene.server.conversation() if role == "tool")
    holds("CLINVK_RUN=outer:" in output, f"the outer clinvk would not find this run: {output}")
    holds("our-own-key" not in output, "a tool sees CLINVK_API_KEYS")
