"""The claude CLI as a client: its requests are large, and its tools stay unused."""

import json
import os
import signal
import subprocess

from play import ANSWER, HELLO, PROMPT, heard, holds, play, play_model, same, scenario, server

QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


def environment(name, key):
    return os.environ | QUIET | {"ANTHROPIC_BASE_URL": f"{server(name)}/anthropic", "ANTHROPIC_API_KEY": key}


def claude(*words, prompt=PROMPT, name="echo", key="dummy", model="echo"):
    words = ["claude", "-p", "--model", model, *words]
    how = {"input": prompt, "capture_output": True, "text": True, "timeout": 80}
    return subprocess.run(words, env=environment(name, key), **how)


# What newer ones note on standard error of a model that they do not know.
NOTES = ("[claude-code:unrecognized_model]", "Claude Code doesn't recognize the model")


def succeeds(ran):
    said = [line for line in ran.stderr.splitlines() if not line.startswith(NOTES)]
    same((ran.returncode, said), (0, []), f"(status, stderr), with {ran.stdout}")


def answer(*words, **how):
    ran = claude(*words, "--output-format", "json", **how)
    succeeds(ran)
    return json.loads(ran.stdout)


def fails(says, **how):
    ran = claude(**how)
    holds(ran.returncode != 0, f"status 0, with {ran.stdout}")
    holds(says in ran.stdout + ran.stderr, f"`{says}` is not in {ran.stdout}{ran.stderr}")


@scenario()
def text():
    ran = claude()
    succeeds(ran)
    holds(PROMPT in ran.stdout, f"answer: {ran.stdout}")


@scenario()
def usage():
    told = answer()
    holds(told["usage"]["input_tokens"] > 5 and told["usage"]["output_tokens"] > 5, f"usage: {told['usage']}")


@scenario()
def stream():
    ran = claude("--output-format", "stream-json", "--include-partial-messages", "--verbose")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    deltas = [one["event"] for one in events if one["type"] == "stream_event"]
    pieces = [one["delta"]["text"] for one in deltas if one["type"] == "content_block_delta"]
    holds(PROMPT in "".join(pieces), f"pieces: {pieces}")
    holds(len(pieces) > 5, f"the answer came in {len(pieces)} pieces")


@scenario(requests=1)
def of_codex():
    """Another vendor's CLI behind the server: exactly its answer, and nothing of what claude adds gets lost."""
    play_model(HELLO)
    same(answer(name="vendors", model="codex")["result"], ANSWER, "result")
    asked = heard()
    holds(any(PROMPT in text for role, text in asked["said"] if role == "user"), f"the model got: {asked['said']}")
    holds("Claude" in asked["system"], "the model did not get claude's system prompt")


@scenario(requests=1)
def of_claude():
    play_model(HELLO)
    same(answer(name="vendors", model="claude")["result"], ANSWER, "result")


@scenario(runs=2)
def conversation():
    answer(prompt="my colour is red")
    told = answer("--continue", prompt="which colour?")["result"]
    for words in ("my colour is red", "which colour?"):
        holds(words in told, f"`{words}` is not in: {told}")


@scenario(runs=0, requests=1)
def wrong_key():
    fails("Invalid API key", name="locked", key="a-guessed-key")


@scenario(runs=6)
def login():
    """On a 400 it leaves out what is new in its requests, one thing after the other: 2.1.332 does so five times."""
    fails("login", name="login")


@scenario(requests=1)
def crash():
    fails("crash", name="crash")


@scenario(runs=0)
def unknown_model():
    fails("nobody/x", model="nobody/x")


@scenario(runs=2)
def broken_stream():
    """It asks once more without a stream, and then fails."""
    fails("exit status 9", name="breaking")


@scenario()
def abort():
    words = ["--output-format", "stream-json", "--include-partial-messages", "--verbose", "--model", "echo"]
    process = subprocess.Popen(
        ["claude", "-p", *words, "word " * 1000], env=environment("slow", "dummy"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while b"text_delta" not in process.stdout.readline():
        holds(process.poll() is None, "claude has ended")
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    process.wait(30)


play()
