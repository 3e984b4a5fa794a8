"""The codex CLI as a client of /responses: it reads the answer from one event only, and sends 17 KB of its own."""

import json
import os
import signal
import subprocess
from pathlib import Path

from play import ANSWER, HELLO, PROMPT, heard, holds, play, play_model, same, scenario, server, wait_for_run

CONFIG = """\
model_provider = "clinvk"
check_for_update_on_startup = false

[model_providers.clinvk]
name = "clinvk"
base_url = "{}/openai/v1"
wire_api = "responses"
env_key = "CLINVK_KEY"

[analytics]
enabled = false
"""


def command(name, model):
    home = Path(os.environ["HOME"], name)
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(CONFIG.format(server(name)))
    words = ["codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "read-only", "--model", model]
    return words, os.environ | {"CODEX_HOME": str(home)}


def codex(*more, prompt=PROMPT, name="echo", key="dummy", model="echo"):
    """(exit status, events)"""
    words, env = command(name, model)
    env["CLINVK_KEY"] = key
    how = {"input": prompt, "capture_output": True, "text": True, "timeout": 80}
    ran = subprocess.run([*words, *more, "-"], env=env, **how)
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def answer(*more, **how):
    """(text, usage)"""
    status, events = codex(*more, **how)
    same(status, 0, f"status, with {events}")
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    text = "".join(item["text"] for item in items if item["type"] == "agent_message")
    return text, events[-1]["usage"]


def fails(says, **how):
    status, events = codex(**how)
    holds(status != 0, f"status 0, with {events}")
    told = json.dumps(events, ensure_ascii=False)
    holds(says in told, f"`{says}` is not in {told}")


@scenario(requests=1)
def text():
    told, usage = answer()
    holds(PROMPT in told, f"answer: {told}")
    holds(usage["input_tokens"] > 5 and usage["output_tokens"] > 5, f"usage: {usage}")


@scenario(requests=1)
def of_claude():
    """Another vendor's CLI behind the server: exactly its answer, and codex's instructions reach the model."""
    play_model(HELLO)
    same(answer(name="vendors", model="claude")[0], ANSWER, "answer")
    asked = heard()
    holds(any(PROMPT in text for role, text in asked["said"] if role == "user"), f"the model got: {asked['said']}")
    holds("Codex" in asked["system"], "the model did not get codex's instructions")


@scenario(requests=1)
def of_codex():
    play_model(HELLO)
    same(answer(name="vendors", model="codex")[0], ANSWER, "answer")


@scenario(runs=2, requests=2)
def conversation():
    answer(prompt="my colour is red")
    told, _ = answer("resume", "--last", prompt="which colour?")
    for words in ("my colour is red", "which colour?"):
        holds(words in told, f"`{words}` is not in: {told}")


@scenario(runs=0)
def wrong_key():
    fails("Incorrect API key", name="locked", key="a-guessed-key")


@scenario(requests=1)
def login():
    fails("login", name="login")


@scenario(requests=1)
def crash():
    fails("crash", name="crash")


@scenario(requests=1)
def overloaded():
    fails("capacity", name="overloaded")


@scenario(runs=0, requests=1)
def unknown_model():
    fails("nobody/x", model="nobody/x")


@scenario(requests=1)
def broken_stream():
    fails("exit status 9", name="breaking")


@scenario()
def abort():
    words, env = command("slow", "echo")
    process = subprocess.Popen(
        [*words, "word " * 1000], env=env | {"CLINVK_KEY": "dummy"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_run("slow")
    process.send_signal(signal.SIGTERM)
    process.wait(30)


play()
