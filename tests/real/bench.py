#!/usr/bin/env python3
"""How much later the first token is with clinvk than with the raw CLI or agent: medians of alternating runs. How it is with
acpx beside it, and which memory the two take. And what it is worth that a conversation is resumed: three turns over
chat/completions, with reuse and without.

    bench.py PATH-OF-CLINVK
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import agents
import vendor
from probe import Dialogue
from scene import processes
from standin import StandIn, Text

RUNS = 9

# Agents start slowly: three of them are enough to see it.
AGENTS = ("kimi", "opencode", "copilot")
RUNS_OF_AGENTS = 5


def raw(name, env, cwd):
    """Seconds from the start of the CLI to its first piece of text, over its own two-way protocol."""
    first = {
        "claude": lambda message: "text_delta" in str(message),
        "codex": lambda message: message.get("method") == "item/agentMessage/delta",
    }
    since = time.monotonic()
    dialogue = Dialogue(name, env, cwd)
    dialogue.open()
    dialogue.ask("hi")
    dialogue.wait(first.get(name, lambda message: "agent_message_chunk" in str(message)))
    seconds = time.monotonic() - since
    dialogue.answer()
    dialogue.close()
    return seconds


def first_byte(command, env, cwd, wanted=b""):
    """Seconds from the start of a command to this in its output, and the processes' peaks of memory then: by its words."""
    since = time.monotonic()
    marker = f"bench-{since}"
    with subprocess.Popen(
        command, env=env | {"BENCH": marker}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        said = process.stdout.read(1)
        while said and wanted not in said:
            said += process.stdout.read1(4096)
        seconds = time.monotonic() - since
        peaks = {pid: peak(pid) for pid in processes(f"BENCH={marker}", "environ")}
        process.stdout.read()
    return seconds, peaks


def ours(clinvk, name, env, cwd):
    """Seconds from the start of clinvk to the first byte of the answer."""
    return first_byte([clinvk, "-b", name, "hi"], env, cwd)[0]


def peak(pid):
    """What this process is called by, and the most memory that it has had, in MiB."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return words, int(lines["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return "", 0


def own(peaks, program):
    """The sum of the processes that are this program, as a binary or as a script."""
    return sum(size for words, size in peaks.values() if program in [Path(word).name for word in words.split("\0")[:2]])


def beside_acpx(clinvk, installed, name):
    """For this agent: seconds to the first token with us, with acpx and alone, and MiB of clinvk and of acpx's own processes."""
    rows = []
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd, StandIn(Text(["Hello", " there"], delay=0.2)) as model:
        env = installed.environment([name], Path(home), model.url)
        with_acpx = env | {"PATH": f"{env['PATH']}:{agents.ACPX_PATH}"}
        for _ in range(RUNS_OF_AGENTS):
            us, our_peaks = first_byte([clinvk, "-b", name, "hi"], env, cwd)
            them, their_peaks = first_byte(["acpx", name, "exec", "hi"], with_acpx, cwd, b"Hello")
            rows.append((us, them, raw(name, env, cwd), own(our_peaks, "clinvk"), own(their_peaks, "acpx")))
    return map(statistics.median, zip(*rows, strict=True))


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


@contextlib.contextmanager
def serving(clinvk, home, cwd, env, **config):
    """A server of its own with this configuration; gives its URL and its pid."""
    file = Path(home, ".clinvk/config.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(config))
    command = [clinvk, "serve", "--port", "0", "--quiet"]
    with subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield next(line.split()[-1] for line in server.stdout if "http://" in line), server.pid
        finally:
            server.terminate()


def reuse(clinvk, clis, name):
    """For reuse and without: the seconds of three turns, and how many of them the model was told as such in the last."""
    figures = {}
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd, StandIn(Text(["Hello", " there"])) as model:
        env = clis.environment([name], Path(home), model.url)
        with serving(clinvk, home, cwd, env, default_backend=name) as (url, _):
            for how, headers in (("reuse", {}), ("off", {"x-clinvk-session": "off"})):
                seconds = []
                for _ in range(3):
                    model.requests.clear()
                    seconds.append(conversation(url, **headers))
                figures[how] = statistics.median(seconds), turns(model.conversation())
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
    agents.install_acpx()
    installed = agents.installed(AGENTS)
    for name, where in {"gemini": clis, **dict.fromkeys(installed.tested, installed)}.items():
        us, them, alone, our_size, their_size = beside_acpx(clinvk, where, name)
        print(
            f"first token, {name}: {us / alone:.2f}x of the agent's alone, acpx takes {them / us:.1f}x of ours "
            f"({us * 1000:.0f} ms / {alone * 1000:.0f} ms alone / {them * 1000:.0f} ms acpx); "
            f"memory beside the agent: {our_size:.1f} MiB / {their_size:.0f} MiB acpx ({their_size / max(our_size, 0.1):.0f}x)"
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
