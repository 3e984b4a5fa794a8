#!/usr/bin/env python3
"""How much later the first token is with clinvk than with the raw CLI: medians of alternating runs.

    bench.py PATH-OF-CLINVK
"""

import statistics
import subprocess
import sys
import tempfile
import time
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


def main():
    clinvk = str(Path(sys.argv[1]).resolve())
    vendor.install()
    for name in ("claude", "codex", "gemini"):
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd:
            with StandIn(Text(["Hello", " there"], delay=0.05)) as server:
                env = vendor.environment([name], Path(home), server.url)
                pairs = [(ours(clinvk, name, env, cwd), raw(name, env, cwd)) for _ in range(RUNS)]
        with_us, without = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"first token, {name}: {with_us / without:.2f}x of the raw CLI's "
            f"({with_us * 1000:.0f} ms / {without * 1000:.0f} ms, {(with_us - without) * 1000:+.0f} ms)"
        )


if __name__ == "__main__":
    main()
