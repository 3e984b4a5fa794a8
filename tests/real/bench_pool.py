#!/usr/bin/env python3
"""What it is worth that children are kept: how soon the first token is there in a child that is, and in one that has to be
started; and whether the five hundredth turn of a child is as the first.

    bench_pool.py PATH-OF-CLINVK [backend ...]
"""

import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import agents
import vendor
from bench import first_byte, serving
from scene import processes
from standin import StandIn, Text
from table import ms, row

ROUNDS = 20
TURNS = 500
# Of each conversation in those: their texts are sent again with every turn.
OF_A_CONVERSATION = 10

VENDORS = ("claude", "codex", "gemini")
AGENTS = ("opencode", "qwen")
# Of a cold start's: for the next turn, and for another conversation.
WANTED = dict.fromkeys(AGENTS, ("0.1", "0.1")) | {"claude": ("0.1", "0.15"), "codex": ("0.25", "0.25"), "gemini": ("0.05", "0.1")}


@contextlib.contextmanager
def world(clis, name):
    """A home, a working directory and an environment for one backend, and the model that it talks to."""
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as cwd,
        StandIn(Text(["Hello", " there"], delay=0.05)) as model,
    ):
        yield home, cwd, clis.environment([name], Path(home), model.url)


def pooled(name, **pool):
    return {"default_backend": name, "server": {"project_config": name in AGENTS}, "pool": {name: pool}}


def turn(url, **options):
    """Seconds to the first piece of an answer, and the session."""
    body = json.dumps({"prompt": "hi"} | options).encode()
    headers = {"Accept": "application/x-ndjson"}
    first, since = None, time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/prompt", body, headers), timeout=120) as answer:
        for event in map(json.loads, filter(bytes.strip, answer)):
            if event["type"] == "message" and first is None:
                first = time.monotonic() - since
    if event["content"]["kind"] is not None:
        raise AssertionError(event)
    return first, event["session_id"]


def warm_and_cold(clinvk, clis, name):
    """Medians of seconds to the first token: of a program that has to be started, of the next turn in one that is kept, and of
    another conversation in one.
    """
    rows = []
    with world(clis, name) as (home, cwd, env), contextlib.ExitStack() as servers:
        cold, warm = (servers.enter_context(serving(clinvk, home, cwd, env, **pooled(name, max=most)))[0] for most in (0, 1))
        turn(warm)
        for _ in range(ROUNDS):
            fresh, session = turn(warm)
            rows.append((turn(cold)[0], turn(warm, session_id=session)[0], fresh))
    return map(statistics.median, zip(*rows, strict=True))


def beside_acpx(clinvk, clis, name):
    """Medians of seconds from the start of a command to the first token: of our client on a server, and of acpx, each in a
    conversation that it goes on with.
    """
    marker, rows = f"bench-{time.monotonic()}", []
    with world(clis, name) as (home, cwd, env), serving(clinvk, home, cwd, env, **pooled(name, max=1)) as (url, _):
        acpx = env | {"PATH": f"{env['PATH']}:{agents.ACPX_PATH}", "BENCH_ACPX": marker}
        ours = [clinvk, "--server", url, "-b", name]
        first_byte([*ours, "hi"], env, cwd)
        first_byte(["acpx", name, "sessions", "new"], acpx, cwd)
        first_byte(["acpx", name, "hi"], acpx, cwd, b"Hello")
        for _ in range(ROUNDS):
            us, _ = first_byte([*ours, "-c", "and then?"], env, cwd, b"Hello")
            them, _ = first_byte(["acpx", name, "and then?"], acpx, cwd, b"Hello")
            rows.append((us, them))
        # Its owner process waits for minutes.
        for pid in processes(f"BENCH_ACPX={marker}", "environ"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    return map(statistics.median, zip(*rows, strict=True))


def memory(server):
    """MiB of the processes below the server."""
    parents, size = {}, 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for pid in parents:
        above = pid
        while above in parents and above != server:
            above = parents[above]
        if above == server and pid != server:
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                size += int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
    return size


def long_life(clinvk, clis, name):
    """Of many turns of one child: seconds of the first fifty and of the last fifty, and the child's memory then."""
    seconds, sizes, session = [], [], None
    config = pooled(name, max=1, max_turns=0, max_rss_mb=0)
    with world(clis, name) as (home, cwd, env), serving(clinvk, home, cwd, env, **config) as (url, server):
        turn(url)
        for number in range(TURNS):
            if number % OF_A_CONVERSATION == 0:
                session = None
            first, session = turn(url, **({"session_id": session} if session else {}))
            seconds.append(first)
            sizes.append(memory(server) if number % 50 == 49 else 0)
    return statistics.median(seconds[:50]), statistics.median(seconds[-50:]), sizes[49], sizes[-1]


def main():
    clinvk, *words = sys.argv[1:]
    clinvk = str(Path(clinvk).resolve())
    names = words or [*VENDORS, *AGENTS]
    where = dict.fromkeys(VENDORS, vendor.one()) | dict.fromkeys(AGENTS, agents.installed(AGENTS))
    for name in names:
        cold, following, fresh = warm_and_cold(clinvk, where[name], name)
        next_turn, another = WANTED[name]
        row(f"first token, {name}, kept, next turn / cold", following / cold, "x", next_turn, f"{ms(following)} / {ms(cold)}")
        row(f"first token, {name}, kept, another conversation / cold", fresh / cold, "x", another, f"{ms(fresh)} / {ms(cold)}")
    if "gemini" in names:
        agents.install_acpx()
        us, them = beside_acpx(clinvk, where["gemini"], "gemini")
        row("first token, gemini, kept / acpx, kept", us / them, "x", "0.2", f"{ms(us)} / {ms(them)}")
    for name in names:
        first, last, before, after = long_life(clinvk, where[name], name)
        what = f"{TURNS} turns in one child of {name}, the last fifty / the first"
        row(f"{what}: first token", last / first, "x", "1", f"{ms(last)} / {ms(first)}")
        row(f"{what}: memory", after / before, "x", "1", f"{after:.0f} MiB / {before:.0f} MiB")


if __name__ == "__main__":
    main()
