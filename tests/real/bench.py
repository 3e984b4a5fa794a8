#!/usr/bin/env python3
"""How much later the first token is with clinvk than with the raw CLI or agent: medians of alternating runs. How it is with
acpx beside it, and which memory the two take. What it is worth that a conversation is resumed: three turns over
chat/completions, with reuse and without. And how soon a server says its first word, with claude-max-api-proxy beside it.

    bench.py PATH-OF-CLINVK
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import agents
import vendor
from probe import COMMANDS, Dialogue
from scene import processes
from sshd import free_port
from standin import StandIn, Text
from table import ms, row

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
        while wanted not in said and (more := process.stdout.read1(4096)):
            said += more
        if not said or wanted not in said:
            raise AssertionError(f"`{' '.join(command)}` ended without {wanted or 'a word'}: {said}")
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
        # What acpx knows by name may be what npx gets from the registry.
        agent = ["acpx", "--agent", " ".join(COMMANDS[name])]
        for _ in range(RUNS_OF_AGENTS):
            us, our_peaks = first_byte([clinvk, "-b", name, "hi"], env, cwd)
            them, their_peaks = first_byte([*agent, "exec", "hi"], with_acpx, cwd, b"Hello")
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


@contextlib.contextmanager
def proxy(env, cwd):
    """claude-max-api-proxy on a port of loopback: its URL and its pid."""
    agents.install_proxy()
    port, env = str(free_port()), env | {"PATH": f"{env['PATH']}:{agents.PROXY_PATH}"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["claude-max-api", port], env=env, cwd=cwd, text=True, **pipes) as process:
        try:
            if not any("Server ready" in line for line in process.stdout):
                raise AssertionError("claude-max-api-proxy does not start")
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()


def first_word(url, model):
    """Seconds to the first piece of a streamed answer."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers, since = {"Content-Type": "application/json"}, time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=120) as answer:
        next(line for line in answer if b"Hello" in line)
        seconds = time.monotonic() - since
        answer.read()
    return seconds


def beside_proxy(clinvk, clis):
    """Seconds to the first word of a conversation of claude's, over a server of ours and over claude-max-api-proxy, and the
    peaks of both servers' memory in MiB.
    """
    rows = []
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as cwd, StandIn(Text(["Hello", " there"])) as model:
        env = clis.environment(["claude"], Path(home), model.url)
        with serving(clinvk, home, cwd, env, default_backend="claude") as (url, pid), proxy(env, cwd) as (theirs, their_pid):
            for _ in range(RUNS):
                us = first_word(f"{url}/openai/v1/chat/completions", "claude")
                rows.append((us, first_word(f"{theirs}/v1/chat/completions", "claude-sonnet-4")))
            sizes = peak(pid)[1], peak(their_pid)[1]
    return *map(statistics.median, zip(*rows, strict=True)), *sizes


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
        row(f"first token, {name} / the vendor's program alone", with_us / without, "x", "1.05", f"{ms(with_us)} / {ms(without)}")
    agents.install_acpx()
    installed = agents.installed(AGENTS)
    for name, where in {"gemini": clis, **dict.fromkeys(installed.tested, installed)}.items():
        us, them, alone, our_size, their_size = beside_acpx(clinvk, where, name)
        row(f"first token, {name} over ACP / alone", us / alone, "x", "1.05", f"{ms(us)} / {ms(alone)}")
        row(f"first token, {name} / acpx, both cold", us / them, "x", "", f"{ms(us)} / {ms(them)}")
        row(f"memory beside {name} / acpx's", our_size / their_size, "x", "", f"{our_size:.1f} MiB / {their_size:.0f} MiB")
    for name in ("claude", "codex"):
        figures = reuse(clinvk, clis, name)
        (with_it, sent), (without, sent_without) = figures["reuse"], figures["off"]
        detail = f"{with_it:.2f} s / {without:.2f} s; turns in the model's last request: {sent} / {sent_without}"
        row(f"three turns of chat/completions, {name}, resumed / not", with_it / without, "x", "", detail)
    us, them, our_size, their_size = beside_proxy(clinvk, clis)
    row("first word of chat/completions, claude / claude-max-api-proxy", us / them, "x", "", f"{ms(us)} / {ms(them)}")
    row("memory of the server / claude-max-api-proxy's", our_size / their_size, "x", "", f"{our_size:.1f} MiB / {their_size:.0f} MiB")


if __name__ == "__main__":
    main()
