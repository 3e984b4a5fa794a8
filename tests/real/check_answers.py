"""What goes in and what comes out: formats, prompts, options of the model."""

import base64
import json
import random
import struct
import subprocess
import zlib

from backends import NOTES_TEXT, OPTIONS, SKILL, SKILL_TEXT
from registry import honours, scenario
from scene import ANSWER, HELLO, PROMPT, clip, files, holds, same, wait_until
from standin import Text, shell, tool

PLAIN = [Text(HELLO)]


def body(scene):
    """The last request of the conversation, as one text."""
    return json.dumps(scene.server.asked[-1]["body"], ensure_ascii=False)


def expect_heard(scene, prompt):
    """The model got this prompt, whole and unchanged."""
    heard = scene.server.user_texts()
    holds(prompt in heard, f"the model did not get the prompt, but {clip(repr(heard))}")


# ---------------------------------------------------------------------------------------- formats


@scenario()
def text(scene):
    scene.run("a prompt in an argument", prompt=None, turns=PLAIN).gives()
    expect_heard(scene, "a prompt in an argument")
    same(len(scene.server.asked), 1, "requests")


@scenario()
def json_object(scene):
    ran = scene.run("-o", "json", turns=[Text(HELLO, thinking=["Hm."])])
    ran.ends(0, "")
    answer = ran.object
    backend = scene.backend
    same((answer["backend"], answer["content"]), (backend.name, ANSWER), "(backend, content)")
    same((answer["exit_code"], answer["kind"], answer["error"]), (0, None, None), "(exit_code, kind, error)")
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    same(tuple(answer["usage"][name] for name in names), backend.usage, "usage")
    holds(backend.model in answer["model"], f"model: {answer['model']}")
    holds(answer["backend_session_id"], "no backend_session_id")
    same((ran.err, answer["warnings"]), ("", []), "(stderr, warnings)")


@scenario()
def stream_json(scene):
    """A whole agent's turn: reasoning, a tool, its result, the answer."""
    turns = [Text(thinking=["Hm."], call=shell("echo from the tool")), Text(HELLO)]
    ran = scene.run("-o", "stream-json", "--approval", "none", turns=turns)
    ran.ends(0, "")
    events = ran.events
    same([event["sequence"] for event in events], list(range(len(events))), "sequence numbers")
    same({event["backend"] for event in events}, {scene.backend.name}, "backends")
    kinds = [event["type"] for event in events if event["type"] != "progress"]
    # Usage may come after every model turn: its place is the vendor's.
    order = [kind for kind in dict.fromkeys(kinds) if kind != "token_usage"]
    same(order, ["init", "thinking", "tool_use", "tool_result", "message", "done"], "order of events")
    same((kinds.count("init"), kinds.count("done"), kinds[-1]), (1, 1, "done"), "(inits, dones, last)")
    told = {kind: [event["content"] for event in events if event["type"] == kind] for kind in kinds}
    same("".join(content["text"] for content in told["message"]), ANSWER, "text")
    same("".join(content["text"] for content in told["thinking"]), "Hm.", "reasoning")
    same(told["tool_use"][0]["tool_id"], told["tool_result"][0]["tool_id"], "id of the tool's use")
    result = told["tool_result"][0]
    same("from the tool" in result["output"], scene.backend.tells_output, f"output in {result}")
    same(result["is_error"], False, "is_error")
    same(told["init"][0]["working_dir"], str(scene.work), "working directory")
    same(told["done"][0]["turn_count"], 2, "turns")


@scenario()
def raw(scene):
    ran = scene.run("--raw", turns=PLAIN)
    same((ran.status, ran.err), (0, ""), "(status, stderr)")
    holds(scene.backend.raw in ran.out, f"no {scene.backend.raw} in the vendor's own lines")
    holds("sequence" not in ran.events[-1], "unified events among the vendor's own lines")


@scenario()
def dry_run(scene):
    """Starts nothing; and what it prints is a script that a shell runs."""
    before = files(scene.home)
    ran = scene.run("--dry-run", turns=PLAIN)
    same((ran.status, ran.err, ran.requests), (0, "", []), "(status, stderr, requests)")
    same(files(scene.home).keys(), before.keys(), "files in HOME")
    with subprocess.Popen(
        ["timeout", "60", "sh", "-c", ran.out], cwd="/", env=scene.environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as pasted:  # fmt: skip
        heard = pasted.stdout.readlines()
    holds(scene.backend.paste in "".join(heard), f"the pasted command said: {''.join(heard)}")


# ---------------------------------------------------------------------------------------- prompts

HOSTILE = {
    "flag": "--dangerously-skip-permissions",
    "short-flag": "-p",
    "command": "/cost",
    "unknown-command": "/no-such-command with words",
    "slash": "/",
    "file": "@notes.txt",
    "far-file": "@/etc/hostname",
    "skill": f"${SKILL}",
    "bang": "!touch bang-ran",
    "resume": "resume",
    "help": "help",
}


def set_traps(scene):
    """What a prompt could set off."""
    scene.plant("notes.txt", NOTES_TEXT)
    skill = f"---\nname: {SKILL}\ndescription: a skill for tests\n---\n{SKILL_TEXT}\n"
    for folder in (".codex", ".claude", ".gemini"):
        scene.plant(scene.home / folder / "skills" / SKILL / "SKILL.md", skill)


@scenario(HOSTILE)
def hostile(scene, prompt):
    set_traps(scene)
    scene.run("--", prompt, prompt=None, turns=PLAIN).gives()
    expect_heard(scene, prompt)
    for text in (NOTES_TEXT, SKILL_TEXT):
        holds(text not in body(scene), f"the model saw what it was not shown: {text}")
    same(sorted(files(scene.work)), ["notes.txt"], "files in the working directory")


@scenario()
def interpret(scene):
    set_traps(scene)
    prompt, seen = scene.backend.interpreted
    ran = scene.run("--interpret", prompt=prompt, turns=PLAIN)
    same(ran.status, 0, "status")
    if seen is None:
        same(ran.asked, 0, "requests")
    else:
        holds(seen in body(scene), f"the model did not see: {seen}")


@scenario()
def prompt_of_1_mb(scene):
    prompt = "".join(f"{number:09} of a million\n" for number in range(43_000))
    scene.run(prompt=prompt, turns=PLAIN).gives()
    expect_heard(scene, prompt)


@scenario()
def prompt_of_16_mib(scene):
    """Works, or is refused in words that name the limit."""
    prompt = "sixteen letters\n" * (1 << 20)
    ran = scene.run("-o", "json", prompt=prompt, turns=PLAIN)
    if scene.backend.longest_prompt:
        same((ran.status, ran.asked), (1, 0), "(status, requests)")
        holds(scene.backend.longest_prompt in ran.err, f"stderr: {ran.err}")
    else:
        ran.ends(0, "")
        expect_heard(scene, prompt)


@scenario()
def several_lines(scene):
    prompt = "Ünïcödé 🦀\n\tand 'quotes' \"both\" $HOME `id` \\n %s\r\n\nend"
    scene.run(prompt=prompt, turns=[Text(["Ja: ", "日本", "🦀\n", "\n'"])]).gives(out="Ja: 日本🦀\n\n'\n")
    expect_heard(scene, prompt)


# ---------------------------------------------------------------------------------------- options


@scenario()
def system_prompts(scene):
    """Replaced: the vendor's own text is gone; added: it is still there."""
    mine = "You are a 'stub' in a \"test\".\nSecond line: ünïcödé."
    seen = {}
    for name in sorted({"", "system prompt", "appended system prompt"} - scene.backend.refuses):
        words = [OPTIONS[name][0], mine] if name else []
        scene.run(*words, turns=PLAIN).gives()
        seen[name] = scene.server.system_text()
    usual = next(line for line in seen[""].splitlines() if len(line) > 200)
    for name, text in seen.items():
        same(mine in text, name != "", f"with {name or 'nothing'}: the model has my prompt")
        same(usual in text, name != "system prompt", f"with {name or 'nothing'}: the model has the vendor's prompt")


@scenario()
def model(scene):
    scene.run("-m", "stub-other", turns=PLAIN).gives()
    same(scene.server.model(), "stub-other", "model")
    ran = scene.run("-m", "fast", turns=PLAIN)
    ran.gives()
    holds(scene.backend.fast in scene.server.model(), f"model for `fast`: {scene.server.model()}")


def pixel():
    """A PNG of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0\x12\x34\x56")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@scenario()
def images(scene):
    (scene.work / "pixel.png").write_bytes(pixel())
    scene.run("--image", "pixel.png", turns=PLAIN).gives()
    # claude ends a line there.
    holds(PROMPT in map(str.strip, scene.server.user_texts()), "the model did not get the prompt")
    holds(base64.b64encode(pixel()).decode() in body(scene), "the model did not get the picture's bytes")


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@scenario(only=honours("json schema"))
def schema(scene):
    by_tool = scene.backend.name == "claude"
    answer = tool("StructuredOutput", {"answer": 42}) if by_tool else Text(['{"answer":', "42}"])
    ran = scene.run("--json-schema", json.dumps(SCHEMA), turns=[answer, Text("Done.")])
    ran.gives(out='{"answer":42}\n')
    request = ran.requests[-1]["body"]
    if by_tool:
        holds("StructuredOutput" in scene.server.tools(0), "the model has no tool for the answer")
    else:
        same(request["text"]["format"]["schema"], SCHEMA, "schema")


@scenario(only=lambda backend: backend.name == "codex")
def commentary(scene):
    """What the model says while it works is no part of the answer (faults.md E10)."""
    turns = [Text("I look.", phase="commentary", call=shell("true")), Text(HELLO, phase="final_answer")]
    scene.run("--approval", "none", turns=turns).gives()
    ran = scene.run("-o", "stream-json", "--approval", "none", turns=turns)
    told = [event["content"]["message"] for event in ran.events if event["type"] == "progress"]
    holds("I look." in told, f"progress: {told}")


@scenario(only=honours("json schema"))
def broken_schema(scene):
    """An answer that does not follow its schema is a failure, and nobody gets it (faults.md A7)."""
    ran = scene.run("-o", "json", "--json-schema", json.dumps(SCHEMA), turns=[Text(['{"answer":', '"no"}'])])
    ran.ends(1, "unreadable")
    same(ran.object["content"], "", "content")


@scenario(only=lambda backend: backend.name == "codex")
def best_model(scene):
    """The newest of codex's own list, and its hardest effort where the model has it (faults.md D5, D6)."""
    scene.run("-m", "best", "--effort", "ultra", turns=PLAIN).gives()
    holds(scene.server.model().endswith("-astra"), f"model for `best`: {scene.server.model()}")
    ran = scene.run("-o", "json", "--effort", "ultra", turns=PLAIN)
    ran.ends(1, "invalid_request")
    same(ran.asked, 0, "requests")


@scenario()
def unsupported(scene):
    """Every option is taken, or refused by name: never dropped in silence."""
    (scene.work / "pixel.png").write_bytes(pixel())
    backend = scene.backend
    for name, words in OPTIONS.items():
        strict, lenient = (scene.run("--dry-run", *words, *more, turns=PLAIN) for more in ([], ["--lenient"]))
        same(lenient.status, 0, f"lenient {name}: status")
        if name in backend.refuses:
            sentence = f"backend `{backend.name}` cannot honour {name}: "
            same((strict.status, strict.out), (1, ""), f"{name}: (status, stdout)")
            holds(sentence in strict.err, f"{name}: {strict.err}")
            holds(sentence in lenient.err, f"lenient {name}: {lenient.err}")
        else:
            same((strict.status, strict.err), (0, ""), f"{name}: (status, stderr)")


@scenario()
def lenient(scene):
    """What is left out is in the result."""
    name = sorted(scene.backend.refuses)[0]
    ran = scene.run("-o", "json", "--lenient", *OPTIONS[name], turns=PLAIN)
    ran.ends(0, "")
    sentence = f"cannot honour {name}: "
    holds(sentence in " ".join(ran.object["warnings"]), f"warnings: {ran.object['warnings']}")
    holds(sentence in ran.err, "no warning on standard error")


@scenario()
def foreign_flag(scene):
    """Only flags on the backend's list are passed on."""
    ran = scene.run("-o", "json", "--extra=--dangerously-skip-permissions", turns=PLAIN)
    same((ran.status, ran.asked), (1, 0), "(status, requests)")
    holds("--dangerously-skip-permissions" in ran.err and scene.backend.name in ran.err, ran.err)


# -------------------------------------------------------------------------------------- streaming


@scenario({"text": lambda token: token, "stream-json": lambda token: json.dumps(token)})
def streams(scene, shown):
    """Each token is read before the server may send the next one."""
    tokens = ["alpha", " beta", " gamma", " delta", " epsilon"]
    format = "text" if shown("a") == "a" else "stream-json"
    running = scene.start("-o", format, turns=[Text(tokens, gated=True)])
    for sent, token in enumerate(tokens, 1):
        scene.server.release()
        running.read_until(lambda out: shown(token).encode() in out)
        same(scene.server.sent, sent, "tokens sent")
    ran = running.finish()
    same(ran.status, 0, "status")


@scenario()
def reader_that_leaves(scene):
    """As `| head -1` does: no error, and nobody goes on working."""
    running = scene.start(turns=[Text(["first line\n", "second line\n"], gated=True)])
    scene.server.release()
    running.read_until(lambda out: b"first line\n" in out)
    running.process.stdout.close()
    ran = running.finish()
    same((ran.status, ran.err), (0, ""), "(status, stderr)")
    wait_until(lambda: scene.server.asked[-1]["gone"], "the CLI hangs up")


@scenario()
def large_answer_read_slowly(scene):
    # Nothing in it repeats itself: gemini stops a model that does.
    noise = random.Random(0)
    lines = [f"{noise.randbytes(31).hex()} \n" for _ in range(1 << 15)]
    chunks = ["".join(lines[start : start + 256]) for start in range(0, len(lines), 256)]
    running = scene.start(turns=[Text(chunks)])
    # Nobody reads until the whole answer is on its way, and then slowly.
    wait_until(lambda: scene.server.sent, "the first chunk is sent")
    ran = running.finish(pause=0.02)
    ran.gives(out="".join(lines))
