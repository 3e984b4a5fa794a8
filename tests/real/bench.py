#!/usr/bin/env python3
"""How much later the first token is with clinvk than with the raw CLI: medians of alternating runs. And what it is worth that
a conversation is resumed: three turns over chat/completions, with reuse and without.

    bench.py PATH-OF-CLINVK
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import vendor
from probe import Dialogue
from standin import StandIn, Text

RUNS = 9


def raw(name, env, cwd):
    """Seconds from the start of the CLI to its first piece of text, over its own two-way protocol."""
    first = {
        "claude": lambda message: "text_delta" in str(message),
        "codex": lambda message: message.get("method") == "item/agentMessage/delta",
        "gemini": lambda message: "agent_message_chunk" in str(message),
    }
    since = time.monotonic()
    dialogue = Dialogue(name, env, cwd)
    dialogue.open()
    dialogue.ask("hi")
    dialogue.wait(first[name])
    seconds = time.monotonic() - since
    dialogue.answer()
    dialogue.close()
    return seconds


def ours(clinvk, name, env, cwd):
    """Seconds from the start of clinvk to the first byte of the answer."""
    since = time.monotonic()
    with subprocess.Popen(
        [clinvk, "-b", name, "hi"], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        process.stdout.read(1)
        seconds = time.monotonic() - since
        process.stdout.read()
    return seconds


def conversation(url, **headers):
    """Seconds that three turns take."""
    messages, since = [{"role": "system", "content": "You are brief."}], time.monotonic()
    for turn in range(3):
        messages.append({"role": "user", "content": f"prompt number {turn}"})
        data = json.dumps({"model": "", "messages": messages}).encode()
        request = urllib.request.Request(f"{url}/openai/v1/chat/completions", data, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            said = json.load(answer)["choices"][0]["message"]["content"]
        messages.append({"role": "assistant", "content": said})
    return time.monotonic() - since


def reuse(clinvk, clis, name):
    """For reuse and without: the seconds of three turns, and how many of them the model was told as such in the last."""
    figures = {}
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd, StandIn(Text(["Hello", " there"])) as model:
        env = clis.environment([name], Path(home), model.url)
        config = Path(home, ".clinvk/config.json")
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps({"default_backend": name}))
        command = [clinvk, "serve", "--port", "0", "--quiet"]
        with subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            try:
                url = next(line.split()[-1] for line in server.stdout if "http://" in line)
                for how, headers in (("reuse", {}), ("off", {"x-clinvk-session": "off"})):
                    seconds = []
                    for _ in range(3):
                        model.requests.clear()
                        seconds.append(conversation(url, **headers))
                    figures[how] = statistics.median(seconds), turns(model.conversation())
            finally:
                server.terminate()
    return figures


def turns(told):
    """How many turns of ours the model was told as such."""
    return sum("prompt number" in text or "Hello there" in text for _, text in told)


def main():
    clinvk = str(Path(sys.argv[1]).resolve())
    clis = vendor.one()
    for name in ("claude", "codex", "gemini"):
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd:
            with StandIn(Text(["Hello", " there"], delay=0.05)) as server:
                env = clis.environment([name], Path(home), server.url)
                pairs = [(ours(clinvk, name, env, cwd), raw(name, env, cwd)) for _ in range(RUNS)]
        with_us, without = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"first token, {name}: {with_us / without:.2f}x of the raw CLI's "
            f"({with_us * 1000:.0f} ms / {without * 1000:.0f} ms, {(with_us - without) * 1000:+.0f} ms)"
        )
    for name in ("claude", "codex"):
        figures = reuse(clinvk, clis, name)
        (with_it, sent), (without, sent_without) = figures["reuse"], figures["off"]
        print(
            f"three turns of chat/completions, {name}: {with_it:.2f} s with reuse, {without:.2f} s without "
            f"({without / with_it:.2f}x); turns in the model's last request: {sent} / {sent_without}"
        )


if __name__ == "__main__":
    main()
